"""What a skill is: how a row of it comes about, as a pure function that talks.

A row is a generator. It yields what is to be asked of a model, and is sent the replies; it yields what is to be
checked, and is sent the verdicts; it returns the row, or raises `Rejected`. It does no I/O and draws all chance from
its item, so it can be run again from a journal and comes to the same row. What it asks, it asks before it checks
anything: questions are answered by a run, checks are made afterwards, from the journal.

    def sums(item: Item) -> Talk[Draft]:
        (said,) = yield from ask(item.ask("prompt", persona=item.persona.text))
        problem = after(said, "Math problem:")
        replies = yield from ask(*(item.ask("solve", problem=problem, sample=i) for i in range(item.samples)))
        verdicts = yield from check(*(Task("gsm8k", r.text, "18") for r in replies))
        ...
        return Draft(...)
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

from personas.languages import language_name
from personas.persona import Persona
from personas.procedural.family import Family, Made, Scene
from personas.prompts import Prompts
from tulu_data.errors import UsageError
from tulu_data.llm.request import Answer
from tulu_data.verifiers.pool import Task
from tulu_data.verifiers.verdict import Verdict

ID_HEX = 20
MOST_SAMPLES = 10_000  # of a row; so a row's questions keep their names when more samples are asked for

Evidence = Literal["checked", "computed", "tests", "program", "vote", "rule"]


class Rejected(Exception):
    """A row that comes to nothing. `reason` is one of few words that are counted, `detail` is for people."""

    def __init__(self, reason: str, detail: str = "", **known: Any) -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason, self.detail, self.known = reason, detail, known


@dataclass(frozen=True)
class Ask:
    """A question.

    sample: tells equal questions apart that should each have an answer of their own. route: who is asked, where there
    are several.
    """

    stage: str
    messages: tuple[Mapping[str, Any], ...]
    sample: int = 0
    route: str = ""


class Reply(NamedTuple):
    """What was answered. text: never null. finish_reason: as the server says it."""

    text: str
    finish_reason: str | None
    answer: Answer


@dataclass(frozen=True)
class Item:
    """What a row starts from, all of it drawn before anything is asked.

    id: a hash of skill, version, persona, index and seed. drawn: the parameters that were drawn. made: what a procedure
    made for this row, where no model is asked. samples: how many solutions are asked for. again: how many rows, or
    pairs of twins, the persona had before. is_twin: whether it is the second row of a pair that shares persona and
    draw, in skills that have such.
    """

    id: str
    index: int
    seed: int
    persona: Persona
    prompts: Prompts
    language: str = "en"
    samples: int = 1
    drawn: Any = None
    family: str | None = None
    made: Made | None = None
    again: int = 0
    is_twin: bool = False

    def ask(self, stage: str, *, sample: int = 0, **values: Any) -> Ask:
        """A question by the skill's template of that stage; the persona's text and the language are always known.

        What is asked again for a persona has an answer of its own each time, also where the words are the same.
        """
        given = {"persona": self.persona.text, "language": language_name(self.language), **values}
        return Ask(stage, self.prompts[stage].messages(given), sample + self.again * MOST_SAMPLES)


@dataclass
class Draft:
    """A row that holds.

    prompt: the user's turn. response: the answer. verifier and truth: exactly what `verify` takes. verified: True where
    it was shown, None where it was only voted for or cannot be shown. evidence: what shows it.
    """

    prompt: str
    response: Reply
    verifier: str | None
    truth: str | None
    verified: bool | None
    evidence: Evidence
    constraints: Sequence[Mapping[str, Any]] = ()
    votes: Votes | None = None
    flags: Mapping[str, Any] = field(default_factory=dict)


class Votes(NamedTuple):
    """k samples: how many agree with the answer that was taken, and what each answered."""

    k: int
    agreement: int
    answers: tuple[str | None, ...]


@dataclass(frozen=True)
class Asks:
    """Questions that a row yields."""

    asks: tuple[Ask, ...]


@dataclass(frozen=True)
class Checks:
    """Checks that a row yields."""

    tasks: tuple[Task, ...]


Made_ = TypeVar("Made_")
Talk = Generator[Asks | Checks, Any, Made_]


def ask(*asks: Ask) -> Generator[Asks, list[Reply], list[Reply]]:
    """Asks, and gives the replies in the order of the questions."""
    return (yield Asks(asks))


def check(*tasks: Task) -> Generator[Checks, list[Verdict], list[Verdict]]:
    """Checks, and gives the verdicts in the order of the tasks."""
    return (yield Checks(tasks))


@dataclass(frozen=True)
class Skill:
    """A kind of row.

    version: raised when the same item gives another row. stages: each template → its own placeholders. talk: how a row
    comes about. draw: the parameters that a row starts from. samples: solutions that are asked for by default; fewer
    than least_samples prove nothing. requests: samples → how many requests a row takes. options: what a user may set,
    by name, and what it means.

    Without a model: `families` are gone through in turn, or `make` gives a family's name and a row's task, and `answer`
    says at each stage what a model would have to say, `made_samples` times where it is asked for solutions.

    checks_language, refuses: whether the answer's language is looked at, and whether a refusal may be the right answer.
    twins: each two rows share persona and draw. home: the folder of its prompts' folder, where it is another's.
    """

    name: str
    version: int
    about: str
    stages: Mapping[str, tuple[str, ...]]
    talk: Callable[[Item], Talk[Draft]]
    draw: Callable[[random.Random, Scene, Mapping[str, Any]], Any] | None = None
    samples: int = 1
    least_samples: int = 1
    requests: Callable[[int], int] = lambda samples: 1 + samples
    options: Mapping[str, str] = field(default_factory=dict)
    families: Sequence[Family] = ()
    make: Callable[[random.Random, Item, Scene], tuple[str, Made | None]] | None = None
    answer: Callable[[Item, str, int], str | None] | None = None
    made_samples: int = 1
    checks_language: bool = True
    refuses: bool = False
    twins: bool = False
    home: Path | None = None


def computed(verifier: str, made: Made, prompt: str, reply: Reply) -> Generator[Checks, list[Verdict], Draft]:
    """A row whose truth a procedure computed: the reply is held against it."""
    (verdict,) = yield from check(Task(verifier, reply.text, made.truth))
    if not verdict.right:
        raise Rejected("wrong answer", verdict.reason, prompt=prompt, response=reply)
    return Draft(prompt, reply, verifier, made.truth, True, "computed")


def made_answer(marker: str) -> Callable[[Item, str, int], str | None]:
    """What a procedure says in place of a model: the task it made, then its solution."""

    def answer(item: Item, stage: str, sample: int) -> str | None:
        if item.made is None:
            return None
        return {"prompt": f"{marker} {item.made.prompt}", "solve": item.made.response}.get(stage)

    return answer


def truth_value(options: Mapping[str, Any], name: str, *, default: bool) -> bool:
    """An option that is true or false; `UsageError` where it is neither, such as the word "no"."""
    value = options.get(name, default)
    if not isinstance(value, bool):
        raise UsageError(f"{name} must be true or false, got {value!r}")
    return value


def item_id(skill: str, version: int, persona: str, index: int, seed: int) -> str:
    """20 hex digits that name a row."""
    return sha256(f"{skill}/{version}/{persona}/{index}/{seed}".encode()).hexdigest()[:ID_HEX]


def whole(reply: Reply) -> str:
    """The reply's text; `Rejected` where it was cut off, for half a task is another task."""
    if reply.finish_reason == "length":
        raise Rejected("truncated", f"the reply was cut off at its longest length: …{reply.text[-80:]!r}")
    return reply.text


def after(reply: Reply, marker: str) -> str:
    """What follows the marker that the prompt asks for; `Rejected` where it is missing, or nothing whole follows."""
    said = whole(reply)
    spaced = r"\s+".join(map(re.escape, marker.rstrip(":").split()))
    found = re.search(rf"(?im)^[ \t>#*_]*{spaced}[*_]*:[*_]*\s*", said)
    if found is None:
        raise Rejected("no marker", f"the reply has no {marker!r}: {reply.text[:80]!r}")
    text = said[found.end() :].strip()
    if not text:
        raise Rejected("no marker", f"nothing follows {marker!r}")
    return text
