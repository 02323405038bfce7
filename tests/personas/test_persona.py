"""Personas: those that are shipped, those that are read, and those that a model makes of others."""

import json
import re
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest
from click.testing import CliRunner

import personas.persona
from personas.duplicates import Seen, distinct_share
from personas.expanding import LEAST_WORDS, MOST_WORDS, Expansion, expand
from personas.persona import (
    MAX_CHARS,
    SAMPLE_LICENSE,
    Persona,
    as_records,
    persona_id,
    read_personas,
)
from tulu_data.chunk import Raw, batched
from tulu_data.cli import cli
from tulu_data.errors import InputError, TuluError
from tulu_data.llm.spec import ModelSpec, asking

COOK = "A cook who keeps a diary of every soup"
BAKER = "A baker who rises at three and sings"


def lines(path: Path, *records: object) -> str:
    path.write_text("".join(json.dumps(r) + "\n" for r in records))
    return str(path)


def problem(source: str, **options: str) -> str:
    with pytest.raises(InputError) as told:
        read_personas(source, **options)
    assert "\n" not in str(told.value)
    return str(told.value)


# ------------------------------------------------------------ as shipped


def test_the_sample_is_large_and_each_persona_stands_once():
    found = read_personas()
    assert len(found) >= 300
    assert len({p.id for p in found}) == len({p.text for p in found}) == len(found)
    assert all(p.id == persona_id(p.text) for p in found)


def test_no_two_of_the_sample_are_near_each_other():
    seen = Seen(0.5)
    assert [p.text for p in read_personas() if seen.add(p.id, p.text)] == []


def test_all_of_the_sample_say_what_they_are_busy_with_and_whose_they_are():
    for p in read_personas():
        assert p.topic
        assert p.place
        assert p.items is not None
        assert len(set(p.items)) == 2
        assert all(i.strip() for i in p.items)
        assert (p.license, p.source, p.parent) == (SAMPLE_LICENSE, "tulu-data/sample", None)


def test_the_sample_is_written_so_that_tasks_can_name_its_parts():
    first = Counter(str(p.place).split()[0] for p in read_personas())
    assert {"in", "at", "on"} == {word for word, _ in first.most_common(3)}
    assert not set(first) & {"the", "a", "an", "his", "her", "their"}  # a place stands with its preposition
    for p in read_personas():
        assert re.fullmatch(r"An? \S.*[^.]\.", p.text)  # one sentence
        assert p.items is not None
        assert all(i.endswith("s") for i in p.items)  # plural
        parts = (str(p.topic), str(p.place), *p.items)
        assert not any(re.search(r"[.,:;]$", t) or t[0].isupper() for t in parts)


def test_the_sample_is_diverse_in_words_and_openings():
    texts = [p.text for p in read_personas()]
    openings = {tuple(t.lower().split()[:3]) for t in texts}
    assert len(openings) >= 250
    assert len({tuple(t.lower().split()[-3:]) for t in texts}) >= 300
    assert distinct_share(texts, 1) > 0.35
    assert distinct_share(texts, 2) > 0.8
    assert distinct_share(texts, 3) > 0.95
    words = Counter(w for t in texts for w in set(re.findall(r"\w{5,}", t.lower())))
    assert max(words.values()) < 0.3 * len(texts)  # no turn of phrase runs through them
    assert len({p.topic for p in read_personas()}) > 0.95 * len(texts)
    assert len({i for p in read_personas() for i in p.items or ()}) > 1.9 * len(texts)


# ------------------------------------------------------------ reading


