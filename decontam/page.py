"""The page of an audit: what it found as one HTML file that a person reads and acts on."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from itertools import groupby
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from decontam.filtering import degrees_of, in_order
from decontam.highlighting import Highlighter, Kind, Match, Run, Side
from decontam.marks import keys_of
from decontam.result import Audit
from decontam.verdicts import LAYERS, SET_SHARE
from tulu_data.pages import render
from tulu_data.progress import Progress, Silent

MAX_PAIRS = 50_000
KINDS: tuple[Kind, ...] = get_args(Kind)
SIDE_CHARS = 1500  # of an answer or a passage
FAINTEST = 5e-4  # the share that is coloured least

TONES = {"clean": "good", "undecided": "warn", "drop rows": "bad", "drop set": "bad"}
FUNNEL = (
    ("any", "share at least one n-gram with a training text"),
    ("tulu3", "more than half of their words under shared n-grams: the paper’s verdict"),
    ("informative", "still so after wording that many test items share is masked"),
    ("exact", "stand whole in a training text"),
    ("fuzzy", "edited copies: three quarters of the words in order"),
    ("semantic", "the same in other words, by their meaning"),
)
ADDED = ("fuzzy", "semantic")  # layers that find what the others do not


def page(audit: Audit, *, max_pairs: int = MAX_PAIRS, progress: Progress | None = None) -> str:
    """The page as HTML. It holds `max_pairs` pairs, those that count first; its map and totals count all."""
    counts = audit.counts()
    chosen = in_order(audit, counts, degrees_of(audit))[:max_pairs]
    data = page_data(audit, chosen, counts, progress or Silent())
    return render("audit", data=data, **page_view(audit, counts, len(chosen)))


# ------------------------------------------------------------ what the script shows


def page_data(audit: Audit, chosen: Sequence[int], counts: npt.NDArray[np.bool_], progress: Progress) -> dict[str, Any]:
    """Pairs, and the messages and instances they are about, each once; offsets as a browser counts characters."""
    sets, suites = list(audit.manifest["sets"]), [s["id"] for s in audit.manifest["suites"]]
    found = _Collected(Highlighter(audit))
    taken = audit.pairs.take(pa.array(chosen, pa.int64()))
    rows, keys = taken.to_pylist(), keys_of(taken)
    entries = []
    with progress.task("page", len(chosen)) as advance:
        for pair, row, key in zip(chosen, rows, keys, strict=True):
            message, instance, match = found.add(pair, row)
            entries.append(
                {
                    "id": sha256("\0".join(map(str, key)).encode()).hexdigest()[:10],
                    "t": sets.index(row["set"]),
                    "u": suites.index(row["suite"]),
                    "m": message,
                    "n": instance,
                    "r": row["row_id"],
                    "x": row["row_index"],
                    "i": row["instance_id"],
                    "b": row["subset"],
                    "l": sum(1 << LAYERS.index(layer) for layer in row["layers"]),
                    "o": int(counts[pair]),
                    "c": _short(row["coverage"]),
                    "g": _short(row["informative"]),
                    "f": _short(row["fuzzy"]),
                    "s": _short(row["semantic"]),
                    "d": _short(row["numbers"]),
                    "j": row["judgement"],
                    "w": row["covered_tokens"],
                    "a": row["total_tokens"],
                    "z": row["longest_run"],
                    "v": int(row["severity"] == "question+answer"),
                    "h": int(bool(row["passage_found"])),
                    "y": row["repeats"],
                    "k": row["mark"],
                    "tr": _flat(match.train),
                    "er": [_flat(side) for side in match.fields],
                }
            )
            advance(1)
    return {
        "sets": sets,
        "suites": suites,
        "layers": list(LAYERS),
        "kinds": list(KINDS),
        "anyCount": bool(counts.any()),
        "messages": found.messages,
        "instances": found.instances,
        "pairs": entries,
    }


class _Collected:
    """Messages and instances of pairs, numbered as they are first met."""

    def __init__(self, highlighter: Highlighter) -> None:
        self.highlighter = highlighter
        self.messages: list[dict[str, Any]] = []
        self.instances: list[dict[str, Any]] = []
        self._message: dict[tuple[Any, ...], int] = {}
        self._instance: dict[tuple[Any, ...], int] = {}

    def add(self, pair: int, row: Mapping[str, Any]) -> tuple[int, int, Match]:
        """The numbers of a pair's message and instance, and its match."""
        match = self.highlighter.match(pair)
        place = (row["set"], row["row_index"], row["column"], row["message"])
        if place not in self._message:
            self._message[place] = len(self.messages)
            train = match.train
            about = {"b": int(train.cut_before), "f": int(train.cut_after)}
            self.messages.append({"t": train.text, **about, "r": train.name, "c": row["column"], "e": row["message"]})
        name = (row["suite"], row["instance_id"])
        if name not in self._instance:
            self._instance[name] = len(self.instances)
            fields = [[side.name, side.text] for side in match.fields]
            self.instances.append({"f": fields, "p": _clipped(match.passage), "a": _clipped(match.answer)})
        return self._message[place], self._instance[name], match


