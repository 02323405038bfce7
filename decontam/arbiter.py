"""A model that is asked about pairs that are near in meaning: is this the test question, in other words?

Any OpenAI-compatible chat endpoint. An answer is kept and never asked for again; what is no answer (an error, a
time-out, another format) leaves the pair undecided, which is never clean, and is asked again the next time.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pyarrow as pa

from decontam.evidence import FOUND
from decontam.highlighting import Highlighter
from decontam.result import Audit, Scan, judged
from decontam.verdicts import Layer
from tulu_data.executor import map_with_state
from tulu_data.manifest import canonical_json
from tulu_data.progress import Progress, Silent
from tulu_data.strict import Strict

Judgement = Literal["same", "different", "undecided"]

PROMPT = "tulu-judge/1"  # raise it when the wording changes: answers to another question are not reused
SYSTEM = (
    "You check training data for leaked test questions. You are given a test question and a text from a training set. "
    "Decide whether the training text asks the test question: in other words, in another order, shortened, or set in "
    "more context. It still does when names, objects or numbers were replaced and the same steps lead to the answer. "
    "It does not when only the topic, the kind of task or the phrasing is alike. "
    'Reply with one JSON object and nothing else: {"verdict": "same"} or {"verdict": "different"}.'
)
TEXT_CHARS = 6000  # of each text, at most
ANSWER_TOKENS = 400  # a model may think aloud before its answer
AT_ONCE = 8  # requests
TIMEOUT_S = 60.0
RETRIES = 2
GIVE_UP = 8  # errors in a row without any answer: the endpoint is down

SETTLED: tuple[Layer, ...] = ("exact", "informative")  # what words alone have shown needs no opinion


class Judge(Strict):
    """Who is asked. The key, where one is needed, is in OPENAI_API_KEY."""

    url: str
    model: str

    @property
    def facts(self) -> dict[str, str]:
        """What an audit says of it."""
        return {"model": self.model, "prompt": PROMPT}


class Question(NamedTuple):
    """A pair as it is asked about."""

    train: str
    test: str


@dataclass
class Answers:
    """Answers on disk, one JSON object a line; `path` None keeps them in memory alone."""

    path: Path | None
    known: dict[str, Judgement] = field(default_factory=dict)

    @staticmethod
    def load(judge: Judge, cache: Path | None) -> Answers:
        """What this model has answered before. A line that was cut off is left out."""
        if cache is None:
            return Answers(None)
        who = sha256(canonical_json([judge.url, judge.facts])).hexdigest()[:16]
        answers = Answers(cache / "judgements" / f"{who}.jsonl")
        assert answers.path is not None
        lines = answers.path.read_text(encoding="utf-8").splitlines() if answers.path.is_file() else []
        for line in lines:
            try:
                entry = json.loads(line)
                answers.known[entry["question"]] = entry["verdict"]
            except (ValueError, KeyError, TypeError):
                continue
        return answers

    def keep(self, question: str, verdict: Judgement) -> None:
        """Writes an answer down."""
        self.known[question] = verdict
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"question": question, "verdict": verdict}) + "\n")


def settle(
    audit: Audit,
    judge: Judge,
    *,
    cache: Path | None = None,
    progress: Progress | None = None,
    wait_s: float = TIMEOUT_S,
) -> Audit:
    """The audit with what the model says of the pairs that are near in meaning and that words alone do not settle.

    `cache` is where answers are kept; a request may take `wait_s` seconds.
    """
    progress = progress or Silent()
    chosen = _open_pairs(audit)
    questions = list(_questions(audit, chosen))
    asked = _Asked(judge, Answers.load(judge, cache), wait_s)
    with progress.task(f"judge {judge.model}", len(questions)) as advance:
        said: list[Judgement | None] = [None] * len(audit.pairs)
        for places, verdict in asked.all(questions):
            for place in places:
                said[chosen[place]] = verdict
            advance(len(places))
    undecided = said.count("undecided")
    if undecided:
        progress.note(
            f"judge {judge.model}: {undecided:,} of {len(chosen):,} pairs are undecided ({asked.trouble}); run "
            "the same command again to ask about them alone"
        )
    pairs = audit.scan.pairs
    place = pairs.schema.get_field_index("judgement")
    pairs = pairs.set_column(place, FOUND.field("judgement"), pa.array(said, pa.string()))
    manifest = audit.manifest | {"judge": judge.facts | {"asked": len(chosen), "undecided": undecided}}
    return judged(manifest, Scan(pairs, audit.messages, audit.instances), audit.policy)


def _open_pairs(audit: Audit) -> list[int]:
    near = audit.pairs["semantic"].to_pylist()
    layers = audit.pairs["layers"].to_pylist()
    return [i for i, c in enumerate(near) if c is not None and not set(SETTLED) & set(layers[i])]


def _questions(audit: Audit, chosen: Sequence[int]) -> Iterator[Question]:
    highlighter = Highlighter(audit)
    for i in chosen:
        match = highlighter.match(i)
        fields = [f.text for f in match.fields]
        test = "\n".join([*([match.passage] if match.passage else []), *fields])
        yield Question(match.train.text[:TEXT_CHARS], test[:TEXT_CHARS])


class _Asked:
    """Asks; remembers why there was no answer, and stops where nobody answers at all."""

    def __init__(self, judge: Judge, answers: Answers, wait_s: float) -> None:
        self.judge, self.answers, self.wait_s = judge, answers, wait_s
        self.trouble = ""
        self.failures = 0  # in a row
        self.answered = 0

    def all(self, questions: Sequence[Question]) -> Iterator[tuple[list[int], Judgement]]:
        """Each distinct question's places among `questions` with its verdict: those known before first."""
        places: dict[str, list[int]] = {}
        for i, question in enumerate(questions):
            places.setdefault(sha256(canonical_json([PROMPT, *question])).hexdigest(), []).append(i)
        known = self.answers.known
        yield from [(of_key, known[key]) for key, of_key in places.items() if key in known]
        open_ = [key for key in places if key not in known]
        asked = (questions[places[key][0]] for key in open_)
        verdicts = map_with_state(_Asked.ask, self, asked, workers=AT_ONCE, how="threads")
        for key, verdict in zip(open_, verdicts, strict=True):
            if verdict != "undecided":
                self.answers.keep(key, verdict)
            yield places[key], verdict

    @cached_property
    def _client(self) -> Any:
        import openai

        key = os.environ.get("OPENAI_API_KEY", "none")
        return openai.OpenAI(base_url=self.judge.url, api_key=key, timeout=self.wait_s, max_retries=RETRIES)

    def ask(self, question: Question) -> Judgement:
        """The model's verdict; undecided for whatever is no answer."""
        import openai

        if self.failures >= GIVE_UP and not self.answered:
            return "undecided"
        content = f"Test question:\n<<<\n{question.test}\n>>>\n\nTraining text:\n<<<\n{question.train}\n>>>"
        messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": content}]
        try:
            answer = self._client.chat.completions.create(
                model=self.judge.model, messages=messages, temperature=0, max_tokens=ANSWER_TOKENS
            )
            verdict = verdict_in(answer.choices[0].message.content)
        except (openai.OpenAIError, AttributeError, IndexError, TypeError, ValueError) as e:
            self.failures += 1
            self.trouble = (str(e).strip().splitlines() or [type(e).__name__])[0]
            return "undecided"
        self.failures, self.answered = 0, self.answered + 1
        if verdict == "undecided":
            self.trouble = "an answer was not in the format that was asked for"
        return verdict


def verdict_in(answer: Any) -> Judgement:
    """The verdict of an answer: of the last JSON object in it that has one; undecided where there is none.

    >>> verdict_in('Let me see. {"verdict": "same"}')
    'same'
    """
    found = re.findall(r'\{[^{}]*"verdict"\s*:\s*"(same|different)"[^{}]*\}', answer if isinstance(answer, str) else "")
    distinct = set(found)
    return found[-1] if len(distinct) == 1 else "undecided"
