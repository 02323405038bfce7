"""Responses of a model to a task's items, through lm-evaluation-harness: its models and its batching, our requests.

Its own way to a request is a task's YAML, whose Jinja templates it compiles anew for every sample; the items already
are whole conversations, so its `Instance`s are made here from them. Where this departs from what it ships:

- A chat gets no beginning-of-sequence token but its template's own, as from servers; it adds the tokenizer's.
- A template that takes no system turn is refused; it drops the turn.
- Stop strings end a text wherever it came from; a chat server is told the first four, and some keep the stop string.
- Samples of one prompt differ: it sends the same seed with each, and a server that heeds it gives one answer n times.
- Top-k and the repetition penalty of a model's `generation_config.json` are off where the model runs here.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass
from hashlib import sha256
from itertools import groupby
from re import sub
from typing import Any, Protocol

from jinja2 import TemplateError

from tulu_data.errors import InputError, UsageError
from tulu_data.evals.lm import (
    Backend,
    Family,
    Model,
    behind,
    family,
    in_process,
    progress_of,
    tokens_of,
    without_bars,
)
from tulu_data.evals.scoring import samples_of
from tulu_data.evals.task import Decoding, Item, Response, Task
from tulu_data.progress import Advance, Progress, Silent

# Responses that are asked for together, which is the most that an interruption loses: enough to fill the batches.
CHUNK = 512  # vLLM batches by itself, 256 at once; lm-eval looks for a batch size anew in each chunk
BATCHES = 8  # of transformers and of requests in flight, so that few are not full
LEAST = 32
SEED = 1_234  # lm-eval's own, of the first sample
# Of lm-eval's warnings: where a server's model ends is the server's to know; an exception's text may hold the key.
UNTOLD = ("Cannot determine EOS string", "Exception:")
# How its warnings of a prompt that is cut begin, under transformers and under vLLM, and what to do about it.
CUTS = ("Left truncation applied", "Context length (")
CUT_SHORT = " Fewer --max-tokens leave more room for a prompt."
SHOWN = 300  # characters of a message that lm-eval or a server gave


class Generates(Protocol):
    """A model in this process. Beside it may have `logp(messages, option) -> float`, for tasks that weigh options."""

    def generate(self, messages: Sequence[Mapping[str, str]]) -> str:
        """The answer to a conversation."""
        ...


def respond(
    model: Backend | Model | Generates | Any,
    task: Task,
    items: Sequence[Item],
    *,
    progress: Progress | None = None,
    chunk: int | None = None,
) -> list[Response]:
    """The responses to a task's items, in the order of items and samples.

    model: a backend, which is opened; an opened one, for several tasks; an `lm_eval.api.model.LM`; or an object with
    `generate`. An options task gives log-likelihoods, each the sum over the option's tokens; white space that the
    prompt ends with counts as the option's, for the sake of tokens that span both, and is the same for all options.
    `UsageError` where the model cannot do what the task asks, `InputError` where its server does not answer.
    """
    return [r for some in responding(model, task, items, progress=progress, chunk=chunk) for r in some]


def responding(
    model: Backend | Model | Generates | Any,
    task: Task,
    items: Sequence[Item],
    *,
    progress: Progress | None = None,
    chunk: int | None = None,
) -> Iterator[list[Response]]:
    """The same, as they come: after each `chunk` of responses, for who keeps them. An item's samples come together.

    chunk: where none is given, some batches of the model, so that an interruption costs little.

    A sample at a temperature hangs on the chunk it is in where the model runs here under transformers.
    """
    opened = _opened(model)
    shown: Progress = progress or Silent()
    samples = samples_of(task)
    noted: set[str] = set()
    with shown.task(f"{task.id}: responses", len(items) * samples) as advance:
        size = max(1, (chunk or chunk_of(opened)) // samples)
        for start in range(0, len(items), size):
            with _said_as_notes(shown, noted) as said:
                responses = _responses(opened, task, items[start : start + size], advance, said)
            yield responses


def _opened(model: Backend | Model | Generates | Any) -> Model:
    if isinstance(model, Model):
        return model
    if isinstance(model, Backend):
        return model.open()
    if hasattr(model, "generate") and not hasattr(model, "generate_until"):
        return Model(in_process(model))
    return Model(model)


def chunk_of(model: Model) -> int:
    """How many responses are asked for together."""
    if model.backend is not None and model.backend.kind == "openai":
        in_flight = model.backend.batch
        return max(LEAST, BATCHES * (1 if in_flight == "auto" else in_flight))
    kind = family(model.one)
    batch = getattr(behind(model.one), "batch_size", None)
    if kind == "hf" and isinstance(batch, int):
        return max(LEAST, BATCHES * batch)
    return LEAST if kind == "other" else CHUNK


@dataclass(frozen=True)
class Asking:
    """One of a model's ways, and what it is asked for. said: what lm-eval warned of meanwhile."""

    lm: Any
    task: Task
    chat: bool
    advance: Advance
    said: Sequence[str]

    @property
    def kind(self) -> Family:
        """Which of lm-eval's models it is."""
        return family(self.lm)