def test_each_format_gives_the_same_personas(tmp_path):
    jsonl = lines(tmp_path / "a.jsonl", {"persona": COOK}, {"persona": BAKER})
    (tmp_path / "a.csv").write_text(f"persona\n{COOK}\n{BAKER}\n")
    (tmp_path / "b.csv").write_text(f"n,persona\n1,{COOK}\n2,{BAKER}\n")
    (tmp_path / "a.json").write_text(json.dumps([{"persona": COOK}, {"persona": BAKER}]))
    pl.DataFrame({"persona": [COOK, BAKER]}).write_parquet(tmp_path / "a.parquet")
    for name in ("a.jsonl", "a.csv", "b.csv", "a.json", "a.parquet"):
        found = read_personas(str(tmp_path / name))
        assert [p.text for p in found] == [COOK, BAKER], name
        assert [p.source for p in found] == [name] * 2  # not the folder: rows are the same wherever it is
        assert [p.id for p in found] == [p.id for p in read_personas(jsonl)]


def test_files_of_a_folder_are_read_together(tmp_path):
    lines(tmp_path / "a.jsonl", {"persona": COOK})
    lines(tmp_path / "b.jsonl", {"persona": BAKER})
    assert [p.text for p in read_personas(str(tmp_path))] == [COOK, BAKER]


def test_the_field_is_the_one_named_or_the_first_known(tmp_path):
    source = lines(tmp_path / "a.jsonl", {"description": "No", "text": "No", "persona": COOK, "bio": BAKER})
    assert read_personas(source)[0].text == COOK
    assert read_personas(source, field="bio")[0].text == BAKER
    assert read_personas(lines(tmp_path / "b.jsonl", {"description": COOK}))[0].text == COOK


def test_what_a_record_says_of_its_persona_is_carried(tmp_path):
    record = {"persona": COOK, "license": "mit", "parent": "p0", "source": "mine"}
    record |= {"topic": "soup", "items": ["pots", "pans"], "place": "in the kitchen"}
    source = lines(tmp_path / "a.jsonl", record, {"persona": BAKER})
    cook, baker = read_personas(source, license="cc0-1.0")
    assert cook == Persona(persona_id(COOK), COOK, "mine", "mit", "p0", "soup", ("pots", "pans"), "in the kitchen")
    assert baker == Persona(persona_id(BAKER), BAKER, "a.jsonl", "cc0-1.0")


@pytest.mark.parametrize("items", ["ab", ["pots"], ["pots", "pans", "lids"], ["pots", 2], None, {"a": 1, "b": 2}])
def test_items_that_are_no_pair_of_texts_are_not_known(tmp_path, items):
    (found,) = read_personas(lines(tmp_path / "a.jsonl", {"persona": COOK, "items": items}))
    assert found.items is None


def test_personas_are_read_again_as_they_were_written(tmp_path):
    sample = read_personas()[:20]
    made = tuple(p._replace(parent="p0", license=None, items=None, topic=None) for p in sample[:5])
    for personas_ in (sample, made):
        source = lines(tmp_path / "a.jsonl", *as_records(personas_))
        assert read_personas(source) == personas_


def test_equal_personas_count_once_and_the_first_stays(tmp_path):
    source = lines(tmp_path / "a.jsonl", {"persona": COOK}, {"persona": BAKER}, {"persona": f" {COOK.upper()}\n "})
    assert [p.text for p in read_personas(source)] == [COOK, BAKER]
    assert persona_id("A  cook\n who") == persona_id("a COOK who") != persona_id("a cook, who")


def test_white_space_is_made_even(tmp_path):
    (found,) = read_personas(lines(tmp_path / "a.jsonl", {"persona": "  A cook\n\twho   sings "}))
    assert found.text == "A cook who sings"


def test_a_missing_field_is_told_by_line_with_the_remedy(tmp_path):
    source = lines(tmp_path / "p.jsonl", {"persona": COOK}, {"name": "x", "persone": "y"})
    assert problem(source) == (
        "p.jsonl:2: no field 'persona'; did you mean 'persone'?; "
        "name the one that holds the persona with --persona-field"
    )
    assert problem(lines(tmp_path / "q.jsonl", {"bio": COOK})).startswith(
        "q.jsonl:1: no field 'persona'; known fields: bio; "
    )
    assert problem(source, field="nam").startswith("p.jsonl:1: no field 'nam'; ")


