"""What this installation has, what it lacks, and what shadows it."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, NamedTuple

from tulu_data import __version__
from tulu_data.executor import default_workers

DISTRIBUTION = "tulu-data"
PACKAGES = ("tulu_data", "decontam", "personas", "trainers")  # `recipes` is data, not a package
REQUIRED = ("click", "rich", "pydantic", "pyyaml", "numpy", "pyarrow", "polars", "datasets", "openai")
OPTIONAL = {"tokenizers": "tokenizers", "math-verify": "math"}  # distribution → the extra that brings it

Level = Literal["ok", "note", "problem"]


class Finding(NamedTuple):
    """One line of the examination."""

    level: Level
    subject: str
    message: str


def examine(store: Path) -> list[Finding]:
    """Every finding; the installation works unless one is a problem."""
    return [
        Finding("ok", DISTRIBUTION, f"{__version__}, {Path(__file__).parent.parent}"),
        Finding("ok", "python", f"{platform.python_version()} on {platform.platform()}, {default_workers()} CPUs"),
        *_distributions(),
        *_shadows(),
        _recipes(),
        _sandbox(),
        _store(store),
    ]


def _distributions() -> Iterator[Finding]:
    for name in REQUIRED:
        try:
            yield Finding("ok", name, metadata.version(name))
        except metadata.PackageNotFoundError:
            yield Finding("problem", name, f"not installed; run: pip install {name}")
    for name, extra in OPTIONAL.items():
        try:
            yield Finding("ok", name, metadata.version(name))
        except metadata.PackageNotFoundError:
            yield Finding("note", name, f"not installed; for it: pip install '{DISTRIBUTION}[{extra}]'")


def _shadows() -> Iterator[Finding]:
    """Our top-level names are generic: another distribution may ship the same and win, without a word from pip."""
    home = Path(__file__).resolve().parent.parent
    owners = metadata.packages_distributions()
    for name in (*PACKAGES, "recipes"):
        spec = find_spec(name)
        found = [Path(p).resolve().parent for p in (spec.submodule_search_locations or [])] if spec else []
        others = sorted({d for d in owners.get(name, []) if d.lower().replace("_", "-") != DISTRIBUTION})
        if name != "recipes" and home not in found:
            where = ", ".join(map(str, found)) or "nowhere"
            owner = f" by {', '.join(others)}" if others else ""
            yield Finding("problem", name, f"shadowed{owner}: imports from {where}, not {home}; use another venv")
        elif others:
            yield Finding("note", name, f"also shipped by {', '.join(others)}, whose files may replace ours")


def _recipes() -> Finding:
    from tulu_data.recipe import BUNDLED, bundled

    names = sorted(bundled())
    if "quickstart" not in names:
        return Finding("problem", "recipes", f"{BUNDLED}: the bundled recipes are missing; reinstall {DISTRIBUTION}")
    return Finding("ok", "recipes", ", ".join(names))


def _sandbox() -> Finding:
    """Whether the kernel confines the code that the verifier `code` runs."""
    from tulu_data.verifiers.confinement import available

    missing = [name for name, there in zip(("seccomp", "Landlock"), available(), strict=True) if not there]
    if missing:
        weaker = "code of models is confined by an audit hook alone there; run it in a container"
        return Finding("note", "sandbox", f"no {' and no '.join(missing)}: {weaker}")
    return Finding("ok", "sandbox", "seccomp and Landlock")


def _store(store: Path) -> Finding:
    folder = store.absolute()
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        return Finding("problem", "store", f"{store}: cannot be written; choose another with --store")
    free = shutil.disk_usage(folder).free / 1e9
    return Finding("ok" if free > 1 else "note", "store", f"{store.absolute()}, {free:.1f} GB free")
