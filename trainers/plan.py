"""A plan: the whole road from data recipes to a trained model, in one file. `plan_run` goes along it.

    name: my-model
    model: meta-llama/Llama-3.1-8B             # what the first stage starts from
    data: [my-mixture.yaml, quickstart]        # recipes of `tulu run`: files, bundled names, or written out here
    stages:                                    # recipes of `tulu train`, in turn
      - {stage: sft, mixture: my-mixture, suites: [gsm8k]}
      - {stage: reward, mixture: my-pairs, suites: [gsm8k]}
      - {stage: rlvr, mixture: my-tasks, suites: [gsm8k]}

A stage that names no model starts from the policy that the stage before it leaves, and PPO's value model from the last
reward model before it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field

from trainers import dpo, gate, reward, rlvr, sft
from trainers.opening import config_of, limit_of, padding_of, resolve, tokenizer_of
from trainers.preparing import split
from tulu_data import pipeline
from tulu_data import recipe as recipes
from tulu_data.errors import GateError, RecipeError, StoreError, UsageError, nearest
from tulu_data.progress import Progress
from tulu_data.recipe import BUNDLED, CLEAN, set_key
from tulu_data.store import Store, Version
from tulu_data.strict import Strict, load_yaml, validate


class Training(NamedTuple):
    """What a kind of stage does. rows: the kind that it takes. policy: it leaves one, from which the next starts."""

    trainer: Any
    rows: str
    policy: bool
    measure: str


STAGES = {
    "sft": Training(sft, "sft", policy=True, measure="loss"),
    "reward": Training(reward, "preference", policy=False, measure="loss"),
    "dpo": Training(dpo, "preference", policy=True, measure="loss"),
    "rlvr": Training(rlvr, "rlvr", policy=True, measure="reward"),
}


class Plan(Strict):
    """A plan as it is written."""

    name: str
    description: str = ""
    model: str | None = Field(default=None, description="folder, name in the hub's cache, or tiny-llama")
    data: list[str | dict[str, Any]] = Field(default_factory=list, description="recipes of tulu run, in turn")
    stages: list[dict[str, Any]] = Field(min_length=1, description="recipes of tulu train, in turn")


@dataclass(frozen=True)
class Stage:
    """A stage as its trainer's recipe. starts: the models that stages before it leave, as key → their number."""

    recipe: Any
    starts: Mapping[str, int]

    @property
    def training(self) -> Training:
        """What it does."""
        return STAGES[self.recipe.stage]


@dataclass(frozen=True)
class Loaded:
    """A plan with its recipes, each of them valid, and where it came from."""

    plan: Plan
    place: str
    data: list[recipes.Loaded]
    stages: list[Stage]


def load_plan(spec: str | Path, overrides: Sequence[str] = ()) -> Loaded:
    """The plan in a file, or the bundled one of that name; paths in it are relative to the file.

    overrides: `key=value`, `data.WHICH.key=value` and `stages.WHICH.key=value` with YAML values; WHICH is a recipe's
    name, a stage's kind, or the number of either from 0. `RecipeError` or `UsageError` in one line.
    """
    path, place = find(spec), str(spec)
    raw = load_yaml(path)
    within = [o for o in overrides if o.startswith(("data.", "stages."))]
    for override in overrides:
        if override not in within:
            set_key(raw, override)
    plan = validate(Plan, raw, place)
    written = [_written(entry, f"{place}: data[{i}]", path.parent) for i, entry in enumerate(plan.data)]
    own = [{"name": f"{plan.name}-{stage.get('stage')}", **deepcopy(stage)} for stage in plan.stages]
    for override in within:
        _override(override, {"data": [w.data for w in written], "stages": own})
    data = [recipes.from_data(w.data, place=w.place, base=w.base) for w in written]
    stages: list[Stage] = []
    for settings in own:
        stages.append(_stage(plan, settings, stages, place, path.parent))
    return Loaded(plan, place, data, stages)


