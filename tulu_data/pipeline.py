"""Runs a recipe: read or make each source, audit them against the suites, drop what overlaps, mix, publish.

Each step is keyed by the hash of what it depends on: its parameters, its inputs' content and the step's version.
A step whose key is on record, and whose result is still in the store, is skipped. A killed run leaves finished
steps behind and no half version, so running the recipe again continues it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import pyarrow as pa

from tulu_data import ingestion
from tulu_data import mixture as mixing
from tulu_data.errors import RecipeError, nearest
from tulu_data.licenses import check_licenses, check_source
from tulu_data.manifest import Origin, canonical_json
from tulu_data.outline import Outline, outline
from tulu_data.progress import Progress, Silent
from tulu_data.read import ReadOptions
from tulu_data.recipe import ABOUT, CLEAN, FILTERED, UNIQUE, Loaded, Recipe, SourceSpec
from tulu_data.store import Store, Version
from tulu_data.tokens import tokenizer_digest

# Parts of a recipe that another package runs: key → module, a `Decontamination` for `decontaminate`, else a `Maker`.
STEPS = {"decontaminate": "decontam.step", "synth": "personas.step", "pairs": "personas.pairs.step"}
SOURCES = ("ingest", "synth", "pairs")  # the steps that give a source

INGEST_VERSION, DEDUP_VERSION, MIX_VERSION = 1, 1, 2  # raise when the step gives other rows for the same input

Status = Literal["done", "cached", "to run"]


class Decontamination(Protocol):
    """What the pipeline asks of the module behind the `decontaminate` section."""

    VERSION: int

    def validate(self, data: Mapping[str, Any], place: str, root: Path) -> Any:
        """The section as a strict model; `RecipeError` at `place`."""

    def find_audit(self, settings: Any, versions: Sequence[Version], store: Store) -> Path | None:
        """The folder of this very audit, where the store holds it whole."""

    def audit(
        self, settings: Any, versions: Sequence[Version], store: Store, *, workers: int, progress: Progress
    ) -> Path:
        """Audits the versions together and saves the result in the store; its folder."""

    def load_audit(self, folder: Path) -> Audited:
        """A saved audit."""

    def check_gate(self, audit: Path) -> None:
        """`GateError` where the audit's policy is broken."""

    def gated(self, settings: Any) -> bool:
        """Whether the section asks for the gate."""

    def marks_digest(self, audit: Path) -> str | None:
        """What identifies the marks of who reviewed it; None where nobody did."""

    def drop(
        self, audit: Path, version: Version, store: Store, name: str, *, progress: Progress, origin: Origin | None
    ) -> Version:
        """Publishes the rows that the audit's policy keeps, with the decontamination record."""


class Maker(Protocol):
    """What the pipeline asks of the module behind a source that is made."""

    VERSION: int

    def validate(self, data: Mapping[str, Any], place: str, root: Path) -> Any:
        """The source's section as a strict model; `RecipeError` at `place`."""

    def parent_of(self, settings: Any) -> str | None:
        """The source that this one is made from."""

    def prepare(self, settings: Any, name: str, *, seed: int, tokenizer: str | None, parent: Version | None) -> Any:
        """What is to be made; fails before anything is."""

    def key(self, prepared: Any) -> Mapping[str, Any]:
        """What the rows depend on, beside the parent."""

    def make(
        self, prepared: Any, store: Store, *, workers: int, progress: Progress, quiet: bool, origin: Origin | None
    ) -> Version:
        """Publishes the rows under the source's name."""


class StepReport(NamedTuple):
    """One step of a run."""

    step: str
    status: Status
    result: str | None  # a version's ref, an audit's id
    rows: int | None
    seconds: float


@dataclass
class Run:
    """What a run made. In a dry run the results of steps still to run are None."""

    recipe: str
    steps: list[StepReport] = field(default_factory=list)
    sources: dict[str, Version | None] = field(default_factory=dict)
    filtered: dict[str, Version | None] = field(default_factory=dict)
    unique: dict[str, Version | None] = field(default_factory=dict)
    clean: dict[str, Version | None] = field(default_factory=dict)
    audit: Path | None = None
    plan: mixing.Plan | None = None
    outline: Outline | None = None  # of a dry run whose sources are not all there: what they say they hold
    mixture: Version | None = None


