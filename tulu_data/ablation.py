"""Variants of a recipe for experiments with its mixture: without a source or a topic, one topic alone, more of a topic.

A variant is the recipe's plain form with little changed. A part leaves `mix` and stays in `sources`: every step before
the mix is then the recipe's own, cached where that has run. Only with `dedup: {scope: across}` it leaves `sources` too:
rows that left as its duplicates must come back, so duplicates are looked for again, and what follows is done anew.
"""

from __future__ import annotations

import copy
import os
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal, NamedTuple

import yaml

from tulu_data.errors import RecipeError, UsageError, nearest
from tulu_data.pipeline import Run
from tulu_data.recipe import FILTERED, MADE, Loaded, Recipe
from tulu_data.shares import Emphasis, apportion, check_topics, shares_by_topic
from tulu_data.store import NAME_CHARACTERS
from tulu_data.strict import validate
from tulu_data.take import Take

WIDTH = 118  # columns of a written recipe
AMOUNTS_REPEATED = ("all", "fraction")  # amounts that a `repeat` multiplies


class Counts(NamedTuple):
    """A mixture's rows, as far as a plan tells them. `settled`: no step to come can change them."""

    available: dict[str, int | None]
    rows: dict[str, int | None]
    tokens: dict[str, int | None]
    total: int | None
    settled: bool


class Change(NamedTuple):
    """What a variant has other than its base: parts that leave the mix, or topics with another amount."""

    label: str  # the ending of its name
    says: str
    parts: tuple[str, ...] = ()
    topics: Mapping[str, Mapping[str, float]] = {}


@dataclass(frozen=True)
class Base:
    """The recipe that is varied: its plain form as the file has it, read, and planned."""

    data: dict[str, Any]
    loaded: Loaded
    counts: Counts

    @property
    def recipe(self) -> Recipe:
        """The recipe, read."""
        return self.loaded.recipe

    @property
    def mix(self) -> Mapping[str, Take]:
        """Its parts."""
        return self.recipe.mix or {}


