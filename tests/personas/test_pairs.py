"""Pairs by a dropped constraint and by a verifier: each side is checked again here, every rejection has its reason."""

import json
import re
from collections import Counter

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from personas.pairs import relaxing, running, verified
from personas.pairs.pair import Source
from personas.pairs.step import validate
from personas.skill import Checks, Rejected, Reply
from personas.skills.precise_if import SKILL
from personas.step import prompts_of
from tulu_data.cli import cli
from tulu_data.errors import RecipeError, TuluError
from tulu_data.llm.client import Stopped
from tulu_data.llm.request import Answer, Usage
from tulu_data.store import Store
from tulu_data.verifiers import verify
from tulu_data.verifiers.verdict import RIGHT, undecided, wrong


def tulu(*args):
    """The command line; what it raises is raised here."""
    return CliRunner().invoke(cli, [str(a) for a in args], catch_exceptions=False).output


def fails(*args):
    """The one line that the command line says on stderr."""
    with pytest.raises(TuluError) as failed:
        tulu(*args)
    assert "\n" not in str(failed.value)
    return str(failed.value)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with a store that holds rows of several skills, and a file of personas under a licence."""
    folder = tmp_path_factory.mktemp("home")
    people = ["a beekeeper who sells honey", "a nurse who restores old radios", "a retired engineer who bakes bread"]
    (folder / "people.jsonl").write_text("".join(json.dumps({"persona": p}) + "\n" for p in people))
    common = ("--store", folder / "store", "-q", "-j", "1")
    licensed = ("--personas", folder / "people.jsonl", "--persona-license", "CC-BY-NC-SA-4.0")
    tulu("synth", "precise-if", "-n", "60", "--name", "instructions", *common)
    tulu("synth", "grade-math", "-n", "12", *licensed, *common)
    tulu("synth", "algebra", "-n", "12", *common)
    tulu("synth", "code", "-n", "12", *common)
    (folder / "plain.jsonl").write_text('{"instruction": "Greet Bob.", "output": "Hi, Bob."}\n')
    tulu("ingest", folder / "plain.jsonl", "--name", "plain", *common)
    return folder


@pytest.fixture(scope="module")
def pairs(home):
    """Arguments → the version that `tulu pairs` makes in the home's store."""

    def make(method, of, *more, workers=1):
        told = tulu("pairs", method, of, "--store", home / "store", "-q", "-j", workers, "--json", *more)
        return Store(home / "store").open(json.loads(told)["version"])

    return make


@pytest.fixture(scope="module")
def relaxed(pairs):
    return pairs("relax", "instructions")


def rows_of(version):
    return version.table().to_pylist()


def records_of(version, name="synth.parquet"):
    return pq.read_table(version.side_file(name)).to_pylist()


def sides(row):
    return row["chosen"][0]["content"], row["rejected"][0]["content"]


# ------------------------------------------------------------ relax


def test_chosen_keeps_all_constraints_and_rejected_breaks_the_dropped_one(home, relaxed):
    source = {r["id"]: r for r in records_of(Store(home / "store").open("instructions"))}
    attempts = {r["id"]: r for r in records_of(relaxed, "pairs.parquet")}
    assert relaxed.rows > 30
    for row in rows_of(relaxed):
        record, attempt = source[row["prov"]["orig_id"]], attempts[row["prov"]["orig_id"]]
        chosen, rejected = sides(row)
        evidence = json.loads(attempt["evidence"])
        dropped = {"id": evidence["dropped"]["id"], "kwargs": json.dumps(evidence["dropped"]["kwargs"], sort_keys=True)}
        assert dropped in [{"id": c["id"], "kwargs": c["kwargs"]} for c in record["constraints"]]
        assert row["messages"] == record["messages"][:-1]
        assert chosen == record["messages"][-1]["content"]
        assert verify("ifeval", chosen, record["ground_truth"]).right
        truth = {"instruction_id_list": [dropped["id"]], "kwargs": [evidence["dropped"]["kwargs"]]}
        verdict = verify("ifeval", rejected, json.dumps(truth))
        assert verdict.valid
        assert not verdict.right
        assert evidence["rejected_lacks"] == verdict.reason
        assert evidence["dropped"]["text"] not in evidence["relaxed_prompt"]
        others = [c for c in record["constraints"] if c["id"] != dropped["id"]]
        kept = all(
            verify(
                "ifeval", rejected, json.dumps({"instruction_id_list": [c["id"]], "kwargs": [json.loads(c["kwargs"])]})
            ).right
            for c in others
        )
        assert kept == evidence["rejected_keeps_others"]


