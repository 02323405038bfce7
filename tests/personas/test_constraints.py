"""Constraints drawn before there is an answer: they can all be kept, all be broken, and be found in a prompt again."""

import json
import random
import re
from functools import cache
from itertools import product
from typing import NamedTuple

import pytest

from personas.composing import compose
from personas.constraints import (
    CONFLICTS,
    KINDS,
    contradiction,
    lost,
    read_constraint,
    sample_constraints,
    truth_of,
    wording,
)
from personas.languages import LANGUAGES
from personas.persona import read_personas
from personas.procedural.family import Scene
from personas.procedural.scenes import scene_of
from tulu_data.errors import UsageError
from tulu_data.verifiers import verify
from tulu_data.verifiers.ifeval import Constraint
from tulu_data.verifiers.instructions import INSTRUCTIONS, RELATIONS

COMBINATIONS = 200  # of each type
SCENE = Scene("a beekeeper who sells honey", "keeping bees", ("jars", "frames"), "at the market", "Imani")


class Case(NamedTuple):
    """A combination that holds a type, and what came of it."""

    scene: Scene
    constraints: tuple[Constraint, ...]
    words: tuple[str, ...]
    answer: str | None
    seed: str


@cache
def cases(id_: str) -> list[Case]:
    """The type with none, one or two others, for personas from all over the shipped sample."""
    personas = read_personas()
    partners = len(KINDS) - len(CONFLICTS[id_])
    found = []
    for i in range(COMBINATIONS):
        rng = random.Random(f"{id_}/{i}")
        scene = scene_of(personas[i * 37 % len(personas)], rng)
        first = Constraint(id_, KINDS[id_].draw(rng, scene))
        constraints = sample_constraints(rng, scene, count=min(1 + i % 3, 1 + partners), fixed=[first])
        words = tuple(wording(rng, c) for c in constraints)
        found.append(Case(scene, constraints, words, compose(constraints, scene, rng), f"{id_}/{i}/broken"))
    return found


def test_every_type_of_the_verifier_can_be_asked_for():
    assert set(KINDS) == set(INSTRUCTIONS)
    assert len(KINDS) == 25


@pytest.mark.parametrize("id_", KINDS)
def test_what_is_drawn_has_the_parameters_of_the_check_and_does_not_contradict_itself(id_):
    for case in cases(id_):
        assert id_ in [c.id for c in case.constraints]
        assert contradiction(case.constraints) == ""
        for c in case.constraints:
            needed = {n for n, p in INSTRUCTIONS[c.id].parameters.items() if p.default is p.empty}
            assert needed <= set(c.kwargs) <= set(INSTRUCTIONS[c.id].parameters)


@pytest.mark.parametrize("id_", KINDS)
def test_a_composed_answer_keeps_every_constraint(id_):
    for case in cases(id_):
        assert case.answer is not None, case.constraints
        assert [c.missing(case.answer) for c in case.constraints] == [""] * len(case.constraints)
        assert verify("ifeval", case.answer, truth_of(case.constraints)).right


def is_implied(broken: Constraint, others: list[Constraint]) -> bool:
    """Whether no answer can break this and keep the others."""
    by_id = {c.id: c.kwargs for c in others}
    counted = by_id.get("keywords:frequency", {})
    rare = by_id.get("keywords:letter_frequency", {})
    if broken.id == "keywords:existence" and counted.get("relation") == "at least":
        return broken.kwargs["keywords"] == [counted["keyword"]]
    if broken.id == "keywords:frequency" and rare.get("let_relation") == "less than":
        letters_ = broken.kwargs["keyword"].count(rare["letter"]) * broken.kwargs["frequency"]
        return broken.kwargs["relation"] == "less than" and letters_ >= rare["let_frequency"]
    return False


