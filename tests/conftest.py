"""Rows and versions for tests, written where they are used."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tulu_data.parquet import ShardWriter
from tulu_data.rows import Kind, Row, finish, to_table
from tulu_data.store import Store, Version
from tulu_data.tokens import token_counter


def smallest_row(kind: Kind, text: str) -> Row:
    """The smallest row of a kind whose prompt is `text`, without digests."""
    prompt = [{"role": "user", "content": text}]
    answer = [{"role": "assistant", "content": f"answer to {text}"}]
    row: Row = {"messages": prompt + answer if kind == "sft" else prompt}
    if kind == "preference":
        row |= {"chosen": answer, "rejected": [{"role": "assistant", "content": "no"}]}
    if kind == "rlvr":
        row |= {"ground_truth": text, "verifier": "gsm8k"}
    return row


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture(scope="session")
def make_rows() -> Callable[..., list[Row]]:
    """Prompts as text, or rows without digests, → finished rows; an id comes from `prov.orig_id` or the content."""

    def make(
        source: str,
        rows: Sequence[Row | str],
        kind: Kind = "sft",
        *,
        license: str | None = "mit",  # noqa: A002
        tokenizer: str | None = "words/1",
    ) -> list[Row]:
        full = [smallest_row(kind, r) if isinstance(r, str) else copy.deepcopy(r) for r in rows]
        count = token_counter(tokenizer) if tokenizer else None
        return [finish(kind, r, source=source, license=license, count_tokens=count) for r in full]

    return make


@pytest.fixture(scope="session")
def make_version(make_rows: Callable[..., list[Row]]) -> Callable[..., Version]:
    """Publishes prompts, rows or finished rows as `name`; `batch_rows` is how they arrive at the writer."""

    def make(
        store: Store,
        name: str,
        rows: Sequence[Row | str],
        kind: Kind = "sft",
        *,
        batch_rows: int = 1_000,
        tokenizer: str | None = "words/1",
        license: str | None = "mit",  # noqa: A002
        side: dict[str, Any] | None = None,
        **publish: Any,
    ) -> Version:
        done = [isinstance(r, dict) and "row_sha" in r for r in rows]
        full = list(rows) if rows and all(done) else make_rows(name, rows, kind, license=license, tokenizer=tokenizer)
        with store.build(name, kind) as build:
            writer = ShardWriter(build.data, kind)
            for i in range(0, len(full), batch_rows):
                writer.write(to_table(kind, full[i : i + batch_rows]))
            for path, table in (side or {}).items():
                build.add_table(path, table)
            shards = writer.close()
            return build.publish(shards, writer.tally.logical(), tokenizer=tokenizer, **publish)

    return make