def test_rows_with_one_constraint_make_no_pair_and_say_why(home, relaxed):
    source = {r["id"]: r for r in records_of(Store(home / "store").open("instructions"))}
    attempts = records_of(relaxed, "pairs.parquet")
    single = {id_ for id_, r in source.items() if len(r["constraints"]) == 1}
    assert single
    assert {r["id"] for r in attempts if r["reject_reason"] == "too few constraints"} == single
    assert {r["id"] for r in attempts} == {id_ for id_, r in source.items() if r["accepted"]}


@pytest.mark.parametrize("workers", [1, 2])
def test_pairs_made_again_are_the_same_version_whatever_the_number_of_workers(pairs, relaxed, workers, tmp_path):
    assert pairs("relax", "instructions", "-o", tmp_path, workers=workers).ref == relaxed.ref


def test_another_seed_drops_other_constraints(pairs, relaxed):
    other = pairs("relax", "instructions", "--seed", "1", "--name", "other-seed")
    dropped = [
        {r["id"]: json.loads(r["evidence"])["dropped"]["id"] for r in records_of(v, "pairs.parquet") if r["made"]}
        for v in (relaxed, other)
    ]
    shared = dropped[0].keys() & dropped[1].keys()
    assert 5 < sum(dropped[0][i] != dropped[1][i] for i in shared) < len(shared)


def test_the_first_n_rows_are_those_of_the_whole(pairs, relaxed):
    few = pairs("relax", "instructions", "-n", "10", "--name", "few")
    attempts = records_of(few, "pairs.parquet")
    assert attempts == records_of(relaxed, "pairs.parquet")[:10]


# ------------------------------------------------------------ a row that talks, driven by hand

PROMPTS = prompts_of(SKILL)
GOOD = "A lantern shines."
COMMA = {"id": "punctuation:no_comma", "kwargs": "{}", "text": "Do not use any commas."}
WORD = {"id": "keywords:existence", "kwargs": '{"keywords": ["lantern"]}', "text": "Include the word lantern."}
ROW = {
    "constraints": [COMMA, WORD],
    "messages": [{"role": "user", "content": "Write."}, {"role": "assistant", "content": GOOD}],
    "persona": "a beekeeper",
    "language": "en",
    "model": "writer",
}
ASKED = ({"role": "user", "content": "Write a line. Do not use any commas. Include the word lantern."},)


def row_without(constraint, **more):
    """A row from which this constraint is dropped."""
    rows = (Source(f"r{i}", 0, ASKED, {**ROW, **more}) for i in range(100))
    return next(r for r in rows if relaxing.dropped_of(r)[0].id == constraint["id"])


def reply(text, finish="stop", model="m"):
    return Reply(text, finish, Answer("", text, (text,), finish, None, model, Usage(1, 1), None, (), 1, "e", {}))


def drive(talk, *answers, check=lambda task: verify(*task)):
    """Runs a row to its end on these replies, one after the other, and gives the pair."""
    answers = iter(answers)
    step = next(talk)
    while True:
        given = [check(t) for t in step.tasks] if isinstance(step, Checks) else [next(answers) for _ in step.asks]
        try:
            step = talk.send(given)
        except StopIteration as over:
            return over.value


RELAXED = reply("User instruction: Write a line. Include the word lantern.")


