"""Croissant metadata of a version: JSON-LD that data catalogues and the `mlcroissant` library read.

http://mlcommons.org/croissant/1.1: files with sha256 and size, and records with typed fields. Paths are relative to
the file itself, so the description holds wherever the folder is.
"""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from tulu_data import composition
from tulu_data.card import HOLDS
from tulu_data.manifest import Manifest, ShardInfo
from tulu_data.rows import SPECS

NAME = "croissant.json"
HUB = "https://huggingface.co"
RECORDS, SHARDS = "rows", "shards"
PARQUET = "application/x-parquet"
ANY_LENGTH = "-1"

# The context that the specification prints (Appendix 1), with the keys that 1.1 adds.
_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "arrayShape": "cr:arrayShape",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "description": {"@container": "@language"},
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isArray": "cr:isArray",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "name": {"@container": "@language"},
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}

_TYPES = {"string": "sc:Text", "int32": "cr:Int32", "int64": "cr:Int64", "double": "cr:Float64"}
_MEANING = {
    "id": "SOURCE/ID of the record it was read from, or SOURCE/sha256:… where that had none",
    "messages": "the conversation: role (system, user, assistant, tool) and content of each turn",
    "chosen": "the preferred completion of the prompt",
    "rejected": "the other completion of the prompt",
    "ground_truth": "what a right answer agrees with",
    "verifier": "how an answer is held against the ground truth",
    "constraint": "what the answer must keep to, in words",
    "tools": "the tools that the assistant may call, as JSON text",
    "source": "the dataset it comes from",
    "license": "the licence on record of the row",
    "prov": "where the row comes from, and what changed its text since",
    "row_sha": "sha256 of the row's text, 32 bytes",
    "prompt_sha": "sha256 of the prompt up to its last user turn, its letters folded, 32 bytes",
    "n_turns": "messages",
    "n_chars": "characters of all messages",
    "n_tokens": "tokens of all messages",
}


def describe(described: Manifest, repo: str | None = None) -> dict[str, Any]:
    """The JSON-LD document of a version. With `repo` (ORG/NAME on the hub) it also has the two that the specification
    asks for and a version alone does not know: its page, and who publishes it.
    """
    logical = described.logical
    files = [_file(shard) for shard in described.shards]
    document: dict[str, Any] = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        "name": described.name,
        "description": f"{HOLDS[described.kind]} {logical.rows:,} rows from {', '.join(logical.sources) or 'nowhere'}.",
        "version": f"1.0.0+{described.version}",  # MAJOR.MINOR.PATCH is demanded; the id goes where builds have theirs
        "license": [use.url or use.license for use in composition.licences(described)],
        "keywords": ["tulu-data", described.kind, described.version],
        "distribution": [*files, _file_set(described)],
        "recordSet": [_record_set(described)],
    }
    if described.created_at:
        document["datePublished"] = described.created_at
    if repo:
        owner = repo.partition("/")[0]
        document["url"] = f"{HUB}/datasets/{repo}"
        document["creator"] = {"@type": "sc:Organization", "name": owner, "url": f"{HUB}/{owner}"}
    return document


def dumps(described: Manifest, repo: str | None = None) -> str:
    """The document as indented JSON."""
    return json.dumps(describe(described, repo), indent=2, ensure_ascii=False) + "\n"


def _file(shard: ShardInfo) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": shard.path,
        "name": shard.path,
        "contentUrl": shard.path,
        "contentSize": f"{shard.bytes} B",
        "encodingFormat": PARQUET,
        "sha256": shard.sha256,
    }


def _file_set(described: Manifest) -> dict[str, Any]:
    return {
        "@type": "cr:FileSet",
        "@id": SHARDS,
        "name": SHARDS,
        "description": "All rows, in order.",
        "encodingFormat": PARQUET,
        "includes": [shard.path for shard in described.shards],
    }


def _record_set(described: Manifest) -> dict[str, Any]:
    # Of a single file its hash is checked when it is read; of a set of files readers check none.
    only = described.shards[0].path if len(described.shards) == 1 else None
    source = {"fileObject": {"@id": only}} if only else {"fileSet": {"@id": SHARDS}}
    return {
        "@type": "cr:RecordSet",
        "@id": RECORDS,
        "name": RECORDS,
        "description": HOLDS[described.kind],
        "key": {"@id": f"{RECORDS}/id"},
        "field": [_field(source, f) for f in SPECS[described.kind].schema],
    }


def _field(source: dict[str, Any], column: pa.Field) -> dict[str, Any]:
    """A column; the fields of a struct, or of the structs of a list, are sub-fields that a JSON path takes out."""
    place = f"{RECORDS}/{column.name}"
    own = {"source": {**source, "extract": {"column": column.name}}}
    is_list = pa.types.is_list(column.type)
    inner = column.type.value_type if is_list else column.type
    field: dict[str, Any] = {"@type": "cr:Field", "@id": place, "name": place}
    if meaning := _MEANING.get(column.name):
        field["description"] = meaning
    if is_list:
        field |= {"isArray": True, "arrayShape": ANY_LENGTH}
    if not pa.types.is_struct(inner):
        return field | {"dataType": _type(inner)} | own
    return field | {"subField": [_sub_field(place, own["source"], f) for f in inner]}


def _sub_field(parent: str, source: dict[str, Any], column: pa.Field) -> dict[str, Any]:
    is_list = pa.types.is_list(column.type)
    array = {"isArray": True, "arrayShape": ANY_LENGTH} if is_list else {}
    return {
        "@type": "cr:Field",
        "@id": f"{parent}/{column.name}",
        "name": f"{parent}/{column.name}",
        **array,
        "dataType": _type(column.type.value_type if is_list else column.type),
        "source": {**source, "transform": {"jsonPath": column.name}},
    }


def _type(t: pa.DataType) -> str:
    return "sc:Text" if pa.types.is_fixed_size_binary(t) else _TYPES[str(t)]  # Croissant has no type for bytes
