"""Who is asked: a model behind an endpoint or on this machine, as a recipe or the command line names it."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field, field_validator

from tulu_data.errors import UsageError
from tulu_data.llm.client import Backend, Budget, Client
from tulu_data.llm.endpoint import DEFAULT_URL, Endpoint
from tulu_data.llm.journal import Journal
from tulu_data.llm.prices import Price, price_of
from tulu_data.strict import Strict


class ModelSpec(Strict):
    """A model and how it is asked. base_url: of an OpenAI-compatible server; several share the work."""

    model: str
    backend: Literal["openai", "vllm"] = "openai"
    base_url: str | list[str] = DEFAULT_URL
    key_env: str = Field(default="OPENAI_API_KEY", description="variable that holds the key")
    temperature: float | None = Field(default=None, ge=0)
    top_p: float | None = Field(default=None, ge=0, le=1)
    max_tokens: int | None = Field(default=None, ge=1)
    params: dict[str, Any] = Field(default_factory=dict, description="other parameters of the request")
    engine: dict[str, Any] = Field(default_factory=dict, description="what vllm.LLM takes besides the model")
    max_in_flight: int = Field(default=256, ge=1)
    rpm: float | None = Field(default=None, gt=0)
    tpm: float | None = Field(default=None, gt=0)
    timeout_s: float = Field(default=300.0, gt=0)
    deadline_s: float = Field(default=900.0, gt=0)
    tries: int = Field(default=6, ge=1)
    budget_usd: float | None = Field(default=None, gt=0)
    budget_tokens: int | None = Field(default=None, ge=1)
    price: list[float] | None = Field(default=None, description="USD per million tokens, [prompt, completion]")
    same_model: bool = Field(default=False, description="a run goes on at another server of the same model")

    @field_validator("params")
    @classmethod
    def _others(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name in ("model", "messages"):
            if name in value:
                raise ValueError(f"{name!r} is no parameter; the request has its own")
        return value

    @field_validator("price")
    @classmethod
    def _pair(cls, value: list[float] | None) -> list[float] | None:
        if value is not None and (len(value) != 2 or not all(0 <= v < math.inf for v in value)):
            raise ValueError("must be two numbers from 0, [prompt, completion]")
        return value

    @property
    def urls(self) -> list[str]:
        """The servers."""
        return [self.base_url] if isinstance(self.base_url, str) else list(self.base_url)

    @property
    def request_params(self) -> dict[str, Any]:
        """What every request holds besides its messages."""
        named = {k: getattr(self, k) for k in ("temperature", "top_p", "max_tokens")}
        return {**{k: v for k, v in named.items() if v is not None}, **self.params}

    @property
    def known_price(self) -> Price | None:
        """What its tokens cost; None where that is not known."""
        return Price(*self.price) if self.price else price_of(self.model)

    def check(self) -> None:
        """`UsageError` where a budget cannot be kept."""
        if self.backend == "vllm" and (self.budget_usd or self.budget_tokens):
            raise UsageError("a budget is kept of a server's answers; vllm runs here and has none: leave it out")
        if self.budget_usd and self.backend == "openai" and self.known_price is None:
            raise UsageError(f"budget in USD: the price of {self.model!r} is not known; give --price IN,OUT")


class Asked(NamedTuple):
    """Who answers, and the journal that keeps the answers."""

    backend: Backend
    journal: Journal


@contextmanager
def asking(spec: ModelSpec, folder: Path) -> Iterator[Asked]:
    """The backend of a model, with its journal in `folder`."""
    spec.check()
    if spec.backend == "vllm":
        from tulu_data.llm.offline_vllm import OfflineVLLM

        with Journal(folder, [f"vllm:{spec.model}"], same_model=spec.same_model) as journal:
            yield Asked(OfflineVLLM(spec.model, journal, spec.engine), journal)
        return
    urls = spec.urls
    share = -(-spec.max_in_flight // len(urls))
    key = os.environ.get(spec.key_env)
    endpoints = [Endpoint(url, key, share, spec.rpm, spec.tpm) for url in urls]
    budget = Budget(spec.budget_usd, spec.budget_tokens)
    with Journal(folder, [e.url for e in endpoints], same_model=spec.same_model) as journal:
        yield Asked(
            Client(
                endpoints,
                journal,
                budget,
                spec.known_price,
                tries=spec.tries,
                timeout_s=spec.timeout_s,
                deadline_s=spec.deadline_s,
            ),
            journal,
        )
