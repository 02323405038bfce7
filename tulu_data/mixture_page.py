"""The page of a version: what is in it, what was thrown away and why, and whether it may be published.

Read are the manifest; of every row its lengths, source, licence and digest, never its text; whole rows for a sample of
`rows`; the drops files of the versions on the way; the clusters of duplicates. So a million rows take seconds and
some forty bytes each, and the page stays a few megabytes: texts are clipped at `TEXT_CHARS` characters, rows at
`ROW_CHARS`, and everything that is listed has a limit.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from tulu_data import composition, hub
from tulu_data.card import unaudited
from tulu_data.manifest import Input, Manifest
from tulu_data.mixture_clusters import clusters, searches
from tulu_data.mixture_composition import (
    COLOURS,
    LISTED,
    groups_of,
    licences_of,
    parts_of,
    percent,
    publishing,
    shown,
    stack_of,
)
from tulu_data.mixture_funnel import Losses, dropped, funnel_view, linear, losses
from tulu_data.mixture_samples import ROW_CHARS, TEXT_CHARS, Columns, read_columns, rows_at, sample
from tulu_data.pages import render
from tulu_data.progress import Progress, Silent
from tulu_data.rows import Kind
from tulu_data.store import Store, Version

I64 = npt.NDArray[np.int64]
AuditHref = Callable[[str], str | None]

ROWS = 500
FAINTEST = 5e-4  # the share of a suite that is coloured least

NOUNS: dict[Kind, str] = {
    "sft": "conversations",
    "prompt": "prompts",
    "preference": "preference pairs",
    "rlvr": "prompts with a true answer",
}


def page(
    version: Version,
    store: Store,
    *,
    audit_href: AuditHref | None = None,
    rows: int = ROWS,
    progress: Progress | None = None,
) -> str:
    """The page as HTML. `audit_href`: the address of an audit's page by its id, where there is one to link to."""
    progress, described = progress or Silent(), version.manifest
    columns = read_columns(version, progress)
    funnels = linear(composition.funnels(described))
    with progress.task(f"page of {version.name}"):
        examples = dropped(funnels, version, store)
        duplicates = clusters(searches(described), store)
        sampled = rows_at(version, sample(columns, rows))
    groups = groups_of(described)
    data = {
        "drops": [d._asdict() for d in examples],
        "clusters": duplicates["shown"] if duplicates else [],
        "rows": sampled,
        "parts": [f.part for f in funnels],
        "topics": composition.topics_of(described),
    }
    view = {
        **_head(described, losses(funnels, composition.parts(described))),
        "groups": groups,
        "stack": stack_of(groups),
        "parts_asked": parts_of(described),
        "licences": licences_of(described, columns),
        "publish": publishing(composition.licences(described)),
        "funnel": funnel_view(funnels[:LISTED], examples),
        "more_parts": max(0, len(funnels) - LISTED),
        "maps": _maps(described, audit_href or (lambda _: None)),
        "unaudited": unaudited(described),
        "histograms": _histograms(described, columns, groups),
        "uncoloured": not set(columns.names) <= set(_colours(groups)),
        "duplicates": duplicates and {k: v if k != "shown" else len(v) for k, v in duplicates.items()},
        "sampled": len(sampled),
        "limits": {"text": TEXT_CHARS, "row": ROW_CHARS},
        "has_drops": any(d.examples or d.reasons for d in examples),
        "facts": _facts(described),
        "inputs": _inputs(described),
        "commands": _commands(described),
    }
    return render("mixture", data=data, parts=("worddiff", "rowview"), **shown(view))


# ------------------------------------------------------------ the head


def _head(described: Manifest, lost: Losses) -> dict[str, Any]:
    logical, recipe = described.logical, described.origin.recipe if described.origin else {}
    is_mixture = composition.mix_step(described) is not None
    return {
        "title": described.name,
        "ref": described.ref,
        "what": "Mixture" if is_mixture else "Version",
        "description": recipe.get("description") if is_mixture else None,
        "sentence": sentence(described),
        "rows": logical.rows,
        "tokens": logical.tokens,
        "tokenizer": described.tokenizer,
        "chars": logical.chars,
        "noun": NOUNS[described.kind],
        "sources": len(logical.sources),
        "losses": lost,
        "dropped_share": percent(lost.dropped / lost.read) if lost.read else None,
        "suites": len({s["id"] for r in described.decontamination for s in r["suites"]}),
        "overlapping": sum(r["rows_dropped"] for r in described.decontamination),
        "audited": bool(described.decontamination),
    }


