"""What tokens cost, from a dated table or the user; a model that is not in it has no price, and is never guessed at."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import NamedTuple

from tulu_data.llm.request import Usage


class Price(NamedTuple):
    """USD per million tokens."""

    prompt: float
    completion: float

    def of(self, usage: Usage, *, share: float = 1.0) -> float | None:
        """What an answer costs; None where the server did not say how long it was."""
        if usage.prompt is None or usage.completion is None:
            return None
        return share * (usage.prompt * self.prompt + usage.completion * self.completion) / 1e6


@cache
def table() -> dict[str, Price]:
    """Prices by model, as listed on the date in `prices.yaml`."""
    import yaml

    listed = yaml.safe_load((files("tulu_data.llm") / "prices.yaml").read_text(encoding="utf-8"))
    return {name: Price(*map(float, pair)) for name, pair in listed["models"].items()}


def price_of(model: str) -> Price | None:
    """The price of a model by its name, or by its name without the date at its end.

    >>> price_of("gpt-4o-2024-08-06").completion, price_of("my-model")
    (10.0, None)
    """
    known = table()
    if model in known:
        return known[model]
    undated = model.rsplit("-", 3)
    dated = len(undated) == 4 and all(part.isdigit() for part in undated[1:])
    return known.get(undated[0]) if dated else None