def test_a_relaxed_prompts_answer_that_breaks_the_dropped_constraint_is_the_rejected_side():
    pair = drive(relaxing.relax(row_without(COMMA), PROMPTS), RELAXED, reply("A lantern, and light.", model="other"))
    assert (pair.chosen.text, pair.chosen.model) == (GOOD, "writer")
    assert (pair.rejected.text, pair.rejected.model) == ("A lantern, and light.", "other")
    assert pair.chosen.rating is None
    assert pair.evidence["dropped"]["id"] == COMMA["id"]
    assert pair.evidence["relaxed_prompt"] == "Write a line. Include the word lantern."
    assert pair.evidence["rejected_keeps_others"]


@pytest.mark.parametrize(
    ("reason", "row", "replies"),
    [
        ("too few constraints", Source("r", 0, ASKED, {**ROW, "constraints": [COMMA]}), []),
        ("no marker", row_without(COMMA), [reply("Write a line with the word lantern.")]),
        ("no marker", row_without(COMMA), [reply("User instruction: ")]),
        ("lost parameter", row_without(COMMA), [reply("User instruction: Write a line.")]),
        ("lost parameter", row_without(WORD), [reply("User instruction: Write a line.")]),
        ("truncated", row_without(COMMA), [reply(RELAXED.text[:-5], "length")]),
        ("truncated", row_without(COMMA), [RELAXED, reply("A lantern, and", "length")]),
        ("rejected keeps all", row_without(COMMA), [RELAXED, reply("A lantern glows.")]),
        (
            "chosen breaks a constraint",
            row_without(COMMA, messages=[*ROW["messages"][:1], {"role": "assistant", "content": "Oh, a lantern."}]),
            [RELAXED, reply("A lantern, and light.")],
        ),
    ],
)
def test_a_row_that_cannot_be_relaxed_says_why(reason, row, replies):
    with pytest.raises(Rejected) as rejected:
        drive(relaxing.relax(row, PROMPTS), *replies)
    assert rejected.value.reason == reason


def test_what_cannot_be_checked_is_no_evidence_that_a_constraint_is_broken():
    with pytest.raises(Rejected, match="no verdict after 10 s"):
        drive(
            relaxing.relax(row_without(COMMA), PROMPTS),
            RELAXED,
            reply("A lantern, and light."),
            check=lambda task: RIGHT if task.response == GOOD else undecided("no verdict after 10 s"),
        )


def test_a_relaxed_prompt_is_asked_with_the_words_of_the_constraint_and_its_answer_without():
    talk = relaxing.relax(row_without(COMMA), PROMPTS)
    (rewrite,) = next(talk).asks
    assert ASKED[0]["content"] in rewrite.messages[-1]["content"]
    assert f"leave out: {COMMA['text']}" in rewrite.messages[-1]["content"]
    (solve,) = talk.send([RELAXED]).asks
    assert solve.messages == ({"role": "user", "content": "Write a line. Include the word lantern."},)


SUM = Source("s", 0, ({"role": "user", "content": "2 + 2?"},), {"verifier": "gsm8k", "ground_truth": "4"})


def sum_of(i):
    return Source(f"s{i}", i, SUM.messages, SUM.row)


def test_the_rewriting_is_asked_for_with_the_rows_language(tmp_path):
    (tmp_path / "precise-if").mkdir()
    (tmp_path / "precise-if" / "relax.md").write_text("In {{ language }}: {{ prompt }} {{ constraint }}")
    (rewrite,) = next(relaxing.relax(row_without(COMMA, language="de"), prompts_of(SKILL, str(tmp_path)))).asks
    assert rewrite.messages[-1]["content"].startswith("In German: ")


def test_an_undecided_verdict_is_never_taken_as_wrong():
    verdicts = {"a": RIGHT, "b": wrong("is 5"), "c": undecided("hangs")}

    def pair_of(row, *texts):
        return drive(verified.verified(row, len(texts)), *map(reply, texts), check=lambda t: verdicts[t.response])

    for i in range(30):
        pair = pair_of(sum_of(i), "c", "a", "c", "b")
        assert (pair.chosen.text, pair.rejected.text) == ("a", "b")
    with pytest.raises(Rejected, match="all right"):
        pair_of(SUM, "a", "c")
    with pytest.raises(Rejected, match="none right"):
        pair_of(SUM, "b", "c")


