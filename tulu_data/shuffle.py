"""Rows → their places in a mixture, in memory that does not grow with it.

Every row is moved twice. *Scatter* reads the sources one row group at a time and appends each row to the spill file
of its place. *Gather* maps one spill file after the other into memory, copies the rows of one row group out of it,
sorts them and writes them to their shard. A worker of the scatter holds one row group of a source; a worker of the
gather holds one spill file, which is a quarter of a shard while there are few shards, and one row group twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tulu_data.manifest import ShardInfo
from tulu_data.parquet import read_group, row_groups, shard_name, write_shard
from tulu_data.progress import Advance, Progress
from tulu_data.rows import SPECS, Kind
from tulu_data.store import Build, Version
from tulu_data.tally import Tally

I64 = npt.NDArray[np.int64]

MAX_SPILL_FILES = 128  # open at one time (macOS allows a process 256); more shards than that share a file
FILES_PER_SHARD = 4  # at most; more of them save little memory, and cut the rows into more batches
DEST = "__dest"  # the column of a spill file that says where in the mixture a row stands


class Moves(NamedTuple):
    """Which rows of one version go where."""

    version: Version
    rows: I64  # ordinals in the version, ascending; a repeated row stands there several times
    copy: I64
    dest: I64  # where each of them stands in the mixture
    repeat: int


class _Job(NamedTuple):
    """One row group of one version."""

    moves: Moves
    path: Path
    group: int
    start: int  # ordinal of its first row
    rows: int


class _Run(NamedTuple):
    """Consecutive row groups of one shard whose rows lie in one spill file."""

    shard: int
    file: int
    start: int  # the place of its first row
    sizes: tuple[int, ...]


class _Spill:
    """Rows on their way, in one Arrow stream per file."""

    def __init__(self, folder: Path, schema: pa.Schema, bounds: I64) -> None:
        folder.mkdir()
        self.bounds = bounds  # first place of each file, and the end
        self.paths = [folder / f"{i:05d}.arrows" for i in range(len(bounds) - 1)]
        self._writers = [pa.ipc.new_stream(path, schema) for path in self.paths]
        self._locks = [Lock() for _ in self.paths]

    def append(self, table: pa.Table, dest: I64) -> None:
        """Adds rows sorted by `dest`."""
        cuts = np.searchsorted(dest, self.bounds)
        for i in np.flatnonzero(np.diff(cuts)):
            with self._locks[i]:
                self._writers[i].write_table(table.slice(cuts[i], cuts[i + 1] - cuts[i]))

    def close(self) -> None:
        for writer in self._writers:
            writer.close()


def write(
    moves: Sequence[Moves],
    layout: Sequence[tuple[int, ...]],
    kind: Kind,
    build: Build,
    *,
    workers: int,
    progress: Progress,
) -> tuple[list[ShardInfo], Tally]:
    """Moves rows into the shards of a build, and counts what was written. `layout`: per shard, rows per row group."""
    rows = sum(map(sum, layout))
    runs = _runs(layout)
    first_of_file = {run.file: run.start for run in reversed(runs)}
    bounds = np.array([*sorted(first_of_file.values()), rows], np.int64)
    folder = build.folder / "spill"
    spill = _Spill(folder, SPECS[kind].schema.append(pa.field(DEST, pa.int64())), bounds)
    with ThreadPoolExecutor(workers) as pool:
        with progress.task("scatter", rows) as advance:
            for _ in pool.map(lambda job: _scatter(job, spill, advance), _jobs(moves)):
                pass
        spill.close()
        with progress.task("gather", rows) as advance:
            gather = partial(_gather, runs, spill.paths, build.data, len(layout), kind, advance)
            written = list(pool.map(gather, _units(len(layout))))
    folder.rmdir()
    shards, tally = [], Tally()
    for shard, counted in (pair for unit in written for pair in unit):
        shards.append(shard)
        tally.merge(counted)
    return shards, tally


def _shards_per_file(shards: int) -> int:
    return -(-shards // MAX_SPILL_FILES)


def _units(shards: int) -> list[range]:
    """Shards that are gathered together, as they share a file: one, while there are few."""
    step = _shards_per_file(shards)
    return [range(i, min(i + step, shards)) for i in range(0, shards, step)]


def _runs(layout: Sequence[tuple[int, ...]]) -> list[_Run]:
    files_per_shard = max(1, min(FILES_PER_SHARD, MAX_SPILL_FILES // len(layout)))
    shards_per_file = _shards_per_file(len(layout))
    runs: list[_Run] = []
    start = 0
    for shard, sizes in enumerate(layout):
        for i in range(files_per_shard):
            piece = sizes[len(sizes) * i // files_per_shard : len(sizes) * (i + 1) // files_per_shard]
            if piece:
                file = len(runs) if shards_per_file == 1 else shard // shards_per_file
                runs.append(_Run(shard, file, start, piece))
                start += sum(piece)
    return runs


# ------------------------------------------------------------ scatter


def _jobs(moves: Sequence[Moves]) -> Iterator[_Job]:
    for moved in moves:
        start = 0
        for path in moved.version.shards:
            metadata = row_groups(path)
            for group in range(metadata.num_row_groups):
                rows = metadata.row_group(group).num_rows
                yield _Job(moved, path, group, start, rows)
                start += rows


def _scatter(job: _Job, spill: _Spill, advance: Advance) -> None:
    moves = job.moves
    first, last = np.searchsorted(moves.rows, [job.start, job.start + job.rows])
    if first == last:
        return
    dest = moves.dest[first:last]
    order = np.argsort(dest)
    table = read_group(job.path, job.group)
    # A row group that counts many times over is moved in pieces no larger than itself.
    for begin in range(0, len(order), job.rows):
        piece = order[begin : begin + job.rows]
        rows = table.take(pa.array(moves.rows[first:last][piece] - job.start))
        if moves.repeat > 1:
            rows = _with_copies(rows, moves.copy[first:last][piece], moves.repeat)
        spill.append(rows.append_column(DEST, pa.array(dest[piece])), dest[piece])
        advance(len(piece))


def _with_copies(table: pa.Table, copy: I64, repeat: int) -> pa.Table:
    """Numbers the copies. What was copy c of a row becomes copies c·repeat, c·repeat + 1, … so all stay distinct."""
    prov = table["prov"].combine_chunks()
    before = pc.fill_null(pc.struct_field(prov, "copy"), 0).to_numpy().astype(np.int64)
    names = [f.name for f in prov.type]
    fields = [pa.array(before * repeat + copy, pa.int32()) if n == "copy" else pc.struct_field(prov, n) for n in names]
    return table.set_column(
        table.schema.get_field_index("prov"), "prov", pa.StructArray.from_arrays(fields, fields=list(prov.type))
    )


# ------------------------------------------------------------ gather


def _gather(
    runs: Sequence[_Run], files: Sequence[Path], folder: Path, shards: int, kind: Kind, advance: Advance, unit: range
) -> list[tuple[ShardInfo, Tally]]:
    mine = [run for run in runs if run.shard in unit]
    written = []
    for i in unit:
        groups = (group for run in mine if run.shard == i for group in _groups(files[run.file], run, advance))
        written.append(write_shard(folder / shard_name(i, shards), kind, groups))
    for file in {run.file for run in mine}:
        files[file].unlink()
    return written


def _groups(path: Path, run: _Run, advance: Advance) -> Iterator[pa.Table]:
    """The row groups of a run, each in order, out of a file that may hold other rows too."""
    bounds = run.start + np.cumsum((0, *run.sizes))
    with pa.memory_map(str(path)) as source:
        batches = list(pa.ipc.open_stream(source))
    cuts = [np.searchsorted(batch[DEST].to_numpy(), bounds).tolist() for batch in batches]
    for i, size in enumerate(run.sizes):
        found = [b.slice(c[i], c[i + 1] - c[i]) for b, c in zip(batches, cuts, strict=True) if c[i] < c[i + 1]]
        table = pa.Table.from_batches(found).combine_chunks()
        order = np.argsort(table[DEST].to_numpy())
        yield table.drop_columns([DEST]).take(pa.array(order))
        advance(size)
