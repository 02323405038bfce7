"""`tulu review` and `tulu compare`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tulu_data.commands.options import example, json_option, store_option

if TYPE_CHECKING:
    from decontam.comparing import Comparison
    from decontam.filtering import Filter
    from decontam.result import Audit

SHOWN = 20  # pairs without a terminal
GATE_SHOWN = 3
LAYER_HELP = "Pairs for which this layer fires: exact, tulu3, informative, fuzzy, semantic or any."


@click.command(epilog=example("tulu review audit --suite mini_math"))
@click.argument("audit", type=click.Path(path_type=Path))
@click.option("--set", "set_", metavar="NAME", help="Pairs of this training set.")
@click.option("--suite", metavar="ID", help="Pairs with this suite.")
@click.option("--source", metavar="NAME", help="Pairs of rows of this source.")
@click.option("--layer", metavar="LAYER", help=LAYER_HELP)
@click.option("--severity", metavar="WHICH", help="question, or question+answer.")
@click.option("--marked", metavar="HOW", help="Pairs marked true, false, or none.")
@click.option("--counts", is_flag=True, help="Pairs that count under the policy.")
@click.option("--least", type=click.FloatRange(0, 1), help="Pairs of at least this coverage, similarity or cosine.")
@click.option("--most", type=click.FloatRange(0, 1), help="Pairs of at most that.")
@click.option("--search", "text", metavar="WORDS", help="Pairs with these words in either text or id.")
@click.option(
    "--mark", "mark", type=click.Choice(["true", "false", "none"]), help="Mark all pairs that fit, and leave."
)
@click.option("--all", "everything", is_flag=True, help="With --mark: without a filter, all pairs of the audit.")
@click.option(
    "--import", "marks_file", type=click.Path(path_type=Path), help="Take over marks of another audit, and leave."
)
@click.option("--plain", is_flag=True, help="Print the pairs [default where this is no terminal].")
@click.option(
    "-n", "shown", type=click.IntRange(min=0), default=SHOWN, show_default=True, help="Pairs to print; 0: all."
)
@store_option
@json_option
def review_command(
    audit: Path,
    mark: str | None,
    everything: bool,
    marks_file: Path | None,
    plain: bool,
    shown: int,
    store_root: Path,
    as_json: bool,
    **given: Any,
) -> None:
    """Go through the pairs of AUDIT, an audit's folder or id, and mark true and false matches.

    Marks are kept in marks.jsonl beside the audit; drop, show, page and the gate honour them.
    """
    from decontam import step
    from decontam.filtering import Filter, choose
    from tulu_data.errors import UsageError
    from tulu_data.store import Store

    folder, found = step.open_audit(Store(store_root), audit)
    wanted = Filter(
        **{name.rstrip("_"): value for name, value in given.items() if name != "marked"}, mark=given["marked"]
    )
    if marks_file is not None:
        _import(folder, found, marks_file)
        return
    chosen = choose(found, wanted)
    if mark is not None:
        if wanted == Filter() and not everything:
            raise UsageError("--mark: choose pairs with a filter (--suite, --layer, …), or say --all")
        _mark_all(folder, found, chosen, mark)
    elif as_json or plain or not (sys.stdin.isatty() and sys.stdout.isatty()):
        _print(found, chosen, wanted, shown, as_json=as_json)
    else:
        _go_through(folder, found, wanted)


def _go_through(folder: Path, found: Audit, wanted: Filter) -> None:
    from decontam.review import Review

    app = Review(folder, found, wanted)
    app.run()
    if app.return_code:
        sys.exit(app.return_code)
    _report(folder, found, app.marked)


def _mark_all(folder: Path, found: Audit, chosen: Sequence[int], mark: str) -> None:
    from decontam.marks import Mark, add, keys_of

    keys = keys_of(found.pairs)
    said: Mark | None = "true" if mark == "true" else "false" if mark == "false" else None
    if chosen:
        add(folder, found.manifest["scan"], [(keys[i], said) for i in chosen])
    _report(folder, found, len(chosen))


def _import(folder: Path, found: Audit, path: Path) -> None:
    from decontam.marks import Marks, add, keys_of

    given = Marks.read(path).by_pair
    here = set(keys_of(found.pairs))
    fitting = {key: mark for key, mark in given.items() if key in here}
    if fitting:
        add(folder, found.manifest["scan"], fitting.items())
    click.echo(f"{len(fitting):,} of {len(given):,} marks fit; the pairs of the others are not in this audit")
    _report(folder, found, len(fitting))


def _report(folder: Path, before: Audit, count: int) -> None:
    """What was said, and what drop will do differently."""
    from decontam.marks import FILE
    from decontam.result import Audit

    if not count:
        click.echo("nothing was marked")
        return
    sets = Audit.load(folder).manifest["sets"]
    changed = [
        f"{name} {before.manifest['sets'][name]['dropped']:,} → {s['dropped']:,}"
        for name, s in sets.items()
        if s["dropped"] != before.manifest["sets"][name]["dropped"]
    ]
    effect = f"rows that drop leaves out: {', '.join(changed)}" if changed else "drop leaves out the same rows"
    click.echo(f"{count:,} marked in {folder / FILE}; {effect}")


def _print(found: Audit, chosen: Sequence[int], wanted: Filter, shown: int, *, as_json: bool) -> None:
    from tulu_data.tables import print_json

    listed = list(chosen[: shown or None])
    pairs = [found.pairs.slice(i, 1).to_pylist()[0] for i in listed]
    if as_json:
        print_json([p | {"row_sha": p["row_sha"].hex()} for p in pairs])
        return
    _print_texts(found, listed, pairs)
    filters = wanted.words()
    said = f"{len(listed):,} of {len(chosen):,} pairs" + (f" ({filters})" if filters else "")
    click.echo(said if len(found.pairs) else "this audit holds no pair")


def _print_texts(found: Audit, listed: Sequence[int], pairs: Sequence[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    from decontam.highlighting import Highlighter
    from decontam.review import scores, test_text, train_text

    console = Console(width=None if sys.stdout.isatty() else 140, highlight=False)
    highlighter, counts = Highlighter(found), found.counts()
    for i, pair in zip(listed, pairs, strict=True):
        match = highlighter.match(i)
        console.print(scores(pair, counts=bool(counts[i]), mark=pair["mark"]))
        table = Table(box=None, show_header=False, expand=True, padding=(0, 2, 1, 0))
        table.add_column(ratio=1)
        table.add_column(ratio=1)
        table.add_row(train_text(pair, match.train), test_text(pair, match.fields, match.answer, match.passage))
        console.print(table)


@click.command(epilog=example("tulu compare audit audit"))
@click.argument("before", type=click.Path(path_type=Path))
@click.argument("after", type=click.Path(path_type=Path))
@click.option(
    "--rows", "shown", type=click.IntRange(min=0), default=10, show_default=True, help="Pairs to list of each."
)
@click.option("--gate", is_flag=True, help="Exit 3 when more overlaps than before.")
@store_option
@json_option
def compare_command(before: Path, after: Path, shown: int, gate: bool, store_root: Path, as_json: bool) -> None:
    """Show what changed from the audit BEFORE to the audit AFTER: settings, verdicts, pairs, rows that leave."""
    from decontam import step
    from decontam.comparing import compare
    from tulu_data.errors import GateError
    from tulu_data.store import Store
    from tulu_data.tables import print_json

    store = Store(store_root)
    (_, old), (folder, new) = step.open_audit(store, before), step.open_audit(store, after)
    found = compare(old, new)
    if as_json:
        print_json(_plain(found))
    else:
        _print_comparison(found, shown)
    worse = found.worse
    if gate and worse:
        named = [f"{c.set} × {c.suite} {c.flagged[0] or 0:,} → {c.flagged[1] or 0:,}" for c in worse[:GATE_SHOWN]]
        more = f" and {len(worse) - GATE_SHOWN} more" if len(worse) > GATE_SHOWN else ""
        raise GateError(f"gate: more instances overlap: {', '.join(named)}{more}; look with: tulu review {folder}")


def _print_comparison(found: Comparison, shown: int) -> None:
    from tulu_data.tables import print_table

    if found.same:
        click.echo("Nothing differs.")
        return
    if found.facts:
        print_table(
            "What was audited, and how",
            ["", "before", "after"],
            [[c.what, _word(c.before), _word(c.after)] for c in found.facts],
        )
    cells = [[c.set, c.suite, *(f"{_word(a)} → {_word(b)}" for a, b in (c.flagged, c.verdict))] for c in found.cells]
    if cells:
        print_table("Overlapping instances", ["set", "suite", "overlap", "verdict"], cells)
    for title, keys in (("New pairs", found.added), ("Pairs that are gone", found.removed)):
        if keys:
            some = f", the first {shown}" if len(keys) > shown else ""
            rows = [[k.set, k.suite, k.instance_id, k.row_sha[:12], k.message] for k in keys[:shown]]
            print_table(f"{title}: {len(keys):,}{some}", ["set", "suite", "instance", "row digest", "message"], rows)
    if found.changed:
        rows = [
            [
                c.key.set,
                f"{c.key.suite}/{c.key.instance_id}",
                *(" ".join(x) or "none" for x in c.layers),
                _word(c.mark[1]),
            ]
            for c in found.changed[:shown]
        ]
        print_table(
            f"Pairs judged otherwise: {len(found.changed):,}", ["set", "instance", "before", "after", "mark"], rows
        )
    click.echo(f"Rows that leave now and stayed before: {len(found.dropped):,}; that stay now: {len(found.kept):,}.")


def _word(value: Any) -> str:
    return "–" if value is None else str(value)


def _plain(value: Any) -> Any:
    if hasattr(value, "_asdict"):
        return {name: _plain(v) for name, v in value._asdict().items()}
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value