def _responses(model: Model, task: Task, items: Sequence[Item], advance: Advance, said: list[str]) -> list[Response]:
    """In the items' order, whichever of the model's ways each of them goes."""
    found: dict[int, list[Response]] = {}
    ways = sorted((model.way(task.output, item.chat), item.chat, i) for i, item in enumerate(items))
    for (way, chat), group in groupby(ways, key=lambda w: w[:2]):
        indices = [i for *_, i in group]
        asking = Asking(model.lm(way), task, chat, advance, said)
        _check(asking)
        of_one = _weighed if task.output == "options" else _generated
        found |= zip(indices, of_one(asking, [items[i] for i in indices]), strict=True)
    return [r for i in range(len(items)) for r in found[i]]


def _check(asking: Asking) -> None:
    lm, task = asking.lm, asking.task
    if getattr(lm, "world_size", 1) > 1:
        raise UsageError(
            "evaluations run in one process; for several GPUs use vllm with tensor_parallel_size, or a server"
        )
    tokens = task.decoding.max_tokens
    if asking.kind in ("hf", "vllm") and task.output == "generate" and (context := behind(lm).max_length) <= tokens:
        raise UsageError(
            f"{task.id}: max_tokens {tokens:,} leaves no room for a prompt in the model's context of "
            f"{context:,} tokens; give fewer with --max-tokens"
        )


def _weighed(asking: Asking, items: Sequence[Item]) -> list[list[Response]]:
    asked = [[(prompt, text) for text, _ in item.options] for prompt, item in _prompts(asking, items)]
    answers = _ask(asking, "loglikelihood", items, asked)
    return [[Response(item.id, 0, "", tuple(float(p) for p, _ in a))] for item, a in zip(items, answers, strict=True)]


def _generated(asking: Asking, items: Sequence[Item]) -> list[list[Response]]:
    decoding = asking.task.decoding
    asked = [
        [(prompt, _generation(decoding, asking.kind, item, k)) for k in range(decoding.samples)]
        for prompt, item in _prompts(asking, items)
    ]
    answers = _ask(asking, "generate_until", items, asked)
    return [
        [Response(item.id, k, until(text, decoding.stop)) for k, text in enumerate(texts)]
        for item, texts in zip(items, answers, strict=True)
    ]


def _prompts(asking: Asking, items: Sequence[Item]) -> Iterator[tuple[Any, Item]]:
    for item in items:
        yield (_rendered(asking, item) if asking.chat else item.messages[-1]["content"]), item


def _rendered(asking: Asking, item: Item) -> Any:
    """A conversation as its model takes it: text, or messages as JSON for a chat server."""
    lm, place = asking.lm, f"{asking.task.id}: {item.id}"
    tokenizer = getattr(lm, "tokenizer", None)
    if tokenizer is not None and not getattr(tokenizer, "chat_template", True):
        raise UsageError(
            f"{asking.task.id}: the model's tokenizer has no chat template; evaluate a chat model, "
            "or give a tokenizer that has one (backend: tokenizer)"
        )
    messages = [dict(m) for m in item.messages]
    others = [m for m in messages if m["role"] != "system"]
    try:
        prompt = lm.apply_chat_template(messages)
        dropped = len(others) < len(messages) and lm.apply_chat_template(others) == prompt
    except TemplateError as e:
        raise UsageError(f"{place}: the model's chat template refuses the conversation: {e}") from e
    if dropped and any(m["content"].strip() for m in messages if m["role"] == "system"):
        raise UsageError(
            f"{place}: the model's chat template takes no system turn; put its text into the user's first turn"
        )
    return prompt


