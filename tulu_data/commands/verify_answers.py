"""`tulu verify-answers`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tulu_data.commands.options import example, json_option, quiet_option, workers_option

if TYPE_CHECKING:
    import pyarrow as pa

    from tulu_data.verifiers.batch import Columns, Summary
    from tulu_data.verifiers.pool import Task
    from tulu_data.verifiers.verdict import Verdict

SHOW = ("wrong", "undecided", "right", "all")


@click.command(epilog=example("tulu verify-answers answers.jsonl --verifier gsm8k"))
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--verifier", "fixed", help="Check every row with this verifier [default: the column `verifier`].")
@click.option("--response", default="response", show_default=True, help="Column of the response, or messages.")
@click.option("--truth", default="ground_truth", show_default=True, help="Column of the true answer.")
@click.option("--second", help="A second verifier to compare with, e.g. math_verify; it changes no score.")
@click.option("--show", type=click.Choice(SHOW), default="wrong", show_default=True, help="Rows to print.")
@click.option("-n", "--rows", type=click.IntRange(min=0), default=10, show_default=True, help="How many of them.")
@click.option("--deadline", "deadline_s", type=click.FloatRange(min=0, min_open=True), help="Seconds for one check.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Write all rows with their verdicts (.parquet or .jsonl)."
)
@click.option("--list", "list_", is_flag=True, help="List the verifiers and a truth of each.")
@workers_option
@quiet_option
@json_option
def command(
    file: Path | None,
    fixed: str | None,
    response: str,
    truth: str,
    second: str | None,
    show: str,
    rows: int,
    deadline_s: float | None,
    output: Path | None,
    list_: bool,
    workers: int | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Check the responses in FILE (JSONL, Parquet, CSV, …) against their true answers.

    A row that could not be checked (a hang, a crash) is undecided: it is counted apart and enters no score.
    """
    from tulu_data.tables import print_json, print_table
    from tulu_data.verifiers.batch import Columns
    from tulu_data.verifiers.registry import verifier_of, verifiers

    if list_:
        print_table(
            "Verifiers", ["name", "checks", "a truth"], [(v.name, v.about, v.example) for v in verifiers().values()]
        )
        return
    if file is None:
        raise click.UsageError("name a FILE, or --list")
    for name in (fixed, second):
        if name:
            verifier_of(name)
    columns = Columns(response, truth, fixed=fixed)
    records, places, tasks = _tasks(file, columns)
    verdicts, others = _verdicts(file, tasks, places, second, workers, deadline_s, quiet=quiet)
    summaries = _summaries(tasks, verdicts, others)
    if output is not None:
        _write(output, records, verdicts)
    if as_json:
        print_json({name: vars(s) | {"mean": s.mean} for name, s in summaries.items()})
        return
    header = ["verifier", "rows", "right", "in part", "wrong", "undecided", "mean score"]
    lines: list[list[Any]] = [
        [n, s.rows, s.right, s.partial, s.wrong, s.undecided, "-" if s.mean is None else f"{s.mean:.4f}"]
        for n, s in summaries.items()
    ]
    if second:
        header.append(f"{second} differs")
        for line, summary in zip(lines, summaries.values(), strict=True):
            line.append(f"{summary.differs:,} of {summary.compared:,}")
    print_table(file.name, header, lines)
    picked = [(p, v) for p, v in zip(places, verdicts, strict=True) if _kind(v) == show or show == "all"]
    if picked and rows:
        title = f"{show.capitalize()}, first {min(rows, len(picked))} of {len(picked):,}"
        print_table(title, ["place", "score", "reason"], [(p, f"{v.score:.2f}", v.reason) for p, v in picked[:rows]])


def _kind(verdict: Verdict) -> str:
    return "undecided" if not verdict.valid else "right" if verdict.right else "wrong"


def _tasks(file: Path, columns: Columns) -> tuple[list[dict[str, Any]], list[str], list[Task]]:
    from tulu_data.errors import InputError
    from tulu_data.read import read
    from tulu_data.verifiers.batch import task_of

    records, places, tasks = [], [], []
    for raw in read(file):
        if raw.problem or not isinstance(raw.record, dict):
            raise InputError(f"{raw.place}: {raw.problem or 'not a record'}")
        try:
            tasks.append(task_of(raw.record, columns))
        except ValueError as e:
            raise InputError(f"{raw.place}: {e}") from None
        records.append(raw.record)
        places.append(raw.place)
    return records, places, tasks


def _verdicts(
    file: Path,
    tasks: list[Task],
    places: list[str],
    second: str | None,
    workers: int | None,
    deadline_s: float | None,
    *,
    quiet: bool,
) -> tuple[list[Verdict], list[Verdict | None]]:
    from tulu_data.progress import for_stderr
    from tulu_data.verifiers.batch import placed
    from tulu_data.verifiers.pool import VerifierPool

    def both() -> Iterator[tuple[str, Task]]:
        for place, task in zip(places, tasks, strict=True):
            yield place, task
            if second:
                yield place, task._replace(verifier=second)

    per_row = 2 if second else 1
    found = []
    running = for_stderr(quiet=quiet).task(f"verify {file.name}", len(tasks) * per_row)
    with running as advance, VerifierPool(workers, deadline_s=deadline_s) as pool:
        for verdict in pool.map(placed(both())):
            found.append(verdict)
            advance(1)
    others: list[Verdict | None] = list(found[1::2]) if second else [None] * len(tasks)
    return found[::per_row], others


def _summaries(tasks: list[Task], verdicts: list[Verdict], others: list[Verdict | None]) -> dict[str, Summary]:
    from tulu_data.verifiers.batch import Summary
    from tulu_data.verifiers.registry import verifier_of

    summaries: dict[str, Summary] = {}
    for task, verdict, other in zip(tasks, verdicts, others, strict=True):
        summaries.setdefault(verifier_of(task.verifier).name, Summary()).add(verdict, other)
    return summaries


def _write(output: Path, records: list[dict[str, Any]], verdicts: list[Verdict]) -> None:
    import json

    import pyarrow as pa
    import pyarrow.parquet as pq

    from tulu_data.errors import InputError, UsageError
    from tulu_data.verifiers.batch import VERDICT, with_verdicts

    part = output.with_name(f".{output.name}.part")
    try:
        if output.suffix == ".parquet":
            names = list(dict.fromkeys(k for r in records for k in r if k not in VERDICT.names))
            table = pa.table({name: _column([r.get(name) for r in records]) for name in names})
            pq.write_table(with_verdicts(table, verdicts), part)
        elif output.suffix in (".jsonl", ".ndjson"):
            lines = (json.dumps(r | v._asdict(), ensure_ascii=False) for r, v in zip(records, verdicts, strict=True))
            part.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        else:
            raise UsageError(f"{output}: write to .parquet or .jsonl")
        part.replace(output)
    except (OSError, pa.ArrowException) as e:
        part.unlink(missing_ok=True)
        raise InputError(f"{output}: cannot be written: {e}") from None


def _column(values: list[Any]) -> pa.Array:
    """Values as a column: of their own type where they share one, else as JSON text."""
    import json

    import pyarrow as pa

    try:
        return pa.array(values)
    except pa.ArrowException:
        texts = [v if isinstance(v, str | None) else json.dumps(v, ensure_ascii=False) for v in values]
        return pa.array(texts, pa.string())
