"""vLLM in this process: prompts in chunks, each chunk's answers in the journal before the next. Extra `[vllm]`.

Written against vLLM 0.33: `LLM(model, **engine)`, `LLM.chat(messages, sampling_params, use_tqdm)` and `SamplingParams`.
It was not run with vLLM itself here, for want of a GPU; the tests hold its calls to that version's signatures.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib.util import find_spec
from itertools import chain, islice
from typing import Any

from tulu_data.errors import UsageError
from tulu_data.llm.client import Tally, Then, Watch
from tulu_data.llm.journal import Entry, Journal
from tulu_data.llm.request import Answer, Failure, Request, answer_of

CHUNK = 1_024  # requests between two writes: a kill loses at most so many answers
RENAMED = {"max_completion_tokens": "max_tokens"}  # the API's names → SamplingParams'


@dataclass
class OfflineVLLM:
    """A model on this machine's GPUs. engine: what `vllm.LLM` takes besides the model."""

    model: str
    journal: Journal
    engine: Mapping[str, Any] = field(default_factory=dict)
    chunk: int = CHUNK

    @cached_property
    def _llm(self) -> Any:
        import vllm

        return vllm.LLM(model=self.model, **self.engine)

    def run(self, requests: Iterable[Request], then: Then, *, watch: Watch | None = None) -> Tally:
        """See `Backend`. What the journal answers is not computed again."""
        if find_spec("vllm") is None:
            raise UsageError("vLLM is not installed; pip install 'tulu-data[vllm]' on a machine with a GPU")
        tally = Tally()
        remaining: Iterator[Request] = iter(requests)
        while some := list(islice(remaining, self.chunk)):
            further: list[Request] = []
            for request, outcome in self._answered(some):
                tally.count(outcome)
                further.extend(then(request, outcome) or ())
                if watch is not None:
                    watch(tally)
            remaining = chain(further, remaining)
        return tally

    def _answered(self, requests: list[Request]) -> Iterator[tuple[Request, Answer | Failure]]:
        new = [r for r in requests if r.key not in self.journal]
        for start in _same_params(new):
            self._compute(start)
        before = {r.key for r in requests} - {r.key for r in new}
        for request in requests:
            kept = self.journal.get(request.key)
            assert kept is not None  # it was there, or has just been written
            yield (
                request,
                answer_of(request, kept.reply, endpoint=kept.endpoint, attempts=1, usd=0.0, kept=request.key in before),
            )

    def _compute(self, requests: list[Request]) -> None:
        import vllm

        params = {RENAMED.get(k, k): v for k, v in requests[0].params.items()}
        outputs = self._llm.chat(
            [list(r.messages) for r in requests], sampling_params=vllm.SamplingParams(**params), use_tqdm=False
        )
        for request, output in zip(requests, outputs, strict=True):
            self.journal.keep(Entry(request.key, f"vllm:{self.model}", 1, 0.0, reply_of(self.model, output)))


def _same_params(requests: Iterable[Request]) -> Iterator[list[Request]]:
    """Groups of requests that are sampled alike: one call takes one set of parameters."""
    groups: dict[str, list[Request]] = {}
    for request in requests:
        groups.setdefault(repr(sorted(request.params.items())), []).append(request)
    yield from groups.values()


def reply_of(model: str, output: Any) -> dict[str, Any]:
    """A `vllm.RequestOutput` as a chat completion."""
    choices = [
        {"index": i, "message": {"role": "assistant", "content": o.text}, "finish_reason": o.finish_reason}
        for i, o in enumerate(output.outputs)
    ]
    usage = {
        "prompt_tokens": len(output.prompt_token_ids or ()),
        "completion_tokens": sum(len(o.token_ids) for o in output.outputs),
    }
    return {"model": model, "choices": choices, "usage": usage}
