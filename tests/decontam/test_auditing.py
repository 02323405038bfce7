import errno
import json
import random

import pytest

from decontam import auditing
from decontam.auditing import audit, scan_id, scanned_sets
from decontam.dropping import decontamination_record, drops_table, kept_mask, leaving
from decontam.evidence import SNIPPET_CHARS, snippet
from decontam.result import ENGINE, Audit, audit_id
from decontam.verdicts import Policy, Settings
from tulu_data.errors import InputError, RecipeError, StoreError, UsageError
from tulu_data.parquet import write_table

QUESTION = "Janet’s ducks lay 16 eggs per day and she eats three of them for breakfast every morning"
OTHER = "A robe takes two bolts of blue fibre and half that much white fibre so how many bolts"
LONG = [f"question number {i} asks whether the {i} dogs and the {i} cats sleep at {i}" for i in range(100)]


@pytest.fixture
def small(make_set, make_suite):
    train = make_set("train", ["nothing to see", f"Q: {QUESTION}?", "more of nothing", OTHER])
    suites = [make_suite("gsm", [QUESTION, "Why?"], "dev"), make_suite("other", [OTHER, QUESTION], "unseen")]
    return train, suites


def test_tables_and_manifest_of_a_small_audit(small):
    train, suites = small
    found = audit([train], suites)
    assert [(p["row_index"], p["suite"], p["instance_id"]) for p in found.pairs.to_pylist()] == [
        (1, "gsm", "0"),
        (1, "other", "1"),
        (3, "other", "0"),
    ]
    assert [(e["suite"], e["flagged"], e["share"], e["verdict"]) for e in found.evals.to_pylist()] == [
        ("gsm", 1, 0.5, "drop rows"),
        ("other", 2, 1.0, "drop rows"),
    ]
    assert [(r["row_index"], r["reason"], r["suites"]) for r in found.rows.to_pylist()] == [
        (1, "overlaps gsm, other", ["gsm", "other"]),
        (3, "overlaps other", ["other"]),
    ]
    assert found.manifest["sets"]["train"] == {
        "kind": "prompt",
        "digest": train.digest,
        "rows": 4,
        "dropped": 2,
        "verdict": "drop rows",
    }
    assert found.manifest["suite_overlaps"] == [{"suites": ["gsm", "other"], "equal": [1, 1]}]
    assert found.manifest["totals"] == {"instances": 4, "distinct": 3, "flagged": 3, "flagged_distinct": 2, "pairs": 3}
    assert found.pairs["repeats"].to_pylist() == [None, "gsm/0", None]
    assert [(s["id"], s["short"], s["unmatchable"]) for s in found.manifest["suites"]] == [
        ("gsm", 1, 0),
        ("other", 0, 0),
    ]


def test_workers_and_batches_change_nothing(make_set, make_suite):
    choose = random.Random(5)
    prompts = [" ".join(choose.sample(LONG, 3)) if i % 3 else f"harmless {i}" for i in range(60)]
    suites = [make_suite("a", LONG), make_suite("b", LONG[:7], "unseen")]
    one = audit([make_set("x", prompts), make_set("y", prompts[:9])], suites)
    others = [make_set("x", prompts, batch_rows=7), make_set("y", prompts[:9], batch_rows=1)]
    assert one.pairs.num_rows > 60
    for engine, executor in [("compiled", "threads"), ("compiled", "processes"), ("reference", "processes")]:
        two = audit(others, suites, workers=2, engine=engine, executor=executor)
        assert (one.pairs, one.evals, one.rows) == (two.pairs, two.evals, two.rows)
        assert one.manifest | {"seconds": 0} == two.manifest | {"seconds": 0}


