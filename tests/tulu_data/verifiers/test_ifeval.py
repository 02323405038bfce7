"""Each of the 25 instruction types: a response that follows it and one that does not, by the official rule named."""

import json

import pytest

from tulu_data.verifiers import verify
from tulu_data.verifiers.ifeval import TULU, followed, parse, variants
from tulu_data.verifiers.instructions import INSTRUCTIONS, parameters, sentences, words

# id → (parameters, responses that follow, responses that do not). Rules: `INSTRUCTIONS[id].rule`.
CASES = {
    "keywords:existence": ({"keywords": ["map", "C++"]}, ["A MAP of c++", "maps, C++"], ["a map", "C"]),
    "keywords:frequency": (
        {"keyword": "sea", "frequency": 2, "relation": "at least"},
        ["sea, seas", "SEA sea"],
        ["sea", ""],
    ),
    "keywords:forbidden_words": ({"forbidden_words": ["sea"]}, ["seaside", "ocean"], ["The Sea.", "sea"]),
    "keywords:letter_frequency": (
        {"letter": "!", "let_frequency": 2, "let_relation": "less than"},
        ["no", "one!"],
        ["two!!", "!a!"],
    ),
    "language:response_language": (
        {"language": "de"},
        ["Das ist ein ganz gewöhnlicher deutscher Satz über das Wetter.", "12345"],
        ["This is a perfectly ordinary English sentence about the weather."],
    ),
    "length_constraints:number_sentences": (
        {"num_sentences": 3, "relation": "less than"},
        ["One. Two.", "Dr. Li came. He left."],
        ["One. Two. Three.", "A? B! C."],
    ),
    "length_constraints:number_paragraphs": (
        {"num_paragraphs": 2},
        ["one\n***\ntwo", "***\none\n***\ntwo\n***"],
        ["one", "one\n***\n***\ntwo"],
    ),
    "length_constraints:number_words": (
        {"num_words": 3, "relation": "at least"},
        ["one two three", "don't go"],
        ["one two", "one-two"],
    ),
    "length_constraints:nth_paragraph_first_word": (
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "Then"},
        ["a\n\nthen b", 'a\n\n"Then, b'],
        ["a\n\nb", "then a", "a\n\nthen\n\nb"],
    ),
    "detectable_content:number_placeholders": (
        {"num_placeholders": 2},
        ["[a] [b]", "[a][b][c]"],
        ["[a]", "(a) (b)"],
    ),
    "detectable_content:postscript": (
        {"postscript_marker": "P.S."},
        ["bye\nP.S. more", "p. s. more"],
        ["bye", "PS more"],
    ),
    "detectable_format:number_bullet_lists": (
        {"num_bullets": 2},
        ["* a\n* b", "- a\n- b", "x\n* a\n - b"],
        ["* a", "* a\n* b\n* c", "**bold** line\n* a"],
    ),
    "detectable_format:constrained_response": ({}, ["My answer is yes.", "Well, My answer is no. Sorry"], ["yes"]),
    "detectable_format:number_highlighted_sections": (
        {"num_highlights": 2},
        ["*a* and *b*", "**a** and *b*"],
        ["*a*", "a * b", "** **"],
    ),
    "detectable_format:multiple_sections": (
        {"section_spliter": "Section", "num_sections": 2},
        ["Section 1\na\nSection 2\nb"],
        ["Section 1\na", "section 1 section 2", "Section A Section B"],
    ),
    "detectable_format:json_format": ({}, ['{"a": 1}', '```json\n{"a": 1}\n```'], ["{a: 1}", 'Here: {"a": 1}']),
    "detectable_format:title": ({}, ["<<a title>>\ntext"], ["<a title>", "<<>>", "<< \n >>"]),
    "combination:two_responses": ({}, ["a\n******\nb"], ["a", "a******a", "a******b******c", "a************b"]),
    "combination:repeat_prompt": ({"prompt_to_repeat": "Say hi."}, ["say HI. Hi!"], ["Hi! Say hi."]),
    "startend:end_checker": ({"end_phrase": "The end."}, ['It is "the END."', "the end."], ["The end. Bye", "end"]),
    "startend:quotation": ({}, ['"all of it"'], ['"part" of it', '"', "'all'"]),
    "change_case:capital_word_frequency": (
        {"capital_frequency": 2, "capital_relation": "at least"},
        ["AN OLD house", "I am WELL-KNOWN"],
        ["An old HOUSE", "nothing"],
    ),
    "change_case:english_capital": (
        {},
        ["THIS IS A PERFECTLY ORDINARY ENGLISH SENTENCE ABOUT THE WEATHER."],
        ["This is a sentence about the weather."],
    ),
    "change_case:english_lowercase": (
        {},
        ["this is a perfectly ordinary english sentence about the weather."],
        ["This is a sentence about the weather.", "das ist ein ganz gewöhnlicher deutscher satz über das wetter"],
    ),
    "punctuation:no_comma": ({}, ["none here"], ["one, here"]),
}


