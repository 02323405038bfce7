"""A version is published whole or not at all, under a name that depends on its rows alone."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tulu_data import parquet
from tulu_data import store as stores
from tulu_data.errors import StoreError, UsageError
from tulu_data.manifest import Origin, Step, version_digest, version_id
from tulu_data.manifest import load as load_manifest
from tulu_data.parquet import ShardWriter
from tulu_data.rows import KINDS
from tulu_data.store import NAME_LENGTH, Store, Version, check_name
from tulu_data.verify import verify

Make = Callable[..., Version]
REJECTS = pa.table({"reason": ["bad"]})


def step(name: str = "ingest", **params: Any) -> Step:
    return Step(name=name, params=params, rows_in=1, rows_out=1)


def files(store: Store) -> dict[str, tuple[int, bytes]]:
    """Every file outside tmp with its time of change and content."""
    found = [p for p in sorted(store.root.rglob("*")) if p.is_file() and p.relative_to(store.root).parts[0] != "tmp"]
    return {str(p.relative_to(store.root)): (p.stat().st_mtime_ns, p.read_bytes()) for p in found}


def one_line(caught: pytest.ExceptionInfo[BaseException]) -> str:
    text = str(caught.value)
    assert "\n" not in text
    return text


# ------------------------------------------------------------ publishing


def test_a_version_holds_its_rows_manifest_card_and_side_files(store, make_version):
    made = make_version(store, "gsm", ["a", "b"], steps=[step()], side={"rejects.parquet": REJECTS})
    assert made.ref == f"gsm@{made.manifest.version}"
    assert sorted(files(store)) == [
        f"{made.ref}/README.md",
        f"{made.ref}/data/train-00000-of-00001.parquet",
        f"{made.ref}/manifest.json",
        f"{made.ref}/rejects.parquet",
        "refs/gsm",
    ]
    assert (made.rows, made.kind, made.name) == (2, "sft", "gsm")
    assert [r["messages"][0]["content"] for r in made.table().to_pylist()] == ["a", "b"]
    assert made.table(["n_turns", "id"]).column_names == ["n_turns", "id"]
    assert verify(made, 2) == []
    assert list((store.root / "tmp").iterdir()) == []


def test_the_version_id_is_the_hash_of_the_logical_content(store, make_version):
    made = make_version(store, "gsm", ["a", "b"])
    logical = made.manifest.logical
    assert made.digest == version_digest("chat/v1", logical.set_id, logical.order_id, [2])
    assert made.manifest.version == version_id(made.digest) == f"tv1-{made.digest[:16]}"


def test_the_version_id_depends_on_rows_and_order_not_on_name_place_time_batches_or_lineage(
    tmp_path, make_version, make_rows, monkeypatch
):
    first = make_version(Store(tmp_path / "a"), "gsm", ["a", "b"])
    monkeypatch.setattr("tulu_data.manifest.now", lambda: "1999-01-01T00:00:00+00:00")
    monkeypatch.setattr("tulu_data.manifest.environment", lambda: {"platform": "elsewhere"})
    other = make_version(Store(tmp_path / "b" / "c"), "other", ["a", "b"], batch_rows=1, steps=[step()], license=None)
    assert other.digest == first.digest
    assert other.ref != first.ref
    elsewhere = Store(tmp_path / "d")
    assert make_version(elsewhere, "gsm", ["b", "a"]).digest != first.digest
    assert make_version(elsewhere, "gsm", ["a"]).digest != first.digest
    assert make_version(elsewhere, "gsm", ["a", "b"], "prompt").digest != first.digest


def test_the_version_id_depends_on_how_rows_are_cut_into_shards(tmp_path, make_version, monkeypatch):
    whole = make_version(Store(tmp_path / "a"), "gsm", ["a", "b"])
    monkeypatch.setattr(parquet, "GROUP_ROWS", 1)
    monkeypatch.setattr(parquet, "SHARD_ROWS", 1)
    cut = make_version(Store(tmp_path / "b"), "gsm", ["a", "b"])
    assert [s.rows for s in cut.manifest.shards] == [1, 1]
    assert cut.manifest.logical == whole.manifest.logical
    assert cut.digest != whole.digest


def test_an_identical_build_changes_no_file(store, make_version):
    first = make_version(store, "gsm", ["a", "b"], steps=[step(x=1)], side={"rejects.parquet": REJECTS})
    before = files(store)
    again = make_version(store, "gsm", ["a", "b"], steps=[step(x=1)], side={"rejects.parquet": REJECTS})
    assert (again.ref, again.build) == (first.ref, None)
    assert files(store) == before


def test_time_machine_and_writer_do_not_make_another_build(store, make_version, monkeypatch):
    make_version(store, "gsm", ["a"], steps=[step()], side={"rejects.parquet": REJECTS})
    before = files(store)
    monkeypatch.setattr("tulu_data.manifest.now", lambda: "1999-01-01T00:00:00+00:00")
    monkeypatch.setattr("tulu_data.manifest.environment", lambda: {"platform": "elsewhere"})
    monkeypatch.setattr(stores, "writer_fingerprint", lambda: "pyarrow-99")
    monkeypatch.setattr(parquet, "ZSTD_LEVEL", 9)  # other bytes for the same tables
    again = make_version(store, "gsm", ["a"], steps=[step()], side={"rejects.parquet": REJECTS})
    assert again.build is None
    assert files(store) == before


def test_another_history_of_the_same_rows_is_kept_beside_the_first_and_the_name_stands_for_it(store, make_version):
    first = make_version(store, "gsm", ["a"], steps=[step(x=1)], side={"rejects.parquet": REJECTS})
    more = pa.table({"reason": ["bad", "worse"]})
    other = make_version(store, "gsm", ["a"], steps=[step(x=2)], side={"rejects.parquet": more})
    assert other.ref == first.ref
    assert other.build == other.manifest.build_id() != first.manifest.build_id()
    assert (store.root / "refs/gsm").read_text() == f"{first.manifest.version} {other.build}\n"
    assert [m.steps[0].params for m in store.histories(first.ref)] == [{"x": 1}, {"x": 2}]
    assert sorted(p.name for p in (first.path / "builds" / other.build).iterdir()) == [
        "README.md",
        "manifest.json",
        "rejects.parquet",
    ]
    for ref in ("gsm", other.ref):
        opened = store.open(ref)
        assert (opened.build, opened.manifest.steps[0].params) == (other.build, {"x": 2})
        assert opened.table().num_rows == 1
    assert store.open(first.path).build is None
    assert verify(store.open("gsm"), 2) == [] == verify(store.open(first.path), 2)
    before = files(store)
    assert make_version(store, "gsm", ["a"], steps=[step(x=2)], side={"rejects.parquet": more}).build == other.build
    assert files(store) == before
    assert make_version(store, "gsm", ["a"], steps=[step(x=1)], side={"rejects.parquet": REJECTS}).build is None
    assert store.open("gsm").build is None


def test_another_history_whose_bytes_differ_keeps_shards_of_its_own(store, make_version, monkeypatch):
    first = make_version(store, "gsm", ["a"], steps=[step(x=1)])
    monkeypatch.setattr(parquet, "ZSTD_LEVEL", 9)
    monkeypatch.setattr(parquet, "_STATISTICS", ())
    monkeypatch.setattr(stores, "writer_fingerprint", lambda: "pyarrow-99")
    other = make_version(store, "gsm", ["a"], steps=[step(x=2)])
    assert other.build is not None
    assert other.shards != first.shards
    assert other.manifest.writer == "pyarrow-99"
    assert verify(other, 2) == []


def test_another_machine_that_publishes_the_same_version_meanwhile_is_no_error(store, make_version, monkeypatch):
    rename = Path.rename

    def late(self: Path, target: Path) -> Path:
        if "@" in target.name and not target.exists():
            shutil.copytree(self, target)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", late)
    made = make_version(store, "gsm", ["a"])
    assert verify(made, 2) == []


def test_the_manifest_comes_back_and_tells_the_origin(store, make_version):
    origin = Origin(recipe={"name": "größer"}, root="/data", step="mix")
    made = make_version(store, "gsm", ["a"], origin=origin, steps=[step()])
    assert load_manifest(made.path / "manifest.json") == made.manifest
    assert made.manifest.origin == origin


# ------------------------------------------------------------ opening


def test_a_version_opens_by_name_full_ref_unique_beginning_and_folder(store, make_version):
    old = make_version(store, "gsm", ["a"])
    new = make_version(store, "gsm", ["b"])
    other = make_version(store, "gsm.2", ["c"])
    assert store.open("gsm").ref == new.ref
    assert store.open(old.ref).ref == old.ref
    prefix = next(old.ref[:n] for n in range(9, 30) if not new.ref.startswith(old.ref[:n]))
    assert store.open(prefix).ref == old.ref
    assert store.open(old.path).ref == store.open(str(old.path)).ref == old.ref
    assert store.names() == ["gsm", "gsm.2"]
    assert [v.ref for v in store.versions()] == sorted([old.ref, new.ref, other.ref])
    assert store.has(old.ref)
    assert not store.has("gsm@tv1-0")
    assert store.latest("gsm") == new.ref
    assert store.latest("none") is None
    assert store.open_build(new.ref, None) is not None
    assert store.open_build(new.ref, "0" * 16) is None


def test_what_cannot_be_opened_says_so_in_one_line_with_the_nearest_names(store, make_version):
    a, b = sorted([make_version(store, "gsm", ["a"]).ref, make_version(store, "gsm", ["b"]).ref])
    root = store.root
    cases = [
        ("gms", StoreError, f"gms: no such dataset in {root}; did you mean 'gsm'?"),
        ("zzz", StoreError, f"zzz: no such dataset in {root}; known datasets: gsm"),
        ("gsm@tv1-", UsageError, f"gsm@tv1-: stands for several versions ({a}, {b}); give more of the id"),
        ("gsm@tv1-x", StoreError, f"gsm@tv1-x: no such version in {root}; it has {a}, {b}"),
        ("gms@tv1-x", StoreError, f"gms@tv1-x: no such version in {root}; did you mean 'gsm'?"),
        ("gsm@*", StoreError, f"gsm@*: no such version in {root}; it has {a}, {b}"),
        ("no/such/folder", StoreError, f"no/such/folder: no such dataset in {root}; known datasets: gsm"),
    ]
    for ref, error, message in cases:
        with pytest.raises(error) as caught:
            store.open(ref)
        assert one_line(caught) == message
    with pytest.raises(StoreError, match="known datasets: none"):
        Store(root / "nothing").open("gsm")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no manifest here; is this a version's folder?"),
        ("{", "not JSON (Expecting property name enclosed in double quotes: line 1 column 2 (char 1)); "),
        ("[]", "format is None, this version reads 'tulu-manifest/1'"),
        ('{"format": "tulu-manifest/9"}', "format is 'tulu-manifest/9', this version reads 'tulu-manifest/1'"),
        ('{"format": "tulu-manifest/1"}', "name: Field required; the manifest was changed by hand?"),
    ],
)
def test_a_damaged_manifest_is_one_line(store, make_version, content, message):
    made = make_version(store, "gsm", ["a"])
    path = made.path / "manifest.json"
    path.unlink() if content is None else path.write_text(content)
    with pytest.raises(StoreError) as caught:
        store.open("gsm")
    assert one_line(caught).startswith(f"{path}: {message}")


def test_an_empty_ref_is_one_line(store, make_version):
    make_version(store, "gsm", ["a"])
    (store.root / "refs/gsm").write_text("")
    with pytest.raises(StoreError, match="refs/gsm: is empty; write the version that 'gsm' stands for into it"):
        store.open("gsm")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "dataset name '' is empty or starts with a dot; use letters, digits, '-', '_' and '.'"),
        (".x", "dataset name '.x' is empty or starts with a dot; use letters, digits, '-', '_' and '.'"),
        ("a/b", "dataset name 'a/b' holds '/'; use letters, digits, '-', '_' and '.'"),
        ("a@b", "dataset name 'a@b' holds '@'; use letters, digits, '-', '_' and '.'"),
        ("ä", "dataset name 'ä' holds 'ä'; use letters, digits, '-', '_' and '.'"),
        ("x" * 129, "dataset name 'xxxxxxxxxxxxxxxxxxxx'… has 129 characters; use at most 128"),
    ],
)
def test_a_name_that_cannot_be_a_folder_is_refused_before_anything_is_written(store, name, message):
    with pytest.raises(UsageError) as caught, store.build(name, "sft"):
        pass
    assert one_line(caught) == message
    assert not store.root.exists()


def test_the_longest_name_can_be_built(store, make_version):
    check_name("x" * NAME_LENGTH)
    assert store.open(make_version(store, "x" * NAME_LENGTH, ["a"]).ref).rows == 1


# ------------------------------------------------------------ crashes


@pytest.mark.parametrize("kind", KINDS)
def test_an_exception_during_a_build_leaves_nothing(store, kind):
    def fails() -> None:
        with store.build("gsm", kind) as build:
            ShardWriter(build.data, kind).close()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert files(store) == {}
    assert list((store.root / "tmp").iterdir()) == []


PATCHED = ["_write_description", "_flush", "_rename_unless_there", "fsync"]


@pytest.mark.parametrize("function", PATCHED)
def test_an_exception_anywhere_while_publishing_leaves_a_store_that_the_next_build_mends(
    store, make_version, monkeypatch, function
):
    make_version(store, "old", ["x"])
    real = getattr(stores, function)
    calls = len(PATCHED)
    for fail_at in range(12):
        seen = iter(range(10**6))

        def fails(*args: Any, seen: Any = seen, fail_at: int = fail_at, **kwargs: Any) -> Any:
            if next(seen) == fail_at:
                raise ZeroDivisionError
            return real(*args, **kwargs)

        monkeypatch.setattr(stores, function, fails)
        try:
            make_version(store, f"new{fail_at}", ["a", "b"])
        except ZeroDivisionError:
            calls += 1
        monkeypatch.setattr(stores, function, real)
        assert list((store.root / "tmp").iterdir()) == []
        for version in store.versions():
            assert verify(version, 2) == []
        assert store.open(make_version(store, f"new{fail_at}", ["a", "b"]).name).rows == 2
    assert calls > len(PATCHED)


BUILDER = """
import os
import sys
from tulu_data import parquet
from tulu_data.errors import StoreError
from tulu_data.rows import finish, to_table
from tulu_data.store import Store

