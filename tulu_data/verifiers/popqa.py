"""PopQA: whether a short answer names the entity.

The rule of the paper's harness, which its tables call EM (arXiv 2411.15124, Table 24; the data set's own rule, arXiv
2212.10511 §3): one of the accepted names stands in the response as it is written, in lower case, or with a capital
first letter. So it is containment, and `Tokyo or Kyoto` answers `Kyoto`; responses are cut at 15 tokens.
"""

from __future__ import annotations

import json
from typing import Any

from tulu_data.verifiers.verdict import RIGHT, Verdict, shown, wrong


def parse(truth: str) -> tuple[str, ...]:
    """The accepted names: a JSON list (PopQA's `possible_answers`), or one name."""
    text = truth.strip()
    value: Any = text
    if text.startswith("["):
        try:
            value = json.loads(text)
        except ValueError:
            raise ValueError(f"not JSON: {shown(text)!r}") from None
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
        raise ValueError(f"not a list of names: {shown(text)!r}")
    kept = tuple(name.strip() for name in names if name.strip())
    if not kept:
        raise ValueError("no name to look for")
    return kept


def check(response: str, truth: tuple[str, ...]) -> Verdict:
    """Whether one of the names stands in the response."""
    if any(form in response for name in truth for form in (name, name.lower(), name.capitalize())):
        return RIGHT
    return wrong(f"answered {shown(response)!r}, not {shown(truth[0])!r}")
