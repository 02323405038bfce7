"""The `decontaminate` section of a recipe: which suites, which settings, and the steps that the pipeline runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field

from decontam import dropping
from decontam.arbiter import Judge, settle
from decontam.auditing import ScannedSet, scan_id, scanned_sets
from decontam.auditing import audit as run_audit
from decontam.engine import EngineName
from decontam.marks import Marks
from decontam.marks import add as add_marks
from decontam.result import Audit, audit_id, holds
from decontam.suites import Suite, read_suites
from decontam.verdicts import Policy, Settings
from tulu_data.errors import GateError, InputError, RecipeError
from tulu_data.executor import How
from tulu_data.manifest import Origin
from tulu_data.progress import Progress
from tulu_data.store import Store, Version
from tulu_data.strict import validate as validate_strict
from tulu_data.suite_registry import find_suites

VERSION = 2  # raise when a step gives other rows or tables for the same input
GATE_SHOWN = 3  # overlaps that the message of the gate names


class Section(Settings, Policy):
    """What is compared, what counts and is dropped, and the suites it is held against."""

    suites: list[str] = Field(min_length=1, description="suites, collections or files of them; see registry")
    gate: bool = Field(default=False, description="stop where the policy is broken, with exit code 3")
    judge: Judge | None = Field(default=None, description="a model that is asked about pairs near in meaning")
    suites_root: str | None = Field(default=None, description="where the suites' paths start, instead of their files")


class Prepared(NamedTuple):
    """A section whose suites have been read: a fault in them shows before any training row is."""

    settings: Settings
    policy: Policy
    suites: list[Suite]
    judge: Judge | None = None
    gate: bool = False


def validate(data: Mapping[str, Any], place: str, root: Path, *, under: str = "decontaminate") -> Prepared:
    """The section of a recipe, its suites read; relative paths start at `root`.

    `RecipeError` at `place`, whose keys stand below the key `under`.
    """
    section = validate_strict(Section, data, place, under=under)
    settings = Settings(**section.model_dump(include=set(Settings.model_fields)))
    policy = Policy(**section.model_dump(include=set(Policy.model_fields)))
    if section.judge is not None and settings.semantic is None:
        raise RecipeError(f"{place}: judge: is asked about pairs near in meaning; add semantic, or leave judge out")
    try:
        policy.check_against(settings)
    except ValueError as e:
        raise RecipeError(f"{place}: {under}.{e}" if under else f"{place}: {e}") from None
    base = None if section.suites_root is None else root / Path(section.suites_root).expanduser()
    at = f"{place}: {under}.suites" if under else f"{place}: suites"
    return Prepared(
        settings, policy, read_suites(find_suites(section.suites, root, base, at)), section.judge, section.gate
    )


def find_audit(prepared: Prepared, versions: Sequence[Version], store: Store) -> Path | None:
    """The folder of this very audit (the same sets, suites, settings and policy), where the store holds it whole.

    One in which a model left pairs undecided is not whole: it is to be asked again.
    """
    found_id = audit_id(scan_id(versions, prepared.suites, prepared.settings), prepared.policy, _facts(prepared.judge))
    folder = store.root / "audits" / found_id
    return folder if holds(folder, found_id) and not _undecided(folder) else None


def audit(
    prepared: Prepared,
    versions: Sequence[Version],
    store: Store,
    *,
    workers: int,
    progress: Progress,
    executor: How | None = None,
    engine: EngineName = "auto",
) -> Path:
    """Audits the versions together and saves the result under `audits/` of the store; its folder.

    An audit that is stored whole is not made again; a damaged one is, and one that a model left undecided is asked
    about again. Of the same scan under another policy the pairs are taken, and of a set that was held against the same
    suites before in other company. A killed audit is continued.
    """
    if prepared.settings.semantic is not None and "semantic" not in prepared.policy.layers:
        progress.note("semantic matches are shown and do not count; they do with --layers exact,informative,semantic")
    stored = find_audit(prepared, versions, store)
    if stored is not None:
        return stored
    scan = scan_id(versions, prepared.suites, prepared.settings)
    scanned = _find_scan(scan, store)
    if scanned is not None:
        if scanned.id != audit_id(scan, prepared.policy, _facts(prepared.judge)):
            progress.note(f"the pairs are those of {scanned.id}: only the policy differs")
        return save(_settled(prepared, scanned.bare().judged(prepared.policy), store, progress), store)
    work = store.root / "scans" / scan
    with store.writing():
        found = run_audit(
            versions,
            prepared.suites,
            prepared.settings,
            prepared.policy,
            workers=workers,
            executor=executor,
            engine=engine,
            cache=store.root / "index",
            work=work,
            before=_scanned_before(prepared, versions, store, progress),
            progress=progress,
        )
    folder = save(_settled(prepared, found, store, progress), store)
    with store.writing():
        store.discard(work)
    return folder


def _scanned_before(
    prepared: Prepared, versions: Sequence[Version], store: Store, progress: Progress
) -> dict[str, ScannedSet]:
    """What the store's audits know of these versions, so that of several sets only those that changed are scanned."""
    folders = (path.parent for path in sorted((store.root / "audits").glob("*/manifest.json")))
    before = scanned_sets(_whole_audits(folders, versions), versions, prepared.suites, prepared.settings)
    if before:
        progress.note(f"scanned before: {', '.join(before)}")
    return before


