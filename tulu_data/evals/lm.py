"""The models that lm-evaluation-harness runs: transformers and vLLM in this process, or an OpenAI-compatible server."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from sys import stderr
from types import SimpleNamespace
from typing import Any, Literal

from pydantic import Field

from tulu_data.errors import InputError, TuluError, UsageError
from tulu_data.llm.endpoint import DEFAULT_URL
from tulu_data.strict import Strict

Family = Literal["hf", "vllm", "api", "other"]
FAMILIES: dict[str, Family] = {
    "lm_eval.models.huggingface": "hf",
    "lm_eval.models.vllm_causallms": "vllm",
    "lm_eval.models.api_models": "api",
}
# How a server is asked: messages, which it renders; a text as it is; or tokens, rendered here.
Way = Literal["messages", "text", "tokens"]
NEVER_CUT = 1 << 30  # tokens: lm-eval would cut prompts at 2,048; what is too long, the server refuses
TIMEOUT_S = 1_800  # lm-eval's 300 is short for 4,096 tokens from a busy server
TRIES = 5  # with waits of 1 to 10 s between
NEEDS = {
    "hf": ("torch", "transformers", "accelerate"),
    "vllm": ("vllm",),
    "openai": ("tenacity", "aiohttp", "requests"),
}


class Backend(Strict):
    """A model and what runs it. A server's key is in `OPENAI_API_KEY`; one of your own needs none."""

    kind: Literal["hf", "vllm", "openai"] = "hf"
    model: str = Field(description="a folder or a name on the hub; for openai, the server's name of it")
    base_url: str = Field(default=DEFAULT_URL, description="of an OpenAI-compatible server, with its /v1")
    chat: bool = Field(default=True, description="openai: the server renders chats; else they are rendered here")
    tokenizer: str | None = Field(default=None, description="folder or name, where the model's own is not to be used")
    batch: int | Literal["auto"] = Field(default=1, description="prompts in a batch; for openai, requests in flight")
    device: str | None = Field(default=None, description="hf: as cuda:0; the first GPU, or the CPU, where not given")
    dtype: str = Field(default="auto", description="hf, vllm: as bfloat16; auto takes the model's own")
    args: dict[str, Any] = Field(default_factory=dict, description="what else lm-eval's class for it takes")

    def open(self) -> Model:
        """The model, loaded; of a server, that it is there. `TuluError` in one line where it cannot be had."""
        if find_spec("lm_eval") is None:
            raise UsageError("lm-evaluation-harness is not installed; pip install 'tulu-data[eval]'")
        missing = [name for name in NEEDS[self.kind] if find_spec(name) is None]
        if missing:
            extra = {"hf": "eval,train", "vllm": "eval,vllm", "openai": "eval"}[self.kind]
            raise UsageError(f"{self.kind}: {', '.join(missing)} not installed; pip install 'tulu-data[{extra}]'")
        if self.kind == "openai":
            _reach(self.base_url)
            return Model(None, self)
        return Model(_made(self._local, f"model {self.model}"), self)

    def _local(self) -> Any:
        from lm_eval.api.registry import get_model

        asked = {"pretrained": self.model, "batch_size": self.batch, "dtype": self.dtype}
        if self.tokenizer:
            asked["tokenizer"] = self.tokenizer
        if self.kind == "hf":
            asked["device"] = self.device or "auto"  # a name it does not know: the first GPU, or the CPU
        return get_model(self.kind)(**asked | self.args)

    def _served(self, way: Way) -> Any:
        from lm_eval.api.registry import get_model

        asked: dict[str, Any] = {"model": self.model, "max_length": NEVER_CUT, "batch_size": 1}
        asked |= {"timeout": TIMEOUT_S, "max_retries": TRIES}
        asked["num_concurrent"] = 1 if self.batch == "auto" else self.batch
        url = self.base_url.rstrip("/")
        if way == "messages":
            return get_model("local-chat-completions")(base_url=f"{url}/chat/completions", **asked | self.args)
        asked["base_url"] = f"{url}/completions"
        if way == "text":
            asked |= {"tokenizer_backend": None, "tokenized_requests": False}
        else:
            asked |= {"tokenizer_backend": "huggingface", "tokenized_requests": True}
            asked["tokenizer"] = self.tokenizer or self.model
        return get_model("local-completions")(**asked | self.args)


@dataclass
class Model:
    """An opened model: an `lm_eval.api.model.LM`, or a server that is asked in up to three ways."""

    one: Any
    backend: Backend | None = None
    ways: dict[Way, Any] = field(default_factory=dict)

    def way(self, output: str, chat: bool) -> Way:
        """How an item of a task goes to the model."""
        if self.one is not None or self.backend is None:
            return "text"
        if output == "options":
            return "tokens"  # a chat server gives no log-likelihoods of what it is sent
        if not chat:
            return "text"
        return "messages" if self.backend.chat else "tokens"

    def lm(self, way: Way) -> Any:
        """The `LM` that is asked in a way."""
        if self.one is not None or self.backend is None:
            return self.one
        if way not in self.ways:
            backend = self.backend
            place = f"tokenizer {backend.tokenizer or backend.model}" if way == "tokens" else backend.base_url
            self.ways[way] = _made(lambda: backend._served(way), place)
        return self.ways[way]