def test_an_answer_that_is_cut_off_or_empty_is_on_neither_side():
    cut = [reply("#### 4", "length"), reply("#### 5", "length"), reply("")]
    for i in range(30):
        pair = drive(verified.verified(sum_of(i), 5), *cut, reply("So #### 4"), reply("So #### 6"))
        assert (pair.chosen.text, pair.rejected.text) == ("So #### 4", "So #### 6")
        assert (pair.chosen.rating, pair.rejected.rating) == (1, 0)
    for more, reason in (([reply("#### 4")], "all right"), ([reply("#### 6")], "none right"), ([], "truncated")):
        with pytest.raises(Rejected) as rejected:
            drive(verified.verified(SUM, 3 + len(more)), *cut, *more)
        assert rejected.value.reason == reason


@pytest.mark.parametrize(
    ("verifier", "truth"), [(None, None), ("gsm8k", None), ("nobody", "4"), ("ifeval", "4"), (None, "4")]
)
def test_a_row_without_a_truth_that_can_be_checked_asks_nothing(verifier, truth):
    row = Source("s", 0, SUM.messages, {"verifier": verifier, "ground_truth": truth})
    with pytest.raises(Rejected, match="no truth"):
        next(verified.verified(row))


def test_each_of_several_right_and_wrong_answers_is_drawn_by_some_row():
    replies = [reply(f"{text} #### {n}") for text in "ab" for n in (4, 5)]
    drawn = Counter()
    for i in range(60):
        pair = drive(verified.verified(sum_of(i), 4), *replies)
        drawn[pair.chosen.text[0], pair.rejected.text[0]] += 1
    assert len(drawn) == 4


# ------------------------------------------------------------ verified


@pytest.mark.parametrize("skill", ["grade-math", "algebra", "code", "instructions"])
def test_the_verifier_takes_chosen_and_not_rejected(home, pairs, skill):
    version = pairs("verified", skill, "--samples", "2")
    source = {r["id"]: r for r in records_of(Store(home / "store").open(skill))}
    assert version.rows >= 0.9 * len(source)
    for row in rows_of(version):
        record = source[row["prov"]["orig_id"]]
        chosen, rejected = (verify(record["verifier"], text, record["ground_truth"]) for text in sides(row))
        assert chosen.right
        assert rejected.valid
        assert not rejected.right


def test_the_version_says_who_wrote_both_sides_how_they_were_rated_and_under_which_licence(home, pairs):
    version = pairs("verified", "grade-math", "--samples", "2")
    assert version.kind == "preference"
    for row in rows_of(version):
        assert (row["chosen_model"], row["rejected_model"]) == ("procedural/1", "procedural/1")
        assert (row["chosen_rating"], row["rejected_rating"]) == (1, 0)
        assert row["license"] == "CC-BY-NC-SA-4.0"
        assert row["tags"] == ["verified"]
    parent = Store(home / "store").open("grade-math")
    (step,) = version.manifest.steps
    assert (step.name, step.parents, step.rows_in, step.rows_out) == ("pairs", [parent.ref], parent.rows, version.rows)


def test_beside_the_version_are_all_attempts_and_the_rejects_with_their_reasons(home, relaxed):
    attempts, rejects = records_of(relaxed, "pairs.parquet"), records_of(relaxed, "rejects.parquet")
    files = {f.path: f.rows for f in relaxed.manifest.files}
    assert files == {"pairs.parquet": len(attempts), "rejects.parquet": len(attempts) - relaxed.rows}
    assert len(attempts) == Store(home / "store").open("instructions").rows
    assert [
        (a["id"], *sides(r)) for a, r in zip((a for a in attempts if a["made"]), rows_of(relaxed), strict=True)
    ] == [(a["id"], a["chosen"], a["rejected"]) for a in attempts if a["made"]]
    (given,) = relaxed.manifest.inputs
    assert given.rejected == Counter(a["reject_reason"] for a in attempts if not a["made"])
    assert [r["reason"].partition(":")[0] for r in rejects] == [a["reject_reason"] for a in attempts if not a["made"]]
    for attempt in attempts:
        assert attempt["made"] == (attempt["reject_reason"] is None) == (attempt["chosen"] is not None)
        assert [r["model"] for r in attempt["requests"]] == ["procedural/1"] * (2 * attempt["made"])