@pytest.mark.parametrize("id_", KINDS)
def test_each_constraint_alone_can_be_broken_while_the_others_are_kept(id_):
    for case in cases(id_):
        rng = random.Random(case.seed)
        for broken in case.constraints:
            others = [c for c in case.constraints if c is not broken]
            answer = compose(case.constraints, case.scene, rng, broken=broken)
            if answer is None:
                assert is_implied(broken, others), (broken, others)
                continue
            assert broken.missing(answer), (broken, answer)
            assert [c.missing(answer) for c in others] == [""] * len(others)


def test_nothing_breaks_a_constraint_that_the_others_imply():
    once = Constraint("keywords:existence", {"keywords": ["ribbon"]})
    often = Constraint("keywords:frequency", {"keyword": "ribbon", "frequency": 3, "relation": "at least"})
    assert compose([once, often], SCENE, random.Random(0)) is not None
    assert compose([once, often], SCENE, random.Random(0), broken=once) is None


def test_a_topic_that_holds_a_forbidden_word_is_left_out_of_json():
    scene = SCENE._replace(topic="velvet weaving")
    answer = compose([JSON, forbidden("velvet")], scene, random.Random(0))
    assert answer is not None
    assert "velvet" not in json.loads(answer)["answer"]


def test_no_answer_is_composed_in_a_language_without_sentences():
    japanese = Constraint("language:response_language", {"language": "ja"})
    assert compose([japanese], SCENE, random.Random(0)) is None
    assert compose([japanese], SCENE, random.Random(0), broken=japanese) is not None


@pytest.mark.parametrize("relation", RELATIONS)
@pytest.mark.parametrize(
    ("id_", "fixed", "count", "relation_name"),
    [
        ("length_constraints:number_sentences", {}, {"num_sentences": 6}, "relation"),
        ("length_constraints:number_words", {}, {"num_words": 80}, "relation"),
        ("keywords:frequency", {"keyword": "lantern"}, {"frequency": 3}, "relation"),
        ("change_case:capital_word_frequency", {}, {"capital_frequency": 5}, "capital_relation"),
    ],
)
def test_relations_that_only_users_ask_for_are_kept_and_broken_too(id_, fixed, count, relation_name, relation):
    constraint = Constraint(id_, {**fixed, **count, relation_name: relation})
    answer = compose([constraint], SCENE, random.Random(1))
    assert answer is not None
    assert not constraint.missing(answer)
    bad = compose([constraint], SCENE, random.Random(1), broken=constraint)
    assert bad is not None
    assert constraint.missing(bad)
    assert lost(wording(random.Random(1), constraint), [constraint]) == []


@pytest.mark.parametrize("id_", KINDS)
def test_the_same_chance_gives_the_same_constraints_words_and_answer(id_):
    def drawn():
        rng = random.Random(f"again/{id_}")
        constraints = sample_constraints(rng, SCENE, fixed=[Constraint(id_, KINDS[id_].draw(rng, SCENE))])
        words = [wording(rng, c) for c in constraints]
        return constraints, words, compose(constraints, SCENE, rng)

    assert drawn() == drawn()


# ------------------------------------------------------------ what a prompt must hold

NAMING = {  # what says a type without parameters, in all of its wordings
    "detectable_format:json_format": r"\bJSON\b",
    "detectable_format:title": r"double angular brackets|<<[^>]*>>",
    "combination:two_responses": r"\*{6}|six asterisks",
    "startend:quotation": r"double quotation marks",
    "punctuation:no_comma": r"\bcommas?\b",
    "change_case:english_capital": r"capital letters",
    "change_case:english_lowercase": r"lowercase letters",
}
CHANGED = {"at least": "less than", "less than": "at least"}


class Literal(NamedTuple):
    """Something that the words of a constraint hold: where it stands, what may take its place."""

    pattern: str
    instead: str


