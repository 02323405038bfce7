"""Exports are what other trainers read; what a layout cannot hold is refused."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from tulu_data.errors import StoreError, UsageError
from tulu_data.export import LAYOUTS, export
from tulu_data.rows import KINDS, Row

USER, YES, NO = (
    {"role": "user", "content": "größer 😀?"},
    {"role": "assistant", "content": "answer to größer 😀?"},
    {"role": "assistant", "content": "no"},
)
IDS = {"source": "s"}
RLVR = {"ground_truth": "größer 😀?"}
EXPECTED: dict[str, dict[str, dict[str, Any]]] = {
    "open-instruct": {
        "sft": IDS | {"messages": [USER, YES]},
        "prompt": IDS | {"messages": [USER]},
        "preference": IDS | {"prompt": USER["content"], "chosen": [USER, YES], "rejected": [USER, NO]},
        "rlvr": IDS | {"messages": [USER], "dataset": "gsm8k", "constraint": None} | RLVR,
    },
    "trl": {
        "sft": {"messages": [USER, YES]},
        "prompt": {"prompt": [USER]},
        "preference": {"prompt": [USER], "chosen": [YES], "rejected": [NO]},
        "rlvr": {"prompt": [USER], "verifier": "gsm8k"} | RLVR,
    },
}


def load(path: Path, cache: Path) -> list[dict[str, Any]]:
    import datasets

    datasets.disable_progress_bars()
    form = "json" if path.suffix == ".jsonl" else "parquet"
    found: list[dict[str, Any]] = datasets.load_dataset(
        form, data_files=str(path), split="train", cache_dir=str(cache)
    ).to_list()
    return found


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_datasets_reads_every_layout_of_every_kind(tmp_path, store, make_version, layout, kind, suffix):
    version = make_version(store, "s", ["größer 😀?", "two"], kind, batch_rows=1)
    target = tmp_path / "deep" / f"out{suffix}"
    assert export(version, layout, target) == 2
    found = load(target, tmp_path / "cache")
    assert {k: v for k, v in found[0].items() if k != "id"} == EXPECTED[layout][kind]
    assert list(found[0]) == list(LAYOUTS[layout][kind][1])
    assert [r.get("id") for r in found] == [
        r["id"] if "id" in found[0] else None for r in version.table(["id"]).to_pylist()
    ]
    assert list(target.parent.iterdir()) == [target]


def test_both_formats_hold_the_same_records_in_order(tmp_path, store, make_version):
    version = make_version(store, "s", [f"q {i}\n\u2028" for i in range(20)], batch_rows=3)
    for layout in LAYOUTS:
        for name in ("a.parquet", "a.jsonl"):
            export(version, layout, tmp_path / name)
        found = load(tmp_path / "a.parquet", tmp_path / layout)
        assert found == load(tmp_path / "a.jsonl", tmp_path / layout)
        assert [r["messages"][0]["content"] for r in found] == [f"q {i}\n\u2028" for i in range(20)]


@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl"])
def test_an_empty_version_is_an_empty_file(tmp_path, store, make_version, name):
    assert export(make_version(store, "s", []), "trl", tmp_path / name) == 0
    assert (tmp_path / name).exists()


CALL = '[{"name":"add"}]'
CALLER = {"role": "assistant", "content": "", "tool_calls": CALL}
TOOL = {"role": "tool", "content": "4", "tool_call_id": "c1"}
WITH_TOOLS: list[tuple[str, Row]] = [
    ("sft", {"messages": [USER, CALLER]}),
    ("sft", {"messages": [USER, YES, TOOL, YES]}),
    ("sft", {"messages": [USER, YES], "tools": CALL}),
    ("prompt", {"messages": [USER, YES, TOOL]}),
    ("preference", {"messages": [USER], "chosen": [CALLER], "rejected": [NO]}),
    ("preference", {"messages": [USER], "chosen": [YES], "rejected": [NO, TOOL, YES]}),
    ("rlvr", {"messages": [USER], "ground_truth": "4", "verifier": "v", "tools": CALL}),
]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(("kind", "row"), WITH_TOOLS)
def test_tool_calls_in_any_column_are_refused_and_the_target_stays_as_it_was(
    tmp_path, store, make_version, layout, kind, row
):
    version = make_version(store, "s", ["fine", row], kind)
    target = tmp_path / "out.jsonl"
    target.write_text("before")
    with pytest.raises(UsageError) as caught:
        export(version, layout, target)
    row_id = version.table(["id"])["id"][1].as_py()
    assert str(caught.value) == f"{row_id}: has tool calls, which this layout cannot hold; filter them out first"
    assert target.read_text() == "before"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.jsonl", "store"]


def test_an_unknown_layout_or_suffix_is_one_line(tmp_path, store, make_version):
    version = make_version(store, "s", ["q"])
    for layout, target, message in (
        ("tlr", "x.jsonl", "layout 'tlr' is unknown; did you mean 'trl'?"),
        ("trl", "x.csv", f"{tmp_path}/x.csv: give a name that ends in .parquet or .jsonl"),
    ):
        with pytest.raises(UsageError) as caught:
            export(version, layout, tmp_path / target)
        assert str(caught.value) == message


def test_a_target_that_cannot_be_written_is_one_line(tmp_path, store, make_version, monkeypatch):
    version = make_version(store, "s", ["q"])
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.jsonl").mkdir()
    for target in ("file/x.jsonl", "folder.jsonl"):
        with pytest.raises(StoreError, match=r"cannot write \(.*\); make it writable, or choose another place with -o"):
            export(version, "trl", tmp_path / target)

    def full(self: Path, *_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(StoreError) as caught:
        export(version, "trl", tmp_path / "x.jsonl")
    assert str(caught.value) == (
        f"{tmp_path}/x.jsonl: cannot write (No space left on device); free space, or choose another place with -o"
    )
    assert not list(tmp_path.glob(".x*"))
