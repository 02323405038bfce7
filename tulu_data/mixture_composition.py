"""What a version is made of, as its page shows it: topics, sources, parts, licences, and what these allow."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from tulu_data import composition
from tulu_data.composition import PartShare, SourceShare
from tulu_data.license_terms import canonical
from tulu_data.licenses import LicenseUse, verdict
from tulu_data.manifest import Manifest
from tulu_data.mixture_samples import Columns
from tulu_data.tables import printable

COLOURS = 8  # kinds of colour; what comes after shares the last
LISTED = 60  # sources, parts or sets that are listed one by one

# What the categories of arXiv 2411.15124, Table 7, are of
TOPICS = {
    "General": "general chat",
    "Knowledge": "knowledge recall",
    "Math": "math reasoning",
    "Coding": "coding",
    "Safety": "safety and non-compliance",
    "Multilingual": "multilingual",
    "IF": "precise instruction following",
}


def groups_of(described: Manifest) -> list[dict[str, Any]]:
    """Topics with their sources, the most rows first; without any topic each source is a group of its own."""
    sources = composition.shares(described)
    asked = {t.topic: t for t in composition.topics(described)}
    listed = {s.source for s in sources}
    own = {p.part: p for p in composition.parts(described) if p.part in listed and len(p.sources) == 1}
    by_topic: dict[str | None, list[SourceShare]] = defaultdict(list)
    for source in sources:
        by_topic[source.topic].append(source)
    if set(by_topic) == {None}:
        return [
            _group(None, [s], None, i, described, own) | {"name": s.source, "lines": []} for i, s in enumerate(sources)
        ]
    ordered = sorted(by_topic, key=lambda t: (t is None, -sum(s.rows for s in by_topic[t]), t or ""))
    return [_group(t, by_topic[t], asked.get(t), i, described, own) for i, t in enumerate(ordered)]


def _group(
    topic: str | None,
    sources: Sequence[SourceShare],
    asked: composition.TopicShare | None,
    number: int,
    described: Manifest,
    own: Mapping[str, PartShare],
) -> dict[str, Any]:
    logical = described.logical
    tokens = sum(s.tokens or 0 for s in sources) if logical.tokens is not None else None
    rows = sum(s.rows for s in sources)
    return {
        "name": topic or "no topic",
        "words": TOPICS.get(topic or "", ""),
        "colour": min(number, COLOURS - 1),
        **_amounts(rows, tokens, logical.rows, logical.tokens),
        "asked": None if asked is None or asked.asked is None else round(100 * asked.asked, 3),
        "asked_in": _unit(described),
        "asked_words": None if asked is None or asked.asked is None else percent(asked.asked),
        "licences": sorted({name for s in sources for name in s.licenses}),
        "copies": sum(s.copies for s in sources),
        "part": _asked_of(own.get(sources[0].source)) if len(sources) == 1 else None,
        "lines": [
            {
                "name": s.source,
                **_amounts(s.rows, s.tokens, logical.rows, logical.tokens),
                "licences": sorted(s.licenses),
                "copies": s.copies,
                "part": _asked_of(own.get(s.source)),
            }
            for s in sources[:LISTED]
        ],
        "more": max(0, len(sources) - LISTED),
    }


def _amounts(rows: int, tokens: int | None, all_rows: int, all_tokens: int | None) -> dict[str, Any]:
    share = rows / all_rows if all_rows else 0.0
    token_share = tokens / all_tokens if tokens is not None and all_tokens else share
    return {
        "rows": rows,
        "tokens": tokens,
        "share": round(100 * share, 3),
        "token_share": round(100 * token_share, 3),
        "row_words": percent(share),
        "token_words": percent(token_share),
    }


def _unit(described: Manifest) -> str:
    """What shares were asked for in."""
    return next((p.unit for p in composition.parts(described)), "rows")


def _asked_of(part: PartShare | None) -> dict[str, Any] | None:
    if part is None:
        return None
    met = part.achieved == part.asked
    words = f"{part.asked:,} {part.unit}"
    return {"words": words, "met": met, "came": None if part.achieved is None else f"{part.achieved:,}"}


def stack_of(groups: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The segments of the one bar over all: groups, and within each its sources, as shares of the group."""
    keys = ("colour", "name", "share", "token_share", "row_words", "token_words")
    return [
        {key: g[key] for key in keys}
        | {
            "lines": [
                {"name": line["name"], "words": line["row_words"]}
                | {key: round(100 * line[key] / g[key], 3) if g[key] else 0 for key in ("share", "token_share")}
                for line in g["lines"]
            ]
        }
        for g in groups
    ]


