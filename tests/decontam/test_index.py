"""The index as it is kept: one folder a content, mapped, shared, made of parts that are not made again."""

import json
import mmap
import multiprocessing
import shutil
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from decontam import compiling, index_files
from decontam.engine import source_of
from decontam.evidence import columns_of
from decontam.index import flat, index_of
from decontam.index_files import folder_of, index_id, load
from decontam.verdicts import Settings
from tulu_data.errors import InputError
from tulu_data.rows import finish, to_table

TEXTS = [f"question number {i} asks whether the {i} dogs and the {i} cats sleep at {i}" for i in range(20)]


def arrays(made):
    return dict(flat(made.built))


@pytest.fixture
def suites(make_suite):
    return [
        make_suite("a", TEXTS[:12], answers=TEXTS[8:20]),
        make_suite("b", [*TEXTS[10:], "short one", "?!"], "unseen"),
    ]


def batch(texts):
    rows = [finish("prompt", {"messages": [{"role": "user", "content": t}]}, source="s") for t in texts]
    return to_table("prompt", rows).select(columns_of("prompt")).combine_chunks().to_batches()[0]


def test_what_is_saved_is_mapped_back(suites, tmp_path):
    built, mapped = index_of(suites, Settings()), load(folder_of(suites, Settings(), tmp_path))
    assert mapped.corpus.suites == built.corpus.suites
    assert mapped.corpus.texts == built.corpus.texts
    assert mapped.corpus.instances.equals(built.corpus.instances)
    assert arrays(mapped).keys() == arrays(built).keys()
    for name, array in arrays(built).items():
        np.testing.assert_array_equal(arrays(mapped)[name], array, err_msg=name)
        assert arrays(mapped)[name].dtype == array.dtype
        assert not arrays(mapped)[name].flags.writeable


def test_arrays_are_views_of_the_file_and_lie_aligned(suites, tmp_path):
    mapped = load(folder_of(suites, Settings(), tmp_path))
    before = pa.total_allocated_bytes()
    again = load(folder_of(suites, Settings(), tmp_path))
    assert pa.total_allocated_bytes() - before < 20_000
    for name, array in arrays(again).items():
        assert array.ctypes.data % 8 == 0, name
        if len(array):
            assert isinstance(array.base, memoryview | pa.Buffer | np.ndarray | mmap.mmap)
    assert arrays(mapped).keys() == arrays(again).keys()


def scan(source, texts):
    return source.engine().scan_batch("t", "prompt", batch(texts), 0)


def test_processes_share_one_saved_index(suites, tmp_path):
    source = source_of(suites, Settings(), cache=tmp_path, which="compiled")
    expected = source_of(suites, Settings(), which="compiled").engine().scan_batch("t", "prompt", batch(TEXTS), 0)
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        for found in pool.map(scan, [source] * 2, [TEXTS] * 2):
            assert found.equals(expected)


def test_an_added_suite_is_the_only_one_that_is_analysed(suites, make_suite, tmp_path, monkeypatch):
    folder_of(suites, Settings(), tmp_path)
    analysed = []
    analyse = index_files.analysed
    monkeypatch.setattr(
        index_files, "analysed", lambda suite, *rest: (analysed.append(suite.id), analyse(suite, *rest))[1]
    )
    more = [*suites, make_suite("c", ["a new suite with one more question in it that is long"])]
    folder_of(more, Settings(), tmp_path)
    assert analysed == ["c"]
    folder_of(more, Settings(n=5), tmp_path)
    assert analysed == ["c"]
    folder_of(more, Settings(analyzer="word"), tmp_path)
    assert analysed == ["c", "a", "b", "c"]


def test_an_index_of_parts_is_the_index_of_the_whole(suites, tmp_path):
    folder_of(suites[:1], Settings(), tmp_path)
    from_parts = load(folder_of(suites[::-1], Settings(), tmp_path))
    for name, array in arrays(index_of(suites[::-1], Settings())).items():
        np.testing.assert_array_equal(arrays(from_parts)[name], array, err_msg=name)


def test_the_id_hangs_on_content_and_settings(suites, make_suite):
    base = index_id(suites, Settings())
    assert index_id(suites, Settings(roles="all")) == base  # which turns are read is not the index's concern
    others = [
        index_id(suites[:1], Settings()),
        index_id(suites, Settings(n=9)),
        index_id(suites, Settings(max_df=4)),
        index_id(suites, Settings(analyzer="tulu")),
        index_id([make_suite("a", TEXTS[:12]), suites[1]], Settings()),
    ]
    assert len({base, *others}) == 6


@pytest.mark.parametrize("name", ["meta.json", "arrays.arrow", "instances.arrow"])
@pytest.mark.parametrize("junk", [None, b"junk", b""])
def test_a_damaged_index_is_one_line_and_is_made_again(suites, tmp_path, name, junk):
    folder = folder_of(suites, Settings(), tmp_path)
    shutil.copytree(folder, tmp_path / "kept")
    (folder / name).unlink() if junk is None else (folder / name).write_bytes(junk)
    with pytest.raises(InputError, match=rf"^{folder}: is no whole index \([^\n]+\); remove it, it is made again$"):
        load(folder)
    assert folder_of(suites, Settings(), tmp_path) == folder
    assert (folder / "arrays.arrow").read_bytes() == (tmp_path / "kept" / "arrays.arrow").read_bytes()


def test_an_index_of_another_version_is_one_line(suites, tmp_path):
    folder = folder_of(suites, Settings(), tmp_path)
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps(meta | {"kernel": "kernel/0"}))
    message = rf"^{folder}: index of another version \(tulu-index/1 kernel/0\); remove it, it is made again$"
    with pytest.raises(InputError, match=message):
        load(folder)


def test_no_half_index_is_left_where_the_disk_refuses(suites, tmp_path, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(index_files, "_write_table", full)
    with pytest.raises(OSError, match="No space left"):
        folder_of(suites, Settings(), tmp_path)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_what_was_compiled_from_other_sources_is_forgotten(tmp_path):
    from decontam.compiling import SOURCES, STAMP, forget_stale

    assert {p.stem for p in Path(compiling.__file__).parent.glob("*.py") if "@entry" in p.read_text()} <= set(SOURCES)
    compiled = SimpleNamespace(stats=SimpleNamespace(cache_path=str(tmp_path)))
    kept = [tmp_path / "kernel.scan-643.py311.nbi", tmp_path / "kernel.scan-643.py311.1.nbc"]
    other = tmp_path / "theirs.scan-1.py311.nbi"
    for path in (*kept, other):
        path.touch()
    (tmp_path / STAMP).write_text("of another version")
    forget_stale(compiled)
    assert [p.exists() for p in (*kept, other)] == [False, False, True]
    kept[0].touch()
    forget_stale(compiled)
    assert kept[0].exists()
