"""A model that is asked about pairs that are near in meaning: is this the test question, in other words?

Any OpenAI-compatible chat endpoint. An answer is kept and never asked for again; what is no answer (an error, a
time-out, another format) leaves the pair undecided, which is never clean, and is asked again the next time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pyarrow as pa

from decontam.evidence import FOUND
from decontam.highlighting import Highlighter
from decontam.result import Audit, Scan, judged
from decontam.verdicts import Layer
from tulu_data.llm.client import Client, Interrupted, Stopped
from tulu_data.llm.endpoint import Endpoint
from tulu_data.llm.journal import Journal
from tulu_data.llm.request import Answer, Failure, Request, answer_of
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
TRIES = 3

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
    said: list[Judgement | None] = [None] * len(audit.pairs)
    for i in chosen:
        said[i] = "undecided"
    with progress.task(f"judge {judge.model}", len(chosen)) as advance:

        def hear(places: Sequence[int], verdict: Judgement) -> None:
            for place in places:
                said[chosen[place]] = verdict
            advance(len(places))

        trouble = _ask(judge, list(_questions(audit, chosen)), hear, cache, wait_s)
    undecided = said.count("undecided")
    if undecided:
        progress.note(
            f"judge {judge.model}: {undecided:,} of {len(chosen):,} pairs are undecided ({trouble}); run "
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


def _ask(
    judge: Judge,
    questions: Sequence[Question],
    hear: Callable[[Sequence[int], Judgement], None],
    cache: Path | None,
    wait_s: float,
) -> str:
    """Asks each distinct question once, and says why there was no answer. What was answered before is not asked."""
    places: dict[Question, list[int]] = {}
    for i, question in enumerate(questions):
        places.setdefault(question, []).append(i)
    trouble = ""

    def told(request: Request, outcome: Answer | Failure) -> None:
        nonlocal trouble
        verdict: Judgement = "undecided"
        if isinstance(outcome, Failure):
            trouble = outcome.reason
        elif (verdict := verdict_in(outcome.text)) == "undecided":
            trouble = "an answer was not in the format that was asked for"
        hear(request.tag, verdict)

    who = sha256(canonical_json([judge.url, judge.facts])).hexdigest()[:16]
    with ExitStack() as stack:
        try:
            endpoint = Endpoint(judge.url, max_in_flight=AT_ONCE)
            folder = cache / "judgements" / who if cache is not None else None
            journal = stack.enter_context(Journal(folder, [endpoint.url])) if folder is not None else None
            client = Client([endpoint], journal, tries=TRIES, timeout_s=wait_s, deadline_s=TRIES * wait_s)
            client.run((_request(judge, q, p, journal) for q, p in places.items()), told)
        except Interrupted:
            raise
        except Stopped as e:
            trouble = str(e)
    return trouble


def _request(judge: Judge, question: Question, places: list[int], journal: Journal | None) -> Request:
    """The question as it is put. An answer that was none is kept too, and the next sample asked in its place."""
    content = f"Test question:\n<<<\n{question.test}\n>>>\n\nTraining text:\n<<<\n{question.train}\n>>>"
    messages = ({"role": "system", "content": SYSTEM}, {"role": "user", "content": content})
    request = Request(judge.model, messages, {"temperature": 0, "max_tokens": ANSWER_TOKENS}, tag=places)
    while journal is not None and (kept := journal.get(request.key)) is not None:
        text = answer_of(request, kept.reply, endpoint=kept.endpoint, attempts=1, usd=None).text
        if verdict_in(text) != "undecided":
            break
        request = replace(request, sample=request.sample + 1)
    return request


def verdict_in(answer: Any) -> Judgement:
    """The verdict of an answer: of the last JSON object in it that has one; undecided where there is none.

    >>> verdict_in('Let me see. {"verdict": "same"}')
    'same'
    """
    found = re.findall(r'\{[^{}]*"verdict"\s*:\s*"(same|different)"[^{}]*\}', answer if isinstance(answer, str) else "")
    distinct = set(found)
    return found[-1] if len(distinct) == 1 else "undecided"
