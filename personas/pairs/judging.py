"""Judge pairs, after UltraFeedback (arXiv 2310.01377) and Tülu 3 (arXiv 2411.15124 §5.2, Figures 37-42).

Four models, drawn by the seed from a pool, answer; a judge rates each answer by four aspects from 1 to 5, all answers
at once and in an order drawn by the seed. The best mean is chosen, and a lower one, drawn by the seed, rejected.

Every answer has a label that says nothing of its place. A rating belongs to the label that it names, never to the place
where it stands; and where the judge copied how a text begins, a rating under another text's label is not taken. A
rating that is missing, or given twice, takes that answer out and no other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any, NamedTuple

from personas.pairs.pair import Pair, Side, Source
from personas.prompts import Prompts
from personas.skill import Ask, Rejected, Talk, ask

ASPECTS = ("helpfulness", "instruction-following", "honesty", "truthfulness")
MAY_BE_VOID = ("honesty", "truthfulness")  # aspects that may not apply
TEXTS = 4  # answers of a prompt; arXiv 2411.15124 §5.2
WORST, BEST = 1, 5
JUDGE = "judge"  # the judge's route
ON_POLICY = "on-policy"  # the route of the model that is being trained
_LETTERS = "BCDFGHKMNPRSTVWXZ"

STRUCTURE = {
    "type": "json_schema",
    "json_schema": {
        "name": "ratings",
        "strict": True,
        "schema": {
            "type": "object",
            "additionalProperties": False,
            "required": ["ratings"],
            "properties": {
                "ratings": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "additionalProperties": False,
                        "required": ["id", "begins", "rationale", "rating"],
                        "properties": {
                            "id": {"type": "string"},
                            "begins": {"type": "string"},
                            "rationale": {"type": "string"},
                            "rating": {"type": ["integer", "string"]},
                        },
                    },
                }
            },
        },
    },
}


class Rating(NamedTuple):
    """What a judge said of one text: 1 to 5, or None where the aspect does not apply."""

    value: int | None
    rationale: str = ""


class Text(NamedTuple):
    """An answer under its label."""

    id: str
    text: str


def judge(
    source: Source,
    prompts: Prompts,
    pool: Sequence[str],
    *,
    texts: int = TEXTS,
    both_orders: bool = False,
    on_policy: bool = False,
) -> Talk[Pair]:
    """Answers of drawn models → ratings by aspect → the best against a lower one.

    pool: the routes of the models. on_policy: one of the answers is the model's in training, and stands on one side.
    both_orders: the judge is asked a second time with the texts turned round, and the ratings are averaged.
    """
    rng = source.rng("models")
    routes = rng.sample(list(pool), min(len(pool), texts - on_policy)) + [ON_POLICY] * on_policy
    replies = yield from ask(*(Ask("complete", source.messages, 0, route) for route in routes))
    labels = labels_of(source, len(replies))
    whole = [i for i, r in enumerate(replies) if r.text and r.finish_reason != "length"]
    if len(whole) < 2:
        raise Rejected("too few answers", f"{len(whole)} of {len(replies)} are whole")
    shuffled = source.rng("order").sample(whole, len(whole))
    orders = [shuffled, shuffled[::-1]] if both_orders else [shuffled]
    asks = [
        Ask(aspect, _question(prompts, aspect, source, [Text(labels[i], replies[i].text) for i in order]), k, JUDGE)
        for aspect in ASPECTS
        for k, order in enumerate(orders)
    ]
    said = yield from ask(*asks)
    shown = {labels[i]: replies[i].text for i in whole}
    rated = [ratings_in(reply.text, shown, void=a.stage in MAY_BE_VOID) for a, reply in zip(asks, said, strict=True)]
    means = {i: mean_of([r.get(labels[i]) for r in rated]) for i in whole}
    evidence = {
        "models": {labels[i]: replies[i].answer.model for i in whole},
        "means": {labels[i]: means[i] for i in whole},
        "judge": said[0].answer.model,
        "judgements": [
            {
                "aspect": a.stage,
                "order": [labels[i] for i in orders[a.sample]],
                "ratings": {k: r.value for k, r in found.items()},
            }
            for a, found in zip(asks, rated, strict=True)
        ],
    }
    try:
        best, lower = chosen_of(means, source, routes.index(ON_POLICY) if on_policy else None)
    except Rejected as rejected:
        rejected.known = evidence
        raise
    return Pair(Side.of(replies[best], means[best]), Side.of(replies[lower], means[lower]), evidence)


def labels_of(source: Source, count: int) -> list[str]:
    """Labels that say nothing of the place: two letters and a digit each."""
    rng = source.rng("labels")
    labels: list[str] = []
    while len(labels) < count:
        label = f"{rng.choice(_LETTERS)}{rng.choice(_LETTERS)}{rng.randint(2, 9)}"
        if label not in labels:
            labels.append(label)
    return labels


def _question(prompts: Prompts, aspect: str, source: Source, texts: Sequence[Text]) -> tuple[dict[str, str], ...]:
    asked = "\n\n".join(str(m["content"]) for m in source.messages if m["role"] != "system")
    return prompts[aspect].messages({"prompt": asked, "texts": texts, "na": aspect in MAY_BE_VOID})


# ------------------------------------------------------------ reading what the judge said


def ratings_in(reply: str, texts: Mapping[str, str], *, void: bool = True) -> dict[str, Rating]:
    """The ratings of a reply by label: of JSON, else of text with a heading and a `Rating:` line for each.

    texts: label → text. void: whether N/A is allowed. Left out is what has an unknown label, no rating from 1 to 5,
    another text's beginning, or a label that has two different ratings.
    """
    found: dict[str, Rating] = {}
    twice: set[str] = set()
    for label, begins, said, rationale in _json_entries(reply, texts) or _text_entries(reply, texts):
        known = _label(label, texts)
        value = _value(said)
        if known is None or value is _MISSING or (value is None and not void) or _is_another(begins, known, texts):
            continue
        rating = Rating(value, rationale)
        if known in found and found[known].value != value:
            twice.add(known)
        found[known] = rating
    return {k: v for k, v in found.items() if k not in twice}


_MISSING: Any = object()
Entry = tuple[str, str, Any, str]  # label, how the text begins, what stands as rating, rationale


def _json_entries(reply: str, texts: Mapping[str, str]) -> list[Entry]:
    return [
        (str(e.get("id", "")), str(e.get("begins") or ""), e.get("rating"), str(e.get("rationale") or ""))
        for value in _objects(reply)
        for e in _listed(value, texts)
    ]


def _objects(reply: str) -> Iterator[dict[str, Any]]:
    """The outermost JSON objects that are whole; the text around them may hold braces of its own."""
    decoder, end = json.JSONDecoder(object_pairs_hook=_once), 0
    for brace in re.finditer(r"\{", reply):
        if brace.start() < end:
            continue
        try:
            value, end = decoder.raw_decode(reply, brace.start())
        except ValueError:
            continue
        except RecursionError:
            return
        yield value


def _listed(value: dict[str, Any], texts: Mapping[str, str]) -> list[dict[str, Any]]:
    """The ratings in an object: it holds them as a list or by label, is by label itself, or is one rating."""
    if "rating" in value:
        return [value]
    within = value.get("ratings", value if any(_label(k, texts) for k in value) else None)
    if isinstance(within, dict):
        return [{"id": k, **(v if isinstance(v, dict) else {"rating": v})} for k, v in within.items()]
    return [e for e in within if isinstance(e, dict)] if isinstance(within, list) else []


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """An object; what a key says is null where it stands twice and says two things."""
    value: dict[str, Any] = {}
    for key, said in pairs:
        value[key] = said if value.get(key, said) == said else None
    return value


def _text_entries(reply: str, texts: Mapping[str, str]) -> list[Entry]:
    """Sections by the lines that begin with a label; what stands before the first belongs to none.

    Nor does what follows a label that is no text's, or a line that goes on as a sentence.
    """
    gap = r"[^\w\n]{0,12}"
    names = "|".join(map(re.escape, texts))
    heads = list(
        re.finditer(
            rf"(?im)^(?:{gap}\d+[.)])?{gap}(?:(?:output|rating|feedback)\s+for\s+)?"
            rf"(?:(?:text\s+)?{gap}({names}|(?-i:[A-Z]{{2}}[0-9]))|text\s+{gap}(?-i:[A-Z]|[0-9]+))\b({gap})(?=(\w*))",
            reply,
        )
    )
    entries = []
    for head, after in zip(heads, [*heads[1:], None], strict=False):
        heading = not head[3] or head[3][:1].isdigit() or head[3].lower() in ("rating", "rationale", "n", "na")
        label = head[1] if head[1] and (heading or re.search("[:=|\u2013\u2014-]", head[2])) else ""
        section = reply[head.end() : after.start() if after else len(reply)]
        said = set(
            re.findall(rf"(?im)^{gap}rating{gap}(n/?a\b|\d[\d.]*)", section)
            or re.findall(rf"(?i)\brating{gap}[:=]{gap}(n/?a\b|\d[\d.]*)", section)
            or re.findall(r"(?i)\A\s*(n/?a\b|\d[\d.]*)", section)
        )
        rationale = re.search(rf"(?i)rationale{gap}[:=]?\s*(.+)", section)
        entries.append((label, "", said.pop() if len(said) == 1 else None, rationale[1].strip() if rationale else ""))
    return entries


def _label(said: str, texts: Mapping[str, str]) -> str | None:
    bare = re.sub(r"(?i)^\W*(?:text\s+)?\W*|\W+$", "", said).upper()
    return bare if bare in texts else None


def _value(said: Any) -> Any:
    """1 to 5, None for N/A, else missing."""
    if isinstance(said, str):
        text = said.strip().strip("*_ ").lower()
        if text in ("n/a", "na"):
            return None
        number = re.fullmatch(r"([0-9])(?:\.0*)?(?:\s*/\s*5)?\.?", text)
        said = int(number[1]) if number else _MISSING
    if isinstance(said, bool) or not isinstance(said, int | float) or not WORST <= said <= BEST or said != int(said):
        return _MISSING
    return int(said)


def _is_another(begins: str, label: str, texts: Mapping[str, str]) -> bool:
    """Whether the words that were copied begin another text, and not the one of this label."""
    copied = _words(begins)[:5]
    if len(copied) < 2:
        return False
    fits = [k for k, text in texts.items() if _words(text)[: len(copied)] == copied]
    return bool(fits) and label not in fits


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def mean_of(ratings: Iterable[Rating | None]) -> float | None:
    """The mean of the ratings that apply; None where one is missing or none applies."""
    listed = list(ratings)
    values = [r.value for r in listed if r is not None and r.value is not None]
    return fmean(values) if values and None not in listed else None


def chosen_of(means: Mapping[int, float | None], source: Source, on_policy: int | None) -> tuple[int, int]:
    """The best and a lower one, by their means; drawn by the seed where several stand alike. `Rejected` on a tie."""
    known = {i: m for i, m in means.items() if m is not None}
    if len(known) < 2:
        raise Rejected("missing ratings", f"{len(known)} of {len(means)} answers are rated by every aspect")
    rng = source.rng("pair")
    if on_policy is not None:
        if on_policy not in known:
            raise Rejected("missing ratings", "the on-policy answer is not rated by every aspect")
        own = known[on_policy]
        others = [i for i in known if i != on_policy and known[i] != own]
        if not others:
            raise Rejected("tie", f"all answers have the mean {own:g}")
        other = rng.choice(others)
        return (on_policy, other) if own > known[other] else (other, on_policy)
    top = max(known.values())
    lower = [i for i, m in known.items() if m < top]
    if not lower:
        raise Rejected("tie", f"all answers have the mean {top:g}")
    return rng.choice([i for i, m in known.items() if m == top]), rng.choice(lower)


class Bias(NamedTuple):
    """How much higher a judge rates the same text when it stands earlier, over ratings given in both orders."""

    mean: float
    ratings: int


def position_bias(evidence: Iterable[Mapping[str, Any]]) -> Bias | None:
    """The mean of (rating when earlier - rating when later) over texts that were rated in both orders; None of none."""
    differences = []
    for pair in evidence:
        by_aspect: dict[str, list[Mapping[str, Any]]] = {}
        for judgement in pair.get("judgements", ()):
            by_aspect.setdefault(judgement["aspect"], []).append(judgement)
        for one, other in (j for j in by_aspect.values() if len(j) == 2):
            for label, rating in one["ratings"].items():
                again = other["ratings"].get(label)
                earlier = other["order"].index(label) - one["order"].index(label)
                if rating is not None and again is not None and earlier:
                    differences.append((rating - again) * (1 if earlier > 0 else -1))
    return Bias(fmean(differences), len(differences)) if differences else None
