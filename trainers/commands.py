"""`tulu train`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from trainers.plan_command import all_command
from trainers.proof_command import proof_command
from tulu_data.commands.options import example, json_option, quiet_option, store_option

F = TypeVar("F", bound=Callable[..., Any])

STAGES = {"sft": "trainers.sft", "dpo": "trainers.dpo", "reward": "trainers.reward", "rlvr": "trainers.rlvr"}
GIB = 2**30
LAST = {"losses": "loss", "accuracies": "accuracy", "rewards": "reward", "passed": "passed"}  # what a training tells


@click.group(epilog=example("tulu train check quickstart-sft --help"))
def train_command() -> None:
    """Train a model on a mixture that was decontaminated."""


def _options(command: F) -> F:
    for option in (
        json_option,
        quiet_option,
        store_option,
        click.option("--allow-undecontaminated", "allow", metavar="REASON", help="Train all the same; it is recorded."),
        click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a key, in YAML."),
        click.argument("recipe"),
    ):
        command = option(command)
    return command


def _output(command: F) -> F:
    kind = click.Path(file_okay=False, path_type=Path)
    until = click.option("--until", type=click.IntRange(min=1), help="Stop after this step, with a checkpoint.")
    return until(click.option("-o", "--output", required=True, type=kind, help="Folder of the run.")(command))


@train_command.command("sft", epilog=example("tulu train sft my-sft.yaml -o my-sft --set epochs=1"))
@_options
@_output
def sft_command(**options: Any) -> None:
    """Fine-tune on conversations. The same command goes on from the newest checkpoint, to the bit.

    RECIPE is a file, or the name of a bundled one. A mixture that was not decontaminated against the recipe's suites is
    refused with exit code 3.
    """
    _train("sft", options)


@train_command.command("dpo", epilog=example("tulu train dpo my-dpo.yaml -o my-dpo"))
@_options
@_output
def dpo_command(**options: Any) -> None:
    """Optimise preferences on pairs: length-normalised DPO, plain DPO, or SimPO. Goes on, and refuses, as sft does."""
    _train("dpo", options)


@train_command.command("reward", epilog=example("tulu train reward my-reward.yaml -o my-reward"))
@_options
@_output
def reward_command(**options: Any) -> None:
    """Train a reward model on pairs (Bradley-Terry). Goes on, and refuses, as sft does."""
    _train("reward", options)


@train_command.command("rlvr", epilog=example("tulu train rlvr my-rlvr.yaml -o my-rlvr"))
@_options
@_output
def rlvr_command(**options: Any) -> None:
    """Learn from verifiable rewards, by PPO or GRPO, on prompts with a verifier. Goes on, and refuses, as sft does."""
    _train("rlvr", options)


train_command.add_command(all_command, "all")
train_command.add_command(proof_command, "proof")


@train_command.command("check", epilog=example("tulu train check my-sft.yaml"))
@_options
@click.option("--rows", type=click.IntRange(min=0), default=1, show_default=True, help="Rows shown with their masks.")
@click.option("--devices", type=click.IntRange(min=1), default=1, show_default=True, help="That will share the models.")
def check_command(rows: int, devices: int, **options: Any) -> None:
    """Look before training: counts, lengths, steps, masks in colour, memory, decontamination. Nothing is trained."""
    from tulu_data.progress import for_stderr
    from tulu_data.store import Store
    from tulu_data.tables import print_json, print_table, printable

    trainer, recipe = _load(None, options)
    progress = for_stderr(quiet=options["quiet"])
    recipe = _here(recipe, devices)
    prepared = trainer.prepare(recipe, Store(options["store_root"]), allow=options["allow"], progress=progress)
    memory = _memory(prepared, recipe, devices)
    told = {
        **prepared.examples.counts(),
        "steps": prepared.total,
        "parameters": sum(p.numel() for p in prepared.engine.model.parameters()),
        "device": str(prepared.engine.device),
        "devices": devices,
    }
    if options["as_json"]:
        print_json({**told, "memory": memory, "data": prepared.cleared.told()})
        return
    sizes = {f"memory: {k}": f"{v / GIB:.2f} GiB" for k, v in memory.items()}
    print_table(recipe.name, ["", ""], [(k.replace("_", " "), v) for k, v in {**told, **sizes}.items()])
    if memory["total"] > memory["there"]:
        click.echo("more memory than there is: lower pack_tokens or max_length, or take more devices, or set lora")
    cleared = prepared.cleared
    click.echo(
        f"not checked for decontamination: {cleared.override}"
        if cleared.override
        else f"decontaminated against {', '.join(cleared.suites)}"
    )
    tokenizer = prepared.engine.tokenizer
    for held in prepared.examples.kept[:rows]:
        if recipe.stage == "rlvr":
            click.echo(printable(f"{tokenizer.decode(held.tokens)} [{held.verifier}: {held.truth}]"))
        for side in {"sft": [held], "rlvr": []}.get(recipe.stage, held):
            click.echo(_coloured(tokenizer, side))


def _here(recipe: Any, devices: int) -> Any:
    """The recipe as this machine can look at it: on the CPU where it has no GPU, and in one process."""
    import torch

    from trainers.preparing import split

    if recipe.place.device == "cuda" and not torch.cuda.is_available():
        click.echo("no GPU here: looked at on the CPU", err=True)
        recipe = recipe.model_copy(update={"place": recipe.place.model_copy(update={"device": "cpu"})})
    if recipe.stage == "rlvr":
        return recipe
    split(recipe, devices)
    return recipe.model_copy(update={"micro_batch": None, "accumulation": None})


def _memory(prepared: Any, recipe: Any, devices: int) -> dict[str, int]:
    """Bytes on each device, and what it has."""
    from trainers import memory

    reference = prepared.models.reference if recipe.stage == "rlvr" else None
    sampled = 0
    if recipe.stage == "rlvr" and recipe.sampler.backend != "vllm":
        sampled = min(recipe.sampler.batch, recipe.batch * recipe.samples) * recipe.longest
    told = memory.estimate(prepared.engines, reference, tokens=recipe.capacity, sampled=sampled, processes=devices)
    return {**told, "there": memory.of_device(prepared.engine.device)}


def _train(stage: str, options: Mapping[str, Any]) -> None:
    from trainers import ranks
    from tulu_data.progress import for_stderr
    from tulu_data.store import Store, writing
    from tulu_data.tables import print_json, print_table

    trainer, recipe = _load(stage, options)
    progress = for_stderr(quiet=options["quiet"] or not ranks.first())
    with writing(options["output"], "--output"):
        trained = trainer.train(
            recipe,
            Store(options["store_root"]),
            options["output"],
            allow=options["allow"],
            progress=progress,
            until=options["until"],
        )
    ranks.leave()
    if not ranks.first():
        return
    last = {LAST[k]: getattr(trained, k)[-1:] for k in LAST if hasattr(trained, k)}
    values = {k: v[0] if v else None for k, v in last.items()}  # none where all steps were taken before
    if options["as_json"]:
        print_json({"model": str(trained.model), "steps": trained.steps, **values})
        return
    shown = ["-" if v is None else f"{v:.4f}" for v in values.values()]
    header = ["steps", *(f"{k} of the last" for k in values), "model"]
    print_table(recipe.name, header, [(trained.steps, *shown, str(trained.model))])


def _load(stage: str | None, options: Mapping[str, Any]) -> tuple[Any, Any]:
    """The trainer of a stage (the recipe's own where None), and the recipe."""
    from importlib import import_module

    from trainers.opening import resolve
    from tulu_data.errors import RecipeError, nearest
    from tulu_data.recipe import set_key
    from tulu_data.strict import load_yaml, validate

    path = _found(options["recipe"])
    data = load_yaml(path)
    for override in options["overrides"]:
        set_key(data, override)
    own = data.get("stage")
    if own not in STAGES:
        raise RecipeError(f"{path}: stage: is {own!r}; {nearest(str(own), STAGES, noun='stage')}")
    if stage is not None and own != stage:
        raise RecipeError(f"{path}: stage: is {own!r}; run it with: tulu train {own} {path}")
    trainer = import_module(STAGES[own])
    recipe = validate(trainer.Recipe, data, str(path))
    models = {k: v for k in ("model", "reward_model") if (v := getattr(recipe, k, None)) is not None}
    return trainer, recipe.model_copy(update={k: resolve(v, path.parent) for k, v in models.items()})


def _found(recipe: str) -> Path:
    """A recipe's file: as given, or the bundled one of that name."""
    from tulu_data.errors import RecipeError, nearest
    from tulu_data.recipe import BUNDLED

    path = Path(recipe)
    known = {p.stem: p for p in (BUNDLED / "training").glob("*.yaml")}
    if path.is_file() or path.suffix in (".yaml", ".yml"):
        return path
    if recipe not in known:
        raise RecipeError(f"{recipe}: no such training recipe; {nearest(recipe, known, noun='recipe')}")
    return known[recipe]


def _coloured(tokenizer: Any, side: Any) -> str:
    """A conversation with what is trained in green."""
    from tulu_data.tables import printable

    runs: list[tuple[bool, list[int]]] = []
    for token, trained in zip(side.tokens, side.trainable, strict=True):
        if not runs or runs[-1][0] != trained:
            runs.append((trained, []))
        runs[-1][1].append(token)
    shown = ((trained, printable(tokenizer.decode(tokens))) for trained, tokens in runs)
    return "".join(click.style(text, fg="green") if trained else click.style(text, dim=True) for trained, text in shown)