@pytest.mark.parametrize("value", ["", "  \n", None, 7, ["A cook"], {"a": 1}])
def test_what_is_no_text_is_refused_by_line(tmp_path, value):
    told = problem(lines(tmp_path / "p.jsonl", {"persona": COOK}, {"persona": value}))
    assert told.startswith("p.jsonl:2: persona must be a text that says who the persona is, got ")


@pytest.mark.parametrize("bad", ["\\ud800", "\\u0000"])
def test_what_no_file_can_hold_is_refused_by_line(tmp_path, bad):
    (tmp_path / "p.jsonl").write_text(f'{{"persona": "A cook{bad} of soups"}}\n')
    assert problem(str(tmp_path / "p.jsonl")) == (
        f"p.jsonl:1: persona holds {chr(int(bad[2:], 16))!r}, which is no character of a text; remove it"
    )
    joined = "A cook \u200d of soups \U0001f3bb"
    assert read_personas(lines(tmp_path / "q.jsonl", {"persona": joined}))[0].text == joined


def test_licence_and_parent_are_texts(tmp_path):
    (found,) = read_personas(lines(tmp_path / "p.jsonl", {"persona": COOK, "license": 4.0, "parent": 7}))
    assert (found.license, found.parent) == ("4.0", "7")


def test_a_text_that_is_too_long_is_refused_and_the_longest_is_not(tmp_path):
    assert problem(lines(tmp_path / "p.jsonl", {"persona": "x" * (MAX_CHARS + 1)})) == (
        "p.jsonl:1: persona has 4,001 characters, more than 4,000; is it a persona?"
    )
    assert len(read_personas(lines(tmp_path / "q.jsonl", {"persona": "x" * MAX_CHARS}))) == 1


def test_files_that_hold_nothing_or_are_damaged_are_refused_in_one_line(tmp_path):
    (tmp_path / "empty.jsonl").write_text("")
    assert problem(str(tmp_path / "empty.jsonl")).startswith("empty.jsonl: ")
    (tmp_path / "bad.jsonl").write_text(f'{{"persona": "{COOK}"}}\n{{"persona": \n')
    assert problem(str(tmp_path / "bad.jsonl")).startswith("bad.jsonl:2: malformed JSON")
    (tmp_path / "numbers.jsonl").write_text('{"persona": "A cook"}\n17\n')
    assert problem(str(tmp_path / "numbers.jsonl")).startswith("numbers.jsonl:2: ")
    assert "no such file" in problem(str(tmp_path / "none.jsonl"))


# ------------------------------------------------------------ the hub


@pytest.fixture
def hub(monkeypatch):
    """Records → the hub holds them, whatever is asked for; what was asked for is noted."""
    asked = []

    def serve(*records):
        def fake(uri):
            asked.append(uri)
            raws = ((Raw(f"{uri}:row {i}", i, r, None), 10) for i, r in enumerate(records))
            return SimpleNamespace(chunks=batched(uri, raws))

        monkeypatch.setattr(personas.persona, "hub", fake)
        return asked

    return serve


@pytest.mark.parametrize("tail", ["", "/persona", "@abc123", "/persona@abc123#train", "#train"])
def test_personas_of_personahub_carry_its_license(hub, tail):
    asked = hub({"persona": COOK}, {"persona": BAKER, "license": "mit"})
    cook, baker = read_personas(f"hub:proj-persona/PersonaHub{tail}")
    assert asked == [f"hub:proj-persona/PersonaHub{tail}"]
    assert cook == Persona(persona_id(COOK), COOK, asked[0], "CC-BY-NC-SA-4.0")
    assert baker.license == "mit"


def test_a_license_that_is_given_goes_before_the_known_one_and_others_have_none(hub):
    hub({"persona": COOK})
    assert read_personas("hub:proj-persona/PersonaHub", license="cc0-1.0")[0].license == "cc0-1.0"
    assert read_personas("hub:somebody/else")[0].license is None