def literals(constraint: Constraint) -> list[Literal]:
    """Every parameter as the words hold it; the naming words of a type that has none."""
    if constraint.id in NAMING:
        return [Literal(NAMING[constraint.id], "zebra")]
    found = []
    for name, value in constraint.kwargs.items():
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, int):
                found.append(Literal(rf"(?<!\d){one}(?!\d)", str(one + 1)))
            elif name.endswith("relation"):
                found.append(Literal(re.escape(one), CHANGED[one]))
            elif name == "letter":
                found.append(Literal(rf"(?<=letter ){one}\b", "w"))
            elif name == "language":
                found.append(Literal(LANGUAGES[one], "Welsh"))
            else:
                found.append(Literal(re.escape(one), "zebra"))
    return found


@pytest.mark.parametrize("id_", KINDS)
def test_the_joined_words_hold_every_parameter(id_):
    for case in cases(id_):
        prompt = " ".join([f"Tell me about {case.scene.topic}.", *case.words])
        assert lost(prompt, case.constraints) == []
        assert lost(prompt.replace(" ", "\n"), case.constraints) == []


@pytest.mark.parametrize("id_", KINDS)
def test_a_parameter_that_is_removed_or_changed_is_noticed(id_):
    noticed = 0
    for case in cases(id_):
        at = [c.id for c in case.constraints].index(id_)
        constraint, words = case.constraints[at], case.words[at]
        rest = " ".join([*case.words[:at], *case.words[at + 1 :]])
        for literal, removed in product(literals(constraint), (True, False)):
            is_number = literal.instead.isdigit()
            if not is_number and re.search(literal.pattern, rest, re.IGNORECASE):
                continue  # another constraint says the same word
            spots = [m.span() for m in re.finditer(literal.pattern, words)]
            assert spots, (literal, words)
            groups = [[spot] for spot in spots] if is_number else [spots]
            for group in groups:
                changed = words
                for start, end in reversed(group):
                    changed = changed[:start] + ("" if removed else literal.instead) + changed[end:]
                missing = lost(f"I am a beekeeper and I sell a lot. {changed} {rest}", case.constraints)
                assert any(m.startswith(f"{id_}: ") for m in missing), (changed, rest)
                noticed += 1
    assert noticed >= COMBINATIONS


def test_a_word_that_is_a_letter_does_not_stand_for_the_letter():
    def letter(x):
        return [Constraint("keywords:letter_frequency", {"letter": x, "let_frequency": 30, "let_relation": "at least"})]

    missing = ["keywords:letter_frequency: 'a'"]
    assert lost("I have a bee. Use the letter o at least 30 times.", letter("a")) == missing
    assert lost("I have a bee. Use 'o' at least 30 times.", letter("a")) == missing
    for said in ('the letter "a"', "the letter a", "the letter 'A'", 'an "a"', "the letter **a**"):
        assert lost(f"Use {said} at least 30 times.", letter("a")) == []


def test_what_the_check_looks_for_in_its_case_must_stand_in_that_case():
    days = [Constraint("detectable_format:multiple_sections", {"section_spliter": "Day", "num_sections": 3})]
    assert lost("Plan 3 sections, each headed Day X.", days) == []
    assert lost("Describe one day in 3 sections, each headed Part X.", days) == [
        "detectable_format:multiple_sections: 'Day'"
    ]
    options = [Constraint("detectable_format:constrained_response", {"options": ["Yes.", "No."]})]
    assert lost("Say Yes. or No.", options) == []
    assert lost("Say yes. or no.", options) == [f"{options[0].id}: 'Yes.'", f"{options[0].id}: 'No.'"]


def test_a_number_counts_once_for_each_parameter_that_it_is():
    third = [
        Constraint(
            "length_constraints:nth_paragraph_first_word",
            {"num_paragraphs": 3, "nth_paragraph": 3, "first_word": "habit"},
        )
    ]
    assert lost("Write 3 paragraphs; paragraph 3 starts with habit.", third) == []
    assert lost("Write 3 paragraphs; paragraph 2 starts with habit.", third) != []
    both = [
        Constraint("detectable_format:number_bullet_lists", {"num_bullets": 5}),
        Constraint("length_constraints:number_sentences", {"num_sentences": 5, "relation": "at least"}),
    ]
    assert lost("Give 5 bullet points in at least 5 sentences.", both) == []
    assert lost("Give 4 bullet points in at least 5 sentences.", both) != []
    assert lost("Give 15 bullet points in at least 50 sentences.", both) == [f"{c.id}: 5" for c in both]


