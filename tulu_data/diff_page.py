"""The page of a diff: what changed between two versions, as one HTML file that a person reads and searches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any

import numpy as np
import numpy.typing as npt

from tulu_data import composition
from tulu_data.diff import Amount, Compared, Diff, Record, batches_of, compare_rows, diff, grouped, topics_of_both
from tulu_data.funnel import Way, stages_of, ways
from tulu_data.licenses import verdict
from tulu_data.mixture_composition import percent, shown
from tulu_data.pages import render
from tulu_data.rows import SPECS, Row, digest_matrix
from tulu_data.store import Version
from tulu_data.take import keys, ranked, salt

ROWS = 300  # of each side, and of those that changed
MESSAGE_CHARS = 12_000  # of a text
LEAD_CHARS = 1_500  # of what two long texts have in common before they differ
NOTHING = "–"

STAGE_WORDS = {
    "rejected": "rejected",
    "filtered": "filtered",
    "deduplicated": "duplicates",
    "decontaminated": "overlaps",
}


def page(a: Version, b: Version, *, rows: int = ROWS) -> str:
    """The page as HTML. It holds `rows` of the rows only in A, as many only in B and as many that changed, by hash
    rank; its counts are of all. `UsageError` for versions of different schemas.
    """
    compared = compare_rows(a, b)
    found = diff(a, b, examples=0, rows=compared)
    chosen = {
        "a": _sample(a, compared.only_a, rows),
        "b": _sample(b, compared.only_b, rows),
        "c": compared.changed[_places(b, compared.changed[:, 1], rows)],
    }
    return render("diff", parts=("worddiff",), data=page_data(a, b, chosen), **shown(page_view(a, b, found, chosen)))


# ------------------------------------------------------------ what the script shows


def page_data(a: Version, b: Version, chosen: Mapping[str, npt.NDArray[np.int64]]) -> dict[str, Any]:
    """Rows: those that changed first, message by message; then those of either side, each in hash rank."""
    changed = chosen["c"].reshape(-1, 2)
    pairs = zip(_read(a, changed[:, 0]), _read(b, changed[:, 1]), strict=True)
    entries = [_changed_entry(b, one, other) for one, other in pairs]
    for side, version in (("a", a), ("b", b)):
        entries += [_entry(side, version, row) for row in _read(version, chosen[side])]
    return {"rows": entries}


def _sample(version: Version, rows: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
    return rows[_places(version, rows, count)]


def _places(version: Version, rows: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
    """The places in `rows` of the `count` that come first by hash rank: the same whatever the order of a version."""
    order = np.argsort(rows, kind="stable")
    digests = [digest_matrix(batch["row_sha"]) for batch in batches_of(version, rows[order], ["row_sha"])]
    if not digests:
        return np.empty(0, np.int64)
    sha = np.ascontiguousarray(np.concatenate(digests)).view(np.uint64)[:, 0].copy()
    rank = keys(sha, np.zeros(len(sha), np.int64), salt(0, "diff"))
    return order[ranked(rank, sha)[:count]]


def _read(version: Version, rows: npt.NDArray[np.int64]) -> Iterator[Row]:
    """These rows in the order in which they are asked for."""
    order = np.argsort(rows, kind="stable")
    columns = [name for name in SPECS[version.kind].schema.names if name not in ("prov", "prompt_sha")]
    read = [row for batch in batches_of(version, rows[order], columns) for row in batch.to_pylist()]
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    yield from (read[i] for i in place)


def _entry(side: str, version: Version, row: Row) -> dict[str, Any]:
    texts = [[label, text[:MESSAGE_CHARS], int(len(text) > MESSAGE_CHARS)] for label, text in _texts(version, row)]
    return _about(side, row) | {"t": texts}


def _about(side: str, row: Row) -> dict[str, Any]:
    subset = "" if row["subset"] == row["source"] else row["subset"] or ""
    more = [row["license"] or "", subset, ", ".join(row["tags"] or ())]
    return {"k": side, "h": side + row["row_sha"].hex()[:12], "i": row["id"], "s": row["source"], "m": more}


def _texts(version: Version, row: Row) -> list[tuple[str, str]]:
    """The content of a row, as label and text: messages by role, then what else enters its digest."""
    spec = SPECS[version.kind]
    found = []
    for column in spec.message_columns:
        for message in row[column]:
            label = message["role"] if column == "messages" else f"{column}: {message['role']}"
            found.append((label, message["content"]))
            optional = ("name", "tool_calls", "tool_call_id")
            found += [(f"{label}, {key}", message[key]) for key in optional if message.get(key)]
    return found + [(column, row[column]) for column in spec.scalar_columns if row.get(column) is not None]


def _changed_entry(version: Version, one: Row, other: Row) -> dict[str, Any]:
    about = {"licence": "license", "source": "source", "subset": "subset"}
    told = [[name, one[key] or "", other[key] or ""] for name, key in about.items() if one[key] != other[key]]
    return _about("c", other) | {"d": told, "u": list(_aligned(_texts(version, one), _texts(version, other)))}


def _aligned(a: Sequence[tuple[str, str]], b: Sequence[tuple[str, str]]) -> Iterator[list[Any]]:
    """[label, text in A, text in B, cut before, cut after]; None where a side lacks it, 0 in B where it is A's."""
    for tag, a0, a1, b0, b1 in SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        if tag == "equal":
            yield from ([label, text[:MESSAGE_CHARS], 0, 0, int(len(text) > MESSAGE_CHARS)] for label, text in a[a0:a1])
            continue
        left, right = list(a[a0:a1]), list(b[b0:b1])
        labels = SequenceMatcher(None, [x for x, _ in left], [x for x, _ in right], autojunk=False)
        for inner, i0, i1, j0, j1 in labels.get_opcodes():
            if inner == "equal":
                yield from map(_differing, left[i0:i1], right[j0:j1])
            else:
                yield from ([label, text[:MESSAGE_CHARS], None, 0, 0] for label, text in left[i0:i1])
                yield from ([label, None, text[:MESSAGE_CHARS], 0, 0] for label, text in right[j0:j1])