def _whole_audits(folders: Iterable[Path], versions: Sequence[Version]) -> Iterator[Audit]:
    """The audits in folders that know one of the versions; those that are damaged are left out."""
    for folder in folders:
        try:
            if any(v.digest in (folder / "manifest.json").read_text(encoding="utf-8") for v in versions):
                yield Audit.load(folder, marked=False)
        except (OSError, ValueError, InputError):
            continue  # its sets are scanned again


def _facts(judge: Judge | None) -> dict[str, str] | None:
    return judge.facts if judge else None


def _undecided(folder: Path) -> bool:
    judge = Audit.load(folder, marked=False).manifest["judge"]
    return bool(judge and judge["undecided"])


def _settled(prepared: Prepared, found: Audit, store: Store, progress: Progress) -> Audit:
    """The audit with the opinion of the model that is to be asked, where one is."""
    if prepared.judge is None:
        return found
    return settle(found, prepared.judge, cache=store.root, progress=progress)


def save(found: Audit, store: Store) -> Path:
    """Saves an audit under its id in the store; its folder. One that is there and damaged is written anew.

    The marks of who reviewed another audit of the same scan are kept, and so are those of a damaged one.
    """
    folder = store.root / "audits" / found.id
    marks = Marks.load(folder, found.manifest["scan"])
    with store.writing():
        if folder.exists() and (not holds(folder, found.id) or _undecided(folder)):
            store.discard(folder)
        found.save(folder, option="--store")
    if marks and not Marks.load(folder, marks.scan):
        add_marks(folder, marks.scan, marks.by_pair.items())
    return folder


def open_audit(store: Store, audit: str | Path) -> tuple[Path, Audit]:
    """An audit by its folder or its id in the store, with the marks beside it; and the folder."""
    folder = Path(audit) if Path(audit).is_dir() else store.root / "audits" / audit
    return folder, Audit.load(folder)


def judge(audit_folder: Path, policy: Policy, store: Store, output: Path | None = None) -> Path:
    """Saves what another policy makes of a stored audit, with its marks; the folder."""
    judged = Audit.load(audit_folder, marked=False).judged(policy)
    folder = save(judged, store) if output is None else judged.save(output)
    _carry_marks(audit_folder, folder, judged.manifest["scan"])
    return folder


def _carry_marks(source: Path, target: Path, scan: str) -> None:
    marks = Marks.load(source, scan)
    if marks and source.resolve() != target.resolve():
        add_marks(target, scan, marks.by_pair.items())


def marks_digest(audit_folder: Path) -> str | None:
    """What identifies the marks beside an audit; None where there are none."""
    marks = Audit.load(audit_folder).manifest["marks"]
    return str(marks["digest"]) if marks else None


def _find_scan(scan: str, store: Store) -> Audit | None:
    """An audit of the store that was made from this scan, under whatever policy."""
    for path in sorted((store.root / "audits").glob("*/manifest.json")):
        try:
            if scan in path.read_text(encoding="utf-8"):
                return Audit.load(path.parent, marked=False)
        except (OSError, ValueError, InputError):
            continue  # it is damaged: the scan is made again
    return None


def drop(
    audit_folder: Path,
    version: Version,
    store: Store,
    name: str,
    *,
    progress: Progress | None = None,
    origin: Origin | None = None,
) -> Version:
    """Publishes under `name` the rows of a version that a saved audit's policy keeps."""
    return dropping.drop(Audit.load(audit_folder), version, store, name, progress=progress, origin=origin)


def load_audit(folder: Path) -> Audit:
    """The audit in a folder, with the marks beside it."""
    return Audit.load(folder)


def page(audit_folder: Path, *, progress: Progress | None = None) -> str:
    """A saved audit, with the marks beside it, as one HTML page."""
    from decontam import page as pages

    return pages.page(Audit.load(audit_folder), progress=progress)


def gated(prepared: Prepared) -> bool:
    """Whether the section asks for the gate."""
    return prepared.gate


def check_gate(audit_folder: Path) -> None:
    """`GateError` in one line where the policy is broken: the worst sets and suites, and where to look.

    Broken is a policy for which rows or sets would have to be dropped, or pairs are undecided; the policy none, which
    drops nothing, where anything overlaps.
    """
    audit = Audit.load(audit_folder)
    drops = audit.policy.policy != "none"
    broken = [e for e in audit.evals.to_pylist() if (e["verdict"] != "clean" if drops else e["flagged"])]
    if broken:
        worst_first = sorted(broken, key=lambda e: -e["share"])
        named = [_overlap(e) for e in worst_first[:GATE_SHOWN]]
        more = f" and {len(broken) - GATE_SHOWN} more" if len(broken) > GATE_SHOWN else ""
        raise GateError(f"gate: {', '.join(named)}{more}; look with: tulu review {audit_folder}")


def _overlap(entry: Mapping[str, Any]) -> str:
    undecided = f" and {entry['undecided']:,} are undecided" if entry["undecided"] else ""
    found = f"{entry['set']} overlaps {entry['flagged']:,} of {entry['instances']:,} instances of {entry['suite']}"
    return found + undecided


def copy_audit(audit_folder: Path, target: Path) -> None:
    """Saves a stored audit to a folder of the user's as well.

    `InputError` where something else is there, `StoreError` where the disk refuses.
    """
    audit = Audit.load(audit_folder, marked=False)
    audit.save(target)
    _carry_marks(audit_folder, target, audit.manifest["scan"])