def _generation(decoding: Decoding, kind: Family, item: Item, sample: int) -> dict[str, Any]:
    """What lm-eval calls generation kwargs, in the dialect of a kind of model."""
    asked: dict[str, Any] = {"until": list(decoding.stop), "max_gen_toks": decoding.max_tokens}
    sampling = decoding.temperature > 0
    asked |= {"do_sample": sampling, "temperature": decoding.temperature}
    if sampling:
        asked["top_p"] = decoding.top_p
    if kind == "hf":
        asked |= {"repetition_penalty": 1.0} | ({"top_k": 0} if sampling else {})
    elif kind == "vllm" and sampling:
        asked["seed"] = _seed(item.id, sample)
    elif kind == "api" and sampling:
        # By sample alone: lm-eval sends requests at the same time only where their kwargs are the same.
        asked["seed"] = SEED + sample
    return asked


def _seed(*of: object) -> int:
    return int.from_bytes(sha256(repr(of).encode()).digest()[:4])


def until(text: str, stop: Sequence[str]) -> str:
    """A text up to the first of the stop strings."""
    return text[: min((at for s in stop if s and (at := text.find(s)) >= 0), default=len(text))]


# ------------------------------------------------------------ through lm-eval


def _ask(
    asking: Asking, method: str, items: Sequence[Item], asked: Sequence[Sequence[tuple[Any, Any]]]
) -> list[list[Any]]:
    """What a model gave for each item's requests."""
    from lm_eval.api.instance import Instance

    lm, task, kind = asking.lm, asking.task, asking.kind
    requests = [
        Instance(method, {"id": item.id}, arguments, k, (task.id, i, 1))
        for i, (item, mine) in enumerate(zip(items, asked, strict=True))
        for k, arguments in enumerate(mine)
    ]
    counted = method == "generate_until"  # of options, the items count
    with ExitStack() as stack:
        stack.enter_context(redirect_stdout(sys.stderr))  # lm-eval prints the batch size it found
        stack.enter_context(tokens_of(lm, kind, asking.chat))
        told = stack.enter_context(progress_of(lm, asking.advance if counted else lambda _: None))
        if kind == "api":
            stack.enter_context(without_bars())
        if kind == "hf" and task.decoding.temperature > 0:
            from lm_eval.utils import set_torch_seed

            set_torch_seed(_seed(SEED, items[0].id))
        call = getattr(lm, method)
        quiet = {"disable_tqdm": True} if kind != "other" and behind(lm) is lm else {}
        try:
            answers = iter(call(requests, **quiet))
        except NotImplementedError as e:
            raise UsageError(f"{task.id}: the model cannot do what the task asks: {e}") from e
        except Exception as e:
            if kind != "api":  # what a server sends is not ours; the rest is a bug, and keeps its traceback
                raise
            raise InputError(f"{task.id}: {_server_fault(behind(lm), e, asking.said)}") from e
        unread = [s for s in asking.said if s.startswith("Could not parse generations")]
        if unread:  # lm-eval takes them for empty answers
            raise InputError(f"{task.id}: {_server_fault(behind(lm), ValueError(unread[0]), asking.said)}")
        found = [[next(answers) for _ in mine] for mine in asked]
    asking.advance(len(requests) - told[0] if counted else len(items))
    return found


def _server_fault(lm: Any, error: Exception, said: Sequence[str]) -> str:
    status = getattr(error, "status", None) or getattr(getattr(error, "response", None), "status_code", None) or 0
    refused = [s for s in said if s.startswith("API request failed")]
    if status >= 400 and refused:
        why = refused[-1].removesuffix(". Retrying...")
    elif isinstance(error, OSError) or status:
        why = f"{type(error).__name__}: {error}"
    else:
        why = f"its reply is no completion ({type(error).__name__}: {error})"
    return f"{lm.base_url} does not answer as asked: {_line(why)}; see the server's log and the model's name"


def _line(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}…"


@contextmanager
def _said_as_notes(progress: Progress, noted: set[str]) -> Iterator[list[str]]:
    """lm-eval's warnings (a prompt cut short, an answer that was none), each kind of them once, as notes.

    noted: the beginnings of those that were told of already.
    """
    said: list[str] = []

    class Notes(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            message = record.getMessage()
            if message.startswith(UNTOLD):
                return
            said.append(message)
            kind = sub(r"\d+", "", message)[:40]
            if kind not in noted:
                noted.add(kind)
                progress.note(f"lm-eval: {_line(message)}{CUT_SHORT if message.startswith(CUTS) else ''}")

    logger, handler = logging.getLogger("lm_eval"), Notes(logging.WARNING)
    propagated = logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield said
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagated
