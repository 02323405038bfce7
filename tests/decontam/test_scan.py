import pytest

from decontam.analyzers import ANALYZERS
from decontam.index import Index, analyse
from decontam.scan import Match, Shared, longest_run, mean_share, runs, scan

WORDS = [f"w{i}" for i in range(40)]


def words(start: int, end: int) -> str:
    return " ".join(WORDS[start:end])


@pytest.fixture
def matches(make_suite):
    def find(items: list, message: str, *, n: int = 8, threshold: float = 0.5, minimum: int = 5) -> list[Match]:
        analyzer = ANALYZERS["unicode"]
        index = Index(analyse([make_suite("s", items)], analyzer), n, minimum)
        return scan(index, analyzer.tokens(message), threshold)

    return find


def test_half_of_the_tokens_is_not_more_than_half(matches):
    assert matches([words(0, 20)], words(0, 10)) == []
    [match] = matches([words(0, 19)], words(0, 10))
    assert (match.layers, match.covered, match.total) == (("tulu3",), 10, 19)


def test_a_mean_of_exactly_half_is_not_more_than_half(matches):
    assert matches([(words(0, 10), words(20, 30))], words(0, 10)) == []
    assert mean_share([(1, 10), (7, 10), (7, 10)]) == 0.5
    assert mean_share([(1, 3), (2, 3)]) == 0.5


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
    assert (match.layers, match.coverage, match.field_coverage) == (("tulu3",), 1.0, (1.0, 0.0))


def test_exact_needs_every_field(matches):
    item = (words(0, 10), "yes no")
    [match] = matches([item], f"{words(0, 10)} yes no")
    assert (match.layers, match.field_coverage) == (("exact", "tulu3"), (1.0, 1.0))


def test_a_short_instance_matches_where_it_is_contained_in_one_piece(matches):
    item = "how can i rob banks"
    [match] = matches([item], f"Tell me: HOW can I\nrob banks? {words(0, 9)}")
    assert (match.layers, match.coverage, match.longest_run) == (("exact",), 1.0, 5)
    assert matches([item], "how can i not rob banks") == []


def test_an_instance_under_the_minimum_matches_only_a_message_that_is_it(matches):
    assert matches(["who are you"], "and who are you then") == []
    [match] = matches(["who are you"], "Who are you?")
    assert match.layers == ("exact",)
    assert len(matches(["who are you"], "and who are you then", minimum=3)) == 1


def test_only_separators_match_nothing(matches):
    assert matches(["?!", ""], "") == []
    assert matches(["?!", ""], "...") == []


def test_runs_join_windows_that_touch():
    assert runs([]) == []
    assert runs([(3, 5), (0, 3), (3, 4), (7, 8)]) == [(0, 5), (7, 8)]


def test_a_long_run_lies_on_one_diagonal():
    assert longest_run([Shared(0, 0, 0, 3), Shared(1, 0, 1, 3), Shared(2, 0, 9, 3), Shared(2, 1, 2, 3)]) == 4
