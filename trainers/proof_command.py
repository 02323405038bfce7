"""`tulu train proof`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tulu_data.commands.options import example, json_option, quiet_option

if TYPE_CHECKING:
    from trainers.proof_claims import Proof

FOLDER = "tulu-proof"


@click.command(epilog=example("tulu train proof -o my-proof --seeds 1"))
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=FOLDER,
    show_default=True,
    help="Folder of the trainings, their pages, the picture and the evidence.",
)
@click.option(
    "--seeds", type=click.IntRange(min=1), default=2, show_default=True, help="Trainings by PPO, and by GRPO."
)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the task, the models and the trainings.")
@quiet_option
@json_option
def proof_command(output: Path, seeds: int, seed: int, quiet: bool, as_json: bool) -> None:
    """Show that the trainers learn: all of them, from nothing, on a toy task, in some CPU-minutes.

    SFT, DPO, a reward model, PPO and GRPO are measured before and after, on prompts that none was trained on; so are
    PPO and GRPO on shuffled rewards, which should teach nothing. Exit code 3 where a claim does not hold. It says
    nothing of how good a model becomes. The same command goes on where it was stopped.
    """
    from trainers.proof import prove
    from tulu_data.progress import for_stderr
    from tulu_data.tables import print_json

    proof = prove(output, seeds=seeds, seed=seed, progress=for_stderr(quiet=quiet))
    if as_json:
        print_json(proof.told())
    else:
        _print(proof)
    proof.check()


def _print(proof: Proof) -> None:
    """The claims, and what each part cost beside its first claim."""
    from trainers.proof_claims import CURVES, PAGE, RESULT
    from tulu_data.tables import print_table

    rows: list[list[str]] = []
    shown: set[str] = set()
    for c in proof.claims:
        cost = None if c.part in shown else proof.costs.get(c.part)
        shown.add(c.part)
        times = ["", ""] if cost is None else [f"{cost.cpu_s:.1f}", f"{cost.wall_s:.1f}"]
        numbers = [f"{c.before.value:.3f}", f"{c.after.value:.3f}"]
        rows.append([c.part, c.what, *numbers, c.rule, "yes" if c.holds else "NO", *times])
    cpu, wall = (sum(costs) for costs in zip(*proof.costs.values(), strict=True)) if proof.costs else (0.0, 0.0)
    rows.append(["all", "", "", "", "", "yes" if proof.holds else "NO", f"{cpu:.1f}", f"{wall:.1f}"])
    header = ["part", "claim", "before", "after", "needed", "holds", "CPU s", "s"]
    print_table("The trainers learn", header, rows)
    click.echo(
        f"Curves: {proof.folder / CURVES}; runs compared: {proof.folder / PAGE}; evidence: {proof.folder / RESULT}"
    )