def find(spec: str | Path) -> Path:
    """A plan's file: as given, or among the bundled ones."""
    path = Path(spec)
    known = {p.stem: p for p in (BUNDLED / "plans").glob("*.yaml")}
    if path.is_file() or path.suffix in (".yaml", ".yml"):
        return path
    if str(spec) not in known:
        raise RecipeError(f"{spec}: no such plan; {nearest(str(spec), known, noun='plan')}")
    return known[str(spec)]


class _Written(NamedTuple):
    data: dict[str, Any]
    place: str
    base: Path


def _written(entry: str | dict[str, Any], place: str, base: Path) -> _Written:
    """A data recipe as it is written, in the plan or in a file of its own."""
    if not isinstance(entry, str):
        return _Written(deepcopy(entry), place, base)
    is_file = Path(entry).suffix in (".yaml", ".yml")
    try:
        path = recipes.find(base / entry if is_file else entry)
    except RecipeError as e:
        raise RecipeError(f"{place}: {e}") from None
    return _Written(load_yaml(path), str(path) if is_file else entry, path.parent)


def _override(override: str, lists: Mapping[str, list[dict[str, Any]]]) -> None:
    """Sets a key of one recipe in a plan's lists, in place."""
    path, eq, value = override.partition("=")
    section, which, *keys = path.split(".", 2)
    if not (eq and keys):
        raise UsageError(f"--set {override}: write it as {section}.WHICH.key=value")
    names = [{str(i), *(str(e[k]) for k in ("name", "stage") if k in e)} for i, e in enumerate(lists[section])]
    found = [entry for entry, own in zip(lists[section], names, strict=True) if which in own]
    if len(found) != 1:
        what = f"{len(found)} of {section} are called {which!r}; give its number, from 0"
        raise UsageError(f"--set {override}: {what if found else nearest(which, set().union(*names))}")
    set_key(found[0], f"{keys[0]}={value}")


def _stage(plan: Plan, own: Mapping[str, Any], before: Sequence[Stage], place: str, base: Path) -> Stage:
    """A stage with every key that it leaves to the plan."""
    at, kind = f"stages[{len(before)}]", str(own.get("stage"))
    if kind not in STAGES:
        raise RecipeError(f"{place}: {at}.stage: is {kind!r}; {nearest(kind, STAGES, noun='stage')}")
    data, starts = dict(own), {}
    if own.get("model") is None:
        policies = [i for i, stage in enumerate(before) if stage.training.policy]
        if policies:
            starts["model"] = policies[-1]
        elif plan.model is None:
            raise RecipeError(
                f"{place}: {at}.model: is missing, and no stage before it leaves a policy; name one here or as the "
                "plan's model"
            )
        data["model"] = plan.model
    default = rlvr.Recipe.model_fields["algorithm"].default
    if kind == "rlvr" and own.get("algorithm", default) == "ppo" and own.get("reward_model") is None:
        rewards = [i for i, stage in enumerate(before) if stage.recipe.stage == "reward"]
        if not rewards:
            raise RecipeError(
                f"{place}: {at}.reward_model: is missing, and no reward stage comes before it, from which ppo's value "
                "model could start; put one there, or take algorithm: grpo"
            )
        starts["reward_model"] = rewards[-1]
    data |= {key: f"that of stages[{i}]" for key, i in starts.items()}  # known when it is trained
    recipe = validate(STAGES[kind].trainer.Recipe, data, place, under=at)
    named = {k: getattr(recipe, k, None) for k in ("model", "reward_model") if k not in starts}
    return Stage(recipe.model_copy(update={k: resolve(v, base) for k, v in named.items() if v is not None}), starts)


# ------------------------------------------------------------ what can be known before


class Product(NamedTuple):
    """What a data recipe will make. kind: None where reading it tells."""

    kind: str | None
    clean: bool


