"""The page of a run: what was made and what was not, as one HTML file that a person reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from personas.duplicates import distinct_curve
from personas.record import RECORDS_FILE
from tulu_data.pages import render
from tulu_data.rows import Row

MAX_ROWS = 5_000  # that the page holds; its counts are of all
BINS = 24  # of a histogram
COLUMNS = (
    "id", "index", "accepted", "reject_reason", "reject_detail", "prompt", "messages", "persona", "family", "evidence",
    "verified", "verifier", "ground_truth", "vote_k", "vote_agreement", "constraints", "usd", "prompt_tokens",
    "completion_tokens", "model",
)  # fmt: skip
NOT_READ = {
    "vote": "by a majority of samples",
    "computed": "against a computed answer",
    "checked": "by every checker",
    "tests": "by tests that mutants fail",
    "program": "by a majority and a program",
    "rule": "by a rule on its wording",
}


def write_page(folder: Path, summary: Mapping[str, Any]) -> Path:
    """Writes the run's page beside its records."""
    records = pq.read_table(folder / RECORDS_FILE, columns=list(COLUMNS)).to_pylist()
    path = folder / "page.html"
    path.write_text(page(records, summary), encoding="utf-8", errors="replace")
    return path


def page(records: Sequence[Row], summary: Mapping[str, Any]) -> str:
    """The page as HTML. It holds the first `MAX_ROWS` rows."""
    rows = [_short(r) for r in records[:MAX_ROWS]]
    return render("run", data={"rows": rows, "reasons": list(summary["rejected"])}, **_view(records, summary))


def _short(record: Row) -> dict[str, Any]:
    turns = record["messages"] or []
    return {
        "i": record["id"],
        "x": record["index"],
        "o": int(record["accepted"]),
        "r": record["reject_reason"],
        "d": record["reject_detail"],
        "p": record["prompt"] or "",
        "a": turns[-1]["content"] if len(turns) > 1 else "",
        "w": record["persona"],
        "f": record["family"],
        "e": record["evidence"],
        "v": record["verifier"],
        "t": record["ground_truth"],
        "k": f"{record['vote_agreement']} of {record['vote_k']}" if record["vote_k"] else None,
        "c": [[c["text"], c["kept"], c["lacks"]] for c in record["constraints"]],
        "u": record["usd"],
        "n": None if record["prompt_tokens"] is None else record["prompt_tokens"] + (record["completion_tokens"] or 0),
    }


def _view(records: Sequence[Row], summary: Mapping[str, Any]) -> dict[str, Any]:
    accepted = [r for r in records if r["accepted"]]
    total = summary["records"]
    bars = [{"name": "accepted", "count": summary["accepted"], "kind": "good"}]
    bars += [{"name": reason, "count": count, "kind": "bad"} for reason, count in summary["rejected"].items()]
    for bar in bars:
        bar["width"] = round(100 * bar["count"] / max(1, total), 2)
        bar["share"] = f"{100 * bar['count'] / max(1, total):.1f} %"
    families: dict[str, list[int]] = {}
    for record in records:
        counts = families.setdefault(record["family"] or _constraint_types(record) or "all", [0, 0])
        counts[not record["accepted"]] += 1
    duplicates = sum(c for reason, c in summary["rejected"].items() if reason.endswith("duplicate prompt"))
    curve = distinct_curve(r["prompt"] for r in accepted)
    return {
        "title": f"{summary['name']}: {summary['skill']}",
        "summary": summary,
        "sentence": _sentence(summary),
        "bars": bars,
        "families": sorted(((f, a, r) for f, (a, r) in families.items()), key=lambda f: (-f[1] - f[2], f[0]))[:60],
        "prompt_lengths": histogram([len((r["prompt"] or "").split()) for r in accepted]),
        "answer_lengths": histogram([len(r["messages"][-1]["content"].split()) for r in accepted]),
        "curve": polyline(curve),
        "distinct": f"{100 * curve[-1][1]:.1f} %" if curve else "–",
        "duplicates": duplicates,
        "duplicate_share": f"{100 * duplicates / max(1, total):.1f} %",
        "cost": _cost(summary),
        "facts": [
            (k, str(v)) for k, v in summary.items() if k not in ("format", "rejected") and v not in (None, {}, [])
        ],
        "held": min(len(records), MAX_ROWS),
        "total": len(records),
    }


def _constraint_types(record: Row) -> str:
    return str(len(record["constraints"])) + " constraints" if record["constraints"] else ""


def _sentence(summary: Mapping[str, Any]) -> str:
    accepted, total = summary["accepted"], summary["records"]
    share = f"{100 * accepted / total:.0f} %" if total else "none"
    by = (
        "by procedures, without a model: free, the same every time, and no substitute for a model’s variety"
        if summary["model"].startswith("procedural/")
        else f"by {summary['model']}"
    )
    waiting = f" {summary['waiting']:,} rows wait for answers: the same command goes on." if summary["waiting"] else ""
    known = f"{summary['personas_known']:,} personas"
    return f"{accepted:,} of {total:,} rows ({share}) were accepted. They were made {by}, from {known}.{waiting}"


def _cost(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    if not summary["endpoints"]:
        return [("requests", "none were sent"), ("USD", "0")]
    usd = summary["usd"]
    known = f"{usd:,.4f}" + (f", and {summary['unpriced']:,} answers without a price" if summary["unpriced"] else "")
    each = f"{usd / summary['accepted']:,.5f}" if summary["accepted"] and not summary["unpriced"] else "–"
    return [
        ("answers", f"{summary['requests']:,}"),
        ("prompt tokens", f"{summary['prompt_tokens']:,}"),
        ("completion tokens", f"{summary['completion_tokens']:,}"),
        ("USD", known),
        ("USD for an accepted row", each),
    ]


def histogram(values: Sequence[int]) -> dict[str, Any]:
    """Counts in `BINS` equal bins, heights in percent of the fullest; and the median and the largest."""
    if not values:
        return {"bars": [], "low": 0, "high": 0, "median": 0}
    low, high = min(values), max(values)
    step = max(1, -(-(high - low + 1) // BINS))
    counts = [0] * (-(-(high - low + 1) // step))
    for value in values:
        counts[(value - low) // step] += 1
    fullest = max(counts)
    bars = [
        {
            "height": round(100 * c / fullest, 1),
            "title": f"{low + i * step}–{low + (i + 1) * step - 1} words: {c:,} rows",
        }
        for i, c in enumerate(counts)
    ]
    return {"bars": bars, "low": low, "high": high, "median": sorted(values)[len(values) // 2]}


def polyline(curve: Sequence[tuple[int, float]]) -> dict[str, Any]:
    """A curve as the points of an SVG line in a box of 100 by 40."""
    if not curve:
        return {"points": "", "last": 0}
    most = curve[-1][0]
    points = " ".join(f"{100 * n / most:.2f},{40 - 40 * share:.2f}" for n, share in curve)
    return {"points": points, "last": most}
