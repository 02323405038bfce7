"""The layout of shards depends on the rows alone, and other tools read what is written."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tulu_data import parquet
from tulu_data.manifest import ShardInfo
from tulu_data.parquet import (
    ShardWriter,
    file_sha256,
    group_sizes,
    read_batches,
    shard_layout,
    shard_name,
    write_shard,
    write_table,
)
from tulu_data.rows import KINDS, SPECS, Kind, Row, digest_matrix, order_id, to_table

SMALL = {"GROUP_ROWS": 4, "GROUP_CHARS": 30, "SHARD_ROWS": 10, "SHARD_CHARS": 60}
LENGTHS = st.lists(st.integers(1, 12) | st.integers(28, 33) | st.just(100), max_size=40)


@pytest.fixture
def small_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SMALL.items():
        monkeypatch.setattr(parquet, name, value)


def plain_layout(lengths: list[int], limits: dict[str, int]) -> list[list[int]]:
    """Row by row: a group closes when the next row would exceed its rows or characters; a shard, when it is full."""
    groups: list[list[int]] = []
    for length in lengths:
        fits = groups and len(groups[-1]) < limits["GROUP_ROWS"] and sum(groups[-1]) + length <= limits["GROUP_CHARS"]
        groups[-1].append(length) if fits else groups.append([length])
    shards: list[list[list[int]]] = [[]]
    for group in groups:
        rows, chars = sum(map(len, shards[-1])), sum(map(sum, shards[-1]))
        if rows >= limits["SHARD_ROWS"] or chars >= limits["SHARD_CHARS"]:
            shards.append([])
        shards[-1].append(group)
    return [[len(group) for group in shard] for shard in shards]


def table_of(make_rows: Callable[..., list[Row]], lengths: list[int], seed: int = 0) -> pa.Table:
    """Rows of these numbers of characters."""
    letters = random.Random(seed)
    texts = ["".join(letters.choices("abcdefgh ", k=max(1, n - 2))) for n in lengths]
    rows = [{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": f"{t}."}]} for t in texts]
    return to_table("sft", make_rows("s", rows))


def written(folder: Path, batches: list[pa.Table], kind: Kind = "sft") -> tuple[list[ShardInfo], ShardWriter]:
    (folder / "data").mkdir(parents=True)
    writer = ShardWriter(folder / "data", kind)
    for batch in batches:
        writer.write(batch)
    return writer.close(), writer


def groups_on_disk(folder: Path, shards: list[ShardInfo]) -> list[list[int]]:
    metadata = [pq.read_metadata(folder / s.path) for s in shards]
    return [[m.row_group(i).num_rows for i in range(m.num_row_groups)] for m in metadata]


@pytest.mark.usefixtures("small_layout")
def test_layout_equals_the_row_by_row_one():
    @settings(max_examples=300, deadline=None)
    @given(LENGTHS)
    def check(lengths: list[int]) -> None:
        assert shard_layout(np.array(lengths, np.int64)) == plain_layout(lengths, SMALL)
        assert sum(group_sizes(np.array(lengths, np.int64))) == len(lengths)

    check()


def test_the_real_limits_hold():
    limits = {name: getattr(parquet, name) for name in SMALL}
    lengths = [random.Random(1).choice([1, 3_000, 20_000, 9_000_000]) for _ in range(3_000)] + [1] * 20_000
    assert shard_layout(np.array(lengths, np.int64)) == plain_layout(lengths, limits)


@pytest.mark.usefixtures("small_layout")
def test_any_batching_gives_the_same_files_and_keeps_the_order_of_rows(make_rows, tmp_path):
    folders = iter(range(10**6))

    @settings(max_examples=25, deadline=None)
    @given(LENGTHS, st.lists(st.integers(0, 45), max_size=8), st.booleans())
    def check(lengths: list[int], cuts: list[int], copied: bool) -> None:
        table = table_of(make_rows, lengths)
        bounds = [0, *sorted(min(c, len(table)) for c in cuts), len(table)]
        batches = [table.slice(a, b - a) for a, b in itertools.pairwise(bounds)]
        if copied:
            batches = [pa.Table.from_pylist(b.to_pylist(), schema=b.schema) for b in batches]
        whole, _ = written(tmp_path / str(next(folders)), [table])
        folder = tmp_path / str(next(folders))
        shards, writer = written(folder, batches)
        assert [s.model_dump() for s in shards] == [s.model_dump() for s in whole]
        assert groups_on_disk(folder, shards) == shard_layout(table["n_chars"].to_numpy())
        back = pa.concat_tables([pq.read_table(folder / s.path) for s in shards])
        assert back.to_pylist() == table.to_pylist()
        assert order_id(writer.tally.digests()) == order_id(digest_matrix(table["row_sha"]))

    check()


def test_bytes_do_not_depend_on_batches_when_pages_are_full(make_rows, tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "GROUP_ROWS", 3_000)
    table = table_of(make_rows, [1_500 + i % 1_000 for i in range(4_000)]).combine_chunks()
    whole, _ = written(tmp_path / "a", [table])
    pieces, _ = written(tmp_path / "b", [table.slice(i, 333) for i in range(0, 4_000, 333)])
    assert [s.sha256 for s in pieces] == [s.sha256 for s in whole]


def test_few_long_rows_in_small_batches_do_not_pile_up(make_rows, tmp_path, monkeypatch):
    for name, value in {"GROUP_CHARS": 10_000, "SHARD_CHARS": 40_000}.items():
        monkeypatch.setattr(parquet, name, value)
    table = table_of(make_rows, [1_000] * 200)
    (tmp_path / "data").mkdir()
    writer = ShardWriter(tmp_path / "data", "sft")
    held = []
    for i in range(len(table)):
        writer.write(table.slice(i, 1))
        held.append(sum(int(t["n_chars"].to_numpy().sum()) for t in writer._pending))
    writer.close()
    assert max(held) <= 10_000


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_dataset_is_one_empty_shard(kind, tmp_path):
    shards, writer = written(tmp_path, [], kind)
    assert [s.path for s in shards] == ["data/train-00000-of-00001.parquet"]
    assert (shards[0].rows, writer.tally.logical().rows) == (0, 0)
    assert pq.read_table(tmp_path / shards[0].path).schema.equals(SPECS[kind].schema)
    assert list(read_batches([tmp_path / shards[0].path])) == []


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_every_kind_come_back_as_written(kind, make_rows, tmp_path):
    table = to_table(kind, make_rows("s", ["one", "größer 日本 😀"], kind))
    shards, _ = written(tmp_path, [table], kind)
    assert pq.read_table(tmp_path / shards[0].path).to_pylist() == table.to_pylist()


def test_files_carry_their_identity_and_the_features_and_name_what_was_written(make_rows, tmp_path):
    table = table_of(make_rows, [5] * 3)
    (shard,), _ = written(tmp_path, [table])
    path = tmp_path / shard.path
    metadata = {k.decode(): json.loads(v) for k, v in pq.read_metadata(path).metadata.items() if k != b"ARROW:schema"}
    assert metadata["tulu"] == {"kind": "sft", "schema": "chat/v1", "order_id": shard.order_id}
    assert list(metadata["huggingface"]["info"]["features"]) == SPECS["sft"].schema.names
    assert (shard.rows, shard.bytes, shard.sha256) == (3, path.stat().st_size, file_sha256(path))
    assert shard.order_id == order_id(digest_matrix(table["row_sha"]))
    column = pq.read_metadata(path).row_group(0).column(0)
    assert (column.compression, column.path_in_schema) == ("ZSTD", "id")


def test_a_shard_of_given_groups_has_them(make_rows, tmp_path):
    table = table_of(make_rows, [5] * 5)
    (tmp_path / "data").mkdir()
    path = tmp_path / "data" / shard_name(0, 1)
    shard, tally = write_shard(path, "sft", [table.slice(0, 2), table.slice(2, 3)])
    assert groups_on_disk(tmp_path, [shard]) == [[2, 3]]
    assert tally.logical().rows == 5


def test_columns_can_be_read_alone_one_batch_a_row_group(make_rows, tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "GROUP_ROWS", 2)
    table = table_of(make_rows, [5] * 5)
    shards, _ = written(tmp_path, [table])
    batches = list(read_batches([tmp_path / s.path for s in shards], ["row_sha", "id"]))
    assert [len(b) for b in batches] == [2, 2, 1]
    assert [b.schema.names for b in batches] == [["row_sha", "id"]] * 3


@pytest.mark.parametrize("kind", KINDS)
def test_datasets_reads_the_declared_features_offline(kind, make_rows, tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()
    table = to_table(kind, make_rows("s", ["one", "two"], kind))
    shards, _ = written(tmp_path, [table], kind)
    found = datasets.load_dataset(
        "parquet",
        data_files=[str(tmp_path / s.path) for s in shards],
        split="train",
        cache_dir=str(tmp_path / "cache"),
    )
    features: dict[str, Any] = json.loads(pq.read_metadata(tmp_path / shards[0].path).metadata[b"huggingface"])
    assert found.features == datasets.Features.from_dict(features["info"]["features"])
    assert [str(found.features[f.name].dtype) for f in SPECS[kind].schema if not pa.types.is_nested(f.type)] == [
        str(f.type).replace("double", "float64") for f in SPECS[kind].schema if not pa.types.is_nested(f.type)
    ]
    assert found.to_list() == table.to_pylist()


def test_polars_reads_the_rows(make_rows, tmp_path):
    table = table_of(make_rows, [5] * 3)
    shards, _ = written(tmp_path, [table])
    assert pl.read_parquet(tmp_path / shards[0].path).to_dicts() == table.to_pylist()


def test_a_side_table_comes_back():
    table = pa.table({"reason": ["a", None]})
    with TemporaryDirectory() as folder:
        write_table(Path(folder) / "x.parquet", table)
        assert pq.read_table(Path(folder) / "x.parquet").equals(table)