def _differing(one: tuple[str, str], other: tuple[str, str]) -> list[Any]:
    (label, a), (_, b) = one, other
    alike = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    start = max(0, alike - LEAD_CHARS)
    cut = max(len(a), len(b)) - start > MESSAGE_CHARS
    return [label, a[start : start + MESSAGE_CHARS], b[start : start + MESSAGE_CHARS], int(start > 0), int(cut)]


# ------------------------------------------------------------ what the template shows


def page_view(a: Version, b: Version, found: Diff, chosen: Mapping[str, npt.NDArray[np.int64]]) -> dict[str, Any]:
    """Everything that needs no script."""
    of_a, of_b = ways(a), ways(b)
    counts = {"c": found.changed, "a": found.only_a - found.changed, "b": found.only_b - found.changed}
    held = {side: len(rows) for side, rows in chosen.items()}
    return {
        "title": title(found),
        "sentence": sentence(a, b, found),
        "same": found.same_rows,
        "sides": [_side("A", a), _side("B", b)],
        "bar": _bar(found),
        "topics": [_composed(c, None) for c in found.by_topic],
        "borrowed": _borrowed(a, b) if found.by_topic else "",
        "sources": [_composed(c, found.surplus.get(c.name or "")) for c in found.by_source],
        "counted": any(c.a.tokens is not None and c.b.tokens is not None for c in found.by_source),
        "licences": [_composed(c, None) for c in found.by_license],
        "verdicts": [verdict(composition.licences(v.manifest)) for v in (a, b)],
        "recipe": [(key, plain(x), plain(y)) for key, (x, y) in found.recipe.items()],
        "recipes": [bool(v.manifest.origin) for v in (a, b)],
        "settings": [(s.key, ", ".join(s.parts), plain(s.a), plain(s.b)) for s in grouped(found.settings)],
        "stages": [STAGE_WORDS[stage] for stage in stages_of([*of_a, *of_b])],
        "ways": _ways(of_a, of_b) if all(composition.mix_step(v.manifest) for v in (a, b)) else [],
        "reasons": _reasons(of_a, of_b),
        "records": _records(found.decontamination),
        "audited": [bool(v.manifest.decontamination) for v in (a, b)],
        "counts": counts,
        "held": held,
        "listed": _listed(counts, held),
        "facts": _facts(a, b),
        "commands": f"tulu diff {a.ref} {b.ref}\ntulu show {a.ref} --funnel\ntulu show {b.ref} --funnel",
    }


def title(found: Diff) -> str:
    """The page's heading."""
    if found.same_order:
        return "The same rows in the same order"
    if found.same_rows:
        return "The same rows in another order"
    if not found.common:
        return "No row is in both versions"
    total = found.common + found.only_a + found.only_b
    return f"{percent(found.common / total)} of all rows are in both versions"


