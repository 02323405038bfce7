"""The `pairs` key of a recipe's source: preference pairs that are made of another source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from personas import prompts
from personas.pairs import judging, relaxing, running, verified
from personas.pairs.pair import PairWork, Source
from personas.pairs.sources import sources, synthetic
from personas.prompts import Prompts
from personas.skills.precise_if import SKILL as PRECISE_IF
from personas.step import Backend, prompts_of
from tulu_data.errors import RecipeError, TuluError, UsageError
from tulu_data.llm.spec import ModelSpec
from tulu_data.manifest import Origin
from tulu_data.progress import Progress
from tulu_data.store import Store, Version
from tulu_data.strict import Strict
from tulu_data.strict import validate as validate_strict

VERSION = 1  # raised when the step gives other pairs for the same section

JUDGE_STAGES = dict.fromkeys(judging.ASPECTS, ("prompt", "texts", "na"))


_OWN = {  # key → the one method that it is of
    "samples": "verified",
    **dict.fromkeys(("models", "judge", "on_policy", "texts", "both_orders"), "judge"),
}


class Section(Strict):
    """What pairs are made: the method, of which source, by whom."""

    method: Literal["relax", "verified", "judge"]
    of: str = Field(description="the source whose rows they are made of")
    backend: Literal["procedural"] | Backend = "procedural"
    n: int | None = Field(default=None, ge=1, description="the first so many rows only")
    seed: int | None = Field(default=None, description="else the recipe's")
    samples: int = Field(default=verified.SAMPLES, ge=2, description="verified: answers to a prompt")
    models: list[ModelSpec] = Field(default_factory=list, description="judge: the pool")
    judge: ModelSpec | None = Field(default=None, description="judge: who rates")
    on_policy: ModelSpec | None = Field(default=None, description="judge: the model in training, on one side of a pair")
    texts: int = Field(default=judging.TEXTS, ge=2, description="judge: answers to a prompt")
    both_orders: bool = Field(default=False, description="judge: rate twice, the texts turned round")
    prompts: str | None = Field(default=None, description="folder of prompts in place of the package's")

    @model_validator(mode="after")
    def _fits(self) -> Section:
        if self.method == "judge":
            if self.judge is None:
                raise ValueError("judge: name the model that rates; nothing stands in for it")
            if len(self.models) + (self.on_policy is not None) < 2:
                raise ValueError("models: two at least answer a prompt; name more")
        for name in self.model_fields_set & set(_OWN):
            if self.method != _OWN[name] and getattr(self, name):
                raise ValueError(f"{name}: is of the method {_OWN[name]}, not of {self.method}; leave it out")
        if self.method == "judge" and not isinstance(self.backend, str):
            raise ValueError("backend: the method judge asks its models and its judge; leave it out")
        return self

    @property
    def asked(self) -> dict[str, ModelSpec]:
        """Who is asked, by route."""
        if self.method == "judge" and self.judge is not None:
            pool = {f"model-{i}": spec for i, spec in enumerate(self.models, 1)}
            own = {judging.ON_POLICY: self.on_policy} if self.on_policy else {}
            return {**pool, **own, judging.JUDGE: self.judge}
        spec = None if isinstance(self.backend, str) else self.backend.spec
        return {"": spec} if spec else {}


def validate(data: Mapping[str, Any], place: str, root: Path) -> Section:
    """The section as a strict model, its paths absolute; `RecipeError` at `place`."""
    section = validate_strict(Section, data, place)
    if section.prompts is None:
        return section
    return section.model_copy(update={"prompts": str(root / Path(section.prompts).expanduser())})


def parent_of(settings: Section) -> str | None:
    """The source that the pairs are made of."""
    return settings.of


def job_of(
    section: Section,
    name: str,
    store: Store,
    *,
    of: str | None = None,
    seed: int = 0,
    tokenizer: str | None = None,
    parent: Version | None = None,
) -> running.PairJob:
    """The section as a job. of: the version or file, where it is not called as the section calls it."""
    of = of or (parent.ref if parent is not None else section.of)
    seed = seed if section.seed is None else section.seed
    if parent is None and not Path(of).is_file():
        parent = store.open(of)
    rows = partial(_rows, section.method, of, store, seed, parent)
    models = section.asked
    for spec in models.values():
        spec.check()
    work = PairWork(
        method=section.method,
        sources=rows,
        n=min(section.n or 1 << 62, sum(1 for _ in rows())),
        make=_maker(section),
        models=models,
        answer={"relax": relaxing.answer, "verified": verified.answer}.get(section.method),
        params={aspect: {"response_format": judging.STRUCTURE} for aspect in judging.ASPECTS},
    )
    told = section.model_dump(exclude_defaults=True, exclude={"of", "method", "prompts"}, mode="json")
    settings = {**told, "seed": seed, "prompts_digest": _digest(section)}
    return running.PairJob(work, name, of, settings, parent, tokenizer)


def _rows(method: str, of: str, store: Store, seed: int, parent: Version | None) -> Iterator[Source]:
    if method == "relax" and parent is not None:
        return synthetic(parent, store, seed)
    if method == "relax":
        raise UsageError(f"{of}: constraints are dropped from rows of tulu synth precise-if; name a version of those")
    return sources(of, store, seed)


def _maker(section: Section) -> Any:
    if section.method == "relax":
        return partial(relaxing.relax, prompts=prompts_of(PRECISE_IF, section.prompts))
    if section.method == "verified":
        return partial(verified.verified, samples=section.samples)
    return partial(
        judging.judge,
        prompts=_judge_prompts(section),
        pool=[route for route in section.asked if route.startswith("model-")],
        texts=section.texts,
        both_orders=section.both_orders,
        on_policy=section.on_policy is not None,
    )


def _judge_prompts(section: Section) -> Prompts:
    return prompts.load("judge", JUDGE_STAGES, folder=Path(section.prompts) if section.prompts else None)


def _digest(section: Section) -> str | None:
    if section.method == "verified":
        return None
    return (_judge_prompts(section) if section.method == "judge" else prompts_of(PRECISE_IF, section.prompts)).digest


def prepare(
    settings: Section, name: str, *, seed: int, tokenizer: str | None, parent: Version | None
) -> running.PairJob:
    """What `make` carries out."""
    assert parent is not None
    store = Store(parent.path.parent)
    try:
        return job_of(settings, name, store, seed=seed, tokenizer=tokenizer, parent=parent)
    except TuluError as e:
        raise RecipeError(f"sources.{name}.pairs: {e}") from None


def key(job: running.PairJob) -> dict[str, Any]:
    """What the pairs depend on, beside the source."""
    return {"run": job.digest}


def make(
    job: running.PairJob, store: Store, *, workers: int, progress: Progress, quiet: bool, origin: Origin | None
) -> Version:
    """Makes the pairs and publishes them; the run goes on where it was stopped."""
    folder = running.folder_of(store, job)
    return running.run(job, store, folder, workers=workers, progress=progress, quiet=quiet, origin=origin).version