def parts_of(described: Manifest) -> list[dict[str, Any]]:
    """The parts as they were asked for, and from which version each was taken."""
    return [
        p._asdict() | {"take": taken(p.take), "asked": _asked_of(p), "share": percent(p.share)}
        for p in composition.parts(described)[:LISTED]
    ]


def taken(take: Mapping[str, Any]) -> str:
    """What was asked of a part, as a recipe says it.

    >>> taken({"count": 300, "where": "n_turns = 2"})
    'count: 300, where: n_turns = 2'
    """
    return ", ".join(
        f"{key}: {str(value).lower() if isinstance(value, bool) else value}" for key, value in take.items()
    )


def licences_of(described: Manifest, columns: Columns) -> list[dict[str, Any]]:
    """The licences with their shares of rows and tokens, the most rows first, and what each demands."""
    tokens: dict[str, int] = defaultdict(int)
    for name, count in columns.license_tokens.items():
        tokens[canonical(name)] += count
    logical = described.logical
    return [
        {
            "name": use.license,
            "known": use.known,
            "demands": ", ".join(use.demands) or ("none" if use.known else "not known"),
            "url": use.url,
            "sources": len(use.sources),
            **_amounts(
                use.rows or 0,
                tokens[canonical(use.license)] if columns.tokens is not None else None,
                logical.rows,
                logical.tokens,
            ),
        }
        for use in composition.licences(described)[:LISTED]
    ]


def publishing(found: Sequence[LicenseUse]) -> dict[str, Any]:
    """Whether it may be passed on: an answer, the same as part of a sentence, and the sentences behind them.

    By the licences on record of the rows; no legal advice.
    """
    demands = {demand for use in found for demand in use.demands}
    unknown = sum(use.rows or 0 for use in found if not use.known)
    if not found:
        tone, answer, words = "warn", "No rows, no licence", "no licence is on record"
    elif unknown:
        left = f"{unknown:,} row{' has' if unknown == 1 else 's have'} no known terms"
        tone, answer, words = "warn", f"Not settled: {left}", f"publishing is not settled: {left}"
    elif "no-derivatives" in demands:
        tone, answer, words = (
            "bad",
            "Not changed: a licence rules it out",
            "a licence rules out publishing changed rows",
        )
    else:
        asks = {
            "non-commercial": "for non-commercial use",
            "share-alike": "under the same terms",
            "custom terms": "under terms of their own, to be read",
            "attribution": "with attribution",
        }
        limits = ", ".join(text for demand, text in asks.items() if demand in demands)
        tone = "warn" if demands - {"attribution"} else "good"
        answer = f"Yes, {limits}" if limits else "Yes"
        words = f"may be published {limits}".strip()
    return {"tone": tone, "answer": answer, "words": words, "lines": verdict(found)}


def percent(share: float) -> str:
    """A share for people; what is not all, or not nothing, does not read as if it were.

    >>> percent(0.00123), percent(0.083), percent(1.0), percent(0.99997), percent(0.00001), percent(0.0)
    ('0.12 %', '8.3 %', '100 %', 'over 99.9 %', 'under 0.01 %', '0 %')
    """
    value = 100 * share
    if not 0 < value < 100:
        return f"{value:.0f} %"
    if value < 0.005:
        return "under 0.01 %"
    return f"{value:.2f} %" if value < 1 else f"{value:.1f} %" if value < 99.95 else "over 99.9 %"


def shown(value: Any) -> Any:
    """What a template shows, its texts printable: bidi overrides and control characters are shown, not obeyed."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, Mapping):
        return {key: shown(v) for key, v in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(shown, value))
    return [shown(v) for v in value] if isinstance(value, list | tuple) else value
