"""Croissant metadata: valid for mlcroissant, and its reader gives the rows of the folder."""

from __future__ import annotations

import json
import warnings
from hashlib import sha256

import pytest

from tulu_data import croissant, pushing
from tulu_data.parquet import write_shard
from tulu_data.rows import KINDS, SPECS, to_table
from tulu_data.tally import Tally

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of its own dependencies, when they are imported
    mlc = pytest.importorskip("mlcroissant", reason="pip install mlcroissant")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

TOOLED = {
    "messages": [
        {"role": "user", "content": "größer 😀?", "name": "Ada"},
        {"role": "assistant", "content": "", "tool_calls": '[{"name":"add"}]'},
        {"role": "tool", "content": "4", "tool_call_id": "c1"},
        {"role": "assistant", "content": "four"},
    ],
    "tools": "[]",
    "tags": ["maths", "tools"],
    "prov": {"orig_id": "1", "orig_index": 7, "ops": ["a", "b"]},
}


def plain(value):
    """What mlcroissant gives for a record, with names for ids and text for bytes that are text."""
    if isinstance(value, dict):
        return {key.rsplit("/", 1)[1]: plain(v) for key, v in value.items()}
    if isinstance(value, list):
        return [plain(v) for v in value]
    return value.item() if hasattr(value, "item") else value


def in_bytes(value):
    """A row with its texts as bytes: Croissant has one type for both."""
    if isinstance(value, dict):
        return {key: in_bytes(v) for key, v in value.items()}
    if isinstance(value, list):
        return [in_bytes(v) for v in value]
    return value.encode() if isinstance(value, str) else value


def read(folder):
    dataset = mlc.Dataset(str(folder / croissant.NAME))
    assert not dataset.metadata.ctx.issues.errors
    return dataset, [plain(record) for record in dataset.records(croissant.RECORDS)]


def written(version, folder):
    pushing.write_folder(pushing.pack(version).files, folder)
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_mlcroissant_reads_every_column_of_every_kind_from_the_folder(tmp_path, store, make_version, kind):
    version = make_version(store, "s", ["größer 😀?", "two\n\u2028lines"], kind)
    _, records = read(written(version, tmp_path / "out"))
    assert records == in_bytes(version.table().to_pylist())
    assert list(records[0]) == SPECS[kind].schema.names


def test_turns_with_tools_names_tags_and_origins_come_out_as_they_are(tmp_path, store, make_version):
    version = make_version(store, "s", ["plain", TOOLED])
    _, records = read(written(version, tmp_path / "out"))
    assert records == in_bytes(version.table().to_pylist())


def test_many_shards_are_one_record_set_in_order(tmp_path, store, make_rows):
    rows = make_rows("s", ["a", "b", "c"])
    with store.build("s", "sft") as build:
        tally, shards = Tally(), []
        for i, row in enumerate(rows):
            shard, counted = write_shard(
                build.data / f"train-{i:05d}-of-00003.parquet", "sft", [to_table("sft", [row])]
            )
            shards.append(shard)
            tally.merge(counted)
        version = build.publish(shards, tally.logical())
    folder = written(version, tmp_path / "out")
    dataset, records = read(folder)
    assert [r["messages"][0]["content"] for r in records] == [b"a", b"b", b"c"]
    assert [f.content_url for f in dataset.metadata.file_objects] == [s.path for s in shards]
    for file in dataset.metadata.file_objects:
        content = (folder / file.content_url).read_bytes()
        assert (file.sha256, file.content_size) == (sha256(content).hexdigest(), f"{len(content)} B")


def test_a_shard_that_was_changed_is_noticed_when_it_is_read(tmp_path, store, make_version):
    folder = written(make_version(store, "s", ["a"]), tmp_path / "out")
    shard = folder / "data" / "train-00000-of-00001.parquet"
    shard.write_bytes(shard.read_bytes() + b" ")
    with pytest.raises(mlc.GenerationError) as caught:
        read(folder)
    assert "Hash of downloaded file" in str(caught.value.__cause__)


def test_the_document_states_version_licences_and_publisher(store, make_version, make_rows):
    rows = [r for i, name in enumerate(("MIT", "cc-by-4.0", "my own")) for r in make_rows("s", [f"q{i}"], license=name)]
    described = make_version(store, "s", rows).manifest
    document = croissant.describe(described, "my-org/s")
    assert document["conformsTo"] == "http://mlcommons.org/croissant/1.1"
    assert document["version"] == f"1.0.0+{described.version}"
    assert sorted(document["license"]) == [
        "https://creativecommons.org/licenses/by/4.0/",
        "https://spdx.org/licenses/MIT.html",
        "my own",
    ]
    assert document["url"] == "https://huggingface.co/datasets/my-org/s"
    assert document["creator"]["name"] == "my-org"
    assert {"url", "creator"}.isdisjoint(croissant.describe(described))


def test_mlcroissant_asks_for_nothing_but_a_citation(tmp_path, store, make_version):
    issues = read(written(make_version(store, "s", ["a"]), tmp_path / "out"))[0].metadata.ctx.issues
    assert [w.split("Property ")[1].split(" ")[0] for w in issues.warnings] == [
        '"http://mlcommons.org/croissant/citeAs"'
    ]


def test_equal_manifests_give_equal_bytes_and_names_from_data_are_json(store, make_version):
    described = make_version(store, "s", ["a"]).manifest
    named = described.logical.model_copy(update={"sources": {'x", "license': described.logical.sources["s"]}})
    hostile = described.model_copy(update={"logical": named})
    assert croissant.dumps(described) == croissant.dumps(described.model_copy(deep=True))
    assert json.loads(croissant.dumps(hostile)) == croissant.describe(hostile)
    assert croissant.describe(hostile)["license"] == croissant.describe(described)["license"]
