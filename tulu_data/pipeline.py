"""Runs a recipe: read or make each source, audit them against the suites, drop what overlaps, mix, publish.

Each step is keyed by the hash of what it depends on: its parameters, its inputs' content and the step's version.
A step whose key is on record, and whose result is still in the store, is skipped. A killed run leaves finished
steps behind and no half version, so running the recipe again continues it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from tulu_data import ingestion, mixture_pages
from tulu_data import mixture as mixing
from tulu_data.errors import RecipeError, nearest
from tulu_data.licenses import check_licenses, check_source
from tulu_data.manifest import Origin
from tulu_data.outline import Outline, outline
from tulu_data.progress import Progress, Silent
from tulu_data.read import ReadOptions
from tulu_data.recipe import ABOUT, CLEAN, FILTERED, UNIQUE, Loaded, Recipe, SourceSpec
from tulu_data.stages import Audited, Decontamination, Maker
from tulu_data.steps import StepReport, Steps
from tulu_data.store import Store, Version
from tulu_data.tokens import tokenizer_digest

# Parts of a recipe that another package runs: key → module, a `Decontamination` for `decontaminate`, else a `Maker`.
STEPS = {"decontaminate": "decontam.step", "synth": "personas.step", "pairs": "personas.pairs.step"}
SOURCES = ("ingest", "synth", "pairs")  # the steps that give a source

INGEST_VERSION, MIX_VERSION = 1, 2  # raise when the step gives other rows for the same input


@dataclass
class Run:
    """What a run made. In a dry run the results of steps still to run are None."""

    recipe: str
    description: str = ""
    steps: list[StepReport] = field(default_factory=list)
    sources: dict[str, Version | None] = field(default_factory=dict)
    filtered: dict[str, Version | None] = field(default_factory=dict)
    unique: dict[str, Version | None] = field(default_factory=dict)
    clean: dict[str, Version | None] = field(default_factory=dict)
    audit: Path | None = None
    plan: mixing.Plan | None = None
    outline: Outline | None = None  # of a dry run whose sources are not all there: what they say they hold
    mixture: Version | None = None
    page: Path | None = None  # of the mixture, where pages were asked for


def run(
    loaded: Loaded,
    store: Store,
    *,
    workers: int = 1,
    progress: Progress | None = None,
    dry_run: bool = False,
    until: str | None = None,
    pages: bool = False,
) -> Run:
    """Makes everything the recipe describes; with `until` (`ingest:NAME`, `synth:NAME`, `pairs:NAME`, `filter:NAME`,
    `dedup:NAME`, `drop:NAME`) only what that step needs.

    With `dry_run` nothing is written: the result says which steps are cached and which would run. With `pages` the
    mixture and its audits are written as HTML pages too, under `pages/` of the store.
    """
    return _Runner(loaded, store, workers, progress or Silent(), dry_run=dry_run, pages=pages).run(until)


class _Runner:
    def __init__(
        self, loaded: Loaded, store: Store, workers: int, progress: Progress, *, dry_run: bool, pages: bool
    ) -> None:
        self.loaded = loaded
        self.recipe: Recipe = loaded.recipe
        self.store = store
        self.workers = workers
        self.progress = progress
        self.dry_run = dry_run
        self.pages = pages
        self.steps = Steps(store, dry_run=dry_run)
        self.result = Run(self.recipe.name, self.recipe.description, self.steps.reports)
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
            if self.pages:
                self._page(result.mixture)
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
            self.steps.report(step, "to run")
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
        return self.steps.version(
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
            self.steps.report(f"ingest:{name}", "to run", rows=spec.rows)  # a plan asks nothing of the hub
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
        version = self.steps.version(
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
        for name in dict.fromkeys(self.recipe.part_sources.values()):
            spec = self.recipe.sources[name]
            if spec.hub is not None and spec.license is not None:
                check_source(name, {spec.license: spec.rows}, self.recipe.licenses, spec.stated, Silent())

    def _check_licenses(self) -> None:
        mixed = self.recipe.part_sources.values()
        versions = [v for name, v in self.result.sources.items() if v is not None and name in mixed]
        stated = {name: spec.stated for name, spec in self.recipe.sources.items()}
        check_licenses(versions, self.recipe.licenses, stated=stated, progress=self.progress)

    def _filter(self, name: str, settings: Any) -> Version | None:
        from tulu_data.filters import filtering, registry

        version, step = self.result.sources[name], f"filter:{name}"
        if version is None:
            self.steps.report(step, "to run")
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
        return self.steps.version(
            step, key, lambda: filtering.filter_version(version, self.store, f"{name}{FILTERED}", settings, **how)
        )

    def _unique(self, name: str, settings: Any) -> Version | None:
        from tulu_data import dedup

        step, before = f"dedup:{name}", self.result.filtered or self.result.sources
        compared = [before[n] for n in self.recipe.sources] if settings.scope == "across" else [before[name]]
        versions, version = [v for v in compared if v is not None], before[name]
        if version is None or len(versions) < len(compared):
            self.steps.report(step, "to run")
            return None
        key = {
            "step": "dedup",
            "duplicates": dedup.duplicates_id(versions, settings),
            "name": name,
            "from": _identity(version),
        }

        def make() -> Version:
            found = dedup.find_in_store(versions, settings, self.store, workers=self.workers, progress=self.progress)
            how: dict[str, Any] = {"progress": self.progress, "origin": self._origin(step)}
            return dedup.publish_unique(found, version, self.store, f"{name}{UNIQUE}", **how)

        return self.steps.version(step, key, make)

    def _audit(self, decontam: Decontamination, settings: Any) -> Path | None:
        ready = self._ready()
        versions = [v for v in ready.values() if v is not None]
        if len(versions) < len(ready):
            self.steps.report("audit", "to run")
            return None
        found = decontam.find_audit(settings, versions, self.store)
        if found is not None:
            self.steps.report("audit", "cached", found.name)
            return found
        if self.dry_run:
            self.steps.report("audit", "to run")
            return None
        start = time.monotonic()
        path: Path = decontam.audit(settings, versions, self.store, workers=self.workers, progress=self.progress)
        self.steps.report("audit", "done", path.name, start=start)
        return path

    def _drop(self, decontam: Decontamination, name: str) -> Version | None:
        audit, version = self.result.audit, self._ready()[name]
        if audit is None or version is None:
            self.steps.report(f"drop:{name}", "to run")
            return None
        key = {
            "step": "drop",
            "version": decontam.VERSION,
            "audit": audit.name,
            "marks": decontam.marks_digest(audit),
            "from": _identity(version),
        }
        return self.steps.version(
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
        recipe = self.recipe
        chosen = {name: self.result.clean[source] for name, source in recipe.part_sources.items()}
        versions = {name: v for name, v in chosen.items() if v is not None}
        if len(versions) < len(chosen):
            self._outline_mix(takes)
            return None
        parts = [mixing.Part(name, versions[name], take, recipe.part_topics[name]) for name, take in takes.items()]
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
        return self.steps.version(
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
            planned=self.result.plan.rows if self.result.plan else None,
        )

    def _page(self, mixture: Version | None) -> None:
        """Writes the pages of the mixture and of its audits side by side, where they are not there yet."""
        if mixture is None:
            self.steps.report("page", "to run")
            return
        decontam: Decontamination = import_module(STEPS["decontaminate"])
        target = mixture_pages.file_of(self.store, mixture)
        audits = mixture_pages.saved_audits(mixture, self.store)
        files = [target, *(target.with_name(mixture_pages.audit_file(a.name)) for a in audits)]
        key = {"step": "page", "mixture": mixture.ref}  # one record a file, for a file holds one page
        made_of = {
            "version": mixture_pages.VERSION,
            "from": _identity(mixture),
            "audits": {a.name: decontam.marks_digest(a) for a in audits},
        }
        if (self.steps.find(key) or {}).get("made_of") == made_of and all(f.is_file() for f in files):
            self.steps.report("page", "cached", str(target))
        elif self.dry_run:
            self.steps.report("page", "to run")
        else:
            start = time.monotonic()
            self.store.clear_abandoned()  # a run that was killed at its last record builds nothing that would
            mixture_pages.write(mixture, self.store, target.parent, audit_page=decontam.page, progress=self.progress)
            self.steps.remember(key, {"page": target.name, "made_of": made_of})
            self.steps.report("page", "done", str(target), start=start)
        self.result.page = target if target.is_file() else None

    def _outline_mix(self, takes: Mapping[str, Any]) -> None:
        """The plan of a mixture whose sources are not there yet, by what they say they hold."""
        rows: dict[str, int | None] = {}
        for name, source in self.recipe.part_sources.items():
            version = self.result.clean[source] or self.result.sources[source]
            rows[name] = version.rows if version is not None else _declared_rows(self.recipe.sources[source])
        recipe = self.recipe
        self.result.outline = outline(
            takes,
            rows,
            size=recipe.size,
            topics=recipe.topics,
            topic_of=recipe.part_topics,
            before=any(s is not None for s in (recipe.filter, recipe.dedup, recipe.decontaminate)),
        )
        self.result.outline.check(self.recipe.expect or mixing.Expect())
        self.steps.report("mix", "to run", rows=self.result.outline.rows)

    def _origin(self, step: str) -> Origin:
        data = self.recipe.model_dump(mode="json", exclude_unset=True, exclude={"root"})
        for name, hub in self.pinned.items():
            data["sources"][name]["hub"] = hub
        return Origin(recipe=data, root=str(self.loaded.root), step=step)


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
