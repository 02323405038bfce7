"""What is right: one definition for filtering synthetic data, for RLVR's reward, and for evaluation.

verdict = verify("math", response, r"\\frac{1}{2}")     # Verdict(score, valid, reason)
table = verify_table(rows)                             # columns score, valid, reason; in processes, with deadlines
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tulu_data.verifiers.batch import verify_table
    from tulu_data.verifiers.pool import Task, VerifierPool, verify_all
    from tulu_data.verifiers.registry import verifier_of, verifiers, verify
    from tulu_data.verifiers.verdict import Verdict, Verifier

__all__ = [
    "Task",
    "Verdict",
    "Verifier",
    "VerifierPool",
    "verifier_of",
    "verifiers",
    "verify",
    "verify_all",
    "verify_table",
]

_HOMES = {
    "Task": "tulu_data.verifiers.pool",
    "Verdict": "tulu_data.verifiers.verdict",
    "Verifier": "tulu_data.verifiers.verdict",
    "VerifierPool": "tulu_data.verifiers.pool",
    "verifier_of": "tulu_data.verifiers.registry",
    "verifiers": "tulu_data.verifiers.registry",
    "verify": "tulu_data.verifiers.registry",
    "verify_all": "tulu_data.verifiers.pool",
    "verify_table": "tulu_data.verifiers.batch",
}


def __getattr__(name: str) -> Any:
    """Imports the public names when they are used: the sandbox's process imports this package and must stay small."""
    if name not in _HOMES:
        raise AttributeError(f"module 'tulu_data.verifiers' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
