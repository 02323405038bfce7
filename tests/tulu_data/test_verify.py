"""Whatever is changed in a version is found and named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tulu_data import parquet
from tulu_data.errors import StoreError
from tulu_data.manifest import Origin, Step, version_digest, version_id
from tulu_data.parquet import file_sha256
from tulu_data.rows import order_id, set_id
from tulu_data.store import Store, Version
from tulu_data.verify import Problem, verify

REMEDY = "restore the file, or remove the version's folder and build it again"


@pytest.fixture
def made(store: Store, make_version: Callable[..., Version], monkeypatch: pytest.MonkeyPatch) -> Version:
    """Seven rows in three shards, and two side files."""
    monkeypatch.setattr(parquet, "GROUP_ROWS", 2)
    monkeypatch.setattr(parquet, "SHARD_ROWS", 3)
    side = {"rejects.parquet": pa.table({"reason": ["bad"]}), "drops/near.parquet": pa.table({"score": [0.5]})}
    return make_version(store, "gsm", [f"question {i}" for i in range(7)], side=side)


def files(version: Version) -> list[Path]:
    return [*version.shards, *(version.side_file(f.path) for f in version.manifest.files)]


def edit_manifest(version: Version, change: Callable[[dict[str, Any]], None]) -> None:
    path = version.path / "manifest.json"
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def rewrite(store: Store, version: Version, change: Callable[[list[dict[str, Any]]], None], *, ids: bool) -> Version:
    """Edits rows of the last shard and records the new file hashes; with `ids` also new identities and a new name."""
    path = version.shards[-1]
    table = pq.read_table(path)
    rows = table.to_pylist()
    change(rows)
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)
    digests = [r for p in version.shards for r in pq.read_table(p, columns=["row_sha"])["row_sha"].to_pylist()]

    def record(data: dict[str, Any]) -> None:
        data["shards"][-1] |= {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
        if ids:
            logical = data["logical"]
            logical["set_id"], logical["order_id"] = set_id(matrix(digests)), order_id(matrix(digests))
            data["shards"][-1]["order_id"] = order_id(matrix([r["row_sha"] for r in rows]))
            digest = version_digest(
                data["schema_name"], logical["set_id"], logical["order_id"], [s["rows"] for s in data["shards"]]
            )
            data["digest"], data["version"] = digest, version_id(digest)

    edit_manifest(version, record)
    if ids:
        data = json.loads((version.path / "manifest.json").read_text())
        return store.open(version.path.rename(store.root / f"{data['name']}@{data['version']}"))
    return store.open(version.path)


def matrix(digests: list[bytes]) -> Any:
    from tulu_data.rows import digest_matrix

    return digest_matrix(pa.array(digests, pa.binary(32)))


@pytest.mark.parametrize("level", [1, 2])
@pytest.mark.parametrize("workers", [1, 2])
def test_an_untouched_version_holds(made, level, workers):
    assert (len(made.shards), len(files(made))) == (2, 4)
    assert verify(made, level, workers=workers) == []


def test_an_empty_version_holds(store, make_version):
    assert verify(make_version(store, "empty", []), 2) == []


@pytest.mark.parametrize("index", range(4))
def test_one_changed_byte_in_any_file_is_found_and_the_file_named(made, index):
    path = files(made)[index]
    whole = path.read_bytes()
    for position in (0, len(whole) // 2, len(whole) - 1):
        changed = bytearray(whole)
        changed[position] ^= 1
        path.write_bytes(changed)
        assert verify(made, 2) == [Problem(str(path), f"its sha256 is not the one on record; {REMEDY}")]
    path.write_bytes(whole + b"\0")
    message = f"has {len(whole) + 1:,} bytes, {len(whole):,} on record; {REMEDY}"
    assert verify(made) == [Problem(str(path), message)]
    path.unlink()
    assert verify(made) == [Problem(str(path), f"is missing; {REMEDY}")]


CHANGES: list[tuple[str, int, Callable[[dict[str, Any]], None], str]] = [
    ("set_id", 1, lambda d: d["logical"].update(set_id="0" * 64), "the identities on record give tv1-"),
    ("order_id", 1, lambda d: d["logical"].update(order_id="0" * 64), "the identities on record give tv1-"),
    ("schema", 1, lambda d: d.update(schema_name="rlvr/v1"), "the identities on record give tv1-"),
    ("digest", 1, lambda d: d.update(digest="0" * 64), "the identities on record give tv1-"),
    ("version", 1, lambda d: d.update(version="tv1-" + "0" * 16), "the identities on record give tv1-"),
    ("name", 1, lambda d: d.update(name="other"), "the folder should be called other@tv1-"),
    ("rows", 1, lambda d: d["logical"].update(rows=8), "the shards on record do not add up to 8 rows"),
    ("shard", 1, lambda d: d["shards"][0].update(sha256="0" * 64), "its sha256 is not the one on record"),
    ("shard rows", 1, lambda d: d["shards"][0].update(rows=3), "the identities on record give tv1-"),
    ("shard order", 2, lambda d: d["shards"][0].update(order_id="0" * 64), "its rows are not those on record"),
    ("chars", 2, lambda d: d["logical"].update(chars=1), "logical.chars is not what the rows give"),
    ("tokens", 2, lambda d: d["logical"].update(tokens=1), "logical.tokens is not what the rows give"),
    (
        "licence",
        2,
        lambda d: d["logical"]["sources"]["gsm"].update(licenses={"cc0-1.0": 7}),
        "logical.sources is not what the rows give",
    ),
]


@pytest.mark.parametrize(("level", "change", "message"), [c[1:] for c in CHANGES], ids=[c[0] for c in CHANGES])
def test_a_changed_manifest_is_found(store, made, level, change, message):
    edit_manifest(made, change)
    problems = verify(store.open(made.path), level)
    assert message in problems[0].message
    if level == 2:
        assert verify(store.open(made.path), 1) == []


ROW_CHANGES: list[tuple[str, Callable[[dict[str, Any]], Any], str]] = [
    ("text", lambda r: r["messages"][1].update(content="42"), "row_sha is not the digest of its text"),
    ("prompt_sha", lambda r: r.update(prompt_sha=bytes(32)), "prompt_sha is not the digest of its prompt"),
    ("row_sha", lambda r: r.update(row_sha=bytes(32)), "row_sha is not the digest of its text"),
    ("n_chars", lambda r: r.update(n_chars=1), "n_turns or n_chars is not what its text has"),
    ("n_turns", lambda r: r.update(n_turns=1), "n_turns or n_chars is not what its text has"),
    ("roles", lambda r: r["messages"][1].update(role="user"), "messages[1]: user cannot come after user"),
    ("empty", lambda r: r["messages"][1].update(content=" "), "messages[1].content is empty (assistant turn)"),
]


@pytest.mark.parametrize("ids", [False, True])
@pytest.mark.parametrize(("change", "message"), [c[1:] for c in ROW_CHANGES], ids=[c[0] for c in ROW_CHANGES])
def test_a_row_edited_with_all_hashes_of_files_adjusted_is_found_at_level_2_and_named(
    store, made, change, message, ids
):
    edited = rewrite(store, made, lambda rows: change(rows[0]), ids=ids)
    assert verify(edited, 1) == []
    problems = verify(edited, 2)
    assert any(
        p.place.startswith(f"{edited.shards[-1]}:row group 0, row 0 (gsm/") and message in p.message for p in problems
    )


def test_rows_in_another_order_are_found_at_level_2(store, made):
    edited = rewrite(store, made, lambda rows: rows.reverse(), ids=False)
    assert verify(edited, 1) == []
    assert verify(edited, 2) == [
        Problem(str(edited.shards[-1]), "its rows are not those on record, or not in that order"),
        Problem(edited.ref, "the order of rows is not the one on record"),
    ]


def test_a_lost_row_is_found_at_level_2(store, made):
    edited = rewrite(store, made, lambda rows: rows.pop(), ids=False)
    assert Problem(edited.ref, "the set of rows is not the one on record") in verify(edited, 2)


def test_a_file_of_another_schema_is_found_at_level_2(store, made):
    path = made.shards[-1]
    pq.write_table(pq.read_table(path).drop_columns(["tags"]), path)
    edit_manifest(made, lambda d: d["shards"][-1].update(bytes=path.stat().st_size, sha256=file_sha256(path)))
    assert Problem(str(path), "its schema is not chat/v1") in verify(store.open(made.path), 2)


def test_a_later_history_is_checked_against_its_own_side_files(store, make_version):
    def build(n: int) -> Version:
        side = {"rejects.parquet": pa.table({"reason": ["bad"] * n})}
        return make_version(store, "gsm", ["a"], steps=[Step(name=f"s{n}", rows_in=1, rows_out=1)], side=side)

    first, second = build(1), build(2)
    assert verify(first, 2) == [] == verify(second, 2)
    path = second.side_file("rejects.parquet")
    path.unlink()
    assert verify(first) == []
    assert verify(second) == [Problem(str(path), f"is missing; {REMEDY}")]


def test_level_3_needs_a_recipe(made):
    with pytest.raises(StoreError, match="was not made by a recipe"):
        verify(made, 3)


def test_level_3_rebuilds_from_the_inputs(tmp_path, store):
    from tulu_data import recipe as recipes
    from tulu_data.pipeline import run

    data = tmp_path / "data"
    data.mkdir()
    lines = [json.dumps({"prompt": f"q {i}", "response": "a"}) + "\n" for i in range(5)]
    (data / "x.jsonl").write_text("".join(lines))
    recipe = {"name": "m", "sources": {"x": {"path": "x.jsonl"}}, "mix": {"x": {"count": 3}}}
    made = run(recipes.from_data(recipe, place="test", base=data), store).mixture
    assert made is not None
    assert isinstance(made.manifest.origin, Origin)
    assert verify(made, 3) == []
    (data / "x.jsonl").write_text("".join(reversed(lines[1:])))
    problems = verify(made, 3)
    assert problems[0] == Problem(str(data / "x.jsonl"), "the input is not the one on record")
    assert problems[1].message.startswith("a rebuild gave m@tv1-")
