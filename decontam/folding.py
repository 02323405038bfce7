"""What an analyzer does to each code point, as one small table that compiled code can read.

The table is derived from the analyzer itself by showing it every code point there is, so there is one definition.
"""

from __future__ import annotations

import sys
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from decontam.analyzers import CJK, analyzer_of

PAGE_BITS = 8  # code points of one page: 256
SEPARATOR = 1 << 30  # stands for a change: the code point separates words
ISOLATED = 1 << 29  # the code point is a word of its own


class Folding(NamedTuple):
    """`changes[pages[c >> 8] << 8 | c & 255]`: what is added to code point c, or one of the marks above.

    pages: `(4352,)` int32, changes: `(distinct pages · 256,)` int32. Pages in which nothing changes are one page.
    """

    pages: npt.NDArray[np.int32]
    changes: npt.NDArray[np.int32]


@cache
def folding_of(name: str) -> Folding:
    """The table of an analyzer: tens of milliseconds, then kept."""
    analyzer = analyzer_of(name)
    points = np.array([c for c in range(sys.maxunicode + 1) if not 0xD800 <= c < 0xE000], np.uint32)
    folded = np.frombuffer(analyzer.fold(points.tobytes().decode("utf-32-le")).encode("utf-32-le"), np.uint32)
    in_token = np.zeros(len(points), np.bool_)
    for found in analyzer.pattern.finditer(folded.tobytes().decode("utf-32-le")):
        in_token[found.start() : found.end()] = True
    changes = np.zeros(sys.maxunicode + 1, np.int32)
    changes[points] = np.where(in_token, folded.astype(np.int64) - points, SEPARATOR)
    if name == "unicode":
        for first, last in CJK:
            changes[first : last + 1] = ISOLATED
    pages, numbers = np.unique(changes.reshape(-1, 1 << PAGE_BITS), axis=0, return_inverse=True)
    return _frozen(Folding(numbers.astype(np.int32).ravel(), np.ascontiguousarray(pages, np.int32).ravel()))


def _frozen(folding: Folding) -> Folding:
    for array in folding:
        array.flags.writeable = False
    return folding