def test_a_record_of_the_hub_without_a_persona_is_told_by_its_place(hub):
    hub({"input": COOK})
    assert problem("hub:a/b").startswith("hub:a/b:row 0: no field 'persona'; ")
    assert read_personas("hub:a/b", field="input")[0].text == COOK


# ------------------------------------------------------------ more by a model

NEIGHBOURS = {
    COOK: [
        "A fishmonger at the harbour who saves the bones for one customer",
        "A dietitian who argues about salt with everyone she meets at work",
        "A dishwasher who studies law between two shifts in the same kitchen",
    ],
    BAKER: [
        "A night bus driver who buys the first warm roll of the day",
        "A miller whose grandfather built the wheel that still turns today",
        "A choir leader who looks for tenors among early risers everywhere",
    ],
}


def canned(replies, counts=None):
    """A model: origin → what it replies, by the text that stands in the request. None: the server breaks down."""

    def answer(request):
        said = request["messages"][-1]["content"]
        origin = next(o for o in replies if o in said)
        if counts is not None:
            counts[origin] += 1
        if replies[origin] is None:
            raise RuntimeError(origin)
        return replies[origin]

    return answer


def as_reply(texts):
    return "\n".join(f"Persona: {t}" for t in texts)


def expanded(server, source, folder, *, near=0.7, **options):
    spec = ModelSpec(model="m", base_url=server.url, tries=1, temperature=0.5)
    with asking(spec, folder) as asked:
        return expand(Expansion.of(source, spec, **options), asked, near=near)


def test_personas_of_personas_have_their_origins_as_parents(serve, tmp_path):
    source = lines(tmp_path / "p.jsonl", {"persona": COOK, "license": "mit"}, {"persona": BAKER})
    server = serve(answer=canned({o: as_reply(t) for o, t in NEIGHBOURS.items()}))
    found = expanded(server, source, tmp_path / "run")
    assert found.rejected == {}
    assert found.personas == [
        Persona(persona_id(t), t, "persona-to-persona/m", license_, persona_id(origin))
        for origin, license_ in ((COOK, "mit"), (BAKER, None))
        for t in NEIGHBOURS[origin]
    ]
    for body in map(json.loads, server.asked):
        (message,) = body["messages"]
        assert "Think of 3 different people" in message["content"]
        assert "Write in English" in message["content"]
        assert (body["model"], body["temperature"]) == ("m", 0.5)


def test_personas_of_texts_have_the_texts_as_parents(serve, tmp_path):
    text, turn = "How long does stock simmer?", "Why does dough rise?"
    source = lines(
        tmp_path / "t.jsonl",
        {"question": text},
        {"messages": [{"role": "user", "content": turn}, {"role": "assistant", "content": "Yeast."}]},
        {"question": text},
    )
    server = serve(answer=canned({text: as_reply(NEIGHBOURS[COOK]), turn: as_reply(NEIGHBOURS[BAKER])}))
    found = expanded(server, source, tmp_path / "run", method="text", each=2, license_="cc0-1.0")
    assert [(p.text, p.parent) for p in found.personas] == [
        (t, persona_id(origin)) for origin, o in ((text, COOK), (turn, BAKER)) for t in NEIGHBOURS[o][:2]
    ]  # the third was not asked for
    assert {(p.source, p.license) for p in found.personas} == {("text-to-persona/m", "cc0-1.0")}
    assert server.asked.total() == 2  # the same text is asked about once


def test_a_source_without_texts_is_refused_by_line(tmp_path):
    spec = ModelSpec(model="m")
    source = lines(tmp_path / "t.jsonl", {"text": "A"}, {"prompt": ""})
    with pytest.raises(
        InputError, match=r"^t\.jsonl:2: no text; .*; name the field that holds it with --persona-field$"
    ):
        Expansion.of(source, spec, method="text")
    with pytest.raises(InputError, match=r"^t\.jsonl:1: no text; "):
        Expansion.of(source, spec, method="text", field="body")