def test_parameters_that_have_a_default_are_said_and_looked_for():
    rng = random.Random(0)
    options = Constraint("detectable_format:constrained_response", {})
    assert "My answer is maybe." in wording(rng, options)
    assert lost(wording(rng, options), [options]) == []
    plain = Constraint("length_constraints:number_paragraphs", {"num_paragraphs": 3})
    spaced = Constraint("length_constraints:number_paragraphs", {"num_paragraphs": 3, "divider": "* * *"})
    assert lost(wording(rng, plain), [plain]) == lost(wording(rng, spaced), [spaced]) == []
    assert lost(wording(rng, plain), [spaced]) == [f"{spaced.id}: '* * *'"]
    answer = compose([spaced], SCENE, rng)
    assert answer is not None
    assert answer.count("* * *") == 2


def test_a_word_that_holds_a_relation_or_turns_it_round_is_not_that_relation():
    limit = [words_("less than", 50)]
    for said in ("less than 50 words", "fewer than 50 words", "under 50\nwords", "Fewer\nthan 50 words"):
        assert lost(f"Keep it to {said}.", limit) == []
    for said in ("no less than 50 words", "not fewer than 50 words", "50 words on thunder", "at least 50 words"):
        assert lost(f"Keep it to {said}.", limit) == ["length_constraints:number_words: 'less than'"]


# ------------------------------------------------------------ what does not go together


def words_(relation, count):
    return Constraint("length_constraints:number_words", {"num_words": count, "relation": relation})


def sentences(relation, count):
    return Constraint("length_constraints:number_sentences", {"num_sentences": count, "relation": relation})


def frequency(word, relation, count):
    return Constraint("keywords:frequency", {"keyword": word, "frequency": count, "relation": relation})


def letters(letter, relation, count):
    return Constraint("keywords:letter_frequency", {"letter": letter, "let_relation": relation, "let_frequency": count})


def existence(*words):
    return Constraint("keywords:existence", {"keywords": list(words)})


def forbidden(*words):
    return Constraint("keywords:forbidden_words", {"forbidden_words": list(words)})


def nth(nth_paragraph, count, word="habit"):
    return Constraint(
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": count, "nth_paragraph": nth_paragraph, "first_word": word},
    )


def sections(count, name="Part"):
    return Constraint("detectable_format:multiple_sections", {"section_spliter": name, "num_sections": count})


def end(phrase):
    return Constraint("startend:end_checker", {"end_phrase": phrase})


def repeat(prompt):
    return Constraint("combination:repeat_prompt", {"prompt_to_repeat": prompt})


NO_COMMA = Constraint("punctuation:no_comma", {})
TITLE = Constraint("detectable_format:title", {})
JSON = Constraint("detectable_format:json_format", {})
QUOTED = Constraint("startend:quotation", {})