@dataclass(frozen=True)
class Variant:
    """A recipe to be written: its plain form, what its head says, and what whoever runs it should know."""

    data: dict[str, Any]
    head: str
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Of the recipe, its mixture and its file."""
        return str(self.data["name"])


def counts(planned: Run, recipe: Recipe) -> Counts:
    """What a dry run of the recipe tells of its mixture."""
    if planned.plan is not None:
        parts, one_tokenizer = planned.plan.parts, planned.plan.tokens is not None
        return Counts(
            available={p.part.name: p.available for p in parts},
            rows={p.part.name: len(p.rows) for p in parts},
            tokens={p.part.name: p.tokens if one_tokenizer else None for p in parts},
            total=planned.plan.rows,
            settled=True,
        )
    outline = planned.outline
    if outline is None:
        raise RecipeError(f"{recipe.name}: has no mix, so there is nothing to leave out")
    sized = recipe.size is not None and recipe.size.rows is not None
    asked = [t.amount == "count" or (t.amount == "weight" and sized) for t in (recipe.mix or {}).values()]
    return Counts(
        available={p.name: p.available for p in outline.parts},
        rows={p.name: p.rows for p in outline.parts},
        tokens={p.name: None for p in outline.parts},
        total=outline.rows,
        settled=not outline.before or all(asked),
    )


# ------------------------------------------------------------ what to change


def changes(
    recipe: Recipe,
    *,
    without: Sequence[str] = (),
    only: Sequence[str] = (),
    each: Literal["source", "topic"] | None = None,
    emphases: Sequence[Mapping[str, Mapping[str, float]]] = (),
) -> list[Change]:
    """The variants that are asked for, each once. `UsageError` for unknown names and where nothing would be left.

    A name is that of a part, a topic, a source of parts, or a pattern of parts (`persona_*`); `a+b` leave together.
    """
    mix = recipe.mix or {}
    if not mix:
        raise UsageError(f"{recipe.name}: has no mix, so there is nothing to leave out")
    found = [_left_out(recipe, f"--without {text}", text) for text in without]
    found += [_left_out(recipe, f"--each {each}", name) for name in _each(recipe, each)]
    for text in only:
        kept = _named(recipe, f"--only {text}", text)
        parts = tuple(name for name in mix if name not in kept)
        if not parts:
            raise UsageError(f"--only {text}: is all of {recipe.name}, so nothing would be left out; keep less")
        found.append(Change(f"only-{_slug(text)}", f"with {_listed(text.split('+'))} only", parts))
    for topics in emphases:
        wanted = {topic: validate(Emphasis, given, f"--emphasize {topic}") for topic, given in topics.items()}
        check_topics(wanted, recipe.part_topics.values())
        told = {topic: next(iter(amount.items())) for topic, amount in topics.items()}
        label = "-".join(f"{_slug(topic)}-{key}-{number:g}" for topic, (key, number) in told.items())
        says = _listed([_emphasis_says(topic, key, number) for topic, (key, number) in told.items()])
        found.append(Change(label, f"with {says}", (), topics))
    by_label: dict[str, Change] = {}
    for change in found:
        if by_label.setdefault(change.label, change)[2:] != change[2:]:
            raise UsageError(f"two variants would be called {recipe.name}-{change.label}; ask for one at a time")
    return list(by_label.values())


def _each(recipe: Recipe, each: Literal["source", "topic"] | None) -> list[str]:
    if each is None:
        return []
    if each == "source":
        return list(recipe.mix or {})
    topics = [topic for topic in dict.fromkeys(recipe.part_topics.values()) if topic is not None]
    if not topics:
        raise UsageError(f"--each topic: no source of {recipe.name} has one; give its sources a 'topic'")
    return topics


def _left_out(recipe: Recipe, option: str, text: str) -> Change:
    parts = tuple(_named(recipe, option, text))
    if len(parts) == len(recipe.mix or {}):
        raise UsageError(f"{option}: {text} is all of {recipe.name}, and a mixture needs a part; leave out less")
    return Change(f"without-{_slug(text)}", f"without {_listed(text.split('+'))}", parts)


def _named(recipe: Recipe, option: str, text: str) -> list[str]:
    """The parts that `a+b` names, in the order of the mix."""
    mix, topics, sources = recipe.mix or {}, recipe.part_topics, recipe.part_sources
    found: set[str] = set()
    for name in text.split("+"):
        parts = [name] if name in mix else [part for part in mix if topics[part] == name]
        parts = parts or [part for part in mix if sources[part] == name or fnmatchcase(part, name)]
        if not parts:
            known = {*mix, *sources.values(), *(topic for topic in topics.values() if topic is not None)}
            raise UsageError(f"{option}: the mix has no source or topic {name!r}; {nearest(name, known)}")
        found |= set(parts)
    return [part for part in mix if part in found]


def _slug(text: str) -> str:
    return "".join(c if c in NAME_CHARACTERS else "-" for c in text.replace("*", "")).strip("-_") or "all"


def _emphasis_says(topic: str, key: str, number: float) -> str:
    return f"{number:g} times the share of {topic}" if key == "times" else f"{100 * number:g} % of {topic}"


def _listed(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def _few(names: Sequence[str], most: int = 3) -> str:
    return _listed([*names[:most], f"{len(names) - most} more parts"]) if len(names) > most + 1 else _listed(names)


# ------------------------------------------------------------ variants


def unchanged(base: Base, folder: Path) -> Variant:
    """The recipe itself, as it works from `folder`: under its own name, so what it has made is found."""
    return Variant(_moved(base, folder), f"{base.recipe.name}, the base of the variants beside it.")


def variant(base: Base, change: Change, folder: Path, *, same_size: bool = False) -> Variant:
    """The recipe with the change, without an `expect`: `expecting` adds it, when the variant is planned.

    With `same_size` it has as many rows as the base, or as many tokens where the base's size counts those.
    """
    data = _moved(base, folder)
    data["name"] = f"{base.recipe.name}-{change.label}"
    head = f"{base.recipe.name} {change.says}."
    if "description" in data:
        data["description"] = head
    data.pop("expect", None)
    notes = _leave(base, data, change)
    notes += _reweigh(base, data, change, same_size)
    notes += _repeat(base, data)
    return Variant(data, f"{head} {_stays_or_leaves(base, data, change)}".rstrip(), tuple(notes))


def _moved(base: Base, folder: Path) -> dict[str, Any]:
    """The recipe's plain form; its root leads from `folder` to where it led before."""
    data, recipe = copy.deepcopy(base.data), base.recipe
    data.pop("root", None)
    by_address = all(spec.hub is not None for spec in recipe.sources.values())
    sections = (recipe.tokenizer, recipe.filter, recipe.dedup, recipe.decontaminate)
    if by_address and not any(section is not None for section in sections):
        return data  # nothing in it can be a path
    given = Path(recipe.root).expanduser()
    root = recipe.root if given.is_absolute() else os.path.relpath(base.loaded.root, folder.resolve())
    return data if root == "." else _put(data, "root", root, before="sources")


