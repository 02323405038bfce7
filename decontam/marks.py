"""What a person said of the pairs of an audit: a file beside its tables, one line for each thing said, never rewritten.

    {"format": "tulu-marks/1", "scan": "ts1-…"}
    {"set": "gsm", "row_sha": "3fa9…", "column": "messages", "message": 0, "suite": "math", "instance_id": "7",
     "mark": "false"}

The last line about a pair holds; a `mark` of null takes one back. Marks are of a scan, so every policy that is applied
to the scan can use them. They name rows by digest and can be carried over to a later scan of the same rows.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple, get_args

import pyarrow as pa

from tulu_data.errors import InputError
from tulu_data.manifest import canonical_json
from tulu_data.store import writing

FORMAT = "tulu-marks/1"
FILE = "marks.jsonl"

Mark = Literal["true", "false"]
MARKS: tuple[Mark, ...] = get_args(Mark)


class PairKey(NamedTuple):
    """What a pair is called by in every scan of the same rows and suites."""

    set: str
    row_sha: str  # hex
    column: str
    message: int
    suite: str
    instance_id: str


@dataclass(frozen=True)
class Marks:
    """The marks of a scan, by pair."""

    scan: str
    by_pair: Mapping[PairKey, Mark] = field(default_factory=dict)

    @staticmethod
    def load(folder: Path, scan: str) -> Marks | None:
        """The marks beside an audit of that scan; None where there are none, `InputError` where they are of another."""
        path = folder / FILE
        if not path.is_file():
            return None
        marks = Marks.read(path)
        if marks.scan != scan:
            raise InputError(
                f"{path}: holds marks of scan {marks.scan}, and this audit is of {scan}; move the file away, and carry"
                f" over what still fits: tulu review {folder} --import FILE"
            )
        return marks

    @staticmethod
    def read(path: Path) -> Marks:
        """The marks in a file; `InputError` names the line that is no mark."""
        found: dict[PairKey, Mark] = {}
        lines = list(_lines(path))
        if not lines or lines[0][1].get("format") != FORMAT or "scan" not in lines[0][1]:
            raise InputError(f"{path}:1: does not begin with {FORMAT!r} and its scan; is it a file of marks?")
        for place, line in lines[1:]:
            key, mark = _entry(place, line)
            found.pop(key, None)
            if mark is not None:
                found[key] = mark
        return Marks(str(lines[0][1]["scan"]), found)

    def of(self, pairs: pa.Table) -> pa.Array:
        """`(pairs,)` what was said of each: "true", "false" or null."""
        return pa.array([self.by_pair.get(key) for key in keys_of(pairs)], pa.string())

    def facts(self) -> dict[str, Any]:
        """How many there are, and a digest of them, for manifests."""
        listed = sorted((*key, mark) for key, mark in self.by_pair.items())
        counts = Counter(self.by_pair.values())
        return {mark: counts[mark] for mark in MARKS} | {"digest": sha256(canonical_json(listed)).hexdigest()}


def keys_of(pairs: pa.Table) -> list[PairKey]:
    """The keys of pairs, in order."""
    columns = [pairs[name].to_pylist() for name in PairKey._fields]
    return [PairKey(s, sha.hex(), *rest) for s, sha, *rest in zip(*columns, strict=True)]


def add(folder: Path, scan: str, said: Iterable[tuple[PairKey, Mark | None]]) -> Path:
    """Writes marks beside an audit, on disk when this returns; the file. `StoreError` where it cannot be written."""
    path = folder / FILE
    entries = [key._asdict() | {"mark": mark} for key, mark in said]
    with writing(folder, "AUDIT"), path.open("a+b") as file:
        file.truncate(_whole_lines(file))
        if file.tell() == 0:
            entries.insert(0, {"format": FORMAT, "scan": scan})
        file.write("".join(json.dumps(e, ensure_ascii=False) + "\n" for e in entries).encode())
        file.flush()
        os.fsync(file.fileno())
    return path


def _whole_lines(file: BinaryIO) -> int:
    """Bytes up to the last line break: after it stands what a killed review had not written whole."""
    file.seek(0)
    end = file.read().rfind(b"\n") + 1
    file.seek(end)
    return end


def _lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file of marks") from None
    except (OSError, UnicodeDecodeError) as e:
        raise InputError(f"{path}: cannot be read ({e})") from None
    for number, line in enumerate(lines, 1):
        try:
            value = json.loads(line)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            if number == len(lines):
                return  # what a killed review had not written whole
            raise InputError(f"{path}:{number}: is no JSON object; remove the line")
        yield f"{path}:{number}", value


def _entry(place: str, line: Mapping[str, Any]) -> tuple[PairKey, Mark | None]:
    missing = [name for name in (*PairKey._fields, "mark") if name not in line]
    if missing:
        raise InputError(f"{place}: has no {missing[0]!r}; remove the line")
    if line["mark"] not in (*MARKS, None):
        raise InputError(f"{place}: mark is {line['mark']!r}; write true, false (in quotes) or null")
    return PairKey(*(line[name] for name in PairKey._fields)), line["mark"]
