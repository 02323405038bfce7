"""A run for people: what it came to, and its rows as one can read them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import click
import pyarrow as pa
import pyarrow.parquet as pq

from personas import runs
from personas.page import PAGE_FILE
from personas.pairs import running
from personas.record import RECORDS_FILE
from personas.runs import RUN_FILE
from tulu_data.errors import InputError
from tulu_data.rows import Row
from tulu_data.tables import percent, print_json, print_table, printable

SHOWN = 5  # rows, unless more are asked for


def summary_of(path: Path, format_: str) -> dict[str, Any]:
    """What is written of a run; `InputError` where the file is damaged, or another program's."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as e:
        raise InputError(f"{path}: cannot be read ({e}); run the command again, which writes it anew") from None
    if not isinstance(told, dict) or told.get("format") != format_:
        raise InputError(f"{path}: tells of no run in the format {format_}; name the folder of a run")
    return told


def rows_of(path: Path) -> Iterator[Row]:
    """The rows of a run's table, in order; `InputError` where it is missing or damaged."""
    try:
        for batch in pq.ParquetFile(path).iter_batches():
            yield from batch.to_pylist()
    except (OSError, pa.ArrowInvalid) as e:
        raise InputError(f"{path}: cannot be read ({e}); run the command again, which writes it anew") from None


def records_of(folder: Path, *, rejected: bool | None = None) -> Iterator[Row]:
    """The records of a run, in order; only those that were rejected, or accepted, where that is asked for."""
    for record in rows_of(folder / RECORDS_FILE):
        if rejected is None or record["accepted"] != rejected:
            yield record


def print_run(folder: Path, *, as_json: bool, n_rows: int | None = None, rejected: bool | None = None) -> None:
    """A run's summary and its first rows: persona, prompt, answer, verdict, cost."""
    summary = summary_of(folder / RUN_FILE, runs.FORMAT)
    if as_json:
        rows = list(islice(records_of(folder, rejected=rejected), n_rows)) if n_rows is not None else None
        print_json(summary if rows is None else {"run": summary, "rows": rows})
        return
    print_summary(summary, folder)
    for record in islice(records_of(folder, rejected=rejected), SHOWN if n_rows is None else n_rows):
        print_record(record)


def print_pairs_run(folder: Path, *, as_json: bool, n_rows: int | None = None, rejected: bool | None = None) -> None:
    """A run of pairs and its first attempts: prompt, both answers, and what speaks for the one."""
    summary = summary_of(folder / running.RUN_FILE, running.FORMAT)
    rows = rows_of(folder / running.PAIRS_FILE)
    attempts = (record for record in rows if rejected is None or record["made"] != rejected)
    if as_json:
        print_json(summary if n_rows is None else {"run": summary, "rows": list(islice(attempts, n_rows))})
        return
    print_pairs(summary, folder)
    for record in islice(attempts, SHOWN if n_rows is None else n_rows):
        verdict = "made" if record["made"] else f"rejected: {record['reject_reason']}"
        click.secho(f"\n{record['id']}  {verdict}", bold=True)
        if record["reject_detail"]:
            click.echo(printable(f"[why] {record['reject_detail']}"))
        click.echo(printable(f"[prompt] {record['prompt']}"))
        for side in ("chosen", "rejected") if record["made"] else ():
            rating = record[f"{side}_rating"]
            by = f"{record[f'{side}_model']}" + (f", {rating:g}" if rating is not None else "")
            click.echo(printable(f"[{side} by {by}] {record[side]}"))
        click.echo(printable(f"[evidence] {record['evidence']}"))


def print_summary(summary: Mapping[str, Any], folder: Path) -> None:
    """Rows by what became of them, requests and cost, and where to look."""
    rows, total = [("accepted", summary["accepted"])], summary["records"]
    rows += [(reason, count) for reason, count in summary["rejected"].items()]
    if summary["waiting"]:
        rows.append(("not answered yet", summary["waiting"]))
    title = f"{summary['name']}: {summary['n']:,} rows of {summary['skill']} by {summary['model']}"
    click.secho(printable(title), bold=True)
    print_table("", ["", "rows", "share"], [(label, n, percent(n, total)) for label, n in rows])
    if summary["endpoints"]:
        unpriced = summary["unpriced"]
        usd = f"{summary['usd']:,.4f}" if not unpriced else f"not known of {unpriced:,} answers"
        print_table(
            "Requests",
            ["answered", "prompt tokens", "completion tokens", "USD"],
            [(summary["requests"], summary["prompt_tokens"], summary["completion_tokens"], usd)],
        )
    for name, count in summary["ignored"].items():
        click.echo(f"the server did not honour {name} in {count:,} answers")
    if summary["version"]:
        click.echo(printable(summary["version"]))
    click.echo(f"run: {folder}   page: {folder / PAGE_FILE}")


def print_record(record: Mapping[str, Any]) -> None:
    """One row."""
    verdict = "accepted" if record["accepted"] else f"rejected: {record['reject_reason']}"
    shown = f" ({record['evidence']})" if record["evidence"] else ""
    click.secho(f"\n{record['id']}  {verdict}{shown}", bold=True)
    if record["reject_detail"]:
        click.echo(printable(f"[why] {record['reject_detail']}"))
    click.echo(printable(f"[persona] {record['persona']}"))
    for constraint in record["constraints"]:
        kept = {None: "not checked", True: "kept", False: f"broken: {constraint['lacks']}"}[constraint["kept"]]
        click.echo(printable(f"[{constraint['id']}] {constraint['kwargs']} {kept}"))
    for message in record["messages"] or ():
        click.echo(printable(f"[{message['role']}] {message['content']}"))
    if record["ground_truth"]:
        click.echo(printable(f"[{record['verifier']}] {record['ground_truth']}"))
    if record["vote_k"]:
        click.echo(printable(f"[votes] {record['vote_agreement']} of {record['vote_k']}: {record['vote_answers']}"))
    if record["requests"] and record["prompt_tokens"] is not None and record["endpoint"] != record["model_asked"]:
        usd = "price not known" if record["usd"] is None else f"{record['usd']:.5f} USD"
        click.echo(f"[cost] {record['prompt_tokens']:,} + {record['completion_tokens']:,} tokens, {usd}")


def print_pairs(summary: Mapping[str, Any], folder: Path) -> None:
    """A run of pairs: how many were made, why the others were not, and what they cost."""
    click.secho(printable(f"{summary['name']}: {summary['method']} pairs of {summary['of']}"), bold=True)
    rows = [("made", summary["made"]), *summary["rejected"].items()]
    if summary["waiting"]:
        rows.append(("not answered yet", summary["waiting"]))
    print_table("", ["", "rows", "share"], [(label, n, percent(n, summary["tried"])) for label, n in rows])
    if summary["requests"]:
        usd = f"{summary['usd']:,.4f}" if not summary["unpriced"] else f"not known of {summary['unpriced']:,} answers"
        tokens = f"{summary['prompt_tokens']:,} + {summary['completion_tokens']:,} tokens"
        click.echo(f"{summary['requests']:,} answers, {tokens}, USD {usd}")
    if bias := summary["position_bias"]:
        click.echo(f"position bias: {bias['mean']:+.2f} points for standing earlier, over {bias['ratings']:,} ratings")
    if summary["version"]:
        click.echo(printable(summary["version"]))
    click.echo(f"run: {folder}")
