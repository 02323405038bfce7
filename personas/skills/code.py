"""Python code: a question, tests that are asked for separately, and solutions of which two pass.

The tests must mean something: an empty function fails them, and so do most copies of a passing solution with one slip
in them.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Generator
from typing import NamedTuple

from personas.mutating import mutants
from personas.procedural import code as families
from personas.skill import Checks, Draft, Item, Rejected, Reply, Skill, Talk, ask, check, whole
from tulu_data.verifiers.code import Tests, code_in
from tulu_data.verifiers.pool import Task
from tulu_data.verifiers.verdict import Verdict

MARKER = "Question: Write a python function to"  # arXiv 2411.15124, Figure 35
LEAST_TESTS = 5
LEAST_PASSING = 2  # independent solutions
CAUGHT = 0.5  # share of mutants that must fail; some slips change nothing that can be seen

_FENCE = re.compile(r"```(?:python|py)?[ \t]*\n(.*?)```", re.DOTALL | re.IGNORECASE)


class Asserts(NamedTuple):
    """The function's signature, its name, and the tests."""

    signature: str
    name: str
    tests: tuple[str, ...]

    @property
    def truth(self) -> str:
        """As the `code` verifier takes it."""
        return json.dumps({"tests": list(self.tests), "entry_point": self.name}, ensure_ascii=False)


def talk(item: Item) -> Talk[Draft]:
    """Question → signature and tests → k solutions, of which two must pass → tests that are not vacuous."""
    (said,) = yield from ask(item.ask("prompt"))
    problem = _question(said)
    (told,) = yield from ask(item.ask("tests", problem=problem))
    try:
        asserts = asserts_in(whole(told))
    except Rejected as rejected:
        rejected.known = {"prompt": problem}
        raise
    prompt = with_signature(problem, asserts)
    replies = yield from ask(*(item.ask("solve", prompt=prompt, sample=i) for i in range(item.samples)))
    verdicts = yield from check(*(Task("code", r.text, asserts.truth) for r in replies))
    passing = [r for r, v in zip(replies, verdicts, strict=True) if v.right]
    if len(passing) < LEAST_PASSING:
        reasons = "; ".join(dict.fromkeys(v.reason for v in verdicts if not v.right))
        raise Rejected(
            "tests", f"{len(passing)} of {len(replies)} solutions pass: {reasons}", prompt=prompt, response=replies[0]
        )
    yield from _mean_something(asserts, prompt, passing[0])
    flags = {"tests": len(asserts.tests), "solutions": len(replies), "passing": len(passing)}
    return Draft(prompt, passing[0], "code", asserts.truth, True, "tests", flags=flags)


def _question(said: Reply) -> str:
    """The question, from "Write a python function to" on; the marker's first word may be missing."""
    found = re.search(r"write an? (?:python )?function\b", whole(said), re.IGNORECASE)
    if found is None:
        raise Rejected("no marker", f"the reply has no {MARKER!r}: {said.text[:80]!r}")
    return said.text[found.start() :].strip()


def asserts_in(text: str) -> Asserts:
    """The signature and the asserts of a reply; `Rejected` where they cannot be tests of one function."""
    found = _FENCE.search(text)
    source = found[1] if found else text
    try:
        return _asserts(ast.parse(source).body)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as e:  # writing them again may nest too deeply, too
        raise Rejected("tests", f"the tests are not Python: {e}") from None


def _asserts(body: list[ast.stmt]) -> Asserts:
    function = next((n for n in body if isinstance(n, ast.FunctionDef)), None)
    if function is None:
        raise Rejected("tests", "the tests come without a signature")
    tests = dict.fromkeys(
        ast.unparse(n)
        for n in body
        if isinstance(n, ast.Assert) and function.name in {m.id for m in ast.walk(n) if isinstance(m, ast.Name)}
    )
    if len(tests) < LEAST_TESTS:
        raise Rejected("tests", f"{len(tests)} different asserts call {function.name}, {LEAST_TESTS} are needed")
    result = f" -> {ast.unparse(function.returns)}" if function.returns else ""
    return Asserts(f"def {function.name}({ast.unparse(function.args)}){result}", function.name, tuple(tests))


def with_signature(problem: str, asserts: Asserts) -> str:
    """The question with the function's signature, where it does not say the name yet: the tests call it."""
    if re.search(rf"\b{re.escape(asserts.name)}\b", problem):
        return problem
    return f"{problem}\n\nThe signature is `{asserts.signature}`."


def _mean_something(asserts: Asserts, prompt: str, passing: Reply) -> Generator[Checks, list[Verdict], None]:
    """`Rejected` where an empty function passes, or most mutants of a passing solution do."""
    empty = f"def {asserts.name}(*args, **kwargs):\n    pass\n"
    copies = mutants(code_in(passing.text, Tests(asserts.tests, entry_point=asserts.name)))
    verdicts = yield from check(*(Task("code", code, asserts.truth) for code in (empty, *copies)))
    if verdicts[0].right:
        raise Rejected("vacuous tests", "an empty function passes", prompt=prompt, response=passing)
    caught = sum(not v.right for v in verdicts[1:])
    if copies and caught < CAUGHT * len(copies):
        raise Rejected("vacuous tests", f"{caught} of {len(copies)} mutants fail", prompt=prompt, response=passing)


def answer(item: Item, stage: str, sample: int) -> str | None:
    """What stands in for a model: the family's question, tests, and its two solutions in turn."""
    made = item.made
    if made is None:
        return None
    if stage == "prompt":
        return f"Question: {made.prompt}"
    if stage == "tests":
        return f"```python\ndef {made.entry_point}(*args): ...\n" + "\n".join(made.tests) + "\n```"
    return str(made.numbers["second"]) if sample % 2 else made.response


SKILL = Skill(
    name="code",
    version=1,
    about="one Python function; tests asked for separately, two solutions pass, mutants fail",
    stages={"prompt": (), "tests": ("problem",), "solve": ("prompt",)},
    talk=talk,
    requests=lambda samples: 2 + samples,
    samples=3,
    least_samples=LEAST_PASSING,
    made_samples=LEAST_PASSING,
    families=families.FAMILIES,
    answer=answer,
)
