"""What is printed: tables that fit, and data that cannot command the terminal."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tulu_data.tables import percent, print_json, print_table, printable

HOSTILE = "\x1b[2J\x1b]0;owned\x07 \x9b31m \u202etxt.exe\u2066 [bold]x[/bold]"


def test_control_characters_and_bidi_overrides_are_shown_not_obeyed():
    assert printable(HOSTILE) == ("\\x1b[2J\\x1b]0;owned\\x07 \\x9b31m \\u202etxt.exe\\u2066 [bold]x[/bold]")


@given(st.text())
def test_printable_text_holds_no_control_character_but_line_feed_and_tab(text):
    assert not [c for c in printable(text) if (ord(c) < 32 and c not in "\n\t") or 127 <= ord(c) < 160]


@given(st.text(st.characters(categories=["L", "N", "P", "S"])))
def test_ordinary_text_is_printed_as_it_is(text):
    assert printable(text) == text


def test_a_hostile_cell_or_header_reaches_the_output_inert(capsys):
    print_table("t", ["what"], [[HOSTILE]])
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "[bold]x[/bold]" in out


def test_numbers_stand_right_with_thousands_and_absent_ones_are_blank(capsys):
    print_table("t", ["name", "rows"], [["a", 1234567], ["b", None]])
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines[3:5] == ["a     1,234,567", "b"]


@pytest.mark.parametrize(("part", "whole", "text"), [(1, 8, "12.50 %"), (0, 5, "0.00 %"), (0, 0, "-")])
def test_a_share_of_nothing_is_a_dash(part, whole, text):
    assert percent(part, whole) == text


def test_json_is_one_document(capsys):
    print_json({"a": [1, "é"]})
    assert json.loads(capsys.readouterr().out) == {"a": [1, "é"]}
