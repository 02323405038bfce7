"""What an audit found, as it is kept: five tables and a manifest in one folder, and the marks of who reviewed it."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from decontam.evidence import FOUND, INSTANCES, MESSAGES
from decontam.judging import EVALS, ROWS, judge
from decontam.marks import Marks
from decontam.verdicts import Policy, Settings
from tulu_data.errors import InputError, RecipeError, nearest
from tulu_data.manifest import canonical_json
from tulu_data.parquet import fsync, write_table
from tulu_data.store import writing

ENGINE = "tulu-decontam/2"  # the definitions, whichever engine computes them; raise it when other pairs come out
FORMAT = "tulu-audit/3"

MANIFEST_KEYS = (
    *("id", "scan", "engine", "analyzer", "settings", "policy"),
    *("suites", "sets", "suite_overlaps", "totals", "semantic", "judge"),
)
PAIRS = FOUND.append(pa.field("layers", pa.list_(pa.string()))).append(pa.field("mark", pa.string()))
"""What was found, all layers that fire, chosen or not, and what a person said of it: true, false or null."""
TABLES = {"pairs": PAIRS, "evals": EVALS, "rows": ROWS, "messages": MESSAGES, "instances": INSTANCES}


class Scan(NamedTuple):
    """What a scan found, before any policy: pairs, and the messages and instances they are about."""

    pairs: pa.Table
    messages: pa.Table
    instances: pa.Table


@dataclass(frozen=True, repr=False)
class Audit:
    """The decision, the evidence and the settings. `rows` lists rows with a match only."""

    manifest: dict[str, Any]
    pairs: pa.Table
    evals: pa.Table
    rows: pa.Table
    messages: pa.Table
    instances: pa.Table

    def __repr__(self) -> str:
        sets, suites = len(self.manifest["sets"]), len(self.manifest["suites"])
        return f"<Audit {self.id}: {sets} sets, {suites} suites, {len(self.pairs):,} pairs>"

    @property
    def id(self) -> str:
        """`ta1-` and 16 hex digits: a hash of settings, policy, suites, sets and engine, with no date or path in it."""
        return str(self.manifest["id"])

    @property
    def settings(self) -> Settings:
        """What was compared with what."""
        return Settings(**self.manifest["settings"])

    @property
    def policy(self) -> Policy:
        """What counts, and what is done about it."""
        return Policy(**self.manifest["policy"])

    def judged(self, policy: Policy) -> Audit:
        """The same scan under another policy: nothing is read again.

        `RecipeError` where the scan has not recorded what the policy asks for.
        """
        return judged(self.manifest, self.scan, policy)

    def bare(self) -> Audit:
        """The same scan without what a model said of its pairs."""
        pairs = self.scan.pairs
        place = pairs.schema.get_field_index("judgement")
        unsaid = pairs.set_column(place, FOUND.field("judgement"), pa.nulls(len(pairs), pa.string()))
        return judged(self.manifest | {"judge": None}, self.scan._replace(pairs=unsaid), self.policy)

    def reviewed(self, marks: Marks) -> Audit:
        """The same audit with what a person said: pairs marked false do not count, those marked true do."""
        return judged(self.manifest, self.scan, self.policy, marks)

    def counts(self) -> npt.NDArray[np.bool_]:
        """`(pairs,)` which pairs count: a layer of the policy fires or a person said so, and none said the contrary."""
        layers = self.pairs["layers"].combine_chunks()
        chosen = pc.is_in(layers.flatten(), value_set=pa.array(self.policy.layers, pa.string()))
        of_pair = np.repeat(np.arange(len(layers)), layers.value_lengths().to_numpy(zero_copy_only=False))
        fires = np.bincount(of_pair, chosen.to_numpy(zero_copy_only=False), len(layers)) > 0
        marks = self.pairs["mark"].to_pylist()
        said_true = np.array([m == "true" for m in marks], np.bool_)
        return np.asarray((fires | said_true) & ~np.array([m == "false" for m in marks], np.bool_))

    @property
    def scan(self) -> Scan:
        """What was found, without what a policy makes of it."""
        return Scan(self.pairs.select(FOUND.names), self.messages, self.instances)

    def set_facts(self, name: str) -> dict[str, Any]:
        """What the manifest says of a training set; `InputError` where the audit does not know it."""
        sets: dict[str, dict[str, Any]] = self.manifest["sets"]
        if name not in sets:
            raise InputError(f"audit {self.id}: does not cover {name!r}; {nearest(name, sets, noun='set')}")
        return sets[name]

    def save(self, folder: str | Path, *, option: str = "-o") -> Path:
        """Writes the audit as a folder that appears whole or not at all; an audit of the same id there is kept.

        `InputError` where something else is there, `StoreError` where the disk refuses; `option` is what chooses
        another place.
        """
        folder = Path(folder)
        with writing(folder, option):
            if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
                if holds(folder, self.id):
                    return folder
                raise InputError(f"{folder}: is in use for something else; remove it or choose another folder")
            self._write(folder)
        return folder

    def _write(self, folder: Path) -> None:
        temp = folder.with_name(f".{folder.name}.{os.getpid()}-{secrets.token_hex(4)}")
        try:
            temp.mkdir(parents=True)
            for name in TABLES:
                write_table(temp / f"{name}.parquet", getattr(self, name))
            (temp / "manifest.json").write_text(json.dumps(self.manifest, indent=1, ensure_ascii=False) + "\n")
            fsync(temp / "manifest.json")
            fsync(temp)
            _rename_unless_held(temp, folder, self.id)
        except BaseException:
            shutil.rmtree(temp, ignore_errors=True)
            raise
        fsync(folder.parent)

    @staticmethod
    def load(folder: str | Path, *, marked: bool = True) -> Audit:
        """The audit that `save` wrote, with the marks beside it; without them as it was written.

        `InputError` in one line where there is none, it is damaged, or the marks are of another.
        """
        folder = Path(folder)
        manifest = _load_manifest(folder)
        audit = Audit(manifest, **{name: _load_table(folder, name) for name in TABLES})
        marks = Marks.load(folder, manifest["scan"]) if marked else None
        return audit.reviewed(marks) if marks else audit


def audit_id(scan: str, policy: Policy, judge: Mapping[str, Any] | None = None) -> str:
    """The id of an audit: of its scan and policy, and of the model that was asked."""
    asked = {k: judge[k] for k in ("model", "prompt")} if judge else None
    content = {"scan": scan, "policy": policy.model_dump(mode="json"), "judge": asked}
    return f"ta1-{sha256(canonical_json(content)).hexdigest()[:16]}"


def judged(manifest: Mapping[str, Any], scan: Scan, policy: Policy, marks: Marks | None = None) -> Audit:
    """The audit that a policy makes of a scan, whose manifest may hold another policy's verdicts."""
    pairs = scan.pairs
    said = marks.of(pairs) if marks else pa.nulls(len(pairs), pa.string())
    sets: dict[str, dict[str, Any]] = manifest["sets"]
    settings = Settings(**manifest["settings"])
    try:
        rows_of = {name: s["rows"] for name, s in sets.items()}
        found = judge(pairs, manifest["suites"], rows_of, settings, policy, said if marks else None)
    except ValueError as e:
        raise RecipeError(f"scan {manifest['scan']}: {e}") from None
    described = {
        **manifest,
        "id": audit_id(manifest["scan"], policy, manifest["judge"]),
        "policy": policy.model_dump(mode="json"),
        "marks": marks.facts() if marks else None,
        "sets": {
            name: s | {"dropped": found.dropped[name], "verdict": found.verdicts[name]} for name, s in sets.items()
        },
        "totals": {
            **manifest["totals"],
            "flagged": found.flagged,
            "flagged_distinct": found.flagged_distinct,
            "pairs": len(pairs),
        },
    }
    full = pairs.append_column(PAIRS.field("layers"), found.layers).append_column(PAIRS.field("mark"), said)
    return Audit(described, full, found.evals, found.rows, scan.messages, scan.instances)