# ------------------------------------------------------------ a model behind a server

EVERY, NONE, SOME, CUT = "always", "never", "now and then", "cut off"
TEMPERS = (EVERY, NONE, SOME, CUT)


@pytest.fixture
def sums(tmp_path):
    path = tmp_path / "sums.jsonl"
    rows = [
        {
            "id": f"q{i}",
            "prompt": f"How much is {i} + {i}? ({TEMPERS[i % 4]})",
            "ground_truth": f"{2 * i}",
            "verifier": "gsm8k",
        }
        for i in range(1, 13)
    ]
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return path


def adder():
    """Answers sums as well as the prompt says."""
    times = Counter()

    def answer(request):
        prompt = request["messages"][-1]["content"]
        times[prompt] += 1
        i, temper = int(re.search(r"\d+", prompt)[0]), re.search(r"\((.*)\)", prompt)[1]
        odd = times[prompt] % 2 == 1
        right = temper in (EVERY, CUT) or (temper == SOME and odd)
        text = f"Asked for the {times[prompt]}. time I say\n#### {2 * i + (not right)}"
        return (text.rpartition("\n")[0], "length") if temper == CUT and odd else text

    return answer


def model_of(server, *more):
    return ("--model", "m", "--base-url", server.url, "--max-in-flight", "4", *more)


def run(method, of, server, store, *more):
    return json.loads(tulu("pairs", method, of, *model_of(server), "--store", store, "-q", "-j", "1", "--json", *more))


def test_prompts_that_are_always_or_never_answered_rightly_make_no_pair(serve, sums, tmp_path):
    server = serve(answer=adder())
    told = run("verified", sums, server, tmp_path / "store", "--name", "sums")
    assert server.asked.total() == told["requests"] == 12 * 4
    assert told["rejected"] == {"all right": 6, "none right": 3}
    rows = rows_of(Store(tmp_path / "store").open("sums"))
    assert len(rows) == told["made"] == 3
    for row in rows:
        i = int(re.search(r"\d+", row["messages"][0]["content"])[0])
        chosen, rejected = sides(row)
        assert chosen.endswith(f"#### {2 * i}")
        assert rejected.endswith(f"#### {2 * i + 1}")
        assert row["chosen_model"] == row["rejected_model"] == "m"


def test_a_second_run_asks_nobody_and_more_samples_ask_for_those_alone(serve, sums, tmp_path):
    server = serve(answer=adder())
    first = run("verified", sums, server, tmp_path / "store", "-o", tmp_path / "run")
    again = run("verified", sums, server, tmp_path / "store", "-o", tmp_path / "run")
    assert server.asked.total() == 12 * 4
    assert again["version"] == first["version"]
    run("verified", sums, server, tmp_path / "store", "-o", tmp_path / "run", "--samples", "5")
    assert server.asked.total() == 12 * 5


def test_a_run_stopped_by_its_budget_goes_on_where_it_was_and_asks_nothing_twice(serve, sums, tmp_path):
    server = serve(answer=adder())  # an answer takes 15 tokens
    with pytest.raises(Stopped, match="budget of 300 tokens"):
        run("verified", sums, server, tmp_path / "store", "--budget-tokens", "300")
    (folder,) = (tmp_path / "store" / "runs").iterdir()
    stopped = json.loads((folder / running.RUN_FILE).read_text())
    assert 0 < server.asked.total() < 48
    assert stopped["waiting"] > 0
    assert stopped["tried"] + stopped["waiting"] == 12
    assert stopped["version"] is None
    told = run("verified", sums, server, tmp_path / "store", "--budget-tokens", "3000")
    assert server.asked.total() == 48
    assert told["waiting"] == 0
    assert told["tried"] == 12
    assert list((tmp_path / "store" / "runs").iterdir()) == [folder]


