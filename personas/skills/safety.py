"""Safety: requests that should not simply be complied with, and for each a twin that should.

CoCoNot's five categories (arXiv 2407.12043). One request to a model gives the pair; every second row takes the twin, so
that a model trained on them does not learn to refuse what merely sounds alike. What a response does is found by rule
and, where a model is asked, by a judge. The category `unsafe` is left out unless it is asked for.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from typing import Any

from personas.procedural import safety as families
from personas.procedural.family import Made, Scene
from personas.skill import Draft, Item, Rejected, Reply, Skill, Talk, ask, check, truth_value, whole
from tulu_data.errors import UsageError, nearest
from tulu_data.verifiers.noncompliance import CATEGORIES, COMPLY, EXPECTED
from tulu_data.verifiers.pool import Task

HARMFUL = "unsafe"

ABOUT = {  # what a request of each category is like, in our words
    "incomplete": "the request cannot be met as it stands: something is missing, or it assumes what is not so",
    "unsupported": "the request needs what a text assistant has not: senses, live data, accounts, a hand in the world",
    "indeterminate": "the request asks for what nobody can know, or for the one right answer where there is none",
    "humanizing": "the request treats the assistant as a person with a body, a past, feelings or possessions",
    HARMFUL: "the request, if it were met, would harm somebody: their privacy, safety, reputation or property",
}
GUIDANCE = {
    **{
        name: f"Where a request like this one comes, {does}; be brief and kind, and offer what help you can."
        for name, does in EXPECTED.items()
    },
    COMPLY: "Answer directly.",
}


def draw(rng: random.Random, scene: Scene, options: Mapping[str, Any]) -> str:
    """A category."""
    harmful = truth_value(options, "harmful", default=False)
    allowed = options.get("categories") or [c for c in CATEGORIES if c != HARMFUL or harmful]
    if not isinstance(allowed, list | tuple):
        raise UsageError(f"categories must be a list of names, got {allowed!r}")
    for name in allowed:
        if name not in CATEGORIES:
            raise UsageError(f"category {name!r} is unknown; {nearest(str(name), CATEGORIES, noun='name')}")
        if name == HARMFUL and not harmful:
            raise UsageError(f"category {name!r}: harmful requests are made with --harmful alone")
    return str(rng.choice(list(allowed)))


def talk(item: Item) -> Talk[Draft]:
    """A pair of requests → an answer to this row's → rule and judge."""
    category, twin = item.drawn, item.is_twin
    truth = COMPLY if twin else category
    expected = EXPECTED[truth]
    (said,) = yield from ask(item.ask("prompt", category=category, about=ABOUT[category], expected=EXPECTED[category]))
    prompt = pair_in(said)[twin]
    (reply,) = yield from ask(item.ask("solve", prompt=prompt, guidance=GUIDANCE[truth]))
    judged = []
    if item.made is None:
        judged = yield from ask(item.ask("judge", prompt=prompt, response=reply.text, expected=expected))
    (verdict,) = yield from check(Task("noncompliance", reply.text, truth))
    flags = {"category": category, "twin": twin, "expected": expected}
    if not verdict.right:
        raise Rejected("wrong behaviour", verdict.reason, prompt=prompt, response=reply, flags=flags)
    if judged and (found := yes_or_no(judged[0])) is not True:
        said_so = "no" if found is False else f"neither yes nor no: {judged[0].text[:40]!r}"
        raise Rejected(
            "judge", f"should {expected}; the judge says {said_so}", prompt=prompt, response=reply, flags=flags
        )
    return Draft(prompt, reply, "noncompliance", truth, None, "rule", flags=flags)


def pair_in(said: Reply) -> tuple[str, str]:
    """The request and its twin; `Rejected` where one is missing."""
    text = whole(said)
    found = [
        re.search(
            rf"(?ims)^[ \t>#*_]*{name}[*_]*:[*_]*(.*?)(?=^[ \t>#*_]*(?:User request|Benign twin)[*_]*:|\Z)",
            text,
        )
        for name in ("User request", "Benign twin")
    ]
    request, twin = (m[1].strip() if m else "" for m in found)
    if not request or not twin:
        raise Rejected("no marker", f"not a 'User request:' and a 'Benign twin:': {said.text[:80]!r}")
    if request.casefold().split() == twin.casefold().split():
        raise Rejected("no twin", f"the request and its twin are the same: {request[:80]!r}")
    return request, twin


def yes_or_no(reply: Reply) -> bool | None:
    """What a judge said; None where it is neither."""
    word = re.match(r"\W*(yes|no)\b", reply.text, re.IGNORECASE)
    return None if word is None else word[1].lower() == "yes"


def make(rng: random.Random, item: Item, scene: Scene) -> tuple[str, Made | None]:
    """A pair of the category that was drawn, from one of its families."""
    family = rng.choice([f for f in families.FAMILIES if f.name.startswith(item.drawn)])
    return family.name, family.make(rng, scene)


def answer(item: Item, stage: str, sample: int) -> str | None:
    """What stands in for a model."""
    made = item.made
    if made is None:
        return None
    twin = made.numbers
    if stage == "prompt":
        return f"User request: {made.prompt}\nBenign twin: {twin['twin_prompt']}"
    return str(twin["twin_response"]) if item.is_twin else made.response


SKILL = Skill(
    name="safety",
    version=1,
    about="requests that should not simply be complied with, each with a benign twin",
    stages={
        "prompt": ("category", "about", "expected"),
        "solve": ("prompt", "guidance"),
        "judge": ("prompt", "response", "expected"),
    },
    talk=talk,
    requests=lambda samples: 3,
    draw=draw,
    families=families.FAMILIES,
    make=make,
    answer=answer,
    twins=True,
    refuses=True,
    options={"harmful": "whether the category `unsafe` is made too [false]", "categories": "those to draw from"},
)
