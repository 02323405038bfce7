"""The dataset card of a version: README.md with the front matter that the Hugging Face hub reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from tulu_data.licenses import KNOWN
from tulu_data.manifest import Manifest, covered_sources
from tulu_data.tables import percent, printable
from tulu_data.tally import UNSTATED


def render(described: Manifest) -> str:
    """The card as Markdown."""
    parts = [
        f"---\n{yaml.safe_dump(_front_matter(described), sort_keys=False, allow_unicode=True)}---",
        f"# {described.name}",
        f"Version `{described.version}`: {described.logical.rows:,} rows of kind `{described.kind}` "
        f"(`{described.schema_name}`), {described.logical.chars:,} characters"
        + (f", {described.logical.tokens:,} tokens ({described.tokenizer})" if described.logical.tokens else "")
        + ".",
        "## Sources\n\n" + _sources(described),
        "## Steps\n\n" + _steps(described),
        "## Decontamination\n\n" + _decontamination(described),
        "## Check it\n\n```sh\n"
        f"tulu verify {described.ref} --level 2   # re-reads every row and recomputes the version id\n```",
    ]
    return "\n\n".join(parts) + "\n"


def _front_matter(described: Manifest) -> dict[str, Any]:
    licenses = sorted({name.lower() for s in described.logical.sources.values() for name in s.licenses})
    front: dict[str, Any] = {"pretty_name": described.name}
    if len(licenses) == 1 and licenses[0] in KNOWN:
        front["license"] = licenses[0]
    elif licenses != [UNSTATED]:
        front |= {"license": "other", "license_name": "see-sources"}
    tasks = {"rlvr": "reinforcement-learning"}
    front |= {
        "task_categories": [tasks.get(described.kind, "text-generation")],
        "tags": ["tulu-data", described.kind, described.version],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "data/train-*.parquet"}]}],
    }
    return front


def _table(header: list[str], rows: list[list[Any]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    for row in rows:
        lines.append("| " + " | ".join(f"{c:,}" if isinstance(c, int) else _cell(str(c)) for c in row) + " |")
    return "\n".join(lines)


def _cell(text: str) -> str:
    """Text from data (a licence, say) as inert Markdown."""
    return printable(" ".join(text.split())).replace("|", "\\|").replace("<", "&lt;")


def _sources(described: Manifest) -> str:
    rows = [
        [name, s.rows, s.unique, s.copies, s.chars, "" if s.tokens is None else s.tokens, ", ".join(s.licenses)]
        for name, s in described.logical.sources.items()
    ]
    return _table(["source", "rows", "unique", "copies", "characters", "tokens", "licence"], rows)


def _steps(described: Manifest) -> str:
    rows = [[s.name, s.source or "", s.rows_in, s.rows_out, ", ".join(s.parents)] for s in described.steps]
    return _table(["step", "source", "rows in", "rows out", "from"], rows)


def _decontamination(described: Manifest) -> str:
    """Against what, how, and how much: a paragraph and a table for each set that was audited."""
    if not described.decontamination:
        return "Not decontaminated: no audit is on record."
    audited = {source for record in described.decontamination for source in covered_sources(record)}
    bare = sorted(set(described.logical.sources) - audited)
    rest = [f"Without a record: {', '.join(map(_cell, bare))}."] if bare else []
    return "\n\n".join([*(_record(r) for r in described.decontamination), *rest])


def _record(record: Mapping[str, Any]) -> str:
    suites, marks, judge = record["suites"], record.get("marks"), record.get("judge")
    count, rows, gone = sum(s.get("instances", 0) for s in suites), record["rows_in"], record["rows_dropped"]
    how = [
        *([f"{record['n']}-grams of `{record['analyzer']}`"] if "analyzer" in record else []),
        *([f"turns of role {record['roles']}"] if "roles" in record else []),
        *([f"layers {', '.join(record['layers'])}"] if "layers" in record else []),
        f"policy `{record['policy']}`, audit `{record['audit']}`",
    ]
    said = [
        f"**{_cell(record['set'])}**: {gone:,} of {rows:,} rows ({percent(gone, rows)}) were dropped. "
        f"Held against {count:,} instances of {len(suites)} {'suite' if len(suites) == 1 else 'suites'}: "
        f"{', '.join(how)}.",
        *([f"A reviewer marked {marks['true']:,} matches true and {marks['false']:,} false."] if marks else []),
        *([f"The model {_cell(judge['model'])} judged {judge['asked']:,} pairs near in meaning."] if judge else []),
    ]
    found = [s for s in suites if s.get("flagged") or s.get("rows_dropped")]
    clean = [_cell(s["id"]) for s in suites if s not in found]
    parts = [" ".join(said)]
    if found:
        header = ["suite", "group", "instances", "overlap", "of the suite", "rows dropped", "of the set"]
        parts.append(_table(header, [_overlapped(s, rows) for s in found]))
    return "\n\n".join([*parts, *([f"No overlap that counts with {', '.join(clean)}."] if clean else [])])


def _overlapped(suite: Mapping[str, Any], rows: int) -> list[Any]:
    """As in Tables 8 and 37 of arXiv 2411.15124: the share of the set that goes, and of the suite that was in it."""
    dropped = suite.get("rows_dropped", 0)
    shares = percent(suite["flagged"], suite["instances"]), percent(dropped, rows)
    return [suite["id"], suite["group"], suite["instances"], suite["flagged"], shares[0], dropped, shares[1]]
