"""The `synth` key of a recipe's source: rows that are made instead of read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from personas import prompts, runs
from personas.duplicates import NEAR
from personas.filters import KEYWORDS, Filters
from personas.persona import SAMPLE, read_personas
from personas.planning import PER_PERSONA, Plan
from personas.skill import Skill
from personas.skills import skill_of
from tulu_data.errors import RecipeError, UsageError
from tulu_data.llm.spec import ModelSpec
from tulu_data.manifest import Origin
from tulu_data.progress import Progress
from tulu_data.store import Store, Version
from tulu_data.strict import Strict
from tulu_data.strict import validate as validate_strict

VERSION = 2  # raised when the step gives other rows for the same section


class OpenAI(ModelSpec):
    """A model behind an OpenAI-compatible server."""

    backend: Literal["openai"] = "openai"


class VLLM(ModelSpec):
    """A model on this machine's GPUs."""

    backend: Literal["vllm"] = "vllm"


class Backend(Strict):
    """One of the ways to ask a model."""

    openai: OpenAI | None = None
    vllm: VLLM | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Backend:
        if (self.openai is None) == (self.vllm is None):
            raise ValueError("takes exactly one of openai, vllm")
        return self

    @property
    def spec(self) -> ModelSpec | None:
        """Who is asked."""
        return self.openai or self.vllm


class Section(Strict):
    """What is made: the skill, how many rows, from which personas, by whom."""

    skill: str
    n: int = Field(default=1_000, ge=1, description="rows that are tried")
    seed: int | None = Field(default=None, description="else the recipe's")
    backend: Literal["procedural"] | Backend = "procedural"
    kind: Literal["sft", "rlvr", "prompt"] = "sft"
    personas: str = SAMPLE
    persona_field: str | None = None
    persona_license: str | None = None
    per_persona: int = Field(default=PER_PERSONA, ge=1)
    prompts: str | None = Field(default=None, description="folder with SKILL/STAGE.md in place of the package's")
    language: str = "en"
    samples: int | None = Field(default=None, ge=1, description="solutions of a row")
    options: dict[str, Any] = Field(default_factory=dict, description="the skill's own")
    near: float = Field(default=NEAR, gt=0, le=1, description="similarity from which a prompt is a duplicate")
    keywords: list[str] = Field(default_factory=lambda: list(KEYWORDS))

    @property
    def spec(self) -> ModelSpec | None:
        """Who is asked; None for the procedures."""
        return None if isinstance(self.backend, str) else self.backend.spec


def validate(data: Mapping[str, Any], place: str, root: Path) -> Section:
    """The section as a strict model, its paths absolute; `RecipeError` at `place`."""
    section = validate_strict(Section, data, place)
    paths = {"prompts": section.prompts, "personas": section.personas}
    named = {k: v for k, v in paths.items() if v is not None and v != SAMPLE and not v.startswith("hub:")}
    return section.model_copy(update={k: str(root / Path(v).expanduser()) for k, v in named.items()})


def job_of(section: Section, name: str, *, seed: int = 0, tokenizer: str | None = None) -> runs.Job:
    """The section as a job; `UsageError` or `InputError` in one line where it cannot be carried out."""
    skill = skill_of(section.skill)
    spec = section.spec
    plan = Plan(
        skill=skill,
        personas=read_personas(section.personas, field=section.persona_field, license=section.persona_license),
        prompts=prompts_of(skill, section.prompts),
        n=section.n,
        seed=seed if section.seed is None else section.seed,
        model=spec.model if spec else None,
        params=spec.request_params if spec else {},
        samples=section.samples,
        language=section.language,
        per_persona=section.per_persona,
        options=section.options,
    )
    plan.check()
    if spec is not None:
        spec.check()
    filters = Filters(keywords=tuple(section.keywords))
    return runs.Job(plan, name, _shown(section.personas), spec, section.kind, filters, section.near, tokenizer)


def prompts_of(skill: Skill, folder: str | None = None) -> prompts.Prompts:
    """A skill's templates, with those of the user's folder in place of the package's."""
    return prompts.load(
        skill.name,
        {stage: (*own, "persona", "language") for stage, own in skill.stages.items()},
        folder=Path(folder) if folder else None,
        home=skill.home or prompts.BUNDLED,
    )


def _shown(personas: str) -> str:
    """The source of the personas without this machine's folders, which the version's history should not depend on."""
    return personas if personas == SAMPLE or personas.startswith("hub:") else Path(personas).name


def prepare(settings: Section, name: str, *, seed: int, tokenizer: str | None, parent: Version | None) -> runs.Job:
    """What `make` carries out."""
    try:
        return job_of(settings, name, seed=seed, tokenizer=tokenizer)
    except UsageError as e:
        raise RecipeError(f"sources.{name}.synth: {e}") from None


def parent_of(settings: Section) -> str | None:
    """The source that this one is made from: none."""
    return None


def key(job: runs.Job) -> dict[str, Any]:
    """What the rows depend on."""
    return {
        "run": job.digest,
        "kind": job.kind,
        "near": job.near,
        "keywords": list(job.filters.keywords),
        "personas_license": json.dumps(sorted({p.license or "" for p in job.plan.personas})),
    }


def make(
    job: runs.Job, store: Store, *, workers: int, progress: Progress, quiet: bool, origin: Origin | None
) -> Version:
    """Makes the rows and publishes them; the run goes on where it was stopped."""
    ran = runs.run(
        job, store, runs.folder_of(store, job), workers=workers, progress=progress, quiet=quiet, origin=origin
    )
    assert ran.version is not None
    return ran.version
