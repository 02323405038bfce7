"""Each of the 25 instruction types: a response that follows it and one that does not, by the official rule named.

All responses were written for these tests. `OFFICIAL_KINDS` are of the kinds that the official unit tests try, with the
verdicts that those have. Of what is strict and what loose, the official tests have a keyword and an empty text alone;
that is held to the official rule, without a published example.
"""

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


# The unit tests that the official implementation publishes, of the instruction classes.
OFFICIAL_TESTS = (
    "https://github.com/google-research/google-research/blob/83282e4ec6e140949e0f51d04e279be7949409ff/"
    "instruction_following_eval/instructions_test.py"
)
# The method there, the instruction, its parameters, then a response of the kind that it tries and the verdict of that
# kind: other words, the same spaces, marks and edges.
OFFICIAL_KINDS = [
    ("test_response_language", "language:response_language", {"language": "en"}, "We answer in plain English", True),
    (
        "test_response_multilanguage",
        "language:response_language",
        {"language": "es"},
        "Hoy desayunamos con el señor Smith en Londres",
        True,
    ),
    ("test_response_multilanguage", "language:response_language", {"language": "en"}, "We saw the Champs today", True),
    (
        "test_number_sentences",
        "length_constraints:number_sentences",
        {"num_sentences": 4, "relation": "less than"},
        "aa,a. aa,a! aa/a. a{a}a?",
        False,
    ),
    (
        "test_number_sentences",
        "length_constraints:number_sentences",
        {"num_sentences": 5, "relation": "less than"},
        "aaaa. aa,a! aaaa. a(a)a?",
        True,
    ),
    (
        "test_number_sentences",
        "length_constraints:number_sentences",
        {"num_sentences": 4, "relation": "at least"},
        "aaaa. aa,a! aa|a. a&a a?",
        True,
    ),
    (
        "test_number_sentences",
        "length_constraints:number_sentences",
        {"num_sentences": 5, "relation": "at least"},
        "aa-a. aa,a! aa}a. a,aa?",
        False,
    ),
    (
        "test_number_placeholders",
        "detectable_content:number_placeholders",
        {"num_placeholders": 3},
        "A form with 3 blanks:\n[Street]\n[Town]\n[Country]\nKeep it.",
        True,
    ),
    (
        "test_number_placeholders",
        "detectable_content:number_placeholders",
        {"num_placeholders": 4},
        "The [colour] [animal] likes to [verb].",
        False,
    ),
    (
        "test_number_bullet_lists",
        "detectable_format:number_bullet_lists",
        {"num_bullets": 3},
        "\n  Begin a line with a star (*):\n  * one\n  *(without a space) two\n  * (as before) three\n  Done.",
        True,
    ),
    (
        "test_number_bullet_lists",
        "detectable_format:number_bullet_lists",
        {"num_bullets": 2},
        "\n  A star inside (*), *, is none:\n    * one\n    * two\n    . a dot",
        True,
    ),
    (
        "test_number_bullet_lists",
        "detectable_format:number_bullet_lists",
        {"num_bullets": 3},
        "\n  Dashes:\n  - one\n  - two\n  -three",
        True,
    ),
    (
        "test_number_bullet_lists",
        "detectable_format:number_bullet_lists",
        {"num_bullets": 1},
        "\n  First\n  ***\n  Second\n  ***\n  Third\n  * the one\n  ",
        True,
    ),
    ("test_constrained_response", "detectable_format:constrained_response", {}, "\n My answer is maybe.\n", True),
    ("test_constrained_response", "detectable_format:constrained_response", {}, "My answer is yes.   ", True),
    (
        "test_constrained_response",
        "detectable_format:constrained_response",
        {},
        "\n  My answer is yes. There is more to say, and it\n  goes on.",
        True,
    ),
    (
        "test_number_highlights",
        "detectable_format:number_highlighted_sections",
        {"num_highlights": 2},
        "\n  In Markdown * stands on both sides; say:*word*, or ** for\n  bold: **word** ",
        True,
    ),
    (
        "test_number_highlights",
        "detectable_format:number_highlighted_sections",
        {"num_highlights": 2},
        "\n  Fruit:\n  *Red apples\n  *Green pears*\n  *Blue plums\n  *Figs\n  Enjoy!",
        False,
    ),
    (
        "test_number_highlights",
        "detectable_format:number_highlighted_sections",
        {"num_highlights": 4},
        "\n  There are *some words* and *more words of this*\n  text. **So are these** and **the last ones.**\n  ",
        True,
    ),
    (
        "test_section_checker",
        "detectable_format:multiple_sections",
        {"section_spliter": "Section", "num_sections": 3},
        '\n  Mark each with "Section X":\n  Section 1\n  [words]\n  Section 2\n  [words]',
        False,
    ),
    (
        "test_section_checker",
        "detectable_format:multiple_sections",
        {"section_spliter": "SECTION", "num_sections": 2},
        "SECTION 1\n  [words]\n  SECTION 2\n  [words]",
        True,
    ),
    (
        "test_paragraph_checker",
        "length_constraints:number_paragraphs",
        {"num_paragraphs": 3},
        "\n  first\n  ***\n  second\n  ***\n  third",
        True,
    ),
    (
        "test_paragraph_checker",
        "length_constraints:number_paragraphs",
        {"num_paragraphs": 3},
        "\n      ***\n  first\n      ***\n   second\n      ***\n   third",
        True,
    ),
    (
        "test_paragraph_checker",
        "length_constraints:number_paragraphs",
        {"num_paragraphs": 3},
        "\n  first\n      ***\n   second\n      ***\n   third\n      ***",
        True,
    ),
    (
        "test_paragraph_checker",
        "length_constraints:number_paragraphs",
        {"num_paragraphs": 2},
        "\n  first\n      ***\n   second\n      ***\n      ***",
        False,
    ),
    (
        "test_postscript_checker",
        "detectable_content:postscript",
        {"postscript_marker": "P.S."},
        "\n  So much for that.\n\n  P.S. One thing more.",
        True,
    ),
    (
        "test_postscript_checker",
        "detectable_content:postscript",
        {"postscript_marker": "PS:"},
        "\n  So much for that.\n\n  P.S. One thing more.",
        False,
    ),
    (
        "test_postscript_checker",
        "detectable_content:postscript",
        {"postscript_marker": "P.P.S"},
        "\n  Here it is, with P.P.S.:\n\n  An answer.\n\n  P.P.S. Ask again.\n\n  Well?",
        True,
    ),
    (
        "test_postscript_checker",
        "detectable_content:postscript",
        {"postscript_marker": "P.S."},
        "\n  The radius is 1. (in the same line) P.S. It is a joke!",
        True,
    ),
    (
        "test_postscript_checker",
        "detectable_content:postscript",
        {"postscript_marker": "P.P.S"},
        "\n  The side is one.\n  p.p.s and in lower case?\n  ",
        True,
    ),
    (
        "test_postscript_checker",
        "detectable_content:postscript",
        {"postscript_marker": "P.S."},
        "\n  The sea is deep.\n  P. S. With a space.\n  ",
        True,
    ),
    (
        "test_keyword_checker",
        "keywords:existence",
        {"keywords": ["bridge", "old", "Rhine Falls"]},
        "\n  An old town with a bridge, near\n  the Rhine Falls.",
        True,
    ),
    (
        "test_keyword_checker",
        "keywords:existence",
        {"keywords": ["bridge", "old", "Rhine Falls"]},
        "\n  An old town with a bridge on the Rhine.",
        False,
    ),
    (
        "test_keyword_frequency_checker",
        "keywords:frequency",
        {"keyword": "  sea ", "frequency": 4, "relation": "less than"},
        "\n  sea, Sea, SEA\n  ",
        True,
    ),
    (
        "test_keyword_frequency_checker",
        "keywords:frequency",
        {"keyword": "  sea ", "frequency": 3, "relation": "at least"},
        "\n  sea, Sea, SEA\n  ",
        True,
    ),
    (
        "test_keyword_frequency_checker",
        "keywords:frequency",
        {"keyword": "SEA", "frequency": 4, "relation": "at least"},
        "\n    *sea\n    *Sea\n    *SEA\n  ",
        False,
    ),
    (
        "test_num_words_checker",
        "length_constraints:number_words",
        {"num_words": 8, "relation": "less than"},
        "\n  c0unT tHes3 w0rds w1Th 7 dIg1ts",
        True,
    ),
    (
        "test_num_words_checker",
        "length_constraints:number_words",
        {"num_words": 10, "relation": "at least"},
        "\n  W0RDS: 0f l3tt3rs, d1g1ts, 0r b0th\n  ar3 c0unt3d & m0r3.",
        False,
    ),
    *(
        ("test_paragraph_first_word", "length_constraints:nth_paragraph_first_word", parameters_, text, follows)
        for parameters_, text, follows in [
            (
                {"num_paragraphs": 3, "nth_paragraph": 2, "first_word": "We"},
                "\n  one\n\n  We go on\n\n  three",
                True,
            ),
            ({"num_paragraphs": 3, "nth_paragraph": 2, "first_word": "We"}, "\n  one\n\n  We go on", False),
            (
                {"num_paragraphs": 3, "nth_paragraph": 2, "first_word": "We"},
                "\n  one\n\n  they go on\n\n  three",
                False,
            ),
            ({"num_paragraphs": 3, "nth_paragraph": 3, "first_word": "well"}, "a.\n\n  b.\n\n  Well, c.", True),
            (
                {"num_paragraphs": 3, "nth_paragraph": 2, "first_word": "Truly"},
                'a.\n\n  "Truly?! b."\n\n  c.',
                True,
            ),
            ({"num_paragraphs": 3, "nth_paragraph": 2, "first_word": "Truly"}, "a.\n\n  Tru!ly b.\n\n  c.", False),
        ]
    ),
    (
        "test_forbidden_words",
        "keywords:forbidden_words",
        {"forbidden_words": ["HOUSE", "POWER"]},
        "\n  They came to power\n  in spring.",
        False,
    ),
    (
        "test_forbidden_words",
        "keywords:forbidden_words",
        {"forbidden_words": ["HOUSE", "BECOME"]},
        "\n  It became warm\n  in spring.",
        True,
    ),
    (
        "test_forbidden_words",
        "keywords:forbidden_words",
        {"forbidden_words": ["GENE", "TRANSFORM"]},
        "\n  Generative transformers\n  are general.",
        True,
    ),
    *(
        ("test_two_responses", "combination:two_responses", {}, text, follows)
        for text, follows in [
            ("\n  One answer.\n  ******\n  Another answer.\n  ", True),
            ("\n  One answer.\n  ******\n  One answer.\n  ", False),
            ("\n  One.\n  ******\n  Two.\n  ******\n  Three.\n  ", False),
            ("\n  ******\n  One.\n  ******\n  ******\n  Two.\n  ******\n  ", False),
            ("\n  ******\n  One\n  ******\n  Two\n  ******\n  ", True),
        ]
    ),
    (
        "test_prompt_repeat_answer",
        "combination:repeat_prompt",
        {"prompt_to_repeat": "Name a river."},
        "Name a river. The Rhine,\n  say.\n  ",
        True,
    ),
    (
        "test_prompt_repeat_answer",
        "combination:repeat_prompt",
        {"prompt_to_repeat": "Name a river."},
        "The Rhine. Name a river. Yes.\n  ",
        False,
    ),
    (
        "test_end_checker",
        "startend:end_checker",
        {"end_phrase": "\n  Is that all?\n  "},
        "\n  It is 7. Is that all?\n  ",
        True,
    ),
    (
        "test_end_checker",
        "startend:end_checker",
        {"end_phrase": "\n  That is all.\n  "},
        "\n  I have to say that is all.\n  ",
        True,
    ),
    ("test_end_checker", "startend:end_checker", {"end_phrase": "\n  No.\n  "}, "\n  No. Rome is old.\n  ", False),
    ("test_title_checker", "detectable_format:title", {}, "\n  <<A Song>>\n  Sing.\n  ", True),
    ("test_title_checker", "detectable_format:title", {}, "\n  May it stand below?\n  <<It may>>\n  ", True),
    ("test_title_checker", "detectable_format:title", {}, "\n  << >>\n  None.\n  ", False),
    ("test_title_checker", "detectable_format:title", {}, "\n  <<Two lines.\n  No title.>>\n  ", False),
    (
        "test_letter_frequency_checker",
        "keywords:letter_frequency",
        {"letter": "S", "let_frequency": 4, "let_relation": "at least"},
        "\n  She saw S. One S.\n  ",
        True,
    ),
    (
        "test_letter_frequency_checker",
        "keywords:letter_frequency",
        {"letter": "b", "let_frequency": 4, "let_relation": "less than"},
        "\n  qwerty!!bB\n  ",
        True,
    ),
    (
        "test_letter_frequency_checker",
        "keywords:letter_frequency",
        {"letter": "p", "let_frequency": 4, "let_relation": "at least"},
        "\n  qwerty!!bB\n  ",
        False,
    ),
    (
        "test_english_capital_checker",
        "change_case:english_capital",
        {},
        "\n  ALL OF THIS IS WRITTEN IN CAPITALS!!! GOOD.\n  ",
        True,
    ),
    ("test_english_capital_checker", "change_case:english_capital", {}, "\n  Each Word Has One.\n  ", False),
    (
        "test_english_lowercase_checker",
        "change_case:english_lowercase",
        {},
        "\n  all of this is written in small letters.\n  ",
        True,
    ),
    (
        "test_english_lowercase_checker",
        "change_case:english_lowercase",
        {},
        "\n  Nearly all of this is written in small letters.\n  ",
        False,
    ),
    ("test_comma", "punctuation:no_comma", {}, "\n  It is short. It has none.\n  ", True),
    ("test_comma", "punctuation:no_comma", {}, "\n  In short, it has one.\n  ", False),
    (
        "test_capital_word_frequency",
        "change_case:capital_word_frequency",
        {"capital_frequency": 3, "capital_relation": "at least"},
        "\n  ONE of THREE MAny WORDS.\n  ",
        True,
    ),
    (
        "test_capital_word_frequency",
        "change_case:capital_word_frequency",
        {"capital_frequency": 5, "capital_relation": "less than"},
        "\n  SOME are Very LARGE WORDS HERE. Some Are Not.\n  ",
        True,
    ),
    (
        "test_capital_word_frequency",
        "change_case:capital_word_frequency",
        {"capital_frequency": 4, "capital_relation": "less than"},
        "\n  SOME are Very LARGE WORDS HERE. Some Are Not.\n  ",
        False,
    ),
    ("test_quotation", "startend:quotation", {}, '\n  "All of this is quoted."\n  ', True),
    ("test_quotation", "startend:quotation", {}, '\n  "This is quoted." This is not.\n  ', False),
]


@pytest.mark.parametrize(("method", "id_", "kwargs", "response", "follows"), OFFICIAL_KINDS)
def test_responses_of_the_kinds_that_the_official_tests_try(method, id_, kwargs, response, follows):
    truth = json.dumps({"instruction_id_list": [id_], "kwargs": [kwargs]})
    verdict = verify("ifeval", response, truth)
    assert (verdict.right, verdict.valid) == (follows, True), f"{OFFICIAL_TESTS}: {method}: {verdict.reason}"


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
        ('He said "Stop!" and left. Then (later) he came.', 3),
        ("all of it is small. so is this. and this", 3),
        ("the end... and so on. then more", 2),
        ("it was 3. then it was 4.5. and so on", 1),
        ("some fruit, e.g. plums, of p. 3", 1),
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