def sentence(a: Version, b: Version, found: Diff) -> str:
    """What happened to the rows, in one sentence or two."""
    if found.same_order:
        ends = "Both have one id, which names rows and order." if a.digest == b.digest else "Only their shards differ."
        return f"All {_rows(found.common)} are in both, in the same order. {ends}"
    if found.same_rows:
        return f"All {_rows(found.common)} are in both, {found.moved:,} of them in another place."
    moved = f", {found.moved:,} of them in another order" if found.moved else ", in the same order" * bool(found.common)
    kept = f"{_rows(found.common)} {_are(found.common)} in both{moved}"
    alone_a, alone_b = found.only_a - found.changed, found.only_b - found.changed
    said = f"{kept}; {alone_a:,} {_are(alone_a)} only in A and {alone_b:,} only in B"
    changed = f"; {found.changed:,} kept {'its' if found.changed == 1 else 'their'} id and changed"
    return said + (changed if found.changed else "") + "."


def _rows(count: int) -> str:
    return "1 row" if count == 1 else f"{count:,} rows"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def signed(change: int) -> str:
    """A change of a count, with its sign; a dash for none."""
    return NOTHING if not change else f"{'+' if change > 0 else '−'}{abs(change):,}"


def _points(change: float) -> str:
    value = round(100 * change, 1)
    return "" if not value else f"{'+' if value > 0 else '−'}{abs(value):.1f} pt"


def _side(letter: str, version: Version) -> dict[str, Any]:
    logical = version.manifest.logical
    tokens = f"{logical.tokens:,} tokens" if logical.tokens is not None else f"{logical.chars:,} characters"
    return {
        "letter": letter,
        "name": version.name,
        "version": version.manifest.version,
        "rows": logical.rows,
        "size": tokens,
    }


def _bar(found: Diff) -> list[dict[str, Any]]:
    alone_a, alone_b = found.only_a - found.changed, found.only_b - found.changed
    total = found.common + alone_a + alone_b + found.changed
    segments = [("a", "only in A", alone_a), ("both", "in both", found.common)]
    segments += [("c", "changed", found.changed), ("b", "only in B", alone_b)]
    return [
        {
            "kind": kind,
            "words": words,
            "rows": rows,
            "share": percent(rows / total),
            "width": round(100 * rows / total, 3),
        }
        for kind, words, rows in segments
        if rows
    ]


def _composed(c: Compared, surplus: Mapping[str, int] | None) -> dict[str, Any]:
    tokens = None if c.a.tokens is None or c.b.tokens is None else _change(c.a.tokens, c.b.tokens)
    points = _points(c.b.share - c.a.share)
    news = "gone" if c.a.rows and not c.b.rows else "new" if c.b.rows and not c.a.rows else ""
    return {
        "name": c.name,
        "news": news,
        "a": _amount(c.a),
        "b": _amount(c.b),
        "rows": _change(c.a.rows, c.b.rows),
        "points": points,
        "tokens": tokens,
        "surplus": [
            {"kind": kind, "words": words, "rows": surplus[key]}
            for kind, key, words in (
                ("c", "changed", "changed"),
                ("a", "only_a", "only in A"),
                ("b", "only_b", "only in B"),
            )
            if surplus and surplus[key]
        ],
    }


def _amount(amount: Amount) -> dict[str, Any]:
    return {
        "rows": amount.rows,
        "share": percent(amount.share) if amount.rows else "",
        "width": round(100 * amount.share, 2),
        "tokens": amount.tokens,
        "token_share": "" if not amount.token_share else percent(amount.token_share),
    }


def _change(a: int, b: int) -> dict[str, str]:
    return {"words": signed(b - a), "tone": "up" if b > a else "down" if b < a else ""}


def _borrowed(a: Version, b: Version) -> str:
    """Which version's sources have their topics from the other."""
    own = [composition.topics_of(v.manifest) for v in (a, b)]
    both = topics_of_both(a.manifest, b.manifest)
    lacks = [
        name
        for name, version, mine, used in zip("AB", (a, b), own, both, strict=True)
        if any(source in used and source not in mine for source in version.manifest.logical.sources)
    ]
    return f"Where {' and '.join(lacks)} names no topic for a source, it is the other version’s." if lacks else ""


def plain(value: Any) -> str:
    """A setting as one reads it in a recipe; a dash for none.

    >>> plain({"count": 5, "where": "n_turns = 2", "seeds": [1, None]})
    '{count: 5, where: n_turns = 2, seeds: [1, null]}'
    """
    return NOTHING if value is None else _flow(value)


