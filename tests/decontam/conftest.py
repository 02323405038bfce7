from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa
import pytest

from decontam.suites import FieldText, Instance, Suite, suite_of
from tulu_data.rows import Kind, Row, digest_matrix, finish, order_id, to_table

BATCH_ROWS = 3


@dataclass
class MemorySet:
    """A training set in memory: the smallest thing that an audit takes."""

    name: str
    kind: Kind
    table: pa.Table
    batch_rows: int = BATCH_ROWS

    @property
    def digest(self) -> str:
        return order_id(digest_matrix(self.table["row_sha"]))

    @property
    def rows(self) -> int:
        return len(self.table)

    def parts(self) -> Iterator["MemoryPart"]:
        for batch in self.table.combine_chunks().to_batches(max_chunksize=self.batch_rows):
            yield MemoryPart(batch)


class MemoryPart(NamedTuple):
    batch: pa.RecordBatch

    @property
    def rows(self) -> int:
        return self.batch.num_rows

    def read(self, columns: Sequence[str] | None = None) -> pa.RecordBatch:
        return self.batch if columns is None else self.batch.select(columns)


@pytest.fixture(scope="session")
def make_set() -> Callable[..., MemorySet]:
    """Rows without digests, or prompts as text, → a training set."""

    def make(name: str, rows: Sequence[Row | str], kind: Kind = "prompt", batch_rows: int = BATCH_ROWS) -> MemorySet:
        full = [{"messages": [{"role": "user", "content": r}]} if isinstance(r, str) else dict(r) for r in rows]
        return MemorySet(name, kind, to_table(kind, [finish(kind, r, source=name) for r in full]), batch_rows)

    return make


@pytest.fixture(scope="session")
def make_suite() -> Callable[..., Suite]:
    """Texts, or tuples of texts for instances of several fields, → a suite with ids 0, 1, …"""

    def make(
        name: str, items: Sequence[str | tuple[str, ...]], group: str = "dev", answers: Sequence[str] = ()
    ) -> Suite:
        instances = []
        for i, item in enumerate(items):
            texts = (item,) if isinstance(item, str) else item
            fields = tuple(FieldText(f"f{k}", t) for k, t in enumerate(texts))
            instances.append(Instance(str(i), None, fields, answers[i] if answers else None))
        return suite_of(name, group, instances)

    return make


@pytest.fixture(scope="session")
def said() -> Callable[[str], dict[str, Any]]:
    """Words → a chat completion that says them."""

    def make(text: str) -> dict[str, Any]:
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}

    return make
