"""The page of a run: what was made and what was not, as one HTML file that a person reads."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from personas.duplicates import distinct_curve
from personas.record import RECORDS_FILE
from tulu_data.pages import render
from tulu_data.rows import Row
from tulu_data.tables import printable

PAGE_FILE = "page.html"
BATCH = 1_000  # records that are read at once
CURVE_ROWS = 20_000  # accepted rows that the curve is of
MAX_ROWS = 5_000  # that the page holds; its counts are of all
MAX_FAMILIES = 60  # that the page counts
BINS = 24  # of a histogram
COLUMNS = (
    "id", "index", "accepted", "reject_reason", "reject_detail", "prompt", "messages", "persona", "family", "evidence",
    "verifier", "ground_truth", "vote_k", "vote_agreement", "constraints", "usd", "prompt_tokens", "completion_tokens",
)  # fmt: skip
EVIDENCE = {
    "vote": "by a majority of samples",
    "computed": "against a computed answer",
    "checked": "by every checker",
    "tests": "by tests that mutants fail",
    "program": "by a majority and a program",
    "rule": "by a rule on its wording",
}


def write_page(folder: Path, summary: Mapping[str, Any]) -> Path:
    """Writes the run's page beside its records, which are read a batch at a time."""
    file = pq.ParquetFile(folder / RECORDS_FILE)
    batches = file.iter_batches(batch_size=BATCH, columns=list(COLUMNS))
    path = folder / PAGE_FILE
    path.write_text(page(chain.from_iterable(b.to_pylist() for b in batches), summary), "utf-8", errors="replace")
    return path


def page(records: Iterable[Row], summary: Mapping[str, Any]) -> str:
    """The page as HTML. It holds the first `MAX_ROWS` rows, and the curve of the first `CURVE_ROWS` that were accepted;
    its counts are of all.
    """
    counted = _Counted()
    for record in records:
        counted.add(record)
    data = {"rows": counted.rows, "reasons": list(summary["rejected"]), "evidence": EVIDENCE}
    return render("run", data=data, **_view(counted, summary))


@dataclass
class _Counted:
    """What the page needs of the records: the first as the script shows them, and numbers of all."""

    total: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)
    prompts: list[str] = field(default_factory=list)
    prompt_words: list[int] = field(default_factory=list)
    answer_words: list[int] = field(default_factory=list)
    families: dict[str, list[int]] = field(default_factory=dict)  # → accepted, rejected

    def add(self, record: Row) -> None:
        self.total += 1
        if len(self.rows) < MAX_ROWS:
            self.rows.append(_short(record))
        self.families.setdefault(_family(record) or "no family", [0, 0])[not record["accepted"]] += 1
        if not record["accepted"]:
            return
        prompt = record["prompt"] or ""
        self.prompt_words.append(len(prompt.split()))
        self.answer_words.append(len(record["messages"][-1]["content"].split()))
        if len(self.prompts) < CURVE_ROWS:
            self.prompts.append(prompt)


# ------------------------------------------------------------ what the script shows


def _short(record: Row) -> dict[str, Any]:
    turns, prompt_tokens = record["messages"] or [], record["prompt_tokens"]
    return {
        "i": record["id"],
        "x": record["index"],
        "o": int(record["accepted"]),
        "r": record["reject_reason"],
        "d": record["reject_detail"],
        "p": record["prompt"] or "",
        "a": turns[-1]["content"] if len(turns) > 1 else "",
        "w": record["persona"],
        "f": _family(record),
        "e": record["evidence"],
        "v": record["verifier"],
        "t": _readable(record["ground_truth"]),
        "k": f"{record['vote_agreement']} of {record['vote_k']}" if record["vote_k"] else None,
        "c": [[c["text"], c["kept"], c["lacks"]] for c in record["constraints"]],
        "u": record["usd"],
        "n": None if prompt_tokens is None else prompt_tokens + (record["completion_tokens"] or 0),
    }


def _family(record: Row) -> str | None:
    """What a row is counted with: a procedure's family, or how many constraints its prompt has."""
    if record["family"]:
        return str(record["family"])
    count = len(record["constraints"])
    return f"{count:,} constraint{'s' * (count != 1)}" if count else None


def _readable(truth: str | None) -> str | None:
    """A truth with a line for each of its parts where it is a JSON object; others as they are."""
    if truth is None or not truth.startswith("{"):
        return truth
    try:
        return json.dumps(json.loads(truth), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return truth


# ------------------------------------------------------------ what the template shows


def _view(counted: _Counted, summary: Mapping[str, Any]) -> dict[str, Any]:
    total, name, skill = summary["records"], printable(summary["name"]), printable(summary["skill"])
    duplicates = sum(c for reason, c in summary["rejected"].items() if reason.endswith("duplicate prompt"))
    return {
        "title": name if name == skill else f"{name}: {skill}",
        "crumb": printable(summary["version"] or summary["name"]),
        "sentence": _sentence(summary),
        "bars": _bars(summary),
        "families": _families(counted.families),
        "curve": polyline(distinct_curve(counted.prompts)),
        "words": [
            ("Words of the prompts", histogram(counted.prompt_words)),
            ("Words of the answers", histogram(counted.answer_words)),
        ],
        "duplicates": f"{duplicates:,} of {_counted(total, 'row')} ({_share(duplicates, total)})",
        "cost": _cost(summary),
        "facts": [
            (name, printable(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)))
            for name, value in summary.items()
            if name not in ("format", "rejected") and value not in (None, {}, [])
        ],
        "held": len(counted.rows),
        "total": counted.total,
    }