def test_rewrapping_lines_never_changes_a_verdict(make_set, make_suite):
    choose = random.Random(3)
    prompts = [f"intro {q} outro" for q in LONG[:20]]
    wrapped = ["".join(choose.choice([" ", "\n", "\r\n", " \n\t"]) if c == " " else c for c in p) for p in prompts]
    suites = [make_suite("a", LONG)]
    verdicts = ["instance_id", "layers", "coverage", "informative", "fuzzy", "longest_run"]
    one, two = (audit([make_set("x", p)], suites).pairs.select(verdicts) for p in (prompts, wrapped))
    assert one == two


def test_two_percent_of_a_suite_is_not_contamination(make_set, make_suite):
    suites = [make_suite("dev", LONG, "dev"), make_suite("unseen", LONG, "unseen")]
    paper = Policy(policy="tulu3")
    at, above = (audit([make_set("x", [*LONG[:k], "harmless"])], suites, policy=paper) for k in (2, 3))
    assert at.evals["verdict"].to_pylist() == ["clean", "clean"]
    assert above.evals["verdict"].to_pylist() == ["drop rows", "drop set"]
    assert (at.manifest["sets"]["x"]["dropped"], above.manifest["sets"]["x"]["dropped"]) == (0, 4)
    assert above.rows["reason"].to_pylist() == ["its set is dropped: contaminated by unseen"] * 3


def test_only_chosen_layers_count_and_all_are_reported(make_set, make_suite):
    train = make_set("x", [" ".join(LONG[0].split()[:9])])
    found = audit([train], [make_suite("a", LONG[:1])], policy=Policy(layers=("exact",)))
    [entry] = found.evals.to_pylist()
    assert (entry["flagged"], entry["flagged_tulu3"], entry["verdict"]) == (0, 1, "clean")
    assert found.rows["dropped"].to_pylist() == [False]


def test_roles_decide_which_turns_are_matched(make_set, make_suite):
    row = {
        "messages": [{"role": "user", "content": "Tell me."}],
        "chosen": [{"role": "assistant", "content": QUESTION}],
        "rejected": [{"role": "assistant", "content": OTHER}],
    }
    suites = [make_suite("s", [QUESTION, OTHER, "Tell me"])]
    found = {
        roles: audit([make_set("p", [row], "preference")], suites, Settings(roles=roles)).pairs["column"].to_pylist()
        for roles in ("user", "assistant", "all")
    }
    assert found == {
        "user": ["messages"],
        "assistant": ["chosen", "rejected"],
        "all": ["messages", "chosen", "rejected"],
    }


def test_an_answer_that_leaks_is_told_and_a_letter_is_no_evidence(make_set, make_suite):
    row = {
        "messages": [
            {"role": "user", "content": f"{QUESTION} {OTHER} {LONG[1]}"},
            {"role": "assistant", "content": "She keeps\nthirteen eggs."},
        ]
    }
    suite = make_suite("s", [QUESTION, OTHER, LONG[1]], answers=["thirteen eggs", "two bolts", "B"])
    found = audit([make_set("x", [row], "sft")], [suite])
    assert found.pairs["answer_found"].to_pylist() == [True, False, None]
    assert found.pairs["severity"].to_pylist() == ["question+answer", "question", "question"]
    assert found.evals["with_answer"].to_pylist() == [1]
    assert found.rows["severity"].to_pylist() == ["question+answer"]


def test_spans_are_bytes_of_the_original_text(make_set, make_suite):
    text = f"“Été”: {QUESTION}!"
    [pair] = audit([make_set("x", [text])], [make_suite("s", [f"¡{QUESTION}"])]).pairs.to_pylist()
    [span] = pair["train_spans"]
    assert text.encode()[span["start"] : span["end"]].decode().startswith("ducks lay")
    [at] = pair["eval_spans"]
    assert f"¡{QUESTION}".encode()[at["start"] : at["end"]].decode().startswith("ducks lay")
    assert pair["train_snippet"] == text


