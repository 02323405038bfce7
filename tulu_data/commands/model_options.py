"""The options that say which model is asked and how, shared by every command that asks one."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from tulu_data.llm.spec import ModelSpec

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--base-url", multiple=True, help="Server, http://HOST:PORT/v1; several share the work [default: OpenAI]."
    ),
    click.option("--key-env", default="OPENAI_API_KEY", show_default=True, help="Variable that holds the key."),
    click.option("--temperature", type=float, help="[default: the server's]"),
    click.option("--top-p", type=float, help="[default: the server's]"),
    click.option("--max-tokens", type=click.IntRange(min=1), help="Of an answer [default: the server's]."),
    click.option("--param", "params", multiple=True, metavar="KEY=JSON", help="Another parameter of the request."),
    click.option(
        "--max-in-flight", type=click.IntRange(min=1), default=256, show_default=True, help="Requests at once."
    ),
    click.option("--rpm", type=click.FloatRange(min=0, min_open=True), help="Requests a minute [default: as told]."),
    click.option("--tpm", type=click.FloatRange(min=0, min_open=True), help="Tokens a minute [default: as told]."),
    click.option("--timeout", "timeout_s", type=float, default=300.0, show_default=True, help="Seconds for one try."),
    click.option(
        "--deadline", "deadline_s", type=float, default=900.0, show_default=True, help="Seconds for all tries."
    ),
    click.option(
        "--tries", type=click.IntRange(min=1), default=6, show_default=True, help="For a request; a 429 is none."
    ),
    click.option("--budget-usd", type=click.FloatRange(min=0, min_open=True), help="Stop before more is spent."),
    click.option("--budget-tokens", type=click.IntRange(min=1), help="Stop before more are used."),
    click.option("--price", metavar="IN,OUT", help="USD per million tokens [default: a dated table]."),
    click.option("--same-model", is_flag=True, help="The run goes on at another server of the same model."),
)
NAMES = (
    "base_url", "key_env", "temperature", "top_p", "max_tokens", "params", "max_in_flight", "rpm", "tpm", "timeout_s",
    "deadline_s", "tries", "budget_usd", "budget_tokens", "price", "same_model",
)  # fmt: skip


def model_options(command: F) -> F:
    """All of them, in this order in the help."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def spec_of(model: str, options: Mapping[str, Any], *, backend: str = "openai") -> ModelSpec:
    """The options as a spec; `UsageError` where one cannot be read."""
    from tulu_data.llm.spec import ModelSpec
    from tulu_data.strict import validate

    return validate(ModelSpec, {"model": model, "backend": backend, **plain(options)}, "options")


def plain(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were given, as a recipe would hold them."""
    given = {k: options[k] for k in NAMES if options[k] is not None and k not in ("base_url", "params", "price")}
    if options["base_url"]:
        given["base_url"] = list(options["base_url"])
    if options["params"]:
        given["params"] = dict(_param(text) for text in options["params"])
    if options["price"]:
        given["price"] = _price(options["price"])
    return given


def _param(given: str) -> tuple[str, Any]:
    from tulu_data.errors import UsageError

    name, _, text = given.partition("=")
    try:
        value = json.loads(text)
    except ValueError:
        name = ""
    if not name:
        raise UsageError(f"--param {given!r}: write it as KEY=JSON, e.g. stop='[\"###\"]'")
    return name, value


def _price(text: str) -> list[float]:
    from tulu_data.errors import UsageError

    try:
        prompt, completion = map(float, text.split(","))
    except ValueError:
        raise UsageError(f"--price {text!r}: write it as IN,OUT in USD per million tokens, e.g. 0.15,0.60") from None
    return [prompt, completion]