def sentence(described: Manifest) -> str:
    """All of it in one: rows, tokens, kind, sources, decontaminated or not, the verdict on licences."""
    logical = described.logical
    size = f"{logical.rows:,} {NOUNS[described.kind]} (kind {described.kind})"
    tokens = f", {logical.tokens:,} tokens" if logical.tokens is not None else f", {logical.chars:,} characters"
    count = len(logical.sources)
    said = f"{size}{tokens}, from {count:,} {'source' if count == 1 else 'sources'}; {_checked(described)}"
    found = composition.licences(described)
    return f"{said}; {publishing(found)['words']}." if found else f"{said}."


def _checked(described: Manifest) -> str:
    records, bare = described.decontamination, unaudited(described)
    if not records:
        return "not checked against any evaluation suite"
    suites = len({s["id"] for r in records for s in r["suites"]})
    gone = sum(r["rows_dropped"] for r in records)
    said = f"checked against {suites:,} evaluation {'suite' if suites == 1 else 'suites'}, {gone:,} rows dropped"
    return f"{said}, but for {len(bare):,} of the sources" if bare else said


# ------------------------------------------------------------ the map


def _maps(described: Manifest, audit_href: AuditHref) -> list[dict[str, Any]]:
    """A heat map of each audit on record, as the version's records tell it: what held when rows were dropped."""
    by_audit: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for record in described.decontamination:
        by_audit[record["audit"]].append(record)
    return [_map(audit, records, audit_href(audit)) for audit, records in by_audit.items()]


def _map(audit: str, records: Sequence[Mapping[str, Any]], href: str | None) -> dict[str, Any]:
    suites = {s["id"]: s for r in records for s in r["suites"]}
    records = sorted(records, key=lambda r: -sum(s.get("flagged", 0) for s in r["suites"]))
    return {
        "audit": audit,
        "href": href,
        "policy": records[0].get("policy"),
        "layers": " or ".join(records[0].get("layers", ())),
        "suites": list(suites.values()),
        "rows": [
            {
                "name": r["set"],
                "rows": r["rows_in"],
                "dropped": r["rows_dropped"],
                "cells": [_cell(r, {s["id"]: s for s in r["suites"]}.get(name), name, href) for name in suites],
            }
            for r in records[:LISTED]
        ],
        "more": max(0, len(records) - LISTED),
    }


def _cell(record: Mapping[str, Any], suite: Mapping[str, Any] | None, name: str, href: str | None) -> dict[str, Any]:
    from urllib.parse import urlencode

    if suite is None:
        return {"title": f"{record['set']} × {name}: not compared", "heat": 0, "words": "", "over": False, "href": None}
    flagged, instances = suite["flagged"], suite["instances"]
    share = flagged / instances if instances else 0.0
    state = {"set": record["set"], "suite": name} | ({} if flagged else {"counts": "0"})
    return {
        "title": f"{record['set']} × {name}: {flagged:,} of {instances:,} instances; "
        f"{suite.get('rows_dropped', 0):,} rows dropped",
        "heat": heat(share),
        "words": f"{flagged:,}" if flagged else "·",
        "over": suite["contaminated"],
        "href": f"{href}#{urlencode(state)}" if href else None,
    }


def heat(share: float) -> int:
    """How strongly a share is coloured, in percent: by its logarithm, for 0.1 % and 10 % both matter."""
    if not share:
        return 0
    least = math.log10(FAINTEST)
    return round(14 + 86 * (math.log10(max(share, FAINTEST)) - least) / -least)


# ------------------------------------------------------------ lengths


