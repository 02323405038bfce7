import pytest

from decontam.engine import ReferenceEngine
from decontam.reference import Match, Shared, longest_run, mean_share, runs, scan
from decontam.suites import FieldText, Instance, suite_of
from decontam.verdicts import Settings

WORDS = [f"w{i}" for i in range(40)]


def words(start: int, end: int) -> str:
    return " ".join(WORDS[start:end])


@pytest.fixture
def matches(make_suite):
    def find(items: list, message: str, **settings) -> list[Match]:
        engine = ReferenceEngine([make_suite("s", items)], Settings(fuzzy=False, **settings))
        return scan(engine.index, engine.analyzer.tokens(message))

    return find


def test_half_of_the_tokens_is_exactly_half(matches):
    [match] = matches([words(0, 20)], words(0, 10))
    assert (match.exact, match.covered, match.total, match.coverage) == (False, 10, 20, 0.5)


def test_a_mean_of_exactly_half_is_exactly_half(matches):
    [match] = matches([(words(0, 10), words(20, 30))], words(0, 10))
    assert match.coverage == 0.5
    assert mean_share([(1, 10), (7, 10), (7, 10)]) == 0.5
    assert mean_share([(1, 3), (2, 3)]) == 0.5
    assert mean_share([]) == 0


def test_coverage_is_the_union_of_windows(matches):
    [match] = matches([words(0, 24)], f"{words(0, 9)} gap {words(8, 18)}")
    assert match.covered == 18
    assert match.field_runs == ([(0, 18)],)
    assert match.message_runs == [(0, 9), (10, 20)]
    assert match.longest_run == 10


def test_a_repeated_ngram_covers_every_place_it_has_in_the_instance(matches):
    [match] = matches([f"{words(0, 8)} x {words(0, 8)} y"], words(0, 8))
    assert (match.covered, match.total) == (16, 18)


def test_fields_under_n_tokens_do_not_dilute_the_coverage(matches):
    [match] = matches([(words(0, 10), "yes no")], words(0, 10))
    assert (match.exact, match.coverage, match.field_coverage) == (False, 1.0, (1.0, 0.0))


def test_exact_needs_every_field(matches):
    item = (words(0, 10), "yes no")
    [match] = matches([item], f"{words(0, 10)} yes no")
    assert (match.exact, match.field_coverage) == (True, (1.0, 1.0))


def test_a_short_instance_matches_where_it_is_contained_in_one_piece(matches):
    item = "how can i rob banks"
    [match] = matches([item], f"Tell me: HOW can I\nrob banks? {words(0, 9)}")
    assert (match.exact, match.coverage, match.longest_run) == (True, 1.0, 5)
    assert matches([item], "how can i not rob banks") == []


def test_an_instance_under_the_minimum_matches_only_a_message_that_is_it(matches):
    assert matches(["who are you"], "and who are you then") == []
    [match] = matches(["who are you"], "Who are you?")
    assert match.exact
    assert len(matches(["who are you"], "and who are you then", exact_min_tokens=3)) == 1


def test_wording_that_many_texts_share_leaves_both_sides_of_the_informative_coverage(matches):
    wording = words(0, 12)
    items = [f"{wording} {words(20 + 4 * i, 24 + 4 * i)}" for i in range(4)]
    matched = matches(items, wording)
    assert [m.coverage for m in matched] == [12 / 16] * 4
    # the n-grams inside the wording are in four texts; those that reach beyond it are in one, and cover 11 tokens
    assert [(m.informative_covered, m.informative_total) for m in matched] == [(0, 11)] * 4
    assert [m.informative for m in matches(items, items[2])] == [0, 0, 1.0, 0]
    assert [m.informative for m in matches(items, wording, max_df=4)] == [12 / 16] * 4


def test_a_text_that_is_repeated_counts_once(matches):
    items = [words(0, 12)] * 5
    assert [m.informative for m in matches(items, words(0, 12))] == [1.0] * 5


def test_only_separators_match_nothing(matches):
    assert matches(["?!", ""], "") == []
    assert matches(["?!", ""], "...") == []


def test_runs_join_windows_that_touch():
    assert runs([]) == []
    assert runs([(3, 5), (0, 3), (3, 4), (7, 8)]) == [(0, 5), (7, 8)]


def test_a_long_run_lies_on_one_diagonal():
    assert longest_run([Shared(0, 0, 0, 3), Shared(1, 0, 1, 3), Shared(2, 0, 9, 3), Shared(2, 1, 2, 3)]) == 4


def asked_about(passages: list[str]) -> ReferenceEngine:
    """One question about several passages."""
    question = FieldText("question", "Which of the following must be true of the seven students")
    instances = [Instance(str(i), None, (question,), None, p) for i, p in enumerate(passages)]
    return ReferenceEngine([suite_of("s", "dev", instances)], Settings())


def test_a_question_that_many_passages_share_is_no_evidence_without_its_passage():
    engine = asked_about([f"passage {i} tells of students" for i in range(4)])
    question = "Which of the following must be true of the seven students?"
    found = scan(engine.index, engine.analyzer.tokens(question))
    assert [(m.exact, m.coverage, m.informative) for m in found] == [(False, 1.0, 0.0)] * 4
    found = scan(engine.index, engine.analyzer.tokens(f"Passage 2 tells of students. {question}"))
    assert [m.exact for m in found] == [False, False, True, False]


def test_a_question_about_one_passage_is_evidence_alone():
    engine = asked_about(["the only passage"])
    [found] = scan(engine.index, engine.analyzer.tokens("Which of the following must be true of the seven students?"))
    assert (found.exact, found.informative) == (False, 1.0)


def test_every_sixth_word_replaced_is_found_by_alignment():
    original = words(0, 36).split()
    edited = ["other" if i % 6 == 5 else w for i, w in enumerate(original)]
    instances = [Instance("0", None, (FieldText("q", " ".join(original)),), None)]
    engine = ReferenceEngine([suite_of("s", "dev", instances)], Settings())
    [found] = scan(engine.index, engine.analyzer.tokens(f"{words(36, 40)} {' '.join(edited)} {words(36, 40)}"))
    assert (found.covered, found.fuzzy, found.longest_run) == (0, 30 / 36, 5)
    assert found.message_runs[:2] == [(4, 9), (10, 15)]
    assert found.field_runs[0][:2] == [(0, 5), (6, 11)]