def _leave(base: Base, data: dict[str, Any], change: Change) -> list[str]:
    """Takes the parts out of the mix, their topics out of `topics`, and where duplicates are sought across, them out of
    the sources.
    """
    data["mix"] = {name: take for name, take in data["mix"].items() if name not in change.parts}
    topics = {topic: dict(e) for topic, e in (data.get("topics") or {}).items()}
    left = {topic for name, topic in base.recipe.part_topics.items() if name in data["mix"]}
    topics = {topic: e for topic, e in topics.items() if topic in left} | {t: dict(e) for t, e in change.topics.items()}
    if topics:
        _put(data, "topics", topics, after="mix")
    else:
        data.pop("topics", None)
    if not _across(data):
        return []
    source_of = base.recipe.part_sources
    unused = {source_of[name] for name in change.parts} - {source_of[name] for name in data["mix"]}
    kept = _parents(data, unused)
    gone = unused - kept
    data["sources"] = {name: spec for name, spec in data["sources"].items() if name not in gone}
    if data["dedup"].get("priority"):
        versions = gone | {f"{name}{FILTERED}" for name in gone}
        data["dedup"]["priority"] = [name for name in data["dedup"]["priority"] if name not in versions]
    return [
        f"{name} stays in sources, for others are made of it: rows that left as its duplicates stay away"
        for name in sorted(kept)
    ]


def _across(data: Mapping[str, Any]) -> bool:
    section = data.get("dedup")
    return isinstance(section, Mapping) and section.get("scope") == "across"


def _parents(data: Mapping[str, Any], parts: Iterable[str]) -> set[str]:
    """Those of the parts that a source which stays is made of."""
    leaving, kept = set(parts), set[str]()
    while True:
        found = leaving & {_made_of(spec) for name, spec in data["sources"].items() if name not in leaving}
        if not found:
            return kept
        leaving, kept = leaving - found, kept | found


def _made_of(spec: Mapping[str, Any]) -> str | None:
    sections = (spec.get(key) for key in MADE)
    return next((section.get("of") for section in sections if isinstance(section, Mapping)), None)


def _stays_or_leaves(base: Base, data: Mapping[str, Any], change: Change) -> str:
    if not change.parts:
        return ""
    gone = len(base.recipe.sources) - len(data["sources"])
    what = f"{len(change.parts)} of {len(base.mix)} parts leave the mix: {', '.join(change.parts)}."
    if gone:
        return (
            f"{what} They leave the sources too, as duplicates are sought across them: dedup, and what follows it, run "
            "again for the others."
        )
    return f"{what} They stay in sources, so that every step before the mix is the base's."


# ------------------------------------------------------------ how large


def _reweigh(base: Base, data: dict[str, Any], change: Change, same_size: bool) -> list[str]:
    """Sets the size, so that the mixture is smaller by what left, or as large as before."""
    if not change.parts:
        return []
    size, notes = _same_size(base, data) if same_size else _smaller(base, data, change)
    if size is None:
        data.pop("size", None)
    else:
        _put(data, "size", size, after="topics" if "topics" in data else "mix")
    return notes


def _weighted(takes: Mapping[str, Take], names: Iterable[str]) -> bool:
    return any(takes[name].weight is not None for name in names)


