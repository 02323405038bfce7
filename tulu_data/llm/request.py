"""A request to a model, and the answer: plain data, the same for every backend."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from typing import Any, NamedTuple

KEY_HEX = 32  # digits of a request's key
CHAT = "/chat/completions"
EMBEDDINGS = "/embeddings"


@dataclass(frozen=True)
class Request:
    """What is asked of a model.

    messages: as the API takes them. params: everything else of the body (`temperature`, `max_tokens`, `n`, …).
    sample: tells apart askings of the same thing that should each have an answer of their own; it is not sent. tag: the
    caller's own, not sent and not part of the key. path: what is asked of the server; embeddings have no messages, and
    their `input` is a parameter.
    """

    model: str
    messages: tuple[Mapping[str, Any], ...]
    params: Mapping[str, Any] = field(default_factory=dict)
    sample: int = 0
    tag: Any = None
    path: str = CHAT

    @property
    def body(self) -> dict[str, Any]:
        """What is sent."""
        messages = {"messages": list(self.messages)} if self.path == CHAT else {}
        return {"model": self.model, **messages, **self.params}

    @cached_property
    def key(self) -> str:
        """A hash of what is sent and of the sample index: what an answer is kept under."""
        text = json.dumps(
            [self.path, self.body, self.sample], sort_keys=True, ensure_ascii=False, separators=(",", ":")
        )
        return sha256(text.encode()).hexdigest()[:KEY_HEX]


class Usage(NamedTuple):
    """Tokens as the server counts them; None where it does not say."""

    prompt: int | None
    completion: int | None

    @property
    def total(self) -> int:
        """Both; what is not known counts nothing."""
        return (self.prompt or 0) + (self.completion or 0)


class Answer(NamedTuple):
    """What a model answered.

    text: of the first choice, None where it gave none. texts: of all. finish_reason: `stop`, `length`, … refusal: the
    API's own refusal field. ignored: parameters that the reply shows were not honoured. usd: None where no price is
    known. attempts: requests that it took. raw: the server's reply.
    """

    key: str
    text: str | None
    texts: tuple[str | None, ...]
    finish_reason: str | None
    refusal: str | None
    model: str | None
    usage: Usage
    usd: float | None
    ignored: tuple[str, ...]
    attempts: int
    endpoint: str
    raw: dict[str, Any]
    kept: bool = False  # read from the journal, not asked for again


class Failure(NamedTuple):
    """A request that has no answer: why, and whether another try could help."""

    key: str
    reason: str
    status: int | None
    attempts: int


def answer_of(
    request: Request, raw: dict[str, Any], *, endpoint: str, attempts: int, usd: float | None, kept: bool = False
) -> Answer:
    """The answer in a reply; `ValueError` where it is none. Embeddings are left in `raw`: their answer has no text."""
    if request.path == EMBEDDINGS:
        return _embeddings(request, raw, endpoint=endpoint, attempts=attempts, usd=usd, kept=kept)
    choices = raw.get("choices")
    if not isinstance(choices, list) or not choices:
        raise ValueError("a reply without choices")
    messages = [c.get("message") for c in choices if isinstance(c, dict)]
    if len(messages) < len(choices) or not all(isinstance(m, dict) for m in messages):
        raise ValueError("a choice without a message")
    texts = tuple(dict(m or {}).get("content") for m in messages)
    if not all(isinstance(t, str | None) for t in texts):
        raise ValueError("a message whose content is no text")
    counted = dict(raw.get("usage") or {})
    usage = Usage(counted.get("prompt_tokens"), counted.get("completion_tokens"))
    return Answer(
        key=request.key,
        text=texts[0],
        texts=texts,
        finish_reason=choices[0].get("finish_reason"),
        refusal=dict(messages[0] or {}).get("refusal"),
        model=raw.get("model"),
        usage=usage,
        usd=usd,
        ignored=ignored_in(request, raw, texts, usage),
        attempts=attempts,
        endpoint=endpoint,
        raw=raw,
        kept=kept,
    )


def _embeddings(request: Request, raw: dict[str, Any], **told: Any) -> Answer:
    if not isinstance(raw.get("data"), list):
        raise ValueError("the answer holds no vectors")
    usage = Usage(dict(raw.get("usage") or {}).get("prompt_tokens"), 0)
    return Answer(
        request.key,
        None,
        (),
        finish_reason=None,
        refusal=None,
        model=raw.get("model"),
        usage=usage,
        ignored=(),
        raw=raw,
        **told,
    )


def ignored_in(
    request: Request, raw: Mapping[str, Any], texts: tuple[str | None, ...], usage: Usage
) -> tuple[str, ...]:
    """The parameters that a reply shows were not honoured. `seed` and `temperature` cannot be told from one reply."""
    params, choices = request.params, raw["choices"]
    limit = params.get("max_completion_tokens", params.get("max_tokens"))
    stops = params.get("stop") or ()
    stops = (stops,) if isinstance(stops, str) else tuple(stops)
    form = dict(params.get("response_format") or {}).get("type")
    shown = {
        "n": (params.get("n") or 1) != len(choices),
        "logprobs": bool(params.get("logprobs")) and any(c.get("logprobs") is None for c in choices),
        "max_tokens": bool(limit) and usage.completion is not None and usage.completion > limit * len(choices),
        "stop": any(s in t for s in stops for t in texts if t),
        "response_format": form in ("json_object", "json_schema")
        and any(c.get("finish_reason") == "stop" and not _is_json(t) for c, t in zip(choices, texts, strict=True)),
        "model": bool(raw.get("model")) and not _same_model(request.model, str(raw["model"])),
    }
    return tuple(name for name, not_honoured in shown.items() if not_honoured)


def _is_json(text: str | None) -> bool:
    try:
        json.loads(text or "")
    except (ValueError, RecursionError):
        return False
    return True


def _same_model(asked: str, answered: str) -> bool:
    """`gpt-4o` is answered by `gpt-4o-2024-08-06`; a server may name a folder by its last part."""
    return answered.startswith(asked) or asked.startswith(answered) or asked.rstrip("/").endswith(f"/{answered}")