parquet.GROUP_ROWS, parquet.SHARD_ROWS = 50, 200


def row(i):
    messages = [{"role": "user", "content": f"question {i}"}, {"role": "assistant", "content": "a" * 500}]
    return finish("sft", {"messages": messages, "prov": {"orig_id": str(i)}}, source="big")


table = to_table("sft", [row(i) for i in range(2_000)])

def build_on(root):
    store = Store(root)
    for build_number in range(1, 1_000):
        with store.build("big", "sft") as build:
            writer = parquet.ShardWriter(build.data, "sft")
            for i in range(0, 2_000 - build_number, 20):
                writer.write(table.slice(i, 20))
            build.add_table("rejects.parquet", table.slice(0, 1))
            build.publish(writer.close(), writer.tally.logical())


if len(sys.argv) > 1:
    try:
        build_on(sys.argv[1])
    except StoreError as e:
        print("StoreError", e)
for line in sys.stdin:  # each line: a folder to build in; answers with the process that does
    child = os.fork()
    if child == 0:
        build_on(line.strip())
    print(child, flush=True)
    os.waitpid(child, 0)
    print("ended", flush=True)
"""


def test_a_killed_build_leaves_no_half_version_and_the_next_build_sweeps_it_away(tmp_path, make_version):
    """Processes build version after version; each is killed at a random moment of that."""
    rng = random.Random(0)
    swept = 0
    with subprocess.Popen(
        [sys.executable, "-c", BUILDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path.cwd()
    ) as builder:
        assert builder.stdin is not None
        assert builder.stdout is not None
        for i in range(24):
            store = Store(tmp_path / str(i))
            builder.stdin.write(f"{store.root}\n")
            builder.stdin.flush()
            child = int(builder.stdout.readline())
            time.sleep(rng.uniform(0, 0.15))
            os.kill(child, signal.SIGKILL)
            assert builder.stdout.readline() == "ended\n"
            swept += len(store.abandoned())
            for version in store.versions():
                assert verify(version, 1) == []
            for name in store.names():
                assert store.open(name).rows > 0
            made = make_version(store, "next", ["a"])
            assert store.open("next").ref == made.ref
            assert list((store.root / "tmp").iterdir()) == []
        builder.stdin.close()
    assert swept >= 15


def test_a_build_of_a_living_process_is_not_swept_and_that_of_another_machine_only_after_a_week(store, make_version):
    tmp = store.root / "tmp"
    with store.build("slow", "sft") as build:
        elsewhere = tmp / "slow-00000000-1-00000000"
        old = tmp / "slow-00000000-2-00000000"
        for folder in (elsewhere, old):
            folder.mkdir()
        os.utime(old, (0, 0))
        assert store.abandoned() == [old]
        make_version(store, "quick", ["a"])
        assert build.data.is_dir()
        assert elsewhere.is_dir()
        assert not old.exists()


def test_a_small_file_is_replaced_whole_and_leaves_nothing_when_it_cannot_be(store, monkeypatch):
    store.write_json("steps/a.json", {"b": 1})
    monkeypatch.setattr(stores, "fsync", lambda path: (_ for _ in ()).throw(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        store.write_json("steps/a.json", {"b": 2})
    assert json.loads((store.root / "steps/a.json").read_text()) == {"b": 1}
    assert [p.name for p in (store.root / "steps").iterdir()] == ["a.json"]
    assert list((store.root / "tmp").iterdir()) == []


def test_a_leftover_of_an_older_release_is_no_dataset(store, make_version):
    make_version(store, "gsm", ["a"])
    (store.root / "refs/.gsm.123").write_text("tv1-0")
    assert store.names() == ["gsm"]


def test_what_is_discarded_disappears_whole(store, make_version, monkeypatch):
    made = make_version(store, "gsm", ["a"])
    monkeypatch.setattr(shutil, "rmtree", lambda path: (_ for _ in ()).throw(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        store.discard(made.path)
    assert store.versions() == []


# ------------------------------------------------------------ disks that refuse


def test_a_store_below_a_regular_file_is_one_line(tmp_path, make_version):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError) as caught:
        make_version(Store(tmp_path / "file" / "store"), "gsm", ["a"])
    assert one_line(caught) == (
        f"{tmp_path}/file/store/tmp: cannot write (Not a directory); make it writable, "
        "or choose another place with --store"
    )


def test_a_store_that_is_a_regular_file_is_one_line(tmp_path, make_version):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"file/tmp: cannot write \(Not a directory\)"):
        make_version(Store(tmp_path / "file"), "gsm", ["a"])


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.EROFS, "Read-only file system); make it writable"),
        (errno.EACCES, "Permission denied); make it writable"),
        (errno.ENOSPC, "No space left on device); free space"),
        (errno.EDQUOT, "Disk quota exceeded); free space"),
    ],
)
@pytest.mark.parametrize("function", ["mkdir", "rename", "write_text"])
def test_a_disk_that_refuses_is_one_line_with_the_remedy(store, make_version, monkeypatch, function, number, remedy):
    def refuses(self: Path, *args: Any, **kwargs: Any) -> None:
        raise OSError(number, os.strerror(number), str(self))

    monkeypatch.setattr(Path, function, refuses)
    with pytest.raises(StoreError) as caught:
        make_version(store, "gsm", ["a"])
    assert f"cannot write ({remedy}, or choose another place with --store" in one_line(caught)
    monkeypatch.undo()
    assert store.versions() == []


def test_other_errors_of_the_system_keep_their_traceback(store):
    with pytest.raises(FileNotFoundError), store.writing():
        Path("/no/such/file").read_text()


def test_a_full_disk_is_one_line_wherever_it_fills_up(tmp_path):
    """A real one, in a mount namespace of its own; skipped where that is not allowed."""
    mounted = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs -o size="$1" tmpfs "$0" && exec "$2" -c "$3" "$0"']
    folder = tmp_path / "disk"
    folder.mkdir()
    try:
        probe = subprocess.run([*mounted, str(folder), "100k", "true", ""], capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("no unshare")
    if probe.returncode:
        pytest.skip("cannot mount here")
    for size in ("16k", "100k", "300k"):
        run = [*mounted, str(folder), size, sys.executable, BUILDER]
        done = subprocess.run(run, capture_output=True, text=True, check=False, cwd=Path.cwd(), input="")
        assert done.stdout.splitlines()[-1].startswith("StoreError /"), done.stdout + done.stderr
        assert "(No space left on device); free space, or choose another place with --store" in done.stdout
        assert done.stderr == ""