def run(
    loaded: Loaded,
    store: Store,
    *,
    workers: int = 1,
    progress: Progress | None = None,
    dry_run: bool = False,
    until: str | None = None,
) -> Run:
    """Makes everything the recipe describes; with `until` (`ingest:NAME`, `synth:NAME`, `pairs:NAME`, `filter:NAME`,
    `dedup:NAME`, `drop:NAME`) only what that step needs.

    With `dry_run` nothing is written: the result says which steps are cached and which would run.
    """
    return _Runner(loaded, store, workers, progress or Silent(), dry_run).run(until)


class _Runner:
    def __init__(self, loaded: Loaded, store: Store, workers: int, progress: Progress, dry_run: bool) -> None:
        self.loaded = loaded
        self.recipe: Recipe = loaded.recipe
        self.store = store
        self.workers = workers
        self.progress = progress
        self.dry_run = dry_run
        self.result = Run(self.recipe.name)
        self.makers: dict[str, tuple[Maker, Any]] = {}
        self.pinned: dict[str, str] = {}  # hub sources by the commit that was read

    def run(self, until: str | None) -> Run:
        action, _, wanted = (until or "mix").partition(":")
        result = self.result
        decontam, settings = self._decontamination() if action not in SOURCES else (None, None)
        filters, duplicates = self._filters(), self._duplicates()
        self._validate_made()
        self._check_declared_licenses()
        for name in self.recipe.sources if action not in SOURCES else [wanted]:
            self._source(name)
        if action in SOURCES:
            return result
        self._check_licenses()
        if filters is not None:
            for name in self.recipe.sources if action != "filter" else [wanted]:
                result.filtered[name] = self._filter(name, filters)
        if action == "filter":
            return result
        if duplicates is not None:
            for name in self.recipe.sources if action != "dedup" else [wanted]:
                result.unique[name] = self._unique(name, duplicates)
        if action == "dedup":
            return result
        result.clean = self._ready()
        if decontam is not None:
            result.audit = self._audit(decontam, settings)
            if result.audit is not None and decontam.gated(settings) and not self.dry_run:
                decontam.check_gate(result.audit)
            for name in self.recipe.sources if action != "drop" else [wanted]:
                result.clean[name] = self._drop(decontam, name)
        if action == "mix" and self.recipe.mix is not None:
            result.mixture = self._mix(self.recipe.mix)
        return result

    def _ready(self) -> dict[str, Version | None]:
        """The sources as they are audited: without duplicates, filtered, or as they were read."""
        return dict(self.result.unique or self.result.filtered or self.result.sources)

    def _filters(self) -> Any:
        """The filters' settings; None where the recipe has none."""
        from tulu_data.filters import registry

        section = self.recipe.filter
        if section is None:
            return None
        settings = registry.validate(section, self.loaded.place)
        registry.active(settings)  # there must be one
        return settings

    def _duplicates(self) -> Any:
        """What counts as a duplicate; None where the recipe does not look for any."""
        from tulu_data.dedup import Settings
        from tulu_data.strict import validate

        section = self.recipe.dedup
        return None if section is None else validate(Settings, section, self.loaded.place, under="dedup")

    def _decontamination(self) -> tuple[Decontamination | None, Any]:
        section = self.recipe.decontaminate
        if section is None:
            return None, None
        module: Any = import_module(STEPS["decontaminate"])
        return module, module.validate(section, self.loaded.place, self.loaded.root)

    def _validate_made(self) -> None:
        """Sections of all sources that are made, before the first of them is."""
        for name, spec in self.recipe.sources.items():
            if spec.made is None:
                continue
            maker: Any = import_module(STEPS[spec.made])
            place = f"{self.loaded.place}: sources.{name}.{spec.made}"
            settings = maker.validate(getattr(spec, spec.made), place, self.loaded.root)
            parent = maker.parent_of(settings)
            if parent is not None and (
                parent not in self.recipe.sources or self.recipe.sources[parent].made == spec.made
            ):
                others = [n for n, s in self.recipe.sources.items() if s.made != spec.made]
                raise RecipeError(
                    f"{place}.of: no source {parent!r} to make them of; {nearest(parent, others, noun='source')}"
                )
            self.makers[name] = (maker, settings)

    # -------------------------------------------------------- steps

    def _source(self, name: str) -> Version | None:
        """A source's version, read or made; the source that it is made of comes first."""
        if name not in self.result.sources:
            self.result.sources[name] = self._make(name) if name in self.makers else self._ingest(name)
        return self.result.sources[name]

    def _make(self, name: str) -> Version | None:
        maker, settings = self.makers[name]
        made, above = self.recipe.sources[name].made, maker.parent_of(settings)
        step, parent = f"{made}:{name}", self._source(above) if above is not None else None
        if above is not None and parent is None:
            self._report(step, "to run", None, None, 0.0)
            return None
        prepared = maker.prepare(
            settings, name, seed=self.recipe.seed, tokenizer=_tokenizer(self.loaded), parent=parent
        )
        key = {
            "step": made,
            "version": maker.VERSION,
            "name": name,
            "tokenizer": tokenizer_digest(_tokenizer(self.loaded)),
            "from": _identity(parent) if parent is not None else None,
            **maker.key(prepared),
        }
        return self._version_step(
            step,
            key,
            lambda: maker.make(
                prepared,
                self.store,
                workers=self.workers,
                progress=self.progress,
                quiet=isinstance(self.progress, Silent),
                origin=self._origin(step),
            ),
        )

    def _ingest(self, name: str) -> Version | None:
        source, spec = source_of(self.loaded, name), self.recipe.sources[name]
        if self.dry_run and spec.hub is not None and not ingestion.pinned_address(source.inputs[0], source.revision):
            self._report(f"ingest:{name}", "to run", None, spec.rows, 0.0)  # a plan asks nothing of the hub
            return None
        files = ingestion.open_inputs(source)
        if self.recipe.sources[name].hub is not None:
            self.pinned[name] = files[0].uri.removeprefix("hub:")
        key = {
            "step": "ingest",
            "version": INGEST_VERSION,
            "source": spec.model_dump(exclude=set(ABOUT)),
            "name": name,
            "tokenizer": tokenizer_digest(source.tokenizer),
            "files": [f.sha256 for f in files],
        }
        version = self._version_step(
            f"ingest:{name}",
            key,
            lambda: ingestion.ingest(
                self.store,
                source,
                files=files,
                workers=self.workers,
                progress=self.progress,
                origin=self._origin(f"ingest:{name}"),
            ),
            planned=spec.rows,
        )
        if version is not None and spec.rows not in (None, version.rows):
            self.progress.note(
                f"warning: sources.{name}.rows: {spec.rows:,} expected, {version.rows:,} read; "
                f"tulu show {name} --drops says what was left out"
            )
        return version

    def _check_declared_licenses(self) -> None:
        """Refuses hub datasets by the licence that the recipe states, before they are fetched."""
        for name in self.recipe.mix or {}:
            spec = self.recipe.sources[name]
            if spec.hub is not None and spec.license is not None:
                check_source(name, {spec.license: spec.rows}, self.recipe.licenses, spec.stated, Silent())

    def _check_licenses(self) -> None:
        mixed = self.recipe.mix or {}
        versions = [v for name, v in self.result.sources.items() if v is not None and name in mixed]
        stated = {name: spec.stated for name, spec in self.recipe.sources.items()}
        check_licenses(versions, self.recipe.licenses, stated=stated, progress=self.progress)

    def _filter(self, name: str, settings: Any) -> Version | None:
        from tulu_data.filters import filtering, registry

        version, step = self.result.sources[name], f"filter:{name}"
        if version is None:
            self._report(step, "to run", None, None, 0.0)
            return None
        on = registry.active(settings)
        key = {
            "step": "filter",
            "version": filtering.VERSION,
            "settings": settings.model_dump(mode="json"),
            "filters": {f.name: [f.version, dict(f.key(s))] for f, s in on},
            "name": name,
            "from": _identity(version),
        }
        how: dict[str, Any] = {"workers": self.workers, "progress": self.progress, "origin": self._origin(step)}
        return self._version_step(
            step, key, lambda: filtering.filter_version(version, self.store, f"{name}{FILTERED}", settings, **how)
        )

    def _unique(self, name: str, settings: Any) -> Version | None:
        from tulu_data import dedup

        step, before = f"dedup:{name}", self.result.filtered or self.result.sources
        compared = [before[n] for n in self.recipe.sources] if settings.scope == "across" else [before[name]]
        versions, version = [v for v in compared if v is not None], before[name]
        if version is None or len(versions) < len(compared):
            self._report(step, "to run", None, None, 0.0)
            return None
        key = {
            "step": "dedup",
            "version": DEDUP_VERSION,
            "settings": settings.model_dump(mode="json"),
            "name": name,
            "from": _identity(version),
            "compared": [_identity(v) for v in versions],
        }

        def make() -> Version:
            found = dedup.find_in_store(versions, settings, self.store, workers=self.workers, progress=self.progress)
            how: dict[str, Any] = {"progress": self.progress, "origin": self._origin(step)}
            return dedup.publish_unique(found, version, self.store, f"{name}{UNIQUE}", **how)

        return self._version_step(step, key, make)

    def _audit(self, decontam: Decontamination, settings: Any) -> Path | None:
        ready = self._ready()
        versions = [v for v in ready.values() if v is not None]
        if len(versions) < len(ready):
            self._report("audit", "to run", None, None, 0.0)
            return None
        found = decontam.find_audit(settings, versions, self.store)
        if found is not None:
            self._report("audit", "cached", found.name, None, 0.0)
            return found
        if self.dry_run:
            self._report("audit", "to run", None, None, 0.0)
            return None
        start = time.monotonic()
        path: Path = decontam.audit(settings, versions, self.store, workers=self.workers, progress=self.progress)
        self._report("audit", "done", path.name, None, time.monotonic() - start)
        return path

    def _drop(self, decontam: Decontamination, name: str) -> Version | None:
        audit, version = self.result.audit, self._ready()[name]
        if audit is None or version is None:
            self._report(f"drop:{name}", "to run", None, None, 0.0)
            return None
        key = {
            "step": "drop",
            "version": decontam.VERSION,
            "audit": audit.name,
            "marks": decontam.marks_digest(audit),
            "from": _identity(version),
        }
        return self._version_step(
            f"drop:{name}",
            key,
            lambda: decontam.drop(
                audit,
                version,
                self.store,
                f"{name}{CLEAN}",
                progress=self.progress,
                origin=self._origin(f"drop:{name}"),
            ),
        )

    def _mix(self, takes: Mapping[str, Any]) -> Version | None:
        chosen = {name: self.result.clean[name] for name in takes}
        versions = {name: v for name, v in chosen.items() if v is not None}
        if len(versions) < len(chosen):
            self._outline_mix(takes)
            return None
        recipe = self.recipe
        parts = [mixing.Part(n, versions[n], take, recipe.sources[n].topic) for n, take in takes.items()]
        key = {
            "step": "mix",
            "version": MIX_VERSION,
            "name": recipe.name,
            "seed": recipe.seed,
            "size": recipe.size.model_dump() if recipe.size else None,
            "topics": {topic: e.model_dump() for topic, e in recipe.topics.items()},
            "expect": recipe.expect.model_dump() if recipe.expect else None,
            "parts": {p.name: [p.take.model_dump(), p.topic, _identity(p.version)] for p in parts},
        }
        if self.dry_run:
            self.result.plan = mixing.plan(parts, seed=recipe.seed, size=recipe.size, topics=recipe.topics)
            mixing.check_expectations(self.result.plan, recipe.expect or mixing.Expect())
        return self._version_step(
            "mix",
            key,
            lambda: mixing.mix(
                self.store,
                recipe.name,
                parts,
                seed=recipe.seed,
                size=recipe.size,
                topics=recipe.topics,
                expect=recipe.expect,
                workers=self.workers,
                progress=self.progress,
                origin=self._origin("mix"),
            ),
        )

    def _outline_mix(self, takes: Mapping[str, Any]) -> None:
        """The plan of a mixture whose sources are not there yet, by what they say they hold."""
        rows: dict[str, int | None] = {}
        for name in takes:
            version = self.result.clean[name] or self.result.sources[name]
            rows[name] = version.rows if version is not None else _declared_rows(self.recipe.sources[name])
        recipe = self.recipe
        self.result.outline = outline(
            takes,
            rows,
            size=recipe.size,
            topics=recipe.topics,
            topic_of={name: recipe.sources[name].topic for name in takes},
            before=any((recipe.filter, recipe.dedup, recipe.decontaminate)),
        )
        self.result.outline.check(self.recipe.expect or mixing.Expect())
        self._report("mix", "to run", None, self.result.outline.rows, 0.0)

    # -------------------------------------------------------- what is on record

    def _version_step(
        self, step: str, key: Mapping[str, Any], make: Callable[[], Version], *, planned: int | None = None
    ) -> Version | None:
        record = self._record(key)
        if record:
            version = self.store.open_build(record["version"], record["build"])
            if version is not None:
                version.check_whole()
                if not self.dry_run:
                    self.store.point(version)
                self._report(step, "cached", version.ref, version.rows, 0.0)
                return version
        if self.dry_run:
            rows = self.result.plan.rows if step == "mix" and self.result.plan else planned
            self._report(step, "to run", None, rows, 0.0)
            return None
        start = time.monotonic()
        version = make()
        self._remember(key, {"version": version.ref, "build": version.build})
        self._report(step, "done", version.ref, version.rows, time.monotonic() - start)
        return version

    def _record(self, key: Mapping[str, Any]) -> dict[str, Any] | None:
        path = self.store.root / _record_path(key)
        try:
            record: dict[str, Any] = json.loads(path.read_text())
        except (OSError, ValueError):
            return None  # no such record, or one that cannot be read: the step runs
        return record

    def _remember(self, key: Mapping[str, Any], outcome: Mapping[str, Any]) -> None:
        self.store.write_json(_record_path(key), {**outcome, "key": key})

    def _report(self, step: str, status: Status, result: str | None, rows: int | None, seconds: float) -> None:
        self.result.steps.append(StepReport(step, status, result, rows, seconds))

    def _origin(self, step: str) -> Origin:
        data = self.recipe.model_dump(mode="json", exclude_unset=True, exclude={"root"})
        for name, hub in self.pinned.items():
            data["sources"][name]["hub"] = hub
        return Origin(recipe=data, root=str(self.loaded.root), step=step)


