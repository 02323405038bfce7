"""A version as a folder of its own, and as a dataset on the Hugging Face hub: one commit and a tag.

`pack` says what goes, `write_folder` writes it, `push` sends it. What was left out of the version on the way
(rejects, drops) stays behind unless it is asked for: its texts were left out for a reason.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tulu_data import card, composition, croissant, manifest
from tulu_data.errors import InputError, StoreError, UsageError
from tulu_data.licenses import LicensePolicy
from tulu_data.manifest import Manifest
from tulu_data.parquet import file_sha256, fsync
from tulu_data.progress import Progress
from tulu_data.store import Version, writing
from tulu_data.tables import printable
from tulu_data.tally import UNSTATED
from tulu_data.verify import verify

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import DatasetInfo

MANIFEST = "manifest.json"
PAGES = "pages"
REPO_TYPE = "dataset"
SAID_CHARS = 400  # of what the hub answers
_REPO = re.compile(r"[A-Za-z0-9._-]+/[A-Za-z0-9._-]+")
OF_THE_HUB = frozenset({".gitattributes"})  # what a new dataset on the hub holds by itself


class Outgoing(NamedTuple):
    """One file that goes: its path in the dataset, and its content as text or as a file."""

    path: str
    content: bytes | Path

    @property
    def size(self) -> int:
        """Bytes."""
        return self.content.stat().st_size if isinstance(self.content, Path) else len(self.content)

    def is_at(self, folder: Path) -> bool:
        """Whether the folder holds it, byte for byte."""
        at = folder / self.path
        if not at.is_file() or at.stat().st_size != self.size:
            return False
        if isinstance(self.content, Path):
            return file_sha256(at) == file_sha256(self.content)
        return at.read_bytes() == self.content


class Parcel(NamedTuple):
    """The files of a version that go, by path, and its manifest as it goes: with the side files that go along."""

    described: Manifest
    files: list[Outgoing]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


class Pushed(NamedTuple):
    """Where a version is on the hub; `new` is False where it was there already."""

    repo: str
    tag: str
    commit: str
    url: str
    new: bool


# ------------------------------------------------------------ what goes


def pack(version: Version, *, repo: str | None = None, with_drops: bool = False, pages: Path | None = None) -> Parcel:
    """What goes of a version: card, Croissant, manifest, shards; side files and pages if asked for.

    Card and Croissant are made anew, for `repo` where it is given. `InputError` where `pages` holds no page.
    """
    side = version.manifest.files if with_drops else []
    described = version.manifest.model_copy(update={"files": list(side)})
    shards = zip(described.shards, version.shards, strict=True)
    files = [
        Outgoing("README.md", card.render(described, repo).encode()),
        Outgoing(croissant.NAME, croissant.dumps(described, repo).encode()),
        Outgoing(MANIFEST, described.dumps().encode()),
        *(Outgoing(shard.path, path) for shard, path in shards),
        *(Outgoing(file.path, version.side_file(file.path)) for file in side),
        *(_pages(pages) if pages else []),
    ]
    return Parcel(described, sorted(files, key=lambda file: file.path))


def _pages(folder: Path) -> list[Outgoing]:
    found = sorted(p for p in folder.rglob("*.html") if p.is_file())
    if not found:
        raise InputError(f"{folder}: holds no .html page; give the folder that tulu page wrote into")
    return [Outgoing(f"{PAGES}/{p.relative_to(folder).as_posix()}", p) for p in found]


def local_paths(described: Manifest) -> list[str]:
    """The places on this machine that the manifest names; they go with it."""
    from tulu_data.hub import parse

    roots = [described.origin.root] if described.origin else []
    return sorted(
        {p for p in [*roots, *(i.uri for i in described.inputs)] if parse(p) is None and Path(p).is_absolute()}
    )


# ------------------------------------------------------------ what may not go


def check_may_go(version: Version, *, allow_unknown: bool = False, progress: Progress | None = None) -> None:
    """`StoreError` for a version that is not what its manifest says; `InputError` for licences that forbid or lack.

    The policy is that of the recipe on record; licences that are not known are refused unless `allow_unknown`.
    """
    version.check_whole()
    problems = [p for p in verify(version, progress=progress) if p.place != str(version.path)]  # its name says nothing
    if problems:
        raise StoreError(f"{problems[0].place}: {problems[0].message}")
    origin = version.manifest.origin
    policy = LicensePolicy.model_validate((origin.recipe.get("licenses") if origin else None) or {})
    for use in composition.licences(version.manifest):
        where = f"{version.ref}: {use.rows:,} row{'' if use.rows == 1 else 's'} of {', '.join(use.sources)}"
        if not use.known and not allow_unknown:
            what = "no licence" if use.license == UNSTATED else f"the licence {use.license!r}, which is not a known one"
            raise InputError(f"{where} state {what}; name it when they are read, or give --allow-unknown-license")
        if refusal := policy.refusal(use.license):
            raise InputError(f"{where} are under {use.license}, {refusal}")


def check_repo(repo: str) -> str:
    """ORG/NAME as the hub takes it; `UsageError` for another shape. What else the hub asks of names it says itself."""
    if not _REPO.fullmatch(repo):
        raise UsageError(f"{repo}: is not ORG/NAME, who owns the dataset and what it is called, e.g. my-org/my-mixture")
    return repo


# ------------------------------------------------------------ a folder


def write_folder(files: Sequence[Outgoing], target: Path) -> bool:
    """Writes the files under `target`, whole or not at all; False where they are there already.

    `StoreError` where the folder holds anything else, or the disk refuses.
    """
    with writing(target, "-o"):
        held = _held(target)
        if held:
            if held == {file.path for file in files} and all(file.is_at(target) for file in files):
                return False
            raise StoreError(f"{target}: holds something else ({min(held)}); give a folder that is new or empty")
        whole = target.absolute()
        # Beside a new folder; inside one that is there, which may be the current one, or another disk.
        temp = (whole.parent if held is None else whole) / f".{whole.name}.{os.getpid()}"
        try:
            for file in files:
                _write(file, temp / file.path)
            if held is None:
                temp.rename(whole)
            else:
                for child in sorted(temp.iterdir(), key=lambda p: p.name == MANIFEST):  # which makes it a version, last
                    child.rename(whole / child.name)
        finally:
            shutil.rmtree(temp, ignore_errors=True)
        fsync(whole)
    return True


def _held(target: Path) -> set[str] | None:
    """The paths of a folder's files, empty folders among them; None where there is no folder."""
    if not target.exists():
        return None
    if not target.is_dir():
        raise StoreError(f"{target}: is a file; give a folder that is new or empty")
    return {p.relative_to(target).as_posix() for p in target.rglob("*") if not p.is_dir() or not any(p.iterdir())}