def _same_size(base: Base, data: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    size, expect, known = base.recipe.size, base.recipe.expect, base.counts
    if size is not None and size.tokens is not None:
        found: dict[str, Any] = {"tokens": size.tokens}
    else:
        rows = (size.rows if size else None) or (expect.rows if expect else None)
        rows = known.total if rows is None and known.settled else rows
        if rows is None:
            raise RecipeError(
                f"--same-size: how many rows {base.recipe.name} has is known once it was run; run it before, or give "
                "it 'expect: {rows: N}'"
            )
        found = {"rows": rows}
    return (found if _weighted(base.mix, data["mix"]) else {**found, "scale": True}), []


def _smaller(base: Base, data: Mapping[str, Any], change: Change) -> tuple[dict[str, Any] | None, list[str]]:
    """The base's size without what left. Weights without a size take the one that they had, lest the others grow."""
    size, known, rest = base.recipe.size, base.counts, data["mix"]
    shared = _weighted(base.mix, rest)
    if size is None:
        left = _sum(known.rows[name] for name in change.parts)
        if not (shared and _weighted(base.mix, change.parts)):
            return None, []
        if left is None or known.total is None or not known.settled:
            return None, ["the weights have no size, so the parts that stay may be more rows than in the base"]
        return {"rows": known.total - left}, []
    if not (shared or size.scale or data.get("topics")):
        return None, []
    unit = "rows" if size.rows is not None else "tokens"
    whole = size.rows if size.rows is not None else size.tokens
    left = _sum((known.rows if unit == "rows" else known.tokens)[name] for name in change.parts)
    if left is None or whole is None or not known.settled:
        note = f"size is the base's: how many {unit} left is known once the base was run"
        return size.model_dump(exclude_defaults=True), [note]
    return {unit: whole - left, **({"scale": True} if size.scale else {})}, []


def _repeat(base: Base, data: dict[str, Any]) -> list[str]:
    """Lets sources repeat whose share of the variant is more rows than they have, as far as counts are known."""
    names, known, topics = list(data["mix"]), base.counts, data.get("topics") or {}
    size = data.get("size") or {}
    if base.recipe.topics or base.recipe.size or not (topics or size.get("scale")) or _weighted(base.mix, names):
        return []
    rows = {name: n for name in names if (n := known.rows[name]) is not None}
    if len(rows) < len(names) or not sum(rows.values()):
        return []
    wanted = {topic: Emphasis(**given) for topic, given in topics.items()}
    shares = shares_by_topic(rows, base.recipe.part_topics, wanted)
    due = apportion(size.get("rows", sum(rows.values())), shares)
    repeated = []
    for name, take in ((name, base.mix[name]) for name in names):
        available = known.available[name]
        if not available or due[name] <= available * take.repeat or take.tokens is not None:
            continue
        given = {k: v for k, v in data["mix"][name].items() if k not in AMOUNTS_REPEATED}
        amount = {"count": rows[name]} if take.amount in AMOUNTS_REPEATED else {}
        data["mix"][name] = {**amount, **given, "repeat": -(-due[name] // available)}
        repeated.append(name)
    return [f"rows of {_few(repeated)} repeat: a share is larger than its source"] if repeated else []


def _sum(numbers: Iterable[int | None]) -> int | None:
    listed = list(numbers)
    return None if None in listed else sum(n for n in listed if n is not None)


def expecting(base: Base, made: Variant, planned: Counts) -> Variant:
    """The variant with the base's expectations, as its own plan meets them; those that it leaves open are dropped."""
    expect = base.recipe.expect
    if expect is None:
        return made
    tokens = _sum(planned.tokens.values())
    known = {"rows": planned.total, "tokens": tokens} if planned.settled else {"rows": None, "tokens": None}
    asked = [key for key in known if getattr(expect, key) is not None]
    kept: dict[str, Any] = {key: known[key] for key in asked if known[key] is not None}
    parts = {name: planned.rows[name] for name in expect.parts if name in planned.rows and planned.settled}
    if parts := {name: rows for name, rows in parts.items() if rows is not None}:
        kept["parts"] = parts
    lost = [key for key in asked if key not in kept]
    note = [f"expect leaves {_listed(lost)} out: known once the steps before the mix were run"] if lost else []
    data = {**made.data, "expect": kept} if kept else made.data
    return replace(made, data=data, notes=(*made.notes, *note))


# ------------------------------------------------------------ as a file


class _Dumper(yaml.SafeDumper):
    """Writes what is used twice twice, and not as an alias."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def as_yaml(made: Variant, command: str) -> str:
    """The variant as a recipe's file: a head that says what it is, a blank line about each section."""
    head = [*textwrap.wrap(made.head, WIDTH), *(line for note in made.notes for line in _note(note))]
    head.append(f"Written by: {command}")
    lines, apart = [f"# {line}\n" for line in head], False
    for key, value in made.data.items():
        text = yaml.dump(
            {key: value},
            Dumper=_Dumper,
            sort_keys=False,
            allow_unicode=True,
            default_flow_style=None if isinstance(value, dict | list) else False,  # None: the innermost on one line
            width=WIDTH,
        )
        section = text.count("\n") > 1
        lines += ["\n", text] if section or apart else [text]
        apart = section
    return "".join(lines)


def _note(note: str) -> list[str]:
    return textwrap.wrap(f"Note: {note}.", WIDTH, subsequent_indent="  ")


def _put(
    data: dict[str, Any], key: str, value: Any, *, before: str | None = None, after: str | None = None
) -> dict[str, Any]:
    """Sets a key in place, a new one beside another; the other keys keep their order."""
    if key in data:
        data[key] = value
        return data
    items = list(data.items())
    names = [name for name, _ in items]
    at = names.index(before) if before is not None else names.index(after or names[-1]) + 1
    items.insert(at, (key, value))
    data.clear()
    data.update(items)
    return data