def test_a_snippet_holds_the_match_and_is_never_too_long():
    text = "x" * 1000 + "MATCH" + "y" * 1000
    cut = snippet(text, (1000, 1005))
    assert len(cut) == SNIPPET_CHARS
    assert "xMATCHy" in cut
    assert cut[0] == cut[-1] == "…"
    assert snippet(text, (0, 5)).startswith("xxx")
    assert snippet(text, (2000, 2005)).endswith("yyy")


def test_the_id_hangs_on_content_and_settings_alone(make_set, make_suite, small):
    train, suites = small
    found = audit([train], suites)
    assert found.id == audit([train], suites, workers=2).id
    assert found.id == audit([train], suites, engine="reference").id
    others = [
        audit([train], suites, Settings(n=9)),
        audit([train], suites, policy=Policy(policy="tulu3")),
        audit([train], suites[:1]),
        audit([make_set("train", ["nothing"])], suites),
        audit([train], [make_suite("gsm", [QUESTION, "Why?"], "unseen"), suites[1]]),
    ]
    assert len({found.id, *(o.id for o in others)}) == 6


def test_the_id_is_known_without_reading_a_row(small):
    train, suites = small
    assert audit_id(scan_id([train], suites, Settings()), Policy()) == audit([train], suites).id


def test_instances_that_repeat_inside_a_suite_are_counted(make_set, make_suite):
    suites = [make_suite("a", [QUESTION, OTHER, QUESTION, f"{QUESTION}!", "?"]), make_suite("b", [OTHER, "?", "!"])]
    found = audit([make_set("x", [QUESTION])], suites)
    assert [s["repeated"] for s in found.manifest["suites"]] == [2, 0]


def test_an_audit_prints_as_one_short_line(small):
    found = audit([small[0]], small[1])
    assert repr(found) == f"<Audit {found.id}: 1 sets, 2 suites, 3 pairs>"


def test_an_audit_of_nothing_is_an_audit(make_set, make_suite):
    found = audit([make_set("empty", [])], [make_suite("s", ["?!", LONG[0]])])
    assert (len(found.pairs), len(found.rows)) == (0, 0)
    assert found.evals["unmatchable"].to_pylist() == [1]


def test_names_must_differ(small):
    train, suites = small
    with pytest.raises(UsageError, match=r"^training set 'train' is given 2 times; rename or remove the others$"):
        audit([train, train], suites)
    with pytest.raises(UsageError, match=r"^suite 'gsm' is given 2 times; rename or remove the others$"):
        audit([train], [suites[0], suites[0]])


# ------------------------------------------------------------ another policy


def test_a_new_policy_gives_what_a_new_scan_would(make_set, make_suite):
    choose = random.Random(7)
    prompts = [" ".join(q.split()[: choose.randint(6, 14)]) for q in LONG] + ["harmless"]
    train, suites = make_set("x", prompts), [make_suite("a", LONG), make_suite("b", LONG[:9], "unseen")]
    found = audit([train], suites)
    policies = [
        Policy(policy="tulu3"),
        Policy(policy="any"),
        Policy(policy="tulu3", layers=("exact", "tulu3"), threshold=0.9, set_threshold=0.5),
        Policy(layers=("fuzzy", "informative"), informative_threshold=0.7, fuzzy_threshold=0.9),
    ]
    ids = set()
    for policy in policies:
        judged, scanned = found.judged(policy), audit([train], suites, policy=policy)
        ids.add(judged.id)
        assert (judged.pairs, judged.evals, judged.rows) == (scanned.pairs, scanned.evals, scanned.rows)
        assert judged.manifest | {"seconds": 0} == scanned.manifest | {"seconds": 0}
    assert len(ids) == len(policies)
    assert found.judged(found.policy) == found


def test_a_policy_that_needs_another_scan_is_one_line_and_reads_no_row(small, monkeypatch):
    train, suites = small
    found = audit([train], suites, Settings(floor=0.4))
    with pytest.raises(RecipeError, match=r"^scan ts1-\w{16}: layers: any needs every pair; [^\n]+ scan with a lower"):
        found.judged(Policy(policy="any"))
    monkeypatch.setattr(auditing, "scan_part", None)
    with pytest.raises(RecipeError, match=r"^scan ts1-\w{16}: layers: fuzzy was not looked for"):
        audit([train], suites, Settings(fuzzy=False), Policy(layers=("fuzzy",)))


