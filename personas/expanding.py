"""More personas by a model: from texts, and from other personas (arXiv 2406.20094)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from personas import prompts
from personas.duplicates import Seen
from personas.persona import MAX_CHARS, Persona, persona_id, read_personas, records
from personas.skill import Ask
from personas.talking import Failures, from_journals, reply_of
from tulu_data.errors import InputError, nearest
from tulu_data.llm.client import Watch
from tulu_data.llm.request import Answer, Failure, Request
from tulu_data.llm.spec import Asked, ModelSpec
from tulu_data.verifiers.refusal import refuses

Method = Literal["text", "persona"]
STAGES: Mapping[Method, tuple[str, ...]] = {
    "text": ("text", "each", "language"),
    "persona": ("persona", "each", "language"),
}
LEAST_WORDS, MOST_WORDS = 5, 80  # of a persona; others are noise
_LINE = re.compile(r"(?im)^[ \t>#*_\d.)-]*persona(?:[ \t]*\d+)?[*_]*:[*_]*[ \t]*(\S.*)$")


@dataclass(frozen=True)
class Expansion:
    """What is asked: of each origin, `each` personas."""

    origins: tuple[Persona, ...]
    template: prompts.Template
    method: Method
    spec: ModelSpec
    each: int
    language: str = "English"
    license: str | None = None

    @classmethod
    def of(
        cls,
        source: str,
        spec: ModelSpec,
        *,
        method: Method = "persona",
        field: str | None = None,
        each: int = 3,
        limit: int | None = None,
        license_: str | None = None,
    ) -> Expansion:
        """An expansion of the personas or texts of a source, which is read as `read_personas` reads."""
        template = prompts.load("personas", {str(k): v for k, v in STAGES.items()})[method]
        origins = read_personas(source, field=field) if method == "persona" else _texts(source, field)
        return cls(origins[:limit], template, method, spec, each, license=license_)

    def requests(self) -> Iterator[Request]:
        """A request for each origin; its tag is the origin and the question."""
        for origin in self.origins:
            values = {self.method: origin.text, "each": self.each, "language": self.language}
            yield Request(
                self.spec.model,
                self.template.messages(values),
                self.spec.request_params,
                tag=(origin, Ask(self.method, ())),
            )


TEXT_FIELDS = ("text", "prompt", "question", "instruction", "content", "persona")
TEXT_CHARS = 6_000  # of a text that are shown to the model


def _texts(source: str, name: str | None) -> tuple[Persona, ...]:
    """The texts of a source as origins, each once; `InputError` where a record has no text."""
    found: dict[str, Persona] = {}
    for raw in records(source):
        if raw.problem is not None:
            raise InputError(f"{raw.place}: {raw.problem}")
        record = raw.record if isinstance(raw.record, Mapping) else {}
        wanted = name or next((f for f in TEXT_FIELDS if isinstance(record.get(f), str)), None)
        turns = record.get("messages")
        text = record.get(wanted) if wanted else turns[0].get("content") if isinstance(turns, list) and turns else None
        if not isinstance(text, str) or not text.strip():
            known = nearest(name or TEXT_FIELDS[0], map(str, record), noun="field")
            raise InputError(f"{raw.place}: no text; {known}; name the field that holds it with --persona-field")
        origin = Persona(persona_id(text), text.strip()[:TEXT_CHARS], source, str(record.get("license") or "") or None)
        found.setdefault(origin.id, origin)
    if not found:
        raise InputError(f"{source}: holds no texts")
    return tuple(found.values())


class Expanded(NamedTuple):
    """The personas, in the order of their origins, and how many were left out for which reason."""

    personas: list[Persona]
    rejected: dict[str, int]


@dataclass
class _Sieve:
    """Keeps what is a persona and was not there before; the origins count as there."""

    seen: Seen
    personas: list[Persona] = field(default_factory=list)
    rejected: dict[str, int] = field(default_factory=dict)

    def take(self, text: str, origin: Persona, source: str, license_: str | None) -> None:
        reason = _problem(text)
        if reason is None and (earlier := self.seen.add(f"new/{persona_id(text)}", text)) is not None:
            reason = "duplicate" if earlier.similarity == 1 else "near-duplicate"
        if reason is not None:
            self.leave(reason)
            return
        self.personas.append(Persona(persona_id(text), text, source, license_ or origin.license, origin.id))

    def leave(self, reason: str) -> None:
        self.rejected[reason] = self.rejected.get(reason, 0) + 1


def _problem(text: str) -> str | None:
    words = len(text.split())
    if not LEAST_WORDS <= words <= MOST_WORDS or len(text) > MAX_CHARS:
        return "length"
    return "refusal" if refuses(text) else None


def expand(plan: Expansion, asked: Asked, *, near: float, watch: Watch | None = None) -> Expanded:
    """Asks for all and keeps what is new: no two personas, and none and its origin, are `near` each other.

    A persona's `parent` is the id of what it was made from. Errors as in `Client.run`; what was answered is kept.
    """
    failures: Failures = {}

    def note(request: Request, outcome: Answer | Failure) -> None:
        if isinstance(outcome, Failure):
            failures["", request.key] = outcome

    asked.backend.run(plan.requests(), note, watch=watch)
    look_up = from_journals({"": asked.journal}, failures)
    sieve = _Sieve(Seen(near))
    if plan.method == "persona":
        for origin in plan.origins:
            sieve.seen.add(origin.id, origin.text)
    for request in plan.requests():
        outcome = look_up(request)
        if not isinstance(outcome, Answer):
            sieve.leave("request failed")
            continue
        lines = _LINE.findall(reply_of(outcome).text)
        if outcome.finish_reason == "length":
            sieve.leave("truncated")
            lines = lines[:-1]
        elif not lines:
            sieve.leave("no marker")
        for line in lines[: plan.each]:
            sieve.take(line.strip(), request.tag[0], f"{plan.method}-to-persona/{outcome.model}", plan.license)
    return Expanded(sieve.personas, dict(sorted(sieve.rejected.items())))
