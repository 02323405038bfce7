"""The dataset card of a version: README.md with the front matter that the Hugging Face hub reads."""

from __future__ import annotations

from typing import Any

import yaml

from tulu_data.licenses import KNOWN
from tulu_data.manifest import Manifest
from tulu_data.tables import printable
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
    if not described.decontamination:
        return "Not decontaminated: no audit is on record."
    rows = [
        [
            record["set"],
            record["rows_in"],
            record["rows_dropped"],
            record["policy"],
            record["audit"],
            ", ".join(suite["id"] for suite in record["suites"]),
        ]
        for record in described.decontamination
    ]
    table = _table(["set", "rows in", "dropped", "policy", "audit", "against"], rows)
    bare = sorted(set(described.logical.sources) - {r["set"] for r in described.decontamination})
    return table + (f"\n\nWithout a record: {', '.join(bare)}." if bare else "")