def _write(file: Outgoing, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(file.content, Path):
        shutil.copyfile(file.content, target)
    else:
        target.write_bytes(file.content)
    fsync(target)


# ------------------------------------------------------------ the hub


def push(parcel: Parcel, repo: str, api: HfApi, *, private: bool = True) -> Pushed:
    """Sends the files to `repo` in one commit and tags it with the version id; makes the dataset where there is none.

    Files of an earlier version that this one lacks are removed in the same commit. A version whose tag is there is
    not sent again. `InputError` in one line where there is no token, where the dataset on the hub is another one, and
    for whatever the hub refuses; before the commit nothing has changed but that the dataset may have been made.
    """
    described, tag = parcel.described, parcel.described.version
    if not (api.token or _saved_token()):
        raise InputError(f"{repo}: no token for the hub; run hf auth login, or set HF_TOKEN")
    with _reaching_hub(repo, api):
        there = _look(api, repo)
        held = _paths(there)
        if there is not None and (commit := _tagged(api, repo, tag)) is not None:
            _check_same_history(_remote_manifest(api, repo, commit), described, repo)
            return Pushed(repo, tag, commit, _page(api, repo, tag), new=False)
        if there is not None and held - OF_THE_HUB:
            theirs = _remote_manifest(api, repo, there.sha) if MANIFEST in held else None
            _check_same_dataset(theirs, described, repo, held)
        if there is None:
            api.create_repo(repo, repo_type=REPO_TYPE, private=private)
        commit = _commit(api, repo, parcel, held, there.sha if there else None)
        api.create_tag(repo, tag=tag, revision=commit, repo_type=REPO_TYPE, tag_message=described.ref)
    return Pushed(repo, tag, commit, _page(api, repo, tag), new=True)


def _saved_token() -> str | None:
    from huggingface_hub import get_token

    return get_token()


def _look(api: HfApi, repo: str) -> DatasetInfo | None:
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        return api.dataset_info(repo)
    except RepositoryNotFoundError:
        return None


def _paths(there: DatasetInfo | None) -> set[str]:
    return {s.rfilename for s in (there.siblings or [])} if there else set()


def _tagged(api: HfApi, repo: str, tag: str) -> str | None:
    tags = api.list_repo_refs(repo, repo_type=REPO_TYPE).tags
    return next((ref.target_commit for ref in tags if ref.name == tag), None)


def _remote_manifest(api: HfApi, repo: str, revision: str | None) -> Manifest:
    return manifest.load(Path(api.hf_hub_download(repo, MANIFEST, repo_type=REPO_TYPE, revision=revision)))


def _check_same_history(theirs: Manifest, ours: Manifest, repo: str) -> None:
    if theirs.build_id() != ours.build_id():
        raise InputError(
            f"{repo}: has {ours.version} with another history or other side files; remove its tag there, or push to "
            "another name"
        )


def _check_same_dataset(theirs: Manifest | None, ours: Manifest, repo: str, held: set[str]) -> None:
    if theirs is None:
        raise InputError(f"{repo}: holds something else ({min(held - OF_THE_HUB)}); push to another name")
    if theirs.name != ours.name:
        raise InputError(f"{repo}: holds {theirs.ref}, which is not a version of {ours.name}; push to another name")


def _commit(api: HfApi, repo: str, parcel: Parcel, held: set[str], parent: str | None) -> str:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    described = parcel.described
    stale = held - OF_THE_HUB - {file.path for file in parcel.files}
    done = api.create_commit(
        repo,
        [
            *(CommitOperationAdd(file.path, file.content) for file in parcel.files),
            *(CommitOperationDelete(path) for path in sorted(stale)),
        ],
        commit_message=described.ref,
        commit_description=f"{described.logical.rows:,} rows; digest {described.digest}",
        repo_type=REPO_TYPE,
        parent_commit=parent,  # refused where someone else has committed since it was looked at
    )
    return done.oid


def _page(api: HfApi, repo: str, tag: str) -> str:
    return f"{api.endpoint}/datasets/{repo}/tree/{tag}"


@contextmanager
def _reaching_hub(repo: str, api: HfApi) -> Iterator[None]:
    """Turns whatever the hub's library raises (they share no base class) into one line with the remedy."""
    try:
        yield
    except (InputError, StoreError):
        raise
    except Exception as e:
        raise InputError(
            f"{repo}: {api.endpoint} refused, or cannot be reached ({_said(e)}); when that is mended, run the "
            "same command again"
        ) from e


def _said(e: BaseException) -> str:
    """What the hub's library says, in one line: its first says what failed, a later one why."""
    text = printable(" ".join(str(e).split())) or type(e).__name__
    return text if len(text) <= SAID_CHARS else f"{text[:SAID_CHARS]}…"