def test_rows_that_share_an_id_keep_their_own_prompts(serve, sums, tmp_path):
    sums.write_text(re.sub(r'"id": "q\d+"', '"id": "q"', sums.read_text()).replace(NONE, SOME))
    run("verified", sums, serve(answer=adder()), tmp_path / "store", "--name", "sums")
    rows = rows_of(Store(tmp_path / "store").open("sums"))
    assert len(rows) == 6
    for row in rows:
        assert sides(row)[0].endswith(f"#### {2 * int(re.search(r'[0-9]+', row['messages'][0]['content'])[0])}")


def test_a_request_that_fails_for_good_takes_out_its_own_row_alone(serve, sums, tmp_path):
    server = serve(answer=adder())
    plain = server.completion
    server.completion = lambda request, odd: (
        {} if "How much is 2 " in request["messages"][-1]["content"] else plain(request, odd)
    )
    told = run("verified", sums, server, tmp_path / "store", "--tries", "1", "--name", "sums")
    assert told["rejected"]["request failed"] == 1
    assert told["made"] + sum(told["rejected"].values()) == 12


def test_relax_with_a_model_asks_for_a_prompt_and_then_for_its_answer(home, serve, tmp_path):
    def answer(request):
        text = request["messages"][-1]["content"]
        if "Demand to leave out:" not in text:
            return f"Nobody would keep much of: {text}" if "lantern" in text else "No, never, not at all"
        prompt, demand = re.search(r"(?s)\nInstruction: (.*)\n\nDemand to leave out: (.*)\n\nBegin", text).groups()
        return f"User instruction: {prompt.replace(demand, '')}"

    told = run("relax", "instructions", serve(answer=answer), home / "store", "--name", "by-model", "-o", tmp_path)
    assert told["made"] > 20
    assert set(told["rejected"]) <= {"too few constraints", "lost parameter", "rejected keeps all"}
    version = Store(home / "store").open("by-model")
    for row in rows_of(version):
        assert (row["chosen_model"], row["rejected_model"]) == ("procedural/1", "m")
    for attempt in records_of(version, "pairs.parquet"):
        stages = [r["stage"] for r in attempt["requests"]]
        assert stages in ([], ["relax"], ["relax", "solve"])
        assert not attempt["made"] or stages == ["relax", "solve"]


# ------------------------------------------------------------ versions of versions


def mix(home, name, *parts):
    tulu("mix", *parts, "-o", name, "--store", home / "store", "-q", "-j", "1")
    return Store(home / "store").open(name)


def test_a_filtered_version_is_paired_by_the_records_of_what_it_was_filtered_from(home, pairs, relaxed):
    fewer = mix(home, "fewer", "instructions:count=25")
    fewest = mix(home, "fewest", "fewer:count=20")
    left = {prov["orig_id"] for prov in fewest.table(["prov"])["prov"].to_pylist()}
    version = pairs("relax", "fewest")
    attempts = records_of(version, "pairs.parquet")
    assert {a["id"] for a in attempts} == left
    assert len(attempts) == fewest.rows == 20
    whole = {a["id"]: (a["chosen"], a["rejected"]) for a in records_of(relaxed, "pairs.parquet")}
    assert {a["id"]: (a["chosen"], a["rejected"]) for a in attempts} == {i: whole[i] for i in left}
    assert {r["prov"]["orig_index"] for r in rows_of(version)} <= set(range(20))
    assert fewer.rows == 25


