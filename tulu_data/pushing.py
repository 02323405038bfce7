"""A version as a folder of its own, and as a dataset on the Hugging Face hub: one commit and a tag.

`pack` says what goes, `write_folder` writes it, `push` sends it. What was left out of the version on the way
(rejects, drops) stays behind unless it is asked for: its texts were left out for a reason.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import ValidationError

from tulu_data import card, composition, croissant, manifest
from tulu_data.errors import InputError, StoreError, UsageError
from tulu_data.licenses import LicensePolicy
from tulu_data.manifest import Manifest
from tulu_data.parquet import file_sha256, fsync
from tulu_data.progress import Progress
from tulu_data.store import Version, check_name, writing
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
NAME_CHARS = 60  # of a source or a licence in a message
# As huggingface_hub's validate_repo_id has it, which demands no owner: letters at both ends, no -- and no .. inside.
_PART = r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?"
_REPO = re.compile(rf"(?!.*(?:--|\.\.|\.git$)){_PART}/(?=.{{1,96}}$){_PART}")
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

    Card and Croissant are made anew, for `repo` where it is given. `InputError` where `pages` holds no page,
    `StoreError` where the manifest names a file outside the version's folder, or one that is made anew.
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
    _check_places(version, [file.path for file in files])
    return Parcel(described, sorted(files, key=lambda file: file.path))


def _check_places(version: Version, paths: Sequence[str]) -> None:
    """A folder from elsewhere may have a manifest that no build of ours wrote: its paths are not taken on trust."""
    seen: set[str] = set()
    for path in paths:
        plain = PurePosixPath(path)
        if plain.is_absolute() or ".." in plain.parts or str(plain) != path or path in seen:
            raise StoreError(f"{version.side_file(MANIFEST)}: names the file {path!r}, which is no place of its own")
        seen.add(path)


def _pages(folder: Path) -> list[Outgoing]:
    found = sorted(p for p in folder.rglob("*.html") if p.is_file())
    if not found:
        raise InputError(f"{folder}: holds no .html page; give the folder that tulu page wrote into")
    return [Outgoing(f"{PAGES}/{p.relative_to(folder).as_posix()}", p) for p in found]


def local_paths(described: Manifest) -> list[str]:
    """The places on this machine that the manifest names; they go with it.

    Inputs and the recipe's folder, and what settings name as /FOLDER/FILE (a model, a tokenizer): sorted.
    """
    places = [described.origin.root] if described.origin else []
    places += [given.uri for given in described.inputs]
    places += [described.tokenizer] if described.tokenizer else []
    settings: list[Any] = [described.decontamination, *(step.params for step in described.steps)]
    settings += [described.origin.recipe] if described.origin else []
    found = [text for text in _texts(settings) if len(Path(text).parts) > 2 and len(text.split()) == 1]
    return sorted({place for place in [*places, *found] if Path(place).is_absolute() or place.startswith("~/")})


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner)


# ------------------------------------------------------------ what may not go


def check_may_go(version: Version, *, allow_unknown: bool = False, progress: Progress | None = None) -> None:
    """`StoreError` for a version that is not what its manifest says; `InputError` for licences that forbid or lack.

    The policy is that of the recipe on record; licences that are not known are refused unless `allow_unknown`.
    """
    at = version.side_file(MANIFEST)
    try:
        check_name(version.name)
        origin = version.manifest.origin
        policy = LicensePolicy.model_validate((origin.recipe.get("licenses") if origin else None) or {})
    except UsageError as e:
        raise StoreError(f"{at}: {e}") from None
    except ValidationError as e:
        raise StoreError(f"{at}: origin.recipe.licenses: {e.errors()[0]['msg']}; it was changed by hand?") from None
    version.check_whole()
    problems = [p for p in verify(version, progress=progress) if p.place != str(version.path)]  # its name says nothing
    if problems:
        raise StoreError(f"{problems[0].place}: {problems[0].message}")
    for use in composition.licences(version.manifest):
        where = f"{version.ref}: {use.rows:,} row{'' if use.rows == 1 else 's'} of {_listed(list(use.sources))}"
        if not use.known and not allow_unknown:
            name = f"the licence '{_short(use.license)}', which is not a known one"
            what = "no licence" if use.license == UNSTATED else name
            raise InputError(f"{where} state {what}; name it when they are read, or give --allow-unknown-license")
        if refusal := policy.refusal(use.license):
            raise InputError(f"{where} are under {_short(use.license)}, {refusal}")


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3:,} more" if len(names) > 3 else ""
    return ", ".join(map(_short, names[:3])) + more


def _short(name: str) -> str:
    """A name from data in a message: one line, of some licences only the beginning."""
    line = printable(" ".join(name.split()))
    return line if len(line) <= NAME_CHARS else f"{line[:NAME_CHARS]}…"


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
            other = held - {file.path for file in files} or {f.path for f in files if not f.is_at(target)}
            if not other:
                return False
            raise StoreError(f"{target}: holds something else ({min(other)}); give a folder that is new or empty")
        whole = target.absolute()
        # Beside a new folder; inside one that is there, which may be the current one, or another disk.
        temp = (whole.parent if held is None else whole) / f".{whole.name}.{os.getpid()}"
        try:
            for file in files:
                _write(file, temp / file.path)
            if held is None:
                _rename(temp, whole)
            else:
                for child in sorted(temp.iterdir(), key=lambda p: p.name == MANIFEST):  # which makes it a version, last
                    child.rename(whole / child.name)
        finally:
            shutil.rmtree(temp, ignore_errors=True)
        fsync(whole)
    return True


def _rename(temp: Path, target: Path) -> None:
    try:
        temp.rename(target)
    except OSError as e:
        if e.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise
        raise StoreError(f"{target}: was made by something else meanwhile; look at it and run again") from e


def _held(target: Path) -> set[str] | None:
    """The paths of a folder's files, links and empty folders among them; None where there is no folder."""
    if not target.exists():
        return None
    if not target.is_dir():
        raise StoreError(f"{target}: is a file; give a folder that is new or empty")
    paths = (p for p in target.rglob("*") if p.is_symlink() or not p.is_dir() or not any(p.iterdir()))
    return {p.relative_to(target).as_posix() for p in paths}


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

    Files of an earlier version that this one lacks are removed in the same commit; what no push has put there stays.
    A version whose tag is there is not sent again. `InputError` in one line where there is no token, where the dataset
    on the hub is another one, and for whatever the hub refuses; before the commit nothing has changed but that the
    dataset may have been made.
    """
    described, tag = parcel.described, parcel.described.version
    if not (api.token or _saved_token()):
        raise InputError(f"{repo}: no token for the hub; run hf auth login, or set HF_TOKEN")
    with _reaching_hub(repo, api):
        there = _look(api, repo)
        held, stale = _paths(there), set[str]()
        if there is not None and (commit := _tagged(api, repo, tag)) is not None:
            _check_same_history(_remote_manifest(api, repo, commit), described, repo)
            _check_complete(_paths(api.dataset_info(repo, revision=commit)), parcel, repo)
            return Pushed(repo, tag, commit, _page(api, repo, tag), new=False)
        if there is not None and held - OF_THE_HUB:
            theirs = _remote_manifest(api, repo, there.sha) if MANIFEST in held else None
            stale = _check_same_dataset(theirs, described, repo, held)
        if there is None:
            api.create_repo(repo, repo_type=REPO_TYPE, private=private)
        commit = _commit(api, repo, parcel, stale, there.sha if there else None)
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
    path = Path(api.hf_hub_download(repo, MANIFEST, repo_type=REPO_TYPE, revision=revision))
    try:
        return manifest.load(path)
    except StoreError as e:
        said = str(e).removeprefix(f"{path}: ").partition(";")[0]
        raise InputError(f"{repo}: its {MANIFEST} is not that of a version ({said}); push to another name") from e


def _check_same_history(theirs: Manifest, ours: Manifest, repo: str) -> None:
    if theirs.build_id() != ours.build_id():
        raise InputError(
            f"{repo}: has {ours.version} with another history or other side files; remove its tag there, or push to "
            "another name"
        )


def _check_complete(held: set[str], parcel: Parcel, repo: str) -> None:
    if lacking := sorted({file.path for file in parcel.files} - held):
        raise InputError(
            f"{repo}: has {parcel.described.version} without {lacking[0]}; remove its tag there, or push to another "
            "name"
        )


def _check_same_dataset(theirs: Manifest | None, ours: Manifest, repo: str, held: set[str]) -> set[str]:
    """The files there that an earlier push put there; `InputError` where that was of another dataset."""
    if theirs is None:
        raise InputError(f"{repo}: holds something else ({min(held - OF_THE_HUB)}); push to another name")
    if theirs.name != ours.name:
        raise InputError(f"{repo}: holds {theirs.ref}, which is not a version of {ours.name}; push to another name")
    listed = {shard.path for shard in theirs.shards} | {file.path for file in theirs.files}
    # The card has datasets load every file of this pattern, so none may stay that is not of the version.
    loaded = {path for path in held if PurePosixPath(path).match("data/train-*.parquet")}
    pages = {path for path in held if path.startswith(f"{PAGES}/") and path.endswith(".html")}
    return held & listed | loaded | pages


def _commit(api: HfApi, repo: str, parcel: Parcel, stale: set[str], parent: str | None) -> str:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    described = parcel.described
    done = api.create_commit(
        repo,
        [
            *(CommitOperationAdd(file.path, file.content) for file in parcel.files),
            *(CommitOperationDelete(path) for path in sorted(stale - {file.path for file in parcel.files})),
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
            f"{repo}: {api.endpoint} refused, or cannot be reached ({_said(e, api)}); when that is mended, run the "
            "same command again"
        ) from e


def _said(e: BaseException, api: HfApi) -> str:
    """What the hub's library says, in one line: its first says what failed, a later one why. A token never shows:
    what sends it quotes the header where it has a character that no header takes.
    """
    text = str(e)
    for token in {str(api.token or ""), _saved_token() or ""} - {""}:
        for written in {token, repr(token)[1:-1], repr(token.encode())[2:-1]}:
            text = text.replace(written, "[token]")
    text = printable(" ".join(text.split())) or type(e).__name__
    return text if len(text) <= SAID_CHARS else f"{text[:SAID_CHARS]}…"
