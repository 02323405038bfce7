"""What licences of datasets demand, and where each was read. A table of facts, not legal advice.

The names are those of the Hugging Face hub's licence list, in lower case; `spdx` is the identifier of the SPDX licence
list (https://spdx.org/licenses), None where that list has none.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

Demand = Literal["attribution", "share-alike", "non-commercial", "no-derivatives", "custom terms"]


class Terms(NamedTuple):
    """One licence: its SPDX identifier, what it demands of who passes the data on, and its text."""

    spdx: str | None
    demands: tuple[Demand, ...]
    url: str


def _spdx(spdx: str, *demands: Demand) -> Terms:
    return Terms(spdx, demands, f"https://spdx.org/licenses/{spdx}.html")


def _creative_commons(kind: str, version: str) -> Terms:
    """The elements of a Creative Commons licence are its name: by, nc, nd, sa."""
    elements: dict[str, Demand] = {
        "by": "attribution",
        "sa": "share-alike",
        "nc": "non-commercial",
        "nd": "no-derivatives",
    }
    demands = tuple(demand for part, demand in elements.items() if part in kind.split("-"))
    spdx = f"CC-{kind.upper()}-{version}"
    return Terms(spdx, demands, f"https://creativecommons.org/licenses/{kind}/{version}/")


def _custom(url: str, *demands: Demand) -> Terms:
    return Terms(None, (*demands, "custom terms"), url)


_OPEN_DATA = "https://opendatacommons.org/licenses"

TERMS: dict[str, Terms] = {
    # No demand, or a notice to keep.
    "cc0-1.0": Terms("CC0-1.0", (), "https://creativecommons.org/publicdomain/zero/1.0/"),
    "pddl": Terms("PDDL-1.0", (), f"{_OPEN_DATA}/pddl/1-0/"),
    "unlicense": _spdx("Unlicense"),
    "wtfpl": _spdx("WTFPL"),
    "apache-2.0": _spdx("Apache-2.0", "attribution"),
    "mit": _spdx("MIT", "attribution"),
    "bsd": Terms(None, ("attribution",), "https://opensource.org/license/bsd-3-clause"),
    "bsd-2-clause": _spdx("BSD-2-Clause", "attribution"),
    "bsd-3-clause": _spdx("BSD-3-Clause", "attribution"),
    "isc": _spdx("ISC", "attribution"),
    "zlib": _spdx("Zlib", "attribution"),
    "artistic-2.0": _spdx("Artistic-2.0", "attribution"),
    "ecl-2.0": _spdx("ECL-2.0", "attribution"),
    "odc-by": Terms("ODC-By-1.0", ("attribution",), f"{_OPEN_DATA}/by/1-0/"),
    "cdla-permissive-1.0": _spdx("CDLA-Permissive-1.0", "attribution"),
    "cdla-permissive-2.0": _spdx("CDLA-Permissive-2.0", "attribution"),
    "etalab-2.0": _spdx("etalab-2.0", "attribution"),
    # Creative Commons. The hub's `cc` says not which of them, so it is left out: such rows have no known terms.
    **{
        f"cc-{kind}-{version}": _creative_commons(kind, version)
        for kind, versions in {
            "by": ("2.0", "2.5", "3.0", "4.0"),
            "by-sa": ("3.0", "4.0"),
            "by-nc": ("2.0", "3.0", "4.0"),
            "by-nc-sa": ("2.0", "3.0", "4.0"),
            "by-nd": ("4.0",),
            "by-nc-nd": ("3.0", "4.0"),
        }.items()
        for version in versions
    },
    # Derived data stays under the same terms.
    "odbl": Terms("ODbL-1.0", ("attribution", "share-alike"), f"{_OPEN_DATA}/odbl/1-0/"),
    "cdla-sharing-1.0": _spdx("CDLA-Sharing-1.0", "attribution", "share-alike"),
    "gfdl": Terms("GFDL-1.3-or-later", ("attribution", "share-alike"), "https://www.gnu.org/licenses/fdl-1.3.html"),
    "mpl-2.0": _spdx("MPL-2.0", "attribution", "share-alike"),
    "eupl-1.1": _spdx("EUPL-1.1", "attribution", "share-alike"),
    "eupl-1.2": _spdx("EUPL-1.2", "attribution", "share-alike"),
    "gpl": Terms(None, ("attribution", "share-alike"), "https://www.gnu.org/licenses/gpl-3.0.html"),
    "gpl-2.0": Terms("GPL-2.0-only", ("attribution", "share-alike"), "https://www.gnu.org/licenses/gpl-2.0.html"),
    "gpl-3.0": Terms("GPL-3.0-only", ("attribution", "share-alike"), "https://www.gnu.org/licenses/gpl-3.0.html"),
    "lgpl": Terms(None, ("attribution", "share-alike"), "https://www.gnu.org/licenses/lgpl-3.0.html"),
    "lgpl-2.1": Terms("LGPL-2.1-only", ("attribution", "share-alike"), "https://www.gnu.org/licenses/lgpl-2.1.html"),
    "lgpl-3.0": Terms("LGPL-3.0-only", ("attribution", "share-alike"), "https://www.gnu.org/licenses/lgpl-3.0.html"),
    "agpl-3.0": Terms("AGPL-3.0-only", ("attribution", "share-alike"), "https://www.gnu.org/licenses/agpl-3.0.html"),
    # Terms of their own: uses that are ruled out, names that a model must carry, a licence to pass on.
    "c-uda": _custom("https://github.com/microsoft/Computational-Use-of-Data-Agreement"),
    "openrail": _custom("https://huggingface.co/blog/open_rail"),
    "bigcode-openrail-m": _custom("https://huggingface.co/spaces/bigcode/bigcode-model-license-agreement"),
    "bigscience-openrail-m": _custom("https://huggingface.co/spaces/bigscience/license", "attribution"),
    "llama2": _custom("https://ai.meta.com/llama/license/", "attribution"),
    "llama3": _custom("https://llama.meta.com/llama3/license/", "attribution"),
    "llama3.1": _custom("https://llama.meta.com/llama3_1/license/", "attribution"),
    "llama3.2": _custom("https://www.llama.com/llama3_2/license/", "attribution"),
    "llama3.3": _custom("https://www.llama.com/llama3_3/license/", "attribution"),
    "llama4": _custom("https://www.llama.com/llama4/license/", "attribution"),
    "gemma": _custom("https://ai.google.dev/gemma/terms", "attribution"),
    "impact-lr": _custom("https://allenai.org/licenses/impact-lr", "attribution"),
    "lmsys-chat-1m": _custom("https://huggingface.co/datasets/lmsys/lmsys-chat-1m"),
}

NOT_ON_HUB = frozenset({"impact-lr", "lmsys-chat-1m"})  # names of our own: the hub's list has none for them

# Other spellings of the same licence, as `canonical` leaves them; its SPDX identifier is one.
ALIASES = {spdx: name for name, terms in TERMS.items() if terms.spdx and (spdx := terms.spdx.lower()) not in TERMS} | {
    "cc0": "cc0-1.0",
    "mit-license": "mit",
    "apache-license-2.0": "apache-2.0",
    "gpl-2.0-or-later": "gpl-2.0",
    "gpl-3.0-or-later": "gpl-3.0",
    "lgpl-2.1-or-later": "lgpl-2.1",
    "lgpl-3.0-or-later": "lgpl-3.0",
    "agpl-3.0-or-later": "agpl-3.0",
}

# Weights by which one licence is stricter than another: what rules a use out counts before what asks for something.
_WEIGHTS: dict[Demand, int] = {
    "no-derivatives": 16,
    "non-commercial": 8,
    "custom terms": 4,
    "share-alike": 2,
    "attribution": 1,
}


def canonical(name: str) -> str:
    """The name in the table's spelling; one that the table lacks in lower case, with hyphens between its words.

    >>> canonical("ODC-BY-1.0"), canonical("CC BY-NC 4.0"), canonical("My Own")
    ('odc-by', 'cc-by-nc-4.0', 'my-own')
    """
    low = "-".join(name.lower().replace("_", " ").split())
    return ALIASES.get(low, low)


def terms_of(name: str) -> Terms | None:
    """What the licence demands; None for a name that the table lacks."""
    return TERMS.get(canonical(name))


def strictness(name: str) -> int:
    """Greater for the stricter of two licences; a licence that the table lacks is the strictest of all."""
    terms = terms_of(name)
    return sum(_WEIGHTS.values()) + 1 if terms is None else sum(_WEIGHTS[d] for d in terms.demands)