def _share(part: int, whole: int) -> str:
    """A share with one digit after the point: 0 % and 100 % are said of nothing and of all alone."""
    if not whole or part in (0, whole):
        return "100\xa0%" if part else "0\xa0%"
    return f"{min(max(100 * part / whole, 0.1), 99.9):.1f}\xa0%"


def _bars(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    total = summary["records"]
    counts = [("accepted", "good", summary["accepted"]), *((r, "bad", c) for r, c in summary["rejected"].items())]
    return [
        {
            "reason": reason,
            "name": printable(reason),
            "kind": kind,
            "count": count,
            "width": round(100 * count / max(1, total), 2),
            "share": _share(count, total),
        }
        for reason, kind, count in counts
    ]


def _families(counts: Mapping[str, Sequence[int]]) -> list[tuple[str, int, int]]:
    """The families with the most rows, with how many were accepted and rejected."""
    most = sorted(counts.items(), key=lambda f: (-sum(f[1]), f[0]))
    return [(printable(family), kept, lost) for family, (kept, lost) in most[:MAX_FAMILIES]]


def _sentence(summary: Mapping[str, Any]) -> str:
    accepted, total, waiting = summary["accepted"], summary["records"], summary["waiting"]
    by = (
        "by procedures, without a model: free, the same every time, and no substitute for a model’s variety"
        if summary["model"].startswith("procedural/")
        else f"by {printable(summary['model'])}"
    )
    said = "No row is whole yet."
    if total:
        verb, made = "was" if accepted == 1 else "were", "It was made" if total == 1 else "They were made"
        said = f"{accepted:,} of {_counted(total, 'row')} ({_share(accepted, total)}) {verb} accepted. "
        said += f"{made} from {_counted(summary['personas_known'], 'persona')}, {by}."
    if waiting:
        verb = "waits" if waiting == 1 else "wait"
        said += f" {_counted(waiting, 'row')} {verb} for answers: the same command goes on."
    return said


def _counted(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'s' * (n != 1)}"


def _cost(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    if not summary["endpoints"]:
        return [("requests", "none were sent"), ("USD", "0")]
    usd, unpriced, accepted = summary["usd"], summary["unpriced"], summary["accepted"]
    known, each = f"{usd:,.4f}", f"{usd / accepted:,.5f}" if accepted else "none was accepted"
    if unpriced:
        known = f"{usd:,.4f}, and {_counted(unpriced, 'answer')} of unknown price" if usd else "not known"
        each = "not known"
    return [
        ("answers", f"{summary['requests']:,}"),
        ("prompt tokens", f"{summary['prompt_tokens']:,}"),
        ("completion tokens", f"{summary['completion_tokens']:,}"),
        ("USD", known),
        ("USD for an accepted row", each),
        *((f"{printable(name)} not honoured", _counted(n, "answer")) for name, n in summary["ignored"].items()),
    ]


def histogram(values: Sequence[int]) -> dict[str, Any]:
    """Counts in at most `BINS` equal bins, heights in percent of the fullest; and the median and the largest.

    Where a few values are far above the others, the last bin holds all that are above 99 % of the values.
    """
    if not values:
        return {"bars": [], "low": 0, "high": 0, "median": 0, "top": 0, "fullest": 0}
    ordered = sorted(values)
    low, high, usual = ordered[0], ordered[-1], ordered[(len(ordered) - 1) * 99 // 100]
    far = high - low > 2 * max(usual - low, BINS)
    top = usual if far else high
    step = -(-(top - low + 1) // (BINS - far))
    counts = [0] * (-(-(top - low + 1) // step) + far)
    for value in values:
        counts[-1 if value > top else (value - low) // step] += 1
    bars = [
        {"count": c, "height": round(100 * c / max(counts), 1), "words": _range(low + i * step, step, top)}
        for i, c in enumerate(counts)
    ]
    if far:
        bars[-1]["words"] = f"over {top:,} words"
    return {
        "bars": bars,
        "low": low,
        "high": high,
        "median": ordered[len(ordered) // 2],
        "top": top,
        "fullest": max(counts),
    }


def _range(first: int, step: int, top: int) -> str:
    last = min(first + step - 1, top)
    return _counted(first, "word") if first == last else f"{first:,}–{last:,} words"


def polyline(curve: Sequence[tuple[int, float]]) -> dict[str, Any]:
    """A curve of shares as the points of an SVG line in a box of 100 by 100, and its ends, which are labelled."""
    if not curve:
        return {"points": "", "ends": [], "last": 0}
    most = curve[-1][0]
    places = [(round(100 * n / most, 2), round(100 - 100 * share, 2)) for n, share in curve]
    ends = [
        {"n": n, "share": f"{100 * share:.1f}\xa0%", "x": x, "y": y}
        for (n, share), (x, y) in zip(curve, places, strict=True)
    ]
    return {
        "points": " ".join(f"{x:.2f},{y:.2f}" for x, y in places),
        "ends": ends[:: len(ends) - 1] if len(ends) > 1 else ends,
        "last": most,
    }