@pytest.mark.parametrize(
    ("impossible", "says", "possible"),
    [
        ([forbidden("rain"), existence("Rain")], "forbids 'rain'", [forbidden("rain"), existence("snow")]),
        ([existence("rain"), forbidden("snow", "rain")], "forbids 'rain'", [forbidden("rain"), existence("rainfall")]),
        ([forbidden("luck"), end("Good luck to all")], "forbids 'luck'", [forbidden("luck"), end("Good day to all")]),
        ([forbidden("Habit"), nth(1, 2)], "forbids 'Habit'", [forbidden("habits"), nth(1, 2)]),
        ([forbidden("part"), sections(2)], "forbids 'part'", [forbidden("parts"), sections(2)]),
        (
            [forbidden("rain"), frequency("rain", "at least", 2)],
            "forbids 'rain'",
            [forbidden("rain"), frequency("snow", "at least", 2)],
        ),
        (
            [frequency("rain", "less than", 2), forbidden("rain")],
            "counts",
            [frequency("rain", "less than", 2), forbidden("snow")],
        ),
        ([NO_COMMA, end("Well, good bye")], "forbids commas", [NO_COMMA, end("Well good bye")]),
        ([NO_COMMA, existence("salt, pepper")], "forbids commas", [NO_COMMA, existence("salt", "pepper")]),
        ([NO_COMMA, repeat("Yes, do it.")], "forbids commas", [NO_COMMA, repeat("Do it.")]),
        ([words_("less than", 20), sections(5)], "the others need 20", [words_("less than", 21), sections(5)]),
        ([words_("at most", 19), sections(5)], "the others need 20", [words_("at most", 20), sections(5)]),
        (
            [words_("less than", 30), sentences("at least", 10)],
            "the others need 30",
            [words_("less than", 30), sentences("less than", 10)],
        ),
        (
            [frequency("rain", "less than", 2), existence("rain", "rain coat")],
            "'rain' times",
            [frequency("rain", "less than", 3), existence("rain", "rain coat")],
        ),
        (
            [letters("z", "less than", 4), existence("puzzle", "puzzles")],
            "'z' times",
            [letters("z", "less than", 5), existence("puzzle", "puzzles")],
        ),
        (
            [letters("z", "at most", 3), existence("puzzle", "puzzles")],
            "'z' times",
            [letters("z", "at most", 4), existence("puzzle", "puzzles")],
        ),
        ([nth(4, 3)], "no paragraph 4 of 3", [nth(3, 3)]),
        ([NO_COMMA, NO_COMMA], "asked for twice", [NO_COMMA]),
        ([existence("rain"), existence("snow")], "asked for twice", [existence("rain", "snow")]),
        ([words_("less than", 1)], "less than 1 words", [words_("less than", 2)]),
        ([sentences("less than", 1)], "less than 1 sentences", [sentences("at least", 1)]),
        ([words_("at least", 0)], "must be from 1 to 10,000, got 0", [words_("at least", 1)]),
        ([sections(-1)], "must be from 1 to 10,000, got -1", [sections(1)]),
        ([nth(0, 2)], "must be from 1 to 10,000, got 0", [nth(1, 2)]),
        ([existence()], "keywords is empty", [existence("rain")]),
        ([forbidden()], "forbidden_words is empty", [forbidden("rain")]),
        ([end("")], "end_phrase is empty", [end("So be it")]),
        ([JSON, TITLE], "do not go together", [JSON, existence("rain")]),
        ([QUOTED, TITLE], "do not go together", [QUOTED, NO_COMMA]),
        (
            [letters("e", "at least", 30), words_("less than", 90)],
            "do not go together",
            [letters("e", "at least", 30), sentences("less than", 9)],
        ),
    ],
)
def test_a_contradiction_is_told_in_one_line_and_its_neighbour_is_none(impossible, says, possible):
    for order in (impossible, impossible[::-1]):
        told = contradiction(order)
        assert says in told
        assert "\n" not in told
    assert contradiction(possible) == contradiction(possible[::-1]) == ""


def test_conflicts_are_symmetric_and_every_type_excludes_itself():
    assert set(CONFLICTS) == set(KINDS)
    for a, b in product(KINDS, KINDS):
        assert (a in CONFLICTS[b]) == (b in CONFLICTS[a])
    assert all(id_ in others <= set(KINDS) for id_, others in CONFLICTS.items())