def test_a_higher_floor_leaves_out_exactly_the_pairs_up_to_it(make_set, make_suite):
    prompts = [" ".join(q.split()[: 6 + i % 9]) for i, q in enumerate(LONG)]
    train, suites = make_set("x", prompts), [make_suite("a", LONG)]
    everything = audit([train], suites, Settings(fuzzy=False)).pairs
    above = audit([train], suites, Settings(fuzzy=False, floor=0.6), Policy(threshold=0.6, informative_threshold=0.6))
    expected = [p for p in everything.to_pylist() if max(p["coverage"], p["informative"]) > 0.6]
    keys = ("row_index", "instance_id", "coverage", "informative")
    assert [[p[k] for k in keys] for p in above.pairs.to_pylist()] == [[p[k] for k in keys] for p in expected]


# ------------------------------------------------------------ shards


def test_a_killed_audit_goes_on_where_it_was(make_set, make_suite, tmp_path, monkeypatch):
    train, suites = make_set("x", [*LONG, "harmless"], batch_rows=10), [make_suite("a", LONG)]
    expected = audit([train], suites)
    scan_part, scanned = auditing.scan_part, []

    def dies_at_the_fifth(source, name, kind, part, first):
        if len(scanned) == 4:
            raise KeyboardInterrupt
        scanned.append(first)
        return scan_part(source, name, kind, part, first)

    monkeypatch.setattr(auditing, "scan_part", dies_at_the_fifth)
    with pytest.raises(KeyboardInterrupt):
        audit([train], suites, work=tmp_path / "work")
    assert len(list((tmp_path / "work").iterdir())) == 8  # pairs and messages of each
    monkeypatch.setattr(auditing, "scan_part", lambda *args: (scanned.append(args[-1]), scan_part(*args))[1])
    found = audit([train], suites, work=tmp_path / "work")
    assert sorted(scanned) == list(range(0, 101, 10))  # each part once
    assert (found.pairs, found.evals, found.rows) == (expected.pairs, expected.evals, expected.rows)


def test_a_damaged_shard_is_scanned_again(make_set, make_suite, tmp_path):
    train, suites = make_set("x", LONG[:30], batch_rows=10), [make_suite("a", LONG)]
    expected = audit([train], suites, work=tmp_path)
    for junk in (b"", b"PAR1 junk", (tmp_path / "000-000001.parquet").read_bytes()[:-40]):
        (tmp_path / "000-000001.parquet").write_bytes(junk)
        assert audit([train], suites, work=tmp_path).pairs == expected.pairs


# ------------------------------------------------------------ save and load


def test_what_is_saved_is_loaded(small, tmp_path):
    found = audit([small[0]], small[1])
    folder = found.save(tmp_path / "deep" / "audit")
    assert Audit.load(folder) == found
    assert sorted(p.name for p in folder.parent.iterdir()) == ["audit"]
    assert found.save(folder) == folder