class Audited(Protocol):
    """A saved audit, with the marks of who reviewed it."""

    @property
    def manifest(self) -> dict[str, Any]:
        """What was held against what, and how."""

    @property
    def evals(self) -> pa.Table:
        """The verdicts per training set and suite."""

    @property
    def pairs(self) -> pa.Table:
        """The messages and instances that have anything in common."""


def load_audit(folder: Path) -> Audited:
    """The audit in a folder; `InputError` in one line where it is damaged."""
    decontam: Decontamination = import_module(STEPS["decontaminate"])
    return decontam.load_audit(folder)


def source_of(loaded: Loaded, name: str) -> ingestion.Source:
    """A recipe's source as `ingest` takes it, its paths absolute."""
    spec = loaded.recipe.sources.get(name)
    if spec is None:
        raise RecipeError(f"{loaded.place}: no source {name!r}; it has {', '.join(loaded.recipe.sources)}")
    if spec.hub is not None:
        inputs: tuple[str, ...] = (f"hub:{spec.hub.removeprefix('hub:')}",)
    else:
        paths = [spec.path] if isinstance(spec.path, str) else spec.path or []
        inputs = tuple(str(loaded.resolve(p)) for p in paths)
    return ingestion.Source(
        name=name,
        inputs=inputs,
        kind=spec.kind,
        adapter=spec.adapter,
        license=spec.license,
        tokenizer=_tokenizer(loaded),
        options=ReadOptions(
            format=spec.format, header=spec.header, columns=tuple(spec.columns) if spec.columns else None
        ),
        revision=spec.revision,
        sha256=(spec.sha256,) if isinstance(spec.sha256, str) else tuple(spec.sha256 or ()),
    )


def _tokenizer(loaded: Loaded) -> str | None:
    """The recipe's tokenizer; a file's path is relative to the root, like every other."""
    name = loaded.recipe.tokenizer
    return str(loaded.resolve(name)) if name and loaded.resolve(name).is_file() else name


def _declared_rows(spec: SourceSpec) -> int | None:
    """How many rows a source says it has, or is to be made of."""
    made = getattr(spec, spec.made) if spec.made else {}
    return spec.rows if spec.rows is not None else made.get("n")


def _identity(version: Version) -> list[str | None]:
    return [version.ref, version.build]


def _record_path(key: Mapping[str, Any]) -> str:
    return f"steps/{key['step']}-{sha256(canonical_json(key)).hexdigest()[:32]}.json"