@pytest.mark.parametrize(
    "style", ["Persona: {}", "1. Persona: {}", "**Persona 1:** {}", "- persona: {}", "> Persona:{}"]
)
def test_marked_lines_are_found_as_models_write_them(serve, tmp_path, style):
    reply = "Sure, here they are:\n\n" + "\n\n".join(style.format(t) for t in NEIGHBOURS[COOK]) + "\n\nEnjoy!"
    source = lines(tmp_path / "p.jsonl", {"persona": COOK})
    found = expanded(serve(answer=canned({COOK: reply})), source, tmp_path / "run")
    assert [p.text for p in found.personas] == NEIGHBOURS[COOK]


def test_what_is_like_an_origin_or_an_earlier_persona_is_left_out(serve, tmp_path):
    first, second, third = NEIGHBOURS[COOK]
    replies = {
        COOK: as_reply([first, f"{first.upper()}!", BAKER.replace(",", "")]),
        BAKER: as_reply([f"{second}", f"{second} today", f"{first}."]),
    }
    source = lines(tmp_path / "p.jsonl", {"persona": COOK}, {"persona": BAKER})
    found = expanded(serve(answer=canned(replies)), source, tmp_path / "run")
    assert [p.text for p in found.personas] == [first, second]
    assert found.rejected == {"duplicate": 3, "near-duplicate": 1}
    assert third not in [p.text for p in found.personas]


def test_texts_are_no_personas_and_may_come_back_as_one(serve, tmp_path):
    source = lines(tmp_path / "t.jsonl", {"text": COOK})
    found = expanded(serve(answer=canned({COOK: as_reply([COOK])})), source, tmp_path / "run", method="text")
    assert [p.text for p in found.personas] == [COOK]


def test_what_comes_to_nothing_is_counted_by_its_reason(serve, tmp_path):
    origins = {
        name: f"A {name} who wakes up before everybody else" for name in ("cook", "nurse", "pilot", "judge", "clerk")
    }
    long, longest = " ".join(["word"] * (MOST_WORDS + 1)), "A " + " ".join(f"w{i}" for i in range(MOST_WORDS - 1))
    short, shortest = "A cook who sings", "A sailor who knits socks"
    assert (len(short.split()), len(shortest.split())) == (LEAST_WORDS - 1, LEAST_WORDS)
    replies = {
        origins["cook"]: as_reply(["I'm sorry, but I can't help with that request", short, long, shortest, longest]),
        origins["nurse"]: "I can think of a fishmonger and of a dishwasher.",
        origins["pilot"]: None,
        origins["judge"]: as_reply(NEIGHBOURS[COOK]),
        origins["clerk"]: (as_reply(["A clerk who files stamps by their smell", "A clerk who is about to"]), "length"),
    }
    source = lines(tmp_path / "p.jsonl", *({"persona": o} for o in origins.values()))
    found = expanded(serve(answer=canned(replies)), source, tmp_path / "run", each=5)
    assert found.rejected == {"length": 2, "no marker": 1, "refusal": 1, "request failed": 1, "truncated": 1}
    assert list(found.rejected) == sorted(found.rejected)
    assert [p.text for p in found.personas] == [
        *(shortest, longest, *NEIGHBOURS[COOK]),
        "A clerk who files stamps by their smell",
    ]


def test_a_second_run_asks_nobody_and_one_after_a_failure_only_what_failed(serve, tmp_path):
    source = lines(tmp_path / "p.jsonl", {"persona": COOK}, {"persona": BAKER})
    replies, counts = {COOK: as_reply(NEIGHBOURS[COOK]), BAKER: None}, Counter()
    server = serve(answer=canned(replies, counts))
    first = expanded(server, source, tmp_path / "run", near=0.95)
    assert first.rejected == {"request failed": 1}
    replies[BAKER] = as_reply([f"{NEIGHBOURS[COOK][0]} today", *NEIGHBOURS[BAKER][:2]])
    second = expanded(server, source, tmp_path / "run", near=0.95)
    assert counts == {COOK: 1, BAKER: 2}
    assert (len(second.personas), second.rejected) == (6, {})
    assert second.personas[:3] == first.personas
    assert expanded(server, source, tmp_path / "run", near=0.95) == second
    stricter = expanded(server, source, tmp_path / "run", near=0.7)  # sifted anew, from what was answered
    assert (len(stricter.personas), stricter.rejected) == (5, {"near-duplicate": 1})
    assert server.asked.total() == 3