def test_of_a_mixture_every_row_is_tried_once_whichever_part_it_comes_from(home, pairs):
    mixed = mix(home, "mixed", "instructions:count=10", "grade-math:count=5", "plain:all,repeat=1")
    attempts = records_of(pairs("verified", "mixed", "--samples", "2"), "pairs.parquet")
    prompts = [r["messages"][0]["content"] for r in rows_of(mixed)]
    assert sorted(a["prompt"] for a in attempts) == sorted(prompts)
    assert Counter(a["reject_reason"] for a in attempts if not a["made"]) == {"no truth": 1}
    assert len({a["index"] for a in attempts}) == 16
    assert all(prompts[a["index"]] == a["prompt"] for a in attempts)


def test_rows_of_two_runs_that_share_ids_are_told_apart_by_their_prompts(home, pairs):
    for name, type_ in (("commas", "no_comma"), ("titles", "title")):
        tulu("synth", "precise-if", "-n", "6", "--constraint", type_, "--name", name, "--store", home / "store", "-q")
    mixed = mix(home, "both-runs", "commas:all", "titles:all")
    assert len({r["prov"]["orig_id"] for r in rows_of(mixed)}) == 6
    attempts = records_of(pairs("verified", "both-runs", "--samples", "2"), "pairs.parquet")
    prompts = [r["messages"][0]["content"] for r in rows_of(mixed)]
    assert sorted(a["prompt"] for a in attempts) == sorted(prompts)
    assert all(prompts[a["index"]] == a["prompt"] for a in attempts)


def test_a_row_that_a_mixture_repeats_is_paired_once(home, pairs):
    mix(home, "twice", "grade-math:count=24,repeat=2")
    assert len(records_of(pairs("verified", "twice", "--samples", "2"), "pairs.parquet")) == 12


# ------------------------------------------------------------ made again


def recipe(folder, **pairs_):
    path = folder / "recipe.yaml"
    made = {"skill": "precise-if", "n": 20}
    data = {"name": "r", "seed": 7, "sources": {"asked": {"synth": made}, "paired": {"pairs": pairs_}}}
    path.write_text(json.dumps(data))  # which is YAML too
    return path


def test_a_version_of_pairs_holds_at_level_3(home, relaxed):
    assert "verified at level 3" in tulu(
        "verify", relaxed.ref, "--level", "3", "--store", home / "store", "-q", "-j", "1"
    )


def test_pairs_of_a_recipe_and_pairs_made_of_its_source_by_hand_hold_at_level_3(tmp_path):
    store = ("--store", tmp_path / "store", "-q", "-j", "1")
    tulu("run", recipe(tmp_path, method="relax", of="asked", seed=0), *store)
    by_recipe = Store(tmp_path / "store").open("paired")
    told = json.loads(tulu("pairs", "relax", "asked", "--name", "paired", "--json", *store))
    assert told["version"] == by_recipe.ref
    tulu("pairs", "verified", "asked", "--name", "checked", *store)
    for name in ("paired", "checked"):
        assert "verified at level 3" in tulu("verify", name, "--level", "3", *store)


def test_pairs_of_what_no_recipe_made_say_that_they_cannot_be_made_again(home, pairs):
    mix(home, "some", "grade-math:count=6")
    pairs("verified", "some", "--samples", "2")
    assert "was not made by a recipe" in fails(
        "verify", "some-verified", "--level", "3", "--store", home / "store", "-q"
    )


def test_a_dry_run_shows_the_first_request_and_asks_nobody(home, serve):
    server = serve()
    shown = json.loads(
        tulu(
            "pairs", "verified", "grade-math", *model_of(server), "--store", home / "store", "--dry-run", "--json"
        )
    )  # fmt: skip
    first = rows_of(Store(home / "store").open("grade-math"))[0]["messages"][0]["content"]
    assert shown == {
        "request": {"model": "m", "messages": [{"role": "user", "content": first}]},
        "rows": 12,
        "models": [shown["models"][0]],
    }
    cost = shown["models"][0]
    assert (cost["model"], cost["requests"], cost["usd"]) == ("m", 12 * 4, None)
    assert cost["completion_tokens"] == 48 * 400
    assert 0 < cost["prompt_tokens"] < 48 * 300
    assert server.asked.total() == 0


