"""Datasets on the Hugging Face hub, as chunks of raw records. The hub's libraries load only when one is read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tulu_data.chunk import CHUNK_BYTES, CHUNK_RECORDS, Chunk, Raw, batched
from tulu_data.errors import InputError, UsageError
from tulu_data.unpack import first_line

_HUB = re.compile(
    r"hub:(?P<name>[\w.-]+(?:/[\w.-]+)?)(?:/(?P<config>[\w.-]+))?(?:@(?P<revision>[^@#\s]+))?(?:#(?P<split>[^#\s]+))?"
)


class Address(NamedTuple):
    """What `hub:org/name[/config][@revision][#split]` names, before anything is asked of the hub."""

    name: str
    config: str | None
    revision: str | None
    split: str

    @property
    def uri(self) -> str:
        """The address in one line, its split included."""
        config = f"/{self.config}" if self.config else ""
        revision = f"@{self.revision}" if self.revision else ""
        return f"hub:{self.name}{config}{revision}#{self.split}"


def parse(uri: str) -> Address | None:
    """The parts of a hub address, split `train` by default; None for another syntax.

    >>> parse("hub:openai/gsm8k/main#test").uri
    'hub:openai/gsm8k/main#test'
    """
    parsed = _HUB.fullmatch(uri)
    if parsed is None:
        return None
    return Address(parsed["name"], parsed["config"], parsed["revision"], parsed["split"] or "train")


class Hub(NamedTuple):
    """A dataset on the Hugging Face hub, pinned to a commit; `chunks` streams its records."""

    name: str
    config: str | None
    revision: str | None  # the commit that is read, where the hub tells it
    split: str
    chunks: Iterator[Chunk]


def hub(uri: str) -> Hub:
    """A hub dataset as chunks of records: `hub:org/name[/config][@revision][#split]`, split `train` by default.

    The revision is resolved to a commit first, and that commit is read. `UsageError` for another syntax;
    `InputError` where the hub cannot be reached or has no such dataset, config, revision or split.

    >>> hub("hub:openai/gsm8k/main@cc7b047#test").revision  # doctest: +SKIP
    'cc7b047b6e5bb11b4f1af84efc572db110a51b3c'
    """
    address = parse(uri)
    if address is None:
        raise UsageError(f"{uri}: is not hub:org/name[/config][@revision][#split], e.g. hub:openai/gsm8k/main#test")
    name, config, revision, split = address
    with _reaching_hub(uri):
        import datasets
        from huggingface_hub import HfApi

        commit = HfApi().dataset_info(name, revision=revision).sha or revision
        stream = datasets.load_dataset(name, config, split=split, revision=commit, streaming=True)
    return Hub(name, config, commit, split, _hub_chunks(uri, f"hub:{name}", stream))


def hub_files(uri: str, files: Sequence[str]) -> list[Path]:
    """Files of a hub dataset's repository (`hub:org/name[@revision]`), of one commit, in the hub's cache.

    For what a loading script used to read: the hub's libraries run none. Errors as in `hub`.
    """
    parsed = _HUB.fullmatch(uri)
    if parsed is None or parsed["config"] or parsed["split"]:
        raise UsageError(f"{uri}: is not hub:org/name[@revision], e.g. hub:tatsu-lab/alpaca_eval")
    name, revision = parsed["name"], parsed["revision"]
    with _reaching_hub(uri):
        from huggingface_hub import HfApi, hf_hub_download

        commit = HfApi().dataset_info(name, revision=revision).sha or revision
        return [Path(hf_hub_download(name, file, repo_type="dataset", revision=commit)) for file in files]


def _hub_chunks(uri: str, name: str, stream: Iterable[Any]) -> Iterator[Chunk]:
    with _reaching_hub(uri):
        raws = (Raw(f"{name}:row {i}", i, record, None) for i, record in enumerate(stream))
        yield from batched(name, ((raw, CHUNK_BYTES // CHUNK_RECORDS) for raw in raws))


@contextmanager
def _reaching_hub(uri: str) -> Iterator[None]:
    """Turns whatever the hub's libraries raise (they share no base class) into one line with the remedy."""
    try:
        yield
    except Exception as e:
        raise InputError(f"{uri}: cannot be read from the hub ({first_line(e)}); give a local path instead") from e