def products(recipe: recipes.Recipe) -> dict[str, Product]:
    """The versions that a recipe makes, by name: its sources, their clean ones, and the mixture."""
    kinds: dict[str, str | None] = {}
    for name, source in recipe.sources.items():
        made = "preference" if source.made == "pairs" else (source.synth or {}).get("kind", "sft")
        kinds[name] = made if source.made else source.kind
    found = {name: Product(kind, False) for name, kind in kinds.items()}
    clean = recipe.decontaminate is not None
    if clean:
        found |= {f"{name}{CLEAN}": Product(kind, True) for name, kind in kinds.items()}
    if recipe.mix:
        known = [kind for name in recipe.part_sources.values() if (kind := kinds[name]) is not None]
        found[recipe.name] = Product(known[0] if known else None, clean)
    return found


def check(loaded: Loaded, store: Store, *, processes: int, allow: str | None, progress: Progress) -> list[pipeline.Run]:
    """Everything about a plan that can be known before anything is made, and what its data recipes would make.

    Whether its data was decontaminated too, but for what is made yet. `TuluError` in one line.
    """
    made = [products(recipe.recipe) for recipe in loaded.data]
    models: list[str] = []
    for i, stage in enumerate(loaded.stages):
        at, recipe = f"{loaded.place}: stages[{i}]", stage.recipe
        _check_mixture(f"{at}.mixture", stage, made, store, allow, progress)
        _ = recipe.place.torch_device  # there, or `UsageError`
        if recipe.stage != "rlvr":
            split(recipe, processes)
        models.append(models[stage.starts["model"]] if "model" in stage.starts else recipe.model)
        longest = recipe.longest if recipe.stage == "rlvr" else recipe.max_length
        limit = limit_of(config_of(models[-1]))
        if limit is not None and longest > limit.tokens:
            what = "max_prompt_length + response_length" if recipe.stage == "rlvr" else "max_length"
            raise RecipeError(f"{at}: {what} is {longest:,}, and {limit.why}; lower it")
        if recipe.stage in ("reward", "rlvr"):
            try:
                padding_of(tokenizer_of(models[-1]), models[-1])
            except UsageError as e:
                raise RecipeError(f"{at}: {e}") from None
    return [pipeline.run(each, store, dry_run=True) for each in loaded.data]


def _check_mixture(
    at: str, stage: Stage, made: Sequence[Mapping[str, Product]], store: Store, allow: str | None, progress: Progress
) -> None:
    """A stage's data: made by one recipe of the plan or there already, of the right kind, and decontaminated."""
    recipe, rows = stage.recipe, stage.training.rows
    found = [names[recipe.mixture] for names in made if recipe.mixture in names]
    if len(found) > 1:
        raise RecipeError(f"{at}: {len(found)} data recipes make {recipe.mixture!r}; rename it in one of them")
    if found:
        kind = found[0].kind
        if not found[0].clean and allow is None:
            clean = any(f"{recipe.mixture}{CLEAN}" in names for names in made)
            remedy = f"take '{recipe.mixture}{CLEAN}'" if clean else "give its recipe a section 'decontaminate'"
            raise GateError(
                f"{at}: {recipe.mixture!r} is made without an audit; {remedy}, or pass --allow-undecontaminated REASON"
            )
    else:
        try:
            version = store.open(recipe.mixture)
        except StoreError:
            known = [*(name for names in made for name in names), *store.names()]
            raise RecipeError(
                f"{at}: no data recipe makes {recipe.mixture!r}, and {store.root} does not hold it; "
                f"{nearest(recipe.mixture, known, noun='version')}"
            ) from None
        kind = version.kind
        gate.clear(version, recipe.suites, store, allow=allow, progress=progress)
    if kind not in (rows, None):
        raise RecipeError(f"{at}: {recipe.mixture!r} holds {kind} rows, and {recipe.stage} takes {rows} rows")


def check_version(at: str, recipe: Any, version: Version) -> None:
    """There is enough to fill a step; that rows are left out, only the trainer can know."""
    rlvr = recipe.stage == "rlvr"
    takes, there = (
        (recipe.batch * recipe.samples, recipe.episodes) if rlvr else (recipe.batch, version.rows * recipe.epochs)
    )
    if there < takes:
        what = "episodes" if rlvr else f"epochs × rows of {version.ref}"
        raise RecipeError(f"{at}.batch: a step takes {takes:,}, and {what} are {there:,}; lower it")