def test_models_at_several_servers_are_named_on_one_command_line(home, serve):
    server = serve()
    told = json.loads(
        tulu(
            *("pairs", "judge", "plain", "--pool", f"org/a@{server.url}", "--pool", "b", "--judge", "c@2"),
            *("--on-policy", "mine", "--base-url", server.url, "--max-tokens", "99", "--store", home / "store"),
            *("--dry-run", "--json"),
        )
    )
    assert {c["route"]: (c["model"], c["requests"]) for c in told["models"]} == {
        "model-1": ("org/a", told["rows"]),
        "model-2": ("b", told["rows"]),
        "on-policy": ("mine", told["rows"]),
        "judge": ("c@2", 4 * told["rows"]),
    }
    assert told["request"]["messages"] == [{"role": "user", "content": "Greet Bob."}]
    assert told["request"]["max_tokens"] == 99
    assert server.asked.total() == 0


# ------------------------------------------------------------ bad input, in one line


def test_relax_refuses_what_has_no_constraints_on_record(home):
    store = ("--store", home / "store", "-q", "-j", "1")
    file = home / "plain.jsonl"
    assert fails("pairs", "relax", file, *store) == (
        f"{file}: constraints are dropped from rows of tulu synth precise-if; name a version of those"
    )
    plain = Store(home / "store").open("plain").ref
    assert fails("pairs", "relax", "plain", *store) == (
        f"{plain}: has no synth.parquet, so it was not made by tulu synth; name one that was"
    )
    assert "not one pair was made of 12 rows (12 × too few constraints)" in fails("pairs", "relax", "algebra", *store)


def test_a_model_is_named_where_one_is_asked_and_only_there(home):
    store = ("--store", home / "store", "-q")
    assert fails("pairs", "relax", "instructions", "--backend", "openai", *store) == "--backend openai: name a --model"
    assert fails("pairs", "verified", "algebra", "--backend", "procedural", "--model", "m", *store) == (
        "--backend procedural asks no model; leave out --model"
    )


def test_a_judge_pair_needs_a_judge_and_two_models(home):
    store = ("--store", home / "store", "-q")
    assert fails("pairs", "judge", "plain", "--pool", "a", "--judge", "c", *store) == (
        "tulu pairs judge: models: two at least answer a prompt; name more"
    )
    done = CliRunner().invoke(cli, ["pairs", "judge", "plain", "--pool", "a", "--pool", "b"])
    assert done.exit_code == 2
    assert "Missing option '--judge'" in done.output
    with pytest.raises(RecipeError, match=r"r\.yaml: judge: name the model that rates; nothing stands in for it"):
        validate({"method": "judge", "of": "plain", "models": [{"model": "a"}, {"model": "b"}]}, "r.yaml", home)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"of": "askd"}, "sources.paired.pairs.of: no source 'askd' to make them of; did you mean 'asked'?"),
        ({"of": "paired"}, "no source 'paired' to make them of"),
        ({"of": "asked", "methd": "relax"}, "sources.paired.pairs: methd: unknown key; did you mean 'method'?"),
        ({"of": "asked", "backend": {}}, "takes exactly one of openai, vllm"),
        ({"of": "asked", "judge": {"model": "c"}}, "judge: is of the method judge, not of relax; leave it out"),
        ({"of": "asked", "samples": 1}, "samples: "),
    ],
)  # fmt: skip
def test_a_recipe_that_cannot_be_carried_out_says_where_before_anything_is_made(tmp_path, section, message):
    path = recipe(tmp_path, **{"method": "relax", **section})
    assert message in fails("run", path, "--store", tmp_path / "store", "-q")
    assert not list((tmp_path / "store").glob("asked@*"))


def test_a_version_that_is_gone_is_named_before_anybody_is_asked(tmp_path, serve):
    server = serve()
    assert "no such dataset" in fails(
        "pairs", "verified", "gone", *model_of(server), "--store", tmp_path / "store", "-q"
    )
    assert server.asked.total() == 0