def test_there_are_the_official_25():
    assert set(CASES) == set(INSTRUCTIONS)
    assert len(CASES) == 25
    assert all("google-research/blob/83282e4" in i.rule and i.rule.endswith(i.official) for i in INSTRUCTIONS.values())


@pytest.mark.parametrize("id_", CASES)
def test_each_type_followed_and_not(id_):
    kwargs, good, bad = CASES[id_]
    truth = json.dumps({"instruction_id_list": [id_], "kwargs": [kwargs]})
    for response in good:
        assert verify("ifeval", response, truth).right, response
    for response in bad:
        verdict = verify("ifeval", response, truth)
        assert (verdict.score, verdict.valid) == (0.0, True), response
        assert id_ in verdict.reason


def test_an_empty_response_follows_nothing():
    constraints = parse('{"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}')
    assert followed(" \n", constraints, loose=True) == ["the response is empty"]


@pytest.mark.parametrize(
    ("response", "strict", "loose"),
    [
        ('Sure, here it is:\n"quoted"', False, True),
        ('"quoted"\nHope that helps', False, True),
        ('Sure:\n"quoted"\nHope that helps', False, True),
        ('**"quoted"**', False, True),
        ('Sure:\n*"quoted"*\nBye', False, True),
        ('Sure: "quoted"', False, False),
    ],
)
def test_loose_forgives_a_first_line_a_last_line_and_asterisks(response, strict, loose):
    truth = '{"instruction_id_list": ["startend:quotation"], "kwargs": [{}]}'
    assert verify("ifeval", response, truth).right is strict
    assert verify("ifeval_loose", response, truth).right is loose


def test_the_eight_readings():
    assert list(variants("a*\nb\nc")) == ["a*\nb\nc", "a\nb\nc", "b\nc", "b\nc", "a*\nb", "a\nb", "b", "b"]


def test_all_constraints_must_hold_and_each_missing_one_is_named():
    truth = json.dumps(
        {"instruction_id_list": ["punctuation:no_comma", "detectable_format:title"], "kwargs": [{}, None]}
    )
    assert verify("ifeval", "<<a>> b", truth).right
    assert verify("ifeval", "a, b", truth).reason == (
        "punctuation:no_comma: 1 commas, exactly 0 asked for; detectable_format:title: no <<title>>"
    )


@pytest.mark.parametrize(
    ("func", "good", "bad"),
    [
        ({"func_name": "verify_paragraph_count", "N": 2, "letter": None}, "a\n* * *\nb", "a"),
        ({"func_name": "verify_keyword_frequency", "word": "sea", "N": 2}, "sea sea", "sea sea sea"),
        ({"func_name": "validate_word_constraint", "N": 10, "quantifier": "around"}, "w " * 11, "w " * 13),
        ({"func_name": "validate_frequency_capital_words", "N": 1, "quantifier": "at most"}, "A b", "A B"),
        ({"func_name": "validate_choice", "options": ["red", "blue"]}, "blue", "green"),
        ({"func_name": "validate_no_commas"}, "a b", "a, b"),
    ],
)
def test_the_constraints_of_tulu_3(func, good, bad):
    assert verify("ifeval", good, json.dumps(func)).right
    assert not verify("ifeval", bad, json.dumps(func)).right


def test_every_tulu_function_maps_to_parameters_that_exist():
    for id_, names, fixed in TULU.values():
        assert set(names.values()) | set(fixed) <= set(INSTRUCTIONS[id_].parameters)
    assert len({id_ for id_, _, _ in TULU.values()}) == 25


def test_the_python_literal_of_later_tulu_sets():
    truth = "[{'instruction_id': ['punctuation:no_comma'], 'kwargs': [None]}]"
    assert verify("ifeval", "a b", truth).right


@pytest.mark.parametrize(
    ("id_", "given", "problem"),
    [
        ("punctuation:no_coma", {}, "did you mean 'punctuation:no_comma'?"),
        ("detectable_format:title", {"n": 1}, "parameter 'n' is unknown"),
        ("keywords:existence", {"keywords": None}, "keywords missing"),
        ("keywords:existence", {"keywords": "sea"}, "must be a list of texts, got 'sea'"),
        (
            "length_constraints:number_words",
            {"num_words": -1, "relation": "at least"},
            "must be a whole number, got -1",
        ),
        ("length_constraints:number_words", {"num_words": 3, "relation": "over"}, "must be one of less than, at least"),
    ],
)
def test_parameters_are_held_to_their_types(id_, given, problem):
    with pytest.raises(ValueError, match=problem.replace("?", r"\?")):
        parameters(id_, given)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Dr. Li paid 3.50 dollars. Why? No one knows...", 3),
        ('He said "Stop!" and left. Then (later) he came.', 2),
        ("1. First item\n2. Second item", 1),
        ("The U.S. is large. So is Brazil.", 2),
        ("no end", 1),
        ("", 0),
        ("What?! Really? Yes.", 3),
    ],
)
def test_sentences(text, expected):
    assert len(sentences(text)) == expected


def test_words_keep_hyphens_and_split_contractions():
    assert words("A WELL-KNOWN fact, DON'T you think?") == ["A", "WELL-KNOWN", "fact", "DO", "N'T", "you", "think"]