# ------------------------------------------------------------ the command line


def run(*args: object):
    return CliRunner().invoke(cli, [str(a) for a in args])


def test_the_command_draws_from_the_sample_by_the_seed():
    args = ("personas", "sample", "--n", 3, "--json")
    first, again, other = (run(*args, "--seed", seed) for seed in (7, 7, 8))
    assert first.exit_code == 0
    drawn = json.loads(first.output)
    known = {p.id: p.text for p in read_personas()}
    assert len(drawn) == 3
    assert all(known[d["id"]] == d["persona"] for d in drawn)
    assert first.output == again.output != other.output
    plain = run("personas", "sample", "--n", 3, "--seed", 7).output.splitlines()
    assert plain == [f"{d['id']}  {d['persona']}" for d in drawn]


def test_what_the_command_writes_is_read_as_personas(tmp_path):
    path = tmp_path / "folder" / "some.jsonl"
    result = run("personas", "sample", "--n", 5, "-o", path)
    assert result.output == f"5 personas in {path}\n"
    sample = read_personas()
    assert all(p in sample for p in read_personas(str(path)))
    again = run("personas", "sample", path, "--n", 5, "--json")
    assert {d["persona"] for d in json.loads(again.output)} == {p.text for p in read_personas(str(path))}


def test_more_than_there_are_cannot_be_drawn(tmp_path):
    source = lines(tmp_path / "p.jsonl", {"persona": COOK})
    result = run("personas", "sample", source, "--n", 2)
    assert isinstance(result.exception, TuluError)
    assert str(result.exception) == f"n is 2, and {source} holds 1 personas; ask for fewer"


def test_a_dry_run_shows_the_first_request_and_asks_nobody(serve, tmp_path):
    source = lines(tmp_path / "p.jsonl", {"persona": COOK}, {"persona": BAKER})
    server = serve()
    args = ("--model", "m", "--base-url", server.url, "-o", tmp_path / "run", "--dry-run")
    result = run("personas", "expand", source, "--each", 4, "--max-tokens", 99, *args)
    assert result.exit_code == 0
    told = json.loads(result.output)
    assert told["requests"] == 2
    assert (told["request"]["model"], told["request"]["max_tokens"]) == ("m", 99)
    assert f"Person: {COOK}" in told["request"]["messages"][0]["content"]
    assert "Think of 4 different people" in told["request"]["messages"][0]["content"]
    assert json.loads(run("personas", "expand", "--limit", 5, *args).output)["requests"] == 5
    assert server.asked.total() == 0
    assert not (tmp_path / "run").exists()


def test_the_command_writes_the_personas_and_says_what_was_left_out(serve, tmp_path):
    source = lines(tmp_path / "p.jsonl", {"persona": COOK, "license": "mit"}, {"persona": BAKER})
    server = serve(answer=canned({COOK: as_reply(NEIGHBOURS[COOK]), BAKER: "No."}))
    args = ("personas", "expand", source, "--model", "m", "--base-url", server.url, "-o", tmp_path / "run", "--quiet")
    result = run(*args, "--json")
    assert result.exit_code == 0
    path = tmp_path / "run" / "personas.jsonl"
    assert json.loads(result.stdout) == {"personas": 3, "rejected": {"no marker": 1}, "file": str(path)}
    read = read_personas(str(path))
    assert [(p.text, p.license, p.parent) for p in read] == [(t, "mit", persona_id(COOK)) for t in NEIGHBOURS[COOK]]
    assert "1 × no marker" in run(*args).stdout
    assert server.asked.total() == 2
