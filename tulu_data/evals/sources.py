"""What a verifier is made of, as a digest: an extraction that was changed gives other scores under the same name."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path

from tulu_data.manifest import canonical_json


@cache
def source_digest(verifier: str) -> str:
    """The sha256 of the modules that a verifier's checks are in, and of those of the same package that they import."""
    from tulu_data.verifiers import verifier_of

    found = verifier_of(verifier)
    left = [getattr(part, "__module__", "") for part in (found.parse, found.check)]
    sources: dict[str, str] = {}
    while left:
        name = left.pop()
        if name in sources or (source := _source(name)) is None:
            continue
        sources[name] = source
        left += _imported(name, source)
    return sha256(canonical_json([found.name, sorted(sources.items())])).hexdigest()


def _source(module: str) -> str | None:
    try:
        spec = find_spec(module)
    except (ImportError, ValueError):  # the parent is no package, or the module has no spec
        return None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    return Path(spec.origin).read_text(encoding="utf-8")


def _imported(module: str, source: str) -> Iterator[str]:
    """The modules beside this one that it imports, wherever in its text; `a.b` for what may be a name in `a`."""
    package = module.rpartition(".")[0]
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            home = f"{package}.{node.module or ''}".rstrip(".") if node.level else node.module or ""
            names = [home, *(f"{home}.{alias.name}" for alias in node.names)]
        yield from (name for name in names if package and name.startswith(f"{package}."))