def _flow(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {_flow(v)}" for key, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return "null" if value is None else str(value)


def _ways(of_a: Sequence[Way], of_b: Sequence[Way]) -> list[dict[str, Any]]:
    by_part = [{way.part: way for way in of} for of in (of_a, of_b)]
    stages = stages_of([*of_a, *of_b])
    found = []
    for part in sorted({*by_part[0], *by_part[1]}):
        both = [of.get(part) for of in by_part]
        columns = ["read", *stages, "remaining", "sampled"]
        found.append({"part": part, "cells": [_both([_cell(way, column) for way in both]) for column in columns]})
    return found


def _cell(way: Way | None, column: str) -> str:
    if way is None or (column in STAGE_WORDS and column not in way.left_out):
        return NOTHING
    count = way.left_out[column] if column in STAGE_WORDS else getattr(way, column)
    return "?" if count is None else f"{count:,}"


def _reasons(of_a: Sequence[Way], of_b: Sequence[Way]) -> list[dict[str, Any]]:
    """The reasons whose counts differ, of parts that both versions have."""
    before, found = {way.part: way for way in of_a}, []
    for way in of_b:
        for stage in STAGE_WORDS if way.part in before else ():
            pair = [w.reasons.get(stage, {}) for w in (before[way.part], way)]
            for why in sorted({*pair[0], *pair[1]}, key=lambda w: (-max(of.get(w, 0) for of in pair), w)):
                counts = [f"{of.get(why, 0):,}" for of in pair]
                if counts[0] != counts[1]:
                    found.append({"part": way.part, "stage": STAGE_WORDS[stage], "why": why, "rows": _both(counts)})
    return found


def _both(pair: Sequence[str]) -> dict[str, Any]:
    return {"a": pair[0], "b": pair[1], "same": pair[0] == pair[1]}


def _records(records: Sequence[Record]) -> list[dict[str, Any]]:
    """The records that differ: sets that were audited alike in either version stand together."""
    found: dict[tuple[tuple[str, ...], ...], list[dict[str, Any]]] = {}
    for record in records:
        dropped = [f"{r['rows_dropped']:,} of {r['rows_in']:,}" for r in (record.a, record.b) if r]
        key = tuple(_told(r) if r else () for r in (record.a, record.b))
        found.setdefault(key, []).append({"set": record.set, "dropped": _both((dropped[0], dropped[-1]))})
    heads = ("audit", "policy", "layers", "against")
    return [
        {
            "only": "" if told_a and told_b else "A" if told_a else "B",
            "told": [
                (head, _both((x, y))) for head, x, y in zip(heads, told_a or told_b, told_b or told_a, strict=True)
            ],
            "sets": sets,
        }
        for (told_a, told_b), sets in found.items()
    ]


def _told(record: Mapping[str, Any]) -> tuple[str, ...]:
    suites = list(record["suites"])
    return (
        record["audit"],
        record["policy"],
        ", ".join(record["layers"]) or NOTHING,
        ", ".join(suites) if suites else NOTHING,
    )


def _listed(counts: Mapping[str, int], held: Mapping[str, int]) -> str:
    words = {"c": "that changed", "a": "only in A", "b": "only in B"}
    cut = [f"{held[k]:,} of the {counts[k]:,} {words[k]}" for k in words if held[k] < counts[k]]
    return f"The page holds a sample: {', '.join(cut)}, chosen by a hash of their content." if cut else ""


def _facts(a: Version, b: Version) -> list[tuple[str, str, str]]:
    pairs = [(v.manifest, v.manifest.logical) for v in (a, b)]
    facts = {
        "version": [m.ref for m, _ in pairs],
        "kind": [f"{m.kind} ({m.schema_name})" for m, _ in pairs],
        "rows": [f"{logical.rows:,}" for _, logical in pairs],
        "shards": [f"{len(m.shards):,}" for m, _ in pairs],
        "tokenizer": [m.tokenizer or NOTHING for m, _ in pairs],
        "rows as a bag": [logical.set_id[:16] for _, logical in pairs],
        "rows in order": [logical.order_id[:16] for _, logical in pairs],
        "recipe": [m.origin.recipe.get("name", NOTHING) if m.origin else NOTHING for m, _ in pairs],
    }
    return [(name, x, y) for name, (x, y) in facts.items()]