def test_another_audit_is_never_overwritten(small, tmp_path):
    train, suites = small
    audit([train], suites).save(tmp_path / "a")
    with pytest.raises(InputError, match=r"/a: is in use for something else; remove it or choose another folder$"):
        audit([train], suites[:1]).save(tmp_path / "a")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("manifest.json", None, r"^\S+/manifest\.json: is missing; run tulu audit again$"),
        ("manifest.json", b"{", r"^\S+/manifest\.json: cannot be read \([^\n]+\); run tulu audit again$"),
        ("manifest.json", b"{}", r"^\S+: format is None, not 'tulu-audit/3'; run tulu audit again$"),
        (
            "manifest.json",
            b'{"format": "tulu-audit/3", "id": "ta1-0"}',
            r"^\S+/manifest\.json: has no 'scan'; run tulu audit again$",
        ),
        ("pairs.parquet", None, r"^\S+/pairs\.parquet: is missing; run tulu audit again$"),
        ("rows.parquet", b"PAR", r"^\S+/rows\.parquet: cannot be read \([^\n]+\); run tulu audit again$"),
    ],
)
def test_a_damaged_audit_is_one_line(small, tmp_path, name, content, message):
    folder = audit([small[0]], small[1]).save(tmp_path / "a")
    (folder / name).unlink() if content is None else (folder / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        Audit.load(folder)


def test_a_place_that_cannot_be_written_is_one_line(small, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    message = r"/file\S*: cannot write \(Not a directory\); make it writable, or choose another place with -o$"
    with pytest.raises(StoreError, match=message):
        audit([small[0]], small[1]).save(tmp_path / "file" / "a")


def test_a_full_disk_is_one_line_and_leaves_nothing(small, tmp_path, monkeypatch):
    def fill(path, table):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr("decontam.result.write_table", fill)
    with pytest.raises(StoreError, match=r"cannot write \(No space left on device\); free space, or [^\n]+ with -o$"):
        audit([small[0]], small[1]).save(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_the_same_audit_saved_meanwhile_by_another_process_is_kept(small, tmp_path, monkeypatch):
    found = audit([small[0]], small[1])

    def write_and_be_overtaken(path, table):
        write_table(path, table)
        if path.name == "rows.parquet":
            monkeypatch.undo()
            found.save(tmp_path / "a")

    monkeypatch.setattr("decontam.result.write_table", write_and_be_overtaken)
    assert Audit.load(found.save(tmp_path / "a")).id == found.id
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


# ------------------------------------------------------------ drop


def test_dropped_rows_leave_and_the_record_says_why(small):
    train, suites = small
    found = audit([train], suites)
    mask = kept_mask(leaving(found, train), train.table["row_sha"])
    assert mask.tolist() == [True, False, True, False]
    drops = drops_table(found, train).to_pylist()
    assert [(d["row_sha"], d["reason"], d["suite"]) for d in drops] == [
        (train.table["row_sha"][1].as_py(), "overlaps gsm, other", "gsm"),
        (train.table["row_sha"][3].as_py(), "overlaps other", "other"),
    ]
    assert {d["step"] for d in drops} == {"decontaminate"}
    record = decontamination_record(found, "train", ["train"])
    assert json.loads(json.dumps(record)) == record
    assert (record["audit"], record["rows_in"], record["rows_dropped"]) == (found.id, 4, 2)
    assert [(s["id"], s["digest"], s["flagged"]) for s in record["suites"]] == [
        ("gsm", suites[0].digest, 1),
        ("other", suites[1].digest, 2),
    ]


def test_a_drop_names_the_suite_that_acts(make_set, make_suite):
    train = make_set("x", [f"{LONG[0]} {LONG[1]}", LONG[2]])
    suites = [make_suite("calm", [LONG[0], *[f"{i} {OTHER}" for i in range(99)]]), make_suite("hot", LONG[1:3])]
    found = audit([train], suites, policy=Policy(policy="tulu3"))
    assert found.evals["verdict"].to_pylist() == ["clean", "drop rows"]
    assert drops_table(found, train)["suite"].to_pylist() == ["hot", "hot"]


def test_of_a_dropped_set_no_row_stays_and_every_row_is_listed(make_set, make_suite):
    train = make_set("x", ["harmless", "also harmless", LONG[0], "the last"], batch_rows=2)
    found = audit([train], [make_suite("u", LONG[:5], "unseen")], policy=Policy(policy="tulu3"))
    assert not kept_mask(leaving(found, train), train.table["row_sha"]).any()
    assert decontamination_record(found, "x", ["x"])["rows_dropped"] == 4
    drops = drops_table(found, train).to_pylist()
    assert [d["row_sha"] for d in drops] == train.table["row_sha"].to_pylist()
    assert {d["reason"] for d in drops} == {"its set is dropped: contaminated by u"}
    assert [(d["suite"], d["instance_id"], d["span"]) for d in drops] == [
        (None, None, None),
        (None, None, None),
        ("u", "0", LONG[0]),
        (None, None, None),
    ]


def test_policy_none_reports_and_keeps(small):
    train, suites = small
    found = audit([train], suites, policy=Policy(policy="none"))
    assert found.evals["contaminated"].to_pylist() == [True, True]
    assert kept_mask(leaving(found, train), train.table["row_sha"]).all()


def test_an_audit_of_other_rows_is_refused(small, make_set):
    train, suites = small
    found = audit([train], suites)
    changed = make_set("train", ["nothing"])
    message = rf"^train: audit {found.id} was made of \w{{16}}, not of \w{{16}}; run tulu audit again$"
    with pytest.raises(InputError, match=message):
        leaving(found, changed)
    with pytest.raises(InputError, match=r"does not cover 'tran'; did you mean 'train'\?$"):
        drops_table(found, make_set("tran", ["nothing"]))


def test_a_folder_without_an_audit_is_one_line(tmp_path):
    with pytest.raises(InputError, match=r"^\S+: holds no audit \(manifest\.json is missing\); run tulu audit$"):
        Audit.load(tmp_path)


def test_an_audit_of_another_engine_is_one_line(small, tmp_path):
    folder = audit([small[0]], small[1]).save(tmp_path / "a")
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace(ENGINE, "tulu-decontam/1"))
    with pytest.raises(
        InputError, match=rf"^{path}: made by engine tulu-decontam/1, not {ENGINE}; run tulu audit again$"
    ):
        Audit.load(folder)


@pytest.mark.parametrize("kept", [("a",), ("b",), ("a", "c"), ("a", "b", "c")])
def test_sets_scanned_before_in_other_company_are_not_scanned_again_and_nothing_differs(
    make_set, make_suite, tmp_path, monkeypatch, kept
):
    suites = [make_suite("s", LONG[:5]), make_suite("t", LONG[2:5])]
    sets = {name: make_set(name, [f"{name} says: {q}" for q in LONG[:5]] + ["nothing"]) for name in "abc"}
    other = make_set("d", [LONG[0]])
    earlier = audit([other, *(sets[name] for name in kept)], suites)
    expected = audit(list(sets.values()), suites)
    before = scanned_sets([earlier], list(sets.values()), suites, Settings())
    assert tuple(before) == kept
    scanned = []
    scan_part = auditing.scan_part
    monkeypatch.setattr(auditing, "scan_part", lambda *given: scanned.append(given[1]) or scan_part(*given))
    for work in (None, tmp_path / "work"):
        scanned.clear()
        found = audit(list(sets.values()), suites, before=before, work=work)
        assert set(scanned) == set("abc") - set(kept)
        assert (found.id, found.pairs, found.evals, found.rows) == (
            expected.id,
            expected.pairs,
            expected.evals,
            expected.rows,
        )
        assert (found.messages, found.instances) == (expected.messages, expected.instances)


def test_what_was_scanned_otherwise_is_scanned_again(make_set, make_suite):
    suite, train = make_suite("s", LONG[:5]), make_set("a", LONG[:5])
    earlier = [audit([train], [suite])]
    assert scanned_sets(earlier, [train], [suite], Settings())
    assert not scanned_sets(earlier, [train], [suite], Settings(n=7))
    assert not scanned_sets(earlier, [train], [make_suite("s", LONG[1:5])], Settings())
    assert not scanned_sets(earlier, [make_set("a", LONG[1:5])], [suite], Settings())
    assert not scanned_sets(earlier, [make_set("b", LONG[:5])], [suite], Settings())
