"""How the compiled modules are compiled, and when what is kept on disk of them is out of date."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

from numba import njit  # noqa: TID253 - this module is imported where it is used


def entry(function: Callable[..., Any]) -> Any:
    """Compiles what is called from Python: without the GIL, and kept on disk where there is a place to keep it.

    The other functions become part of these. Arrays are borrowed from Python for the length of a call, so none of
    them counts references.
    """
    try:
        return njit(nogil=True, _nrt=False, cache=True)(function)  # type: ignore[call-overload]
    except RuntimeError:  # neither this folder nor the user's can be written: it is compiled in each process
        return njit(nogil=True, _nrt=False)(function)  # type: ignore[call-overload]


inner: Any = njit(nogil=True, _nrt=False, no_cpython_wrapper=True, no_cfunc_wrapper=True)  # type: ignore[call-overload]
inlined: Any = njit(nogil=True, _nrt=False, forceinline=True)  # type: ignore[call-overload]

SOURCES = ("compiling", "simd", "reading", "kernel", "building", "describing", "snippets")
STAMP = "decontam-sources"


def forget_stale(compiled: Any) -> None:
    """Removes what is kept of these modules where any of them has changed.

    Numba looks at the file of the function that is called alone, and not at the functions of other files that have
    become part of it.
    """
    if compiled.stats.cache_path is None:
        return
    here = Path(__file__).parent
    digest = sha256(b"".join((here / f"{name}.py").read_bytes() for name in SOURCES)).hexdigest()
    kept = Path(compiled.stats.cache_path)
    stamp = kept / STAMP
    with suppress(OSError):  # a cache that cannot be written was not written by another version either
        if not stamp.is_file() or stamp.read_text() != digest:
            for name in SOURCES:
                for path in kept.glob(f"{name}.*.nb[ic]"):
                    path.unlink(missing_ok=True)
            kept.mkdir(parents=True, exist_ok=True)
            stamp.write_text(digest)