def _histograms(described: Manifest, columns: Columns, groups: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Lengths and turns of all rows, in the colours of the groups; both axes of length are steps of a logarithm.

    A source that several topics share has the last colour: which of its rows is of which topic is not on record.
    """
    colour = _colours(groups)
    of_source = np.array([colour.get(name, COLOURS - 1) for name in columns.names] or [0], np.int64)
    of_row = of_source[columns.source]
    lengths = columns.chars if columns.tokens is None else columns.tokens
    unit = "characters" if columns.tokens is None else "tokens"
    steps = [s * 10**e for e in range(9) for s in (1, 2, 3, 5, 7)]
    turns = [*range(1, 9), 9, 13, 21, 51, 101]
    return [
        _histogram(f"{unit.capitalize()} a row", unit, lengths, of_row, steps),
        _histogram("Messages a row", "messages", columns.turns, of_row, turns),
    ]


def _colours(groups: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """The colour of each source that is listed."""
    return {line["name"]: g["colour"] for g in groups for line in (g["lines"] or [g])}


def _histogram(name: str, unit: str, values: I64, colours: I64, edges: Sequence[int]) -> dict[str, Any]:
    if not len(values):
        return {"name": name, "unit": unit, "bars": []}
    place = np.searchsorted(np.array(edges), values, side="right")
    first, last = int(place.min()), int(place.max())
    counts = np.bincount((place - first) * COLOURS + colours, minlength=(last - first + 1) * COLOURS)
    table = counts.reshape(-1, COLOURS)
    most = int(table.sum(axis=1).max())
    bars = []
    for i, row in enumerate(table.tolist()):
        low = 0 if first + i == 0 else edges[first + i - 1]
        high = edges[first + i] - 1 if first + i < len(edges) else None
        words = f"{low:,}" if low == high else f"{low:,} – {high:,}" if high is not None else f"{low:,} and more"
        parts = [{"colour": c, "height": round(100 * n / most, 3)} for c, n in enumerate(row) if n]
        bars.append({"low": low, "words": words, "count": sum(row), "parts": parts})
    half, tail, longest = (int(q) for q in np.quantile(values, [0.5, 0.95, 1.0], method="inverted_cdf"))
    return {"name": name, "unit": unit, "bars": bars, "most": most, "median": half, "p95": tail, "longest": longest}


# ------------------------------------------------------------ facts


def _facts(described: Manifest) -> list[tuple[str, str]]:
    logical, origin = described.logical, described.origin
    seeds = [str(s.params["seed"]) for s in described.steps if s.name == composition.MIX and "seed" in s.params]
    facts = [
        ("version", described.ref),
        ("digest", f"sha256 {described.digest}"),
        ("rows, as a set", f"sha256 {logical.set_id}"),
        ("rows, in order", f"sha256 {logical.order_id}"),
        ("schema", described.schema_name),
        ("characters", f"{logical.chars:,}"),
        ("tokens", "not counted" if logical.tokens is None else f"{logical.tokens:,} ({described.tokenizer})"),
        ("seed", ", ".join(seeds)),
        ("recipe", str(origin.recipe.get("name", "")) if origin else "none on record: it was made step by step"),
        ("step", origin.step if origin else ""),
        ("audits", ", ".join(dict.fromkeys(r["audit"] for r in described.decontamination))),
        ("duplicates", ", ".join(searches(described))),
        *((s.path, f"{s.rows:,} rows, {s.bytes:,} bytes, sha256 {s.sha256}") for s in described.shards[:LISTED]),
        *([("…", f"{len(described.shards) - LISTED:,} more shards")] if len(described.shards) > LISTED else []),
        ("written by", f"{described.writer} (no part of the version’s id)"),
        *((name, f"{value} (no part of the version’s id)") for name, value in described.environment.items()),
    ]
    return [(name, value) for name, value in facts if value]


def _inputs(described: Manifest) -> list[dict[str, Any]]:
    found = sorted(described.inputs, key=lambda i: (_place(i), i.sha256))[: 2 * LISTED]
    return [
        {"place": _place(i), "revision": i.revision or "", "sha256": i.sha256, "records": i.records, "rows": i.rows}
        for i in found
    ]


def _place(given: Input) -> str:
    """A hub address as it is; of a local file the name alone, for folders are nobody's business."""
    return given.uri if hub.parse(given.uri) else PurePosixPath(given.uri).name


def _commands(described: Manifest) -> str:
    ref = described.ref
    again = [f"tulu reproduce {ref} -o again   # runs the recipe on record, and compares"] if described.origin else []
    return _lines(
        [
            f"tulu verify {ref} --level 2   # re-reads every row, recomputes the version id",
            *again,
            f"tulu licenses {ref}",
            f"tulu page {ref} -o {described.name}.html",
        ]
    )


def _lines(lines: Iterable[str]) -> str:
    return "\n".join(lines)