def _flat(side: Side) -> list[int]:
    """Runs as start, end, kind, one after the other, in UTF-16 units."""
    return [n for run in _utf16(side) for n in (run.start, run.end, KINDS.index(run.kind))]


def _utf16(side: Side) -> Iterator[Run]:
    if all(c <= "\uffff" for c in side.text):
        yield from side.runs
        return
    place, at = [], 0
    for c in side.text:
        place.append(at)
        at += 1 + (c > "\uffff")
    place.append(at)
    yield from (Run(place[r.start], place[r.end], r.kind) for r in side.runs)


def _clipped(text: str | None) -> str | None:
    return text if text is None or len(text) <= SIDE_CHARS else text[:SIDE_CHARS] + " …"


def _short(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


# ------------------------------------------------------------ what the template shows


def page_view(audit: Audit, counts: npt.NDArray[np.bool_], listed: int) -> dict[str, Any]:
    """Everything that needs no script."""
    manifest, policy = audit.manifest, audit.policy
    evals = audit.evals.to_pylist()
    return {
        "id": audit.id,
        "title": _title(evals, len(manifest["sets"])),
        "sentence": _sentence(audit, evals),
        "layers": " or ".join(policy.layers),
        "limit": f"{100 * (policy.set_threshold or SET_SHARE):g} %",
        "sets": [_set_chip(name, s) for name, s in manifest["sets"].items()],
        "groups": _groups(manifest["suites"]),
        "cells": [
            {"name": name, "rows": s["rows"], "cells": [_cell(e, policy.set_threshold) for e in _by_group(evals, name)]}
            for name, s in manifest["sets"].items()
        ],
        "funnel": _funnel(audit, counts),
        "suites": _suites(manifest, audit),
        "totals": _totals(manifest),
        "total": len(audit.pairs),
        "listed": _listed(audit, counts, listed),
        "looked": f"n-grams of {audit.settings.n} words, whole texts"
        + (", edited copies" if audit.settings.fuzzy else ""),
        "facts": _facts(audit),
        "commands": _commands(audit),
        "about": f"Made by tulu-data from audit {audit.id}. Everything is in this file; nothing is loaded or sent.",
    }


def _title(evals: Sequence[Mapping[str, Any]], sets: int) -> str:
    hit = {e["set"] for e in evals if e["flagged"]}
    if not hit:
        return "No overlap that counts was found"
    subject = "The training set overlaps" if sets == 1 else f"{len(hit)} of {sets} training sets overlap"
    return f"{subject} evaluation suites"


def _sentence(audit: Audit, evals: Sequence[Mapping[str, Any]]) -> str:
    sets, totals = audit.manifest["sets"], audit.manifest["totals"]
    rows, dropped = sum(s["rows"] for s in sets.values()), sum(s["dropped"] for s in sets.values())
    found = f"{totals['flagged']:,} of {totals['instances']:,} test instances stand in the training data"
    does = f"the policy “{audit.policy.policy}” drops {dropped:,} of {rows:,} rows"
    undecided = sum(e["undecided"] for e in evals)
    rest = f"; {undecided:,} instances are undecided" if undecided else ""
    marks = audit.manifest["marks"]
    said = f" A reviewer marked {marks['true']:,} matches true and {marks['false']:,} false." if marks else ""
    return f"{found}; {does}{rest}.{said}"


def _set_chip(name: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    words = {
        "clean": "clean",
        "undecided": "undecided",
        "drop rows": f"drops {facts['dropped']:,} of {facts['rows']:,} rows",
        "drop set": "goes whole",
    }[facts["verdict"]]
    return {"name": name, "rows": facts["rows"], "kind": facts["kind"], "words": words, "tone": TONES[facts["verdict"]]}


def _groups(suites: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    words = {"dev": "development", "unseen": "unseen", "safety": "safety"}
    ordered = sorted(suites, key=lambda s: list(words).index(s["group"]))
    return [{"words": words[g], "suites": list(of)} for g, of in groupby(ordered, key=lambda s: s["group"])]


def _by_group(evals: Sequence[Mapping[str, Any]], name: str) -> list[dict[str, Any]]:
    order = ["dev", "unseen", "safety"]
    found = sorted((dict(e) for e in evals if e["set"] == name), key=lambda e: order.index(e["group"]))
    return [e | {"edge": i == 0 or found[i - 1]["group"] != e["group"]} for i, e in enumerate(found)]


def _cell(entry: Mapping[str, Any], limit: float) -> dict[str, Any]:
    share, tulu3 = entry["share"], entry["flagged_tulu3"] / entry["instances"]
    undecided = f", {entry['undecided']:,} undecided" if entry["undecided"] else ""
    return {
        "set": entry["set"],
        "suite": entry["suite"],
        "edge": entry["edge"],
        "heat": heat(share),
        "over": entry["contaminated"],
        "big": percent(share) if share else "–",
        "small": f"tulu3 {percent(tulu3)}" if tulu3 else "",
        "over_tulu3": tulu3 > limit,
        "title": (
            f"{entry['set']} × {entry['suite']}: {entry['flagged']:,} of {entry['instances']:,} instances "
            f"({percent(share)}) by the layers that count, {entry['flagged_tulu3']:,} by tulu3{undecided}: "
            f"{entry['verdict']}"
        ),
    }


def heat(share: float) -> int:
    """How strongly a share is coloured, in percent: by its logarithm, for overlaps of 0.1 % and of 10 % both matter."""
    if not share:
        return 0
    least = math.log10(FAINTEST)
    return round(14 + 86 * (math.log10(max(share, FAINTEST)) - least) / -least)


def percent(share: float) -> str:
    """A share for people.

    >>> percent(0.00123), percent(0.083), percent(1.0)
    ('0.12 %', '8.3 %', '100 %')
    """
    value = 100 * share
    return f"{value:.2f} %" if value < 1 else f"{value:.1f} %" if value < 99.95 else "100 %"


def _funnel(audit: Audit, counts: npt.NDArray[np.bool_]) -> list[dict[str, Any]]:
    names = list(zip(*(audit.pairs[c].to_pylist() for c in ("suite", "instance_id", "repeats")), strict=True))
    layers = audit.pairs["layers"].to_pylist()
    found: dict[str, set[Any]] = {layer: set() for layer, _ in FUNNEL}
    usual: set[Any] = set()  # what n-grams find
    for (suite, instance, repeats), fire in zip(names, layers, strict=True):
        who = repeats or f"{suite}/{instance}"
        for layer in fire:
            found[layer].add(who)
        if not set(fire).isdisjoint(("exact", "tulu3", "informative")):
            usual.add(who)
    most = max(map(len, found.values()), default=0) or 1
    looked = {"fuzzy": audit.settings.fuzzy, "semantic": audit.settings.semantic is not None}
    lines = []
    for layer, note in FUNNEL:
        if not looked.get(layer, True):
            continue
        size = len(found[layer])
        more = f"; {len(found[layer] - usual):,} of them found by no n-gram verdict" if layer in ADDED else ""
        kind = "counts" if layer in audit.policy.layers else "added" if layer in ADDED else ""
        lines.append(
            {"name": layer, "note": note + more, "instances": size, "width": round(100 * size / most, 1), "kind": kind}
        )
    return lines


def _suites(manifest: Mapping[str, Any], audit: Audit) -> list[dict[str, Any]]:
    again: dict[str, list[str]] = {s["id"]: [] for s in manifest["suites"]}
    for s in manifest["suites"]:
        if s["repeated"]:
            again[s["id"]].append(f"{s['repeated']:,} repeat another of it")
    for overlap in manifest["suite_overlaps"]:
        for (one, other), equal in zip((overlap["suites"], overlap["suites"][::-1]), overlap["equal"], strict=True):
            again[one].append(f"{equal:,} also in {other}")
    flagged: dict[str, set[str]] = {}
    pairs = audit.pairs.filter(audit.counts()).select(["suite", "instance_id"]).to_pydict()
    for suite, instance in zip(*pairs.values(), strict=True):
        flagged.setdefault(suite, set()).add(instance)
    return [
        {
            **{k: s[k] for k in ("id", "instances", "short")},
            "again": "; ".join(again[s["id"]]),
            "flagged": len(flagged.get(s["id"], ())),
        }
        for s in manifest["suites"]
    ]


def _totals(manifest: Mapping[str, Any]) -> str:
    totals = manifest["totals"]
    return (
        f"{totals['instances']:,} instances, {totals['distinct']:,} of them distinct: suites repeat each other. "
        f"Counting a repeated one once, {totals['flagged_distinct']:,} overlap."
    )


def _listed(audit: Audit, counts: npt.NDArray[np.bool_], listed: int) -> str:
    total = len(audit.pairs)
    said = f"{total:,} pairs of a message and a test instance, {int(counts.sum()):,} of which count under the policy."
    if listed < total:
        said += f" The page holds the {listed:,} strongest; the map and the totals count all."
    return said


def _facts(audit: Audit) -> list[tuple[str, str]]:
    manifest, policy = audit.manifest, audit.policy
    thresholds = {k: v for k, v in policy.model_dump().items() if k not in ("policy", "layers")}
    semantic, judge = manifest["semantic"], manifest["judge"]
    facts = [
        ("audit", audit.id),
        ("scan", manifest["scan"]),
        ("engine", manifest["engine"]),
        ("analyzer", manifest["analyzer"]),
        (
            "settings",
            ", ".join(f"{k} {v}" for k, v in manifest["settings"].items() if k not in ("analyzer", "semantic")),
        ),
        ("policy", f"{policy.policy}; layers {', '.join(policy.layers)}"),
        ("thresholds", ", ".join(f"{k} {v:g}" for k, v in thresholds.items())),
        *([("encoder", f"{semantic['encoder']} {semantic['digest']}")] if semantic else []),
        *([("judge", f"{judge['model']} ({judge['prompt']}): {judge['asked']:,} asked")] if judge else []),
    ]
    facts += [(f"set {name}", f"{s['digest'][:16]}  {s['rows']:,} rows") for name, s in manifest["sets"].items()]
    return facts + [(f"suite {s['id']}", f"{s['digest'][:16]}  {s['source']}") for s in manifest["suites"]]


def _commands(audit: Audit) -> str:
    sets = " ".join(f"{name}@tv1-{s['digest'][:16]}" for name, s in audit.manifest["sets"].items())
    settings, policy = audit.settings, audit.policy
    made = f"tulu audit {sets} --suites … --analyzer {settings.analyzer} -n {settings.n} --roles {settings.roles}"
    made += f" --policy {policy.policy} --layers {','.join(policy.layers)}" + (
        " --semantic" if settings.semantic else ""
    )
    first = next(iter(audit.manifest["sets"]))
    return f"{made}\ntulu review {audit.id}\ntulu drop {first} --audit {audit.id}"