def holds(folder: Path, audit_id: str) -> bool:
    """Whether the folder holds that audit, every file of it readable."""
    try:
        return Audit.load(folder, marked=False).id == audit_id
    except InputError:
        return False


def _rename_unless_held(temp: Path, folder: Path, audit_id: str) -> None:
    try:
        temp.rename(folder)
    except OSError:
        if not holds(folder, audit_id):  # another process may have saved the same audit meanwhile
            raise
        shutil.rmtree(temp)


def _load_manifest(folder: Path) -> dict[str, Any]:
    path = folder / "manifest.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        if (folder / "pairs.parquet").is_file():
            raise InputError(f"{path}: is missing; run tulu audit again") from None
        raise InputError(f"{folder}: holds no audit (manifest.json is missing); run tulu audit") from None
    except (OSError, ValueError) as e:
        raise InputError(f"{path}: cannot be read ({e}); run tulu audit again") from None
    found = manifest.get("format") if isinstance(manifest, dict) else None
    if found != FORMAT:
        raise InputError(f"{path}: format is {found!r}, not {FORMAT!r}; run tulu audit again")
    missing = [key for key in MANIFEST_KEYS if key not in manifest]
    if missing:
        raise InputError(f"{path}: has no {missing[0]!r}; run tulu audit again")
    if manifest["engine"] != ENGINE:
        raise InputError(f"{path}: made by engine {manifest['engine']}, not {ENGINE}; run tulu audit again")
    return dict(manifest)


def _load_table(folder: Path, name: str) -> pa.Table:
    path = folder / f"{name}.parquet"
    try:
        table = pq.read_table(path)
    except FileNotFoundError:
        raise InputError(f"{path}: is missing; run tulu audit again") from None
    except (OSError, pa.ArrowException) as e:
        raise InputError(f"{path}: cannot be read ({str(e).splitlines()[0]}); run tulu audit again") from None
    if not table.schema.equals(TABLES[name]):
        raise InputError(f"{path}: has other columns than this version writes; run tulu audit again")
    return table
