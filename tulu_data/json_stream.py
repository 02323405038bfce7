"""The values of a JSON text, taken one after another without holding the text whole."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

from tulu_data.unpack import BLOCK, first_line

DECODER = json.JSONDecoder()

_ESCAPED_BYTE = re.compile("[\udc80-\udcff]")  # what "surrogateescape" makes of a byte that is not UTF-8
_NOT_SPACE = re.compile(r"[^ \t\r\n]")
_AFTER_TOKEN = re.compile(r"[^\w.+-]")
_LONGEST_TOKEN = len(r"\ud83d\ude00")  # the longest that is an error, not an open string, when it is cut in two


class Item(NamedTuple):
    """A value, or why there is none; `chars` is its length as text."""

    value: Any
    problem: str | None
    chars: int


class Readable(Protocol):
    """A source of bytes."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end."""


def bad_byte(text: str, start: int = 0, end: int | None = None) -> str | None:
    """The complaint about a text decoded with "surrogateescape" that was not UTF-8; None for one that was."""
    found = _ESCAPED_BYTE.search(text, start, len(text) if end is None else end)
    return found and f"not UTF-8: byte 0x{ord(found.group()) - 0xDC00:02x}; re-encode the file as UTF-8"


def may_be_cut(e: json.JSONDecodeError, length: int) -> bool:
    """Whether a value that failed in a text of this length may only want for its rest."""
    return e.msg.startswith("Unterminated string") or e.pos >= length - _LONGEST_TOKEN


class JsonText:
    """A JSON text that is read as far as its values are taken. Bytes that are not UTF-8 spoil only their value."""

    def __init__(self, stream: Readable, block: int = BLOCK) -> None:
        self._stream, self._block = stream, block
        self._utf8 = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._text, self._at, self._lines, self._ended = "", 0, 0, False

    def _more(self) -> bool:
        rest = len(self._text) - self._at
        # As much again as is held: a value of n characters is scanned O(log n) times, O(n) in all.
        data = self._stream.read(max(self._block, rest))
        self._ended = not data
        self._lines += self._text.count("\n", 0, self._at)
        self._text = self._text[self._at :] + self._utf8.decode(data, final=self._ended)
        self._at = 0
        return not self._ended

    def peek(self) -> str:
        """The next character that is not white space, or "" at the end."""
        while True:
            found = _NOT_SPACE.search(self._text, self._at)
            if found:
                self._at = found.start()
                return found.group()
            self._at = len(self._text)
            if self._ended or not self._more():
                return ""

    def skip(self) -> str:
        """Passes the character that `peek` gave; the next one."""
        self._at += 1
        return self.peek()

    def take(self) -> Item:
        """The value that starts here. `ValueError` or `RecursionError` where there is none."""
        while True:
            try:
                value, end = DECODER.raw_decode(self._text, self._at)
            except json.JSONDecodeError as e:
                if self._ended or not may_be_cut(e, len(self._text)):
                    raise
            else:
                tail = 2 if isinstance(value, int | float) else 0  # "1" may be the start of "1e+9"
                if end + tail < len(self._text) or self._ended:
                    break
            self._more()
        item = Item(value, bad_byte(self._text, self._at, end), end - self._at)
        self._at = end
        return item

    def explain(self, e: BaseException) -> str:
        """What is wrong with the value that starts here, given what `take` raised."""
        if isinstance(e, RecursionError):
            return "malformed JSON: nested too deeply"
        position = e.pos if isinstance(e, json.JSONDecodeError) else self._at
        line = self._lines + self._text.count("\n", 0, position) + 1
        if not isinstance(e, json.JSONDecodeError):
            return f"malformed JSON on line {line} ({first_line(e)})"
        is_cut = e.msg.startswith("Unterminated string") or not _AFTER_TOKEN.search(self._text, position)
        return f"the file is cut off on line {line}" if is_cut else f"malformed JSON on line {line} ({e.msg})"


def array_items(text: JsonText) -> Iterator[Item]:
    """The items of the array that starts here; where it is broken, a last one says how."""
    mark = "" if text.skip() == "]" else ","
    while mark == ",":
        try:
            item = text.take()
        except (ValueError, RecursionError) as e:
            yield _broken(text.explain(e) if text.peek() else "the file is cut off")
            return
        yield item
        mark = text.peek()
        if mark == ",":
            text.skip()
        elif mark != "]":
            yield _broken(f"expected ',' or ']' after the item before, got {mark!r}" if mark else "the file is cut off")
            return
    if text.skip():
        yield _broken("there is text after the array's end")


def _broken(why: str) -> Item:
    return Item(None, f"{why}; the items before are kept, mend the file from here on", 0)
