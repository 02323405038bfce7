"""What a run of pairs will ask and cost, as far as it can be told before anything is asked."""

from __future__ import annotations

from itertools import islice
from statistics import fmean
from typing import NamedTuple

from personas.pairs import judging
from personas.pairs.pair import PairWork
from personas.pairs.running import PairJob
from personas.planning import ANSWER_TOKENS, CHARS_PER_TOKEN
from personas.skill import Asks, Rejected
from tulu_data.llm.request import Request, Usage

LOOKED_AT = 200  # rows from whose prompts the tokens are estimated


class Cost(NamedTuple):
    """Of one model. usd: None where its price is not known."""

    route: str
    model: str
    requests: int
    prompt_tokens: int
    completion_tokens: int
    usd: float | None


def first_request(work: PairWork) -> Request | None:
    """The first question of the first row that asks one."""
    for item in islice(work.items(), LOOKED_AT):
        try:
            step = next(work.talk(item))
        except Rejected:
            continue
        return work.request(item, step.asks[0]) if isinstance(step, Asks) else None
    return None


def estimate(job: PairJob) -> list[Cost]:
    """Requests, tokens and USD by model; answers are taken to be as long as `max_tokens`, or `ANSWER_TOKENS`."""
    work, settings = job.work, job.settings
    prompts = [sum(len(str(m["content"])) for m in s.messages) for s in islice(work.items(), LOOKED_AT)]
    prompt = (fmean(prompts) if prompts else 0.0) / CHARS_PER_TOKEN
    texts = min(settings.get("texts", judging.TEXTS), len(work.models) - 1)
    found = []
    for route, spec in work.models.items():
        longest = spec.request_params.get("max_tokens") or ANSWER_TOKENS
        if work.method == "relax":
            each, tokens = 2.0, prompt
        elif work.method == "verified":
            each, tokens = float(settings.get("samples", 4)), prompt
        elif route == judging.JUDGE:
            each, tokens = len(judging.ASPECTS) * (1.0 + settings.get("both_orders", False)), prompt + texts * longest
        elif route == judging.ON_POLICY:
            each, tokens = 1.0, prompt
        else:
            on_policy = judging.ON_POLICY in work.models
            pool = len(work.models) - 1 - on_policy
            each, tokens = min(pool, texts - on_policy) / pool, prompt
        requests = round(work.n * each)
        usage = Usage(round(requests * tokens), requests * longest)
        usd = spec.known_price.of(usage) if spec.known_price else None
        found.append(
            Cost(
                route,
                spec.model,
                requests,
                usage.prompt or 0,
                usage.completion or 0,
                usd,
            )
        )
    return found
