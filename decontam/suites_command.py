"""`tulu suites`: which suites there are, and what is in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tulu_data.commands.options import example, json_option, quiet_option, suites_root_option

if TYPE_CHECKING:
    from decontam.corpus import Corpus
    from decontam.suites import Instance, Suite
    from tulu_data.suites import SuiteSpec

TEXT_CHARS = 300  # of a text in a preview


@click.command(epilog=example("tulu suites quickstart"))
@click.argument("names", nargs=-1, metavar="[NAME]...")
@suites_root_option
@click.option(
    "-n", "shown", type=click.IntRange(min=0), default=2, show_default=True, help="Instances to show of each."
)
@click.option("--save", type=click.Path(file_okay=False, path_type=Path), help="Write local copies into this folder.")
@quiet_option
@json_option
def command(
    names: tuple[str, ...], suites_root: str | None, shown: int, save: Path | None, quiet: bool, as_json: bool
) -> None:
    """List the suites of the registry, or read those that are named and show what is in them.

    NAME is a suite, a collection, a suites file, FILE#ID, or ID=FILE: a suite of the registry read from a file.
    """
    from tulu_data.errors import InputError
    from tulu_data.progress import for_stderr
    from tulu_data.suite_registry import find_suites

    base = Path(suites_root).expanduser() if suites_root else None
    if not names:
        _list(base, as_json=as_json)
        return
    specs = find_suites(names, Path.cwd(), base, "tulu suites")
    progress = for_stderr(quiet=quiet)
    read: list[tuple[SuiteSpec, Suite]] = []
    failed: dict[str, InputError] = {}
    with progress.task("read", len(specs)) as advance:
        for spec in specs:
            try:
                read.append((spec, _read(spec)))
            except InputError as e:
                failed[spec.id] = e
            advance(1)
    if save is not None:
        for _, suite in read:
            progress.note(f"wrote {_save(suite, save)}")
    if read:
        _preview([spec for spec, _ in read], [suite for _, suite in read], shown, as_json=as_json)
    if failed:
        first, *rest = failed.values()
        raise InputError(f"{first}; nor can {', '.join(list(failed)[1:])} be read" if rest else str(first))


def _list(base: Path | None, *, as_json: bool) -> None:
    from tulu_data.suite_registry import local_copies, registry
    from tulu_data.tables import print_json, print_table

    table = registry()
    within: dict[str, list[str]] = {name: [] for name in table.file.suites}
    for collection in table.file.collections:
        for member in table.file.members(collection):
            within[member].append(collection)
    rows = []
    for spec in table.specs():
        copies = local_copies(spec.id, base) if base else []
        place = str(copies[0]) if copies else spec.source.removeprefix("hub:") if spec.declared.hub else "give a file"
        rows.append([spec.id, spec.declared.group, spec.declared.instances, place, spec.declared.license])
    if as_json:
        listed = [
            spec.declared.model_dump() | {"id": spec.id, "collections": within[spec.id]} for spec in table.specs()
        ]
        print_json({"suites": listed, "collections": {c: table.file.members(c) for c in table.file.collections}})
        return
    print_table("Suites", ["suite", "group", "instances", "read from", "licence"], rows)
    collections = [
        [name, len(table.file.members(name)), ", ".join(table.file.members(name))] for name in table.file.collections
    ]
    print_table("Collections", ["name", "suites", "which"], collections)
    click.echo("Preview: tulu suites gsm8k; local copies: --suites-root DIR; your own: a YAML file of the same shape.")


def _read(spec: SuiteSpec) -> Suite:
    from decontam.suites import read_suite
    from tulu_data.errors import InputError

    try:
        return read_suite(spec)
    except InputError as e:
        note = f" ({spec.declared.note})" if spec.declared.note else ""
        raise InputError(f"{e}{note}; or give a local copy: --suites-root DIR or {spec.id}=FILE") from None


def _preview(specs: Sequence[SuiteSpec], suites: Sequence[Suite], shown: int, *, as_json: bool) -> None:
    from decontam.corpus import suite_overlaps
    from decontam.verdicts import NGRAM
    from tulu_data.tables import print_json

    corpus = _corpus(suites)
    facts = [_facts(spec, suite, of) for spec, suite, of in zip(specs, suites, _counts(corpus), strict=True)]
    overlaps = suite_overlaps(corpus, NGRAM)
    if as_json:
        listed = [f | {"first": [_plain(i) for i in s.instances[:shown]]} for f, s in zip(facts, suites, strict=True)]
        print_json({"suites": listed, "overlaps": overlaps})
        return
    for entry, suite in zip(facts, suites, strict=True):
        _print_suite(entry, suite, shown)
    for overlap in overlaps:
        (a, b), (of_a, of_b) = overlap["suites"], overlap["equal"]
        click.echo(f"{of_a:,} instances of {a} are in {b} too, and {of_b:,} of {b} in {a}: an audit counts them once.")


def _corpus(suites: Sequence[Suite]) -> Corpus:
    from decontam.analyzers import analyzer_of
    from decontam.corpus import analyse_suite, join
    from decontam.reference import canonical

    analyzer = analyzer_of("unicode")
    return join([analyse_suite(s, lambda texts: canonical(analyzer, texts)) for s in suites])


def _counts(corpus: Corpus) -> list[dict[str, Any]]:
    from decontam.corpus import suite_facts
    from decontam.verdicts import NGRAM

    return suite_facts(corpus, NGRAM)


def _facts(spec: SuiteSpec, suite: Suite, counted: Mapping[str, Any]) -> dict[str, Any]:
    declared = spec.declared
    return {
        "id": spec.id,
        "group": declared.group,
        "instances": len(suite.instances),
        "expected": declared.instances,
        "short": counted["short"],
        "unmatchable": counted["unmatchable"],
        "repeated": counted["repeated"],
        "fields": declared.fields,
        "license": declared.license,
        "source": spec.source,
        "note": declared.note,
        "digest": suite.digest,
    }


def _print_suite(entry: Mapping[str, Any], suite: Suite, shown: int) -> None:
    from tulu_data.tables import printable

    expected, count = entry["expected"], entry["instances"]
    asked = f", where {expected:,} were expected" if expected not in (None, count) else ""
    click.secho(printable(f"{suite.id} ({suite.group}): {count:,} instances{asked}"), bold=True)
    short = f"{entry['short']:,} shorter than an n-gram" if entry["short"] else "all long enough for an n-gram"
    again = f", {entry['repeated']:,} repeat another" if entry["repeated"] else ""
    click.echo(printable(f"  {', '.join(entry['fields'])}; {short}{again}; {entry['license'] or 'licence not stated'}"))
    click.echo(printable(f"  {entry['source']}" + (f"; {entry['note']}" if entry["note"] else "")))
    for instance in suite.instances[:shown]:
        subset = f" [{instance.subset}]" if instance.subset else ""
        click.echo(printable(f"  {instance.id}{subset}"))
        for text in (*(f.text for f in instance.fields), *([f"→ {instance.answer}"] if instance.answer else [])):
            click.echo(f"    {_cut(text)}")
    click.echo()


def _cut(text: str) -> str:
    from tulu_data.tables import printable

    flat = " ".join(text.split())
    return printable(flat if len(flat) <= TEXT_CHARS else flat[: TEXT_CHARS - 1] + "…")


def _plain(instance: Instance) -> dict[str, Any]:
    return instance._asdict() | {"fields": [f._asdict() for f in instance.fields]}


def _save(suite: Suite, folder: Path) -> Path:
    """A local copy that the registry reads as it reads the hub's; one that is there is kept."""
    import gzip
    import json

    from tulu_data.store import writing
    from tulu_data.suite_registry import registry
    from tulu_data.suites import SAVED_ID

    path = folder / f"{suite.id}.jsonl.gz"
    if path.exists():
        return path
    declared = registry().file.suites.get(suite.id)
    named = {name: getattr(declared, name, None) or name for name in ("subset", "answer", "passage")}
    with writing(folder, "--save"):
        folder.mkdir(parents=True, exist_ok=True)
        temp = path.with_name(f".{path.name}")
        with gzip.GzipFile(temp, "wb", mtime=0) as file:
            for instance in suite.instances:
                record: dict[str, Any] = {SAVED_ID: instance.id} | {f.name: f.text for f in instance.fields}
                record |= {column.partition("|")[0]: getattr(instance, name) for name, column in named.items()}
                file.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")
        temp.rename(path)
    return path