def test_types_in_conflict_are_never_drawn_together_and_all_others_are():
    met = set()
    for id_ in KINDS:
        for case in cases(id_):
            ids = [c.id for c in case.constraints]
            pairs = {(a, b) for a, b in product(ids, ids) if a != b}
            assert not any(b in CONFLICTS[a] for a, b in pairs)
            met |= pairs
    free = {(a, b) for a, b in product(KINDS, KINDS) if b not in CONFLICTS[a]}
    assert len(met) > 0.9 * len(free)


# ------------------------------------------------------------ drawing


def test_fixed_constraints_are_among_those_drawn_and_the_rest_comes_from_the_pool():
    fixed = [words_("at least", 40)]
    pool = ["detectable_format:title", "startend:end_checker", "punctuation:no_comma"]
    for seed in range(50):
        drawn = sample_constraints(random.Random(seed), SCENE, count=3, pool=pool, fixed=fixed)
        assert len(drawn) == 3
        assert fixed[0] in drawn
        assert {c.id for c in drawn} - {fixed[0].id} <= set(pool)


def test_by_default_one_to_three_are_drawn():
    sizes = {len(sample_constraints(random.Random(seed), SCENE)) for seed in range(100)}
    assert sizes == {1, 2, 3}


def test_what_cannot_be_drawn_is_refused_in_one_line():
    with pytest.raises(UsageError, match=r"^constraints: .* do not go together; change or leave out one of them$"):
        sample_constraints(random.Random(0), SCENE, fixed=[JSON, TITLE])
    with pytest.raises(UsageError, match=r"^constraints: no 2 of .* go together; ask for fewer, or allow more types$"):
        sample_constraints(random.Random(0), SCENE, count=2, pool=[JSON.id, TITLE.id])


# ------------------------------------------------------------ as users write them


def test_a_type_is_read_by_its_short_and_its_full_name():
    for id_ in KINDS:
        assert read_constraint(id_) == read_constraint(id_.partition(":")[2]) == id_


@pytest.mark.parametrize("id_", KINDS)
def test_a_constraint_is_read_with_its_parameters(id_):
    for case in cases(id_)[:20]:
        for c in case.constraints:
            given = json.dumps(dict(c.kwargs))
            assert read_constraint(f"{c.id}={given}") == c
            assert read_constraint(f"{c.id.partition(':')[2]}={given}") == c


def test_an_equals_sign_in_a_parameter_is_part_of_it():
    assert read_constraint('existence={"keywords": ["a=b"]}') == existence("a=b")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("no_coma", "constraint 'no_coma' is unknown; did you mean 'no_comma'?"),
        ("punctuation:no_coma", "did you mean 'punctuation:no_comma'"),
        ("zzz", "known types: "),
        ('number_words={"num_words": "many", "relation": "at least"}', "num_words must be a whole number, got 'many'"),
        ('number_words={"num_words": 2.5, "relation": "at least"}', "num_words must be a whole number, got 2.5"),
        ('number_words={"num_words": Infinity, "relation": "at least"}', "num_words must be a whole number, got inf"),
        ('number_words={"num_words": 5, "relation": "at leat"}', "relation must be one of less than, at least"),
        ('number_words={"num_word": 5}', "parameter 'num_word' is unknown; did you mean 'num_words'?"),
        ("number_words={}", "num_words, relation missing"),
        ('existence={"keywords": "rain"}', "keywords must be a list of texts, got 'rain'"),
        ('end_checker={"end_phrase": 3}', "end_phrase must be a text, got 3"),
        ("number_words={num_words: 5}", "constraint number_words={num_words: 5}: "),
        ("number_words=", "constraint number_words=: "),
        ("no_comma={\n", "constraint no_comma={: "),
        ("no_comma=[1]", "its parameters must be an object, e.g. "),
        ("no_comma=null", "its parameters must be an object, e.g. "),
    ],
)
def test_what_cannot_be_read_is_told_in_one_line(text, says):
    with pytest.raises(UsageError) as told:
        read_constraint(text)
    assert says in str(told.value)
    assert "\n" not in str(told.value)