def _reach(url: str) -> None:
    """`InputError` where nobody listens; whatever a server answers, it is there."""
    try:
        urllib.request.urlopen(f"{url.rstrip('/')}/models", timeout=10).close()
    except urllib.error.HTTPError as e:
        e.close()
    except (OSError, ValueError) as e:
        reason = getattr(e, "reason", e)
        raise InputError(f"{url}: no server answers ({reason}); start it, or mend base_url") from None


def _made(make: Any, place: str) -> Any:
    """What lm-eval makes; `InputError` in one line for a model that is not there or cannot be loaded."""
    try:
        with redirect_stdout(stderr):
            return make()
    except TuluError:
        raise
    except (OSError, ValueError, TypeError, ImportError) as e:
        said = str(e).strip().split("\n")[0]
        raise InputError(f"{place}: cannot be opened: {said or type(e).__name__}") from e


def family(lm: Any) -> Family:
    """Which of lm-eval's models an `LM` is, told without importing them: each draws torch or vLLM in."""
    return next((FAMILIES[c.__module__] for c in type(behind(lm)).__mro__ if c.__module__ in FAMILIES), "other")


def behind(lm: Any) -> Any:
    """The model behind lm-eval's cache of responses, or the model itself."""
    return lm.lm if type(lm).__name__ == "CachingLM" else lm


@contextmanager
def tokens_of(lm: Any, kind: Family, chat: bool) -> Iterator[None]:
    """A rendered chat holds its special tokens already; a raw text gets those that the tokenizer adds."""
    lm = behind(lm)
    before = getattr(lm, "add_bos_token", None)
    if kind in ("hf", "vllm") and before is None:
        lm.add_bos_token = False if chat else None
    elif kind == "api":
        lm.add_bos_token = not chat
    try:
        yield
    finally:
        if kind != "other":
            lm.add_bos_token = before


@contextmanager
def progress_of(lm: Any, advance: Callable[[int], None]) -> Iterator[list[int]]:
    """Tells of each response as the model gives it to its cache; the list holds how many there were."""
    told = [0]
    if not hasattr(lm, "cache_hook"):
        yield told
        return
    before = lm.cache_hook

    def add_partial(attr: str, request: Any, result: Any) -> None:
        told[0] += 1
        advance(1)
        before.add_partial(attr, request, result)

    lm.set_cache_hook(SimpleNamespace(add_partial=add_partial, dbdict=before.dbdict))
    try:
        yield told
    finally:
        lm.set_cache_hook(before)


@contextmanager
def without_bars() -> Iterator[None]:
    """lm-eval's models of servers draw their bars whatever they are told."""
    from lm_eval.models import api_models

    bar, bars = api_models.tqdm, api_models.tqdm_asyncio
    api_models.tqdm = partial(bar, disable=True)
    api_models.tqdm_asyncio = SimpleNamespace(gather=partial(bars.gather, disable=True))
    try:
        yield
    finally:
        api_models.tqdm, api_models.tqdm_asyncio = bar, bars


# ------------------------------------------------------------ without weights


def in_process(model: Any) -> Any:
    """An object with `generate(messages)` as an `lm_eval.api.model.LM`; options need its `logp(messages, option)`."""
    from lm_eval.api.model import LM

    class InProcess(LM):  # type: ignore[misc]  # lm_eval has no types
        tokenizer_name = "in-process"

        def apply_chat_template(
            self, chat_history: Sequence[Mapping[str, str]], add_generation_prompt: bool = True
        ) -> Rendered:
            return Rendered(chat_history)

        def generate_until(self, requests: Sequence[Any]) -> list[str]:
            return [model.generate(_messages(r.args[0])) for r in requests]

        def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
            if not hasattr(model, "logp"):
                raise NotImplementedError(f"{type(model).__name__} has no logp(messages, option)")
            return [(model.logp(_messages(r.args[0]), r.args[1]), False) for r in requests]

        def loglikelihood_rolling(self, requests: Sequence[Any]) -> list[float]:
            raise NotImplementedError("no task asks for it")

    return InProcess()


class Rendered(str):
    """A conversation as text that still holds its messages."""

    messages: tuple[Mapping[str, str], ...]

    def __new__(cls, messages: Sequence[Mapping[str, str]]) -> Rendered:  # noqa: D102
        made = super().__new__(cls, "\n".join(f"{m['role']}: {m['content']}" for m in messages))
        made.messages = tuple(messages)
        return made


def _messages(prompt: str) -> tuple[Mapping[str, str], ...]:
    return prompt.messages if isinstance(prompt, Rendered) else ({"role": "user", "content": prompt},)
