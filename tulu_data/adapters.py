"""Raw record → rows: one pure function per source shape, and the detection of the shape.

A converter gets one record as its file holds it and returns rows that carry the content columns of their
kind and what the record says of itself: `subset`, `license`, `tags`, `tools`, `prov.orig_id`. Digests and
identity come later (`rows.finish`). A record of another shape raises `AdapterError`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from tulu_data.errors import InputError, UsageError, nearest
from tulu_data.fields import (
    ANSWERED,
    ANSWERS,
    CONTEXTS,
    CONVERSATIONS,
    GUARD_FIELDS,
    IDS,
    LABELS,
    PROMPTS,
    RESPONSES,
    SUBSETS,
    SYSTEMS,
    AdapterError,
    MissingFieldError,
    Record,
    asked_in,
    assistant_turn,
    canonical,
    dialogue_of,
    field,
    held,
    is_dialogue,
    is_number,
    label,
    messages_of,
    other_shape,
    reply_of,
    role_of,
    row_of,
    shown,
    text_of,
    user_turn,
    with_context,
    with_system,
)
from tulu_data.rows import Kind, Message, Row, check, spec_of

__all__ = ["ADAPTERS", "FIELDS", "KNOWN", "Adapter", "AdapterError", "Record", "Sniff", "adapter", "convert", "sniff"]

SIDES = ("chosen", "rejected")
RATINGS = ("{}_rating", "score_{}", "{}_score", "{}-rating", "rating_{}")
MODELS = ("{}_model", "{}-model", "model_{}")


# ------------------------------------------------------------ sft


def from_alpaca(record: Record) -> list[Row]:
    """`instruction`, `input` or `context`, `output` or `response`; `system` and `history` where there are."""
    asked = with_context(record, text_of(record[field(record, ("instruction",))], "instruction"))
    output = field(record, ("output", "response"))
    before: list[Message] = []
    for i, pair in enumerate(record.get("history") or ()):
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise AdapterError(f"history[{i}] must be a [question, answer] pair, got {shown(pair)}")
        before += [
            user_turn(text_of(pair[0], f"history[{i}][0]")),
            assistant_turn(text_of(pair[1], f"history[{i}][1]")),
        ]
    reply = assistant_turn(text_of(record[output], output, number=True))
    return [row_of(record, with_system(record, [*before, user_turn(asked), reply]))]


def from_sharegpt(record: Record) -> list[Row]:
    """`conversations` (or `conversation`): a list of {from, value} or {role, content}."""
    name = field(record, CONVERSATIONS)
    return [row_of(record, with_system(record, messages_of(record[name], name)))]


def from_messages(record: Record) -> list[Row]:
    """`messages`: a list of {role, content}, or its JSON text."""
    name = field(record, ("messages",))
    return [row_of(record, with_system(record, messages_of(record[name], name)))]


def from_tulu(record: Record) -> list[Row]:
    """The Tülu 3 SFT mixture: `id`, `messages`, `source`."""
    for name in ("id", "source"):
        if label(record, (name,)) is None:
            raise MissingFieldError(f"{name} must be text, got {shown(record.get(name))}")
    return from_messages(record)


def from_prompt_response(record: Record) -> list[Row]:
    """A prompt and a response under any of their names; either may be a message list."""
    asked = asked_in(record)
    prompt_field = field(record, (*PROMPTS, *CONVERSATIONS, "messages"))
    name = field(record, [n for n in RESPONSES if n != prompt_field])
    return [row_of(record, [*asked, *reply_of(record[name], name, number=True)])]


def from_flan(record: Record) -> list[Row]:
    """FLAN and T0: `inputs` and `targets`, or the same with `_pretokenized`; the task's name is the subset."""
    inputs = field(record, ("inputs", "inputs_pretokenized"))
    targets = field(record, ("targets", "targets_pretokenized"))
    messages = [
        user_turn(text_of(record[inputs], inputs)),
        assistant_turn(text_of(record[targets], targets, number=True)),
    ]
    subset = label(record, ("task_name", "_task_name", "task", *SUBSETS))
    return [row_of(record, messages, subset=subset)]


def _is_refused(node: Record) -> bool:
    """Whether OASST's moderators took this message out."""
    labels = node.get("labels")
    spam = labels.get("spam") if isinstance(labels, Mapping) else None
    score = spam.get("value") if isinstance(spam, Mapping) else None
    is_spam = is_number(score) and float(score) > 0.5  # type: ignore[arg-type]
    return bool(node.get("deleted") or node.get("spam") or node.get("review_result") is False or is_spam)


def _best_first(node: Record) -> list[Record]:
    replies = node.get("replies") or ()
    if not isinstance(replies, list | tuple):
        raise AdapterError(f"replies must be a list of messages, got {type(replies).__name__} {shown(replies)}")
    kept = [r for r in replies if isinstance(r, Mapping) and not _is_refused(r)]
    return sorted(kept, key=lambda r: r["rank"] if is_number(r.get("rank")) else math.inf)


def _threads(root: Record) -> Iterator[list[tuple[Record, Message]]]:
    """Every path from the root to an assistant message that no answered turn follows, best ranks first."""
    nodes: list[tuple[Record, Message, int]] = []  # in reading order, each with the position of its parent
    todo: list[tuple[Record, int]] = [] if _is_refused(root) else [(root, -1)]
    while todo:
        node, parent = todo.pop()
        todo += [(reply, len(nodes)) for reply in reversed(_best_first(node))]
        message = {"role": role_of(node.get("role"), "role"), "content": text_of(node.get("text"), "text")}
        nodes.append((node, message, parent))
    goes_on = [False] * len(nodes)
    for i in reversed(range(len(nodes))):
        _, message, parent = nodes[i]
        if parent >= 0 and (goes_on[i] or message["role"] == "assistant"):
            goes_on[parent] = True
    for i, (_, message, _) in enumerate(nodes):
        if message["role"] == "assistant" and not goes_on[i]:
            path, at = [], i
            while at >= 0:
                path.append(nodes[at][:2])
                at = nodes[at][2]
            yield path[::-1]


def from_oasst(record: Record) -> list[Row]:
    """A tree of messages (`prompt` with `replies`): a row for each of its threads, `<tree>/<message id>`.

    Deleted and spam messages are left out with what follows them, and so are turns nobody answered.
    """
    root = record.get("prompt", record)
    if not isinstance(root, Mapping) or "replies" not in root:
        raise MissingFieldError("prompt must be a message with replies: an OASST tree, not one message of it")
    tree = label(record, ("message_tree_id", *IDS)) or label(root, ("message_id",))
    rows = []
    for path in _threads(root):
        leaf = label(path[-1][0], ("message_id", *IDS))
        orig_id = f"{tree}/{leaf}" if tree and leaf else None
        rows.append(row_of(record, [message for _, message in path], orig_id=orig_id))
    if not rows:
        raise AdapterError("no message of the tree is answered by an assistant; remove the tree")
    return rows


# ------------------------------------------------------------ preference


def _split(chosen: list[Message], rejected: list[Message]) -> tuple[list[Message], list[Message], list[Message]]:
    """Two dialogues → their common prompt, which ends before an assistant turn, and what follows it in each."""
    if chosen == rejected:
        raise AdapterError("chosen and rejected are equal; remove the pair")
    n = 0
    while n < min(len(chosen), len(rejected)) and chosen[n] == rejected[n]:
        n += 1
    while n and chosen[n - 1]["role"] not in ("user", "tool"):
        n -= 1
    if not n:
        raise AdapterError(
            f"chosen and rejected share no prompt; they start with {shown(chosen[0]['content'], 30)} "
            f"and {shown(rejected[0]['content'], 30)}"
        )
    return chosen[:n], chosen[n:], rejected[n:]


def _sided(record: Record, patterns: Iterable[str], side: str) -> Any:
    """The value of the first filled field of a family such as `chosen_rating`, `score_chosen`."""
    return next((record[name] for p in patterns if record.get(name := p.format(side)) is not None), None)


def _pair_row(record: Record, prompt: list[Message], chosen: list[Message], rejected: list[Message]) -> Row:
    extra: dict[str, Any] = {}
    for side in SIDES:
        rating, model = _sided(record, RATINGS, side), _sided(record, MODELS, side)
        extra[f"{side}_rating"] = float(rating) if is_number(rating) else None
        extra[f"{side}_model"] = model if isinstance(model, str) else None
    return row_of(record, prompt, chosen=chosen, rejected=rejected, **extra)


def from_hh(record: Record) -> list[Row]:
    """Anthropic HH: `chosen` and `rejected` are whole dialogues in one text each."""
    chosen, rejected = (dialogue_of(text_of(record[field(record, (side,))], side), side) for side in SIDES)
    return [_pair_row(record, *_split(chosen, rejected))]


def from_preference_explicit(record: Record) -> list[Row]:
    """TRL explicit: a prompt (text or message list), `chosen` and `rejected` without it."""
    prompt = asked_in(record)
    sides = []
    for side in SIDES:
        reply = reply_of(record[field(record, (side,))], side)
        if reply[0]["role"] != "assistant":
            raise AdapterError(
                f"{side} starts with {reply[0]['role']!r}; if it holds the prompt it is preference-implicit"
            )
        sides.append(reply)
    return [_pair_row(record, prompt, *sides)]


def from_preference_implicit(record: Record) -> list[Row]:
    """TRL implicit: `chosen` and `rejected` are whole message lists that share their prompt."""
    chosen, rejected = (messages_of(record[field(record, (side,))], side) for side in SIDES)
    return [_pair_row(record, *_split(*(with_system(record, side) for side in (chosen, rejected))))]


def _from_pair(record: Record) -> list[Row]:
    chosen = record.get("chosen")
    if "completions" in record:
        return from_ultrafeedback(record)
    if is_dialogue(chosen) and held(record, PROMPTS) is None:
        return from_hh(record)
    holds_prompt = isinstance(chosen, list | tuple) and messages_of(chosen, "chosen")[0]["role"] != "assistant"
    return from_preference_implicit(record) if holds_prompt else from_preference_explicit(record)


def from_ultrafeedback_binarized(record: Record) -> list[Row]:
    """UltraFeedback binarized: a preference pair with `score_chosen`, `score_rejected` (or `chosen_rating`, …)."""
    for side in SIDES:
        if not is_number(_sided(record, RATINGS, side)):
            raise MissingFieldError(
                f"score_{side} (or {side}_rating) must be a number, got {_sided(record, RATINGS, side)!r}"
            )
    return _from_pair(record)


def _mean_rating(completion: Record) -> float | None:
    """The mean over the annotated aspects; None without one. The ratings are text: "4", or "N/A"."""
    annotations = completion.get("annotations")
    aspects = annotations.values() if isinstance(annotations, Mapping) else ()
    ratings = [str(a.get("Rating", "")) for a in aspects if isinstance(a, Mapping)]
    numbers = [float(r) for r in ratings if r.replace(".", "", 1).isdecimal()]
    return sum(numbers) / len(numbers) if numbers else None


def _overall_score(completion: Record) -> float | None:
    score = completion.get("overall_score")
    return float(score) if is_number(score) else None  # type: ignore[arg-type]


def _scores(completions: Sequence[Record]) -> list[float]:
    """One scale for all: the mean of the aspects, or else the overall score."""
    for score in (_mean_rating, _overall_score):
        scores = [score(c) for c in completions]
        if None not in scores:
            return [s for s in scores if s is not None]
    raise AdapterError("completions must all have annotations with a Rating, or all an overall_score")


def from_ultrafeedback(record: Record) -> list[Row]:
    """UltraFeedback as published: `instruction` and rated `completions`; the best rated against the worst."""
    prompt = asked_in(record)
    completions = record[field(record, ("completions",))]
    if not isinstance(completions, list | tuple) or not all(isinstance(c, Mapping) for c in completions):
        raise AdapterError(f"completions must be a list of objects, got {shown(completions)}")
    if len(completions) < 2:
        raise AdapterError(f"completions must hold at least 2, got {len(completions)}")
    scores = _scores(completions)
    best, worst = scores.index(max(scores)), scores.index(min(scores))
    if best == worst:
        raise AdapterError(f"completions are all rated {scores[0]:g}; remove the record, it shows no preference")
    sided = {"chosen": best, "rejected": worst}
    replies = [reply_of(completions[i].get("response"), f"completions[{i}].response") for i in sided.values()]
    ratings = {f"{side}_rating": scores[i] for side, i in sided.items()}
    models = {f"{side}_model": completions[i].get("model") for side, i in sided.items()}
    return [_pair_row({**record, **ratings, **models}, prompt, *replies)]


def from_chosen(record: Record) -> list[Row]:
    """The chosen side of a preference pair of any shape, as a conversation."""
    rows = _from_pair(record)
    own = ("subset", "license", "tags", "tools", "prov")
    return [{"messages": [*r["messages"], *r["chosen"]], **{k: r[k] for k in own if k in r}} for r in rows]


# ------------------------------------------------------------ rlvr and prompts


def _truth(value: Any, place: str) -> str:
    if isinstance(value, list | tuple | Mapping):
        return canonical(value, place)
    return text_of(value, place, number=True)


def _verifier(record: Record, names: Sequence[str]) -> str:
    name = field(record, names)
    value = record[name]
    if isinstance(value, list | tuple):
        if len(value) != 1:
            raise AdapterError(f"{name} must name one verifier, got {shown(value)}; split the record")
        value = value[0]
    return text_of(value, name)


def _rlvr(record: Record, messages: list[Message], truth: str, verifiers: Sequence[str]) -> list[Row]:
    verifier = _verifier(record, verifiers)
    constraint = held(record, ("constraint", "constraint_type"))
    value = record[constraint] if constraint else None
    content = {
        "ground_truth": _truth(record[truth], truth),
        "verifier": verifier,
        "constraint": None if constraint is None or value in (None, "") else _truth(value, constraint),
    }
    subset = label(record, [name for name in SUBSETS if name not in verifiers])
    return [row_of(record, messages, subset=subset, **content)]


def from_rlvr(record: Record) -> list[Row]:
    """The Tülu 3 RLVR sets: `messages`, `ground_truth`, `dataset` (the verifier), `constraint`."""
    messages = messages_of(record[field(record, ("messages",))], "messages")
    return _rlvr(record, messages, field(record, ("ground_truth",)), ("verifier", "dataset"))


def from_rlvr_question(record: Record) -> list[Row]:
    """A question with a checkable answer: `prompt` or `question`, `ground_truth` or `answer`, `verifier`."""
    return _rlvr(record, asked_in(record), field(record, ("ground_truth", "answer")), ("verifier",))


def from_prompt(record: Record) -> list[Row]:
    """The prompt alone, under any of its names."""
    return [row_of(record, asked_in(record))]


def from_text(record: Record) -> list[Row]:
    """`text` as one user turn."""
    return [row_of(record, [user_turn(text_of(record[field(record, ("text",))], "text"))])]


# ------------------------------------------------------------ the registry


class Adapter(NamedTuple):
    """A source shape: what it is for, the fields it reads, and its converter."""

    name: str
    kind: Kind
    description: str
    fields: tuple[str, ...]
    convert: Callable[[Record], list[Row]]
    unless: frozenset[str] = frozenset()  # a record that fills one of these is not taken for this shape
    sniffed: bool = True  # False: used only where it is named


_PAIR = (*SIDES, "prompt")

ADAPTERS: dict[str, Adapter] = {  # the most specific first: of two that fit equally well the first is taken
    a.name: a
    for a in (
        Adapter("oasst", "sft", "OpenAssistant message trees, a row per thread", ("prompt", "replies"), from_oasst),
        Adapter(
            "ultrafeedback",
            "preference",
            "UltraFeedback: best against worst of the rated completions",
            ("instruction", "completions"),
            from_ultrafeedback,
        ),
        Adapter(
            "ultrafeedback-binarized",
            "preference",
            "preference pairs with a score for each side",
            (*_PAIR, "score_chosen", "score_rejected", "chosen_rating", "rejected_rating"),
            from_ultrafeedback_binarized,
        ),
        Adapter(
            "rlvr",
            "rlvr",
            "Tülu 3 RLVR: messages, ground_truth, dataset (the verifier), constraint",
            ("messages", "ground_truth", "dataset", "verifier", "constraint"),
            from_rlvr,
        ),
        Adapter(
            "rlvr-question",
            "rlvr",
            "prompt or question, answer, verifier",
            ("prompt", "question", "answer", "ground_truth", "verifier"),
            from_rlvr_question,
        ),
        Adapter("hh", "preference", "Anthropic HH: whole dialogues as text in chosen and rejected", SIDES, from_hh),
        Adapter(
            "preference-explicit",
            "preference",
            "TRL explicit: prompt, chosen, rejected",
            (*_PAIR, *PROMPTS, *CONVERSATIONS),
            from_preference_explicit,
        ),
        Adapter(
            "preference-implicit",
            "preference",
            "TRL implicit: chosen and rejected message lists that share the prompt",
            SIDES,
            from_preference_implicit,
        ),
        Adapter("sharegpt", "sft", "conversations of {from, value}", CONVERSATIONS, from_sharegpt),
        Adapter("tulu", "sft", "Tülu 3 SFT: id, messages, source", ("id", "messages", "source"), from_tulu),
        Adapter("messages", "sft", "OpenAI messages of {role, content}", ("messages", "tools"), from_messages),
        Adapter(
            "alpaca",
            "sft",
            "Alpaca and Dolly: instruction, input or context, output or response",
            ("instruction", *CONTEXTS, "output", "response", "history"),
            from_alpaca,
        ),
        Adapter(
            "flan",
            "sft",
            "FLAN and T0: inputs and targets",
            ("inputs", "targets", "inputs_pretokenized", "targets_pretokenized"),
            from_flan,
        ),
        Adapter(
            "prompt-response", "sft", "a prompt and a response", (*PROMPTS, *RESPONSES, *SYSTEMS), from_prompt_response
        ),
        Adapter(
            "prompt-messages",
            "prompt",
            "messages that end with the user",
            ("messages", "tools"),
            from_messages,
            ANSWERS,
        ),
        Adapter("prompt", "prompt", "a prompt without an answer", PROMPTS, from_prompt, ANSWERED),
        Adapter("text", "prompt", "plain text as a user turn", ("text",), from_text, ANSWERED | set(PROMPTS)),
        Adapter("chosen", "sft", "the chosen side of preference pairs", _PAIR, from_chosen, sniffed=False),
    )
}

# What a header row or a record may be known by; labels are left out, as any table may have an `id`.
FIELDS = frozenset(name for a in ADAPTERS.values() for name in a.fields) - LABELS
KNOWN = FIELDS | LABELS | GUARD_FIELDS | set(SYSTEMS)  # every spelling that means something here


def adapter(name: str) -> Adapter:
    """The adapter of that name; `UsageError` with the nearest names for an unknown one."""
    if name not in ADAPTERS:
        raise UsageError(f"adapter {name!r} is unknown; {nearest(name, ADAPTERS, noun='adapter')}")
    return ADAPTERS[name]


def convert(adapter: Adapter, record: Any) -> list[Row]:
    """The rows of one record, not yet checked. `AdapterError` for a record of another shape."""
    if not isinstance(record, Mapping):
        raise AdapterError(f"record must be an object with named fields, got {type(record).__name__} {shown(record)}")
    return adapter.convert(record)


# ------------------------------------------------------------ detection


class Sniff(NamedTuple):
    """Which adapter fits a sample, and how well: `confidence` is `matched / sampled`."""

    adapter: str
    confidence: float
    matched: int
    sampled: int
    runner_up: str | None


class _Fit(NamedTuple):
    """How far a record comes as an adapter's shape, and what stops it."""

    stage: int
    problem: str | None


MISSING, REFUSED, UNCHECKED, FITS = range(4)  # a field, a value, the row's check; nothing stops it


def _fit(candidate: Adapter, record: Record, *, guarded: bool) -> _Fit:
    if guarded and (name := next((n for n in record if n in candidate.unless and record[n] not in (None, "")), None)):
        return _Fit(MISSING, f"{name} is filled; pass --kind {candidate.kind} to leave it out")
    try:
        made = convert(candidate, record)
    except AdapterError as e:
        return _Fit(MISSING if isinstance(e, MissingFieldError) else REFUSED, str(e))
    problem = next((problem for row in made if (problem := check(candidate.kind, row))), None)
    return _Fit(UNCHECKED if problem else FITS, problem)


def sniff(records: Sequence[Record], *, kind: Kind | None = None) -> Sniff:
    """The adapter whose rows pass the check for most of `records`; of equals the more specific one.

    A prompt adapter is not taken for records that hold an answer, unless `kind` asks for prompts; none is taken for
    records of a shape that is known not to be read (`fields.GUARDS`).
    `InputError` where none fits half of them, with the fields seen and why the nearest does not fit.
    """
    if kind is not None:
        spec_of(kind)
    if not records:
        raise InputError("there are no records to detect a shape from; pass --adapter NAME")
    tried = [a for a in ADAPTERS.values() if a.sniffed and kind in (None, a.kind)]
    others = [other_shape(record, asked=kind) for record in records]
    fits = {
        a.name: [
            _Fit(MISSING, other) if other else _fit(a, record, guarded=kind is None)
            for record, other in zip(records, others, strict=True)
        ]
        for a in tried
    }
    matched = {name: sum(fit.stage == FITS for fit in found) for name, found in fits.items()}
    best, *rest = sorted(matched, key=lambda name: -matched[name])
    if 2 * matched[best] < len(records):
        known = [other for other in others if other]
        is_known = 2 * len(known) >= len(records)
        why = f"{known[0]} ({len(known)} of {len(records)} records)" if is_known else _why_none(records, tried, fits)
        raise InputError(f"no adapter fits: {why}; pass --adapter NAME, one of {', '.join(a.name for a in tried)}")
    runner_up = rest[0] if rest and matched[rest[0]] else None
    return Sniff(best, matched[best] / len(records), matched[best], len(records), runner_up)


def _why_none(records: Sequence[Record], tried: Sequence[Adapter], fits: Mapping[str, Sequence[_Fit]]) -> str:
    """What the records hold, and what stops them from being of the adapter they come nearest to."""
    seen = list(dict.fromkeys(str(name) for record in records for name in record))

    def nearness(a: Adapter) -> tuple[int, int, float]:
        stages = [fit.stage for fit in fits[a.name]]
        return stages.count(FITS), sum(stages), len(set(seen) & (set(a.fields) - LABELS)) / len(a.fields)

    near = max(tried, key=nearness)
    passed, reached, share = nearness(near)
    stage = max((fit.stage for fit in fits[near.name] if fit.problem), default=MISSING)
    reason = next(fit.problem for fit in fits[near.name] if fit.problem and fit.stage == stage)
    if reached:
        return f"records look like {near.name!r}, but {passed} of {len(records)} pass: {reason}"
    fields = f"the fields are {', '.join(seen[:12])}{', …' if len(seen) > 12 else ''}"
    if not share:
        return f"{fields}, of which none is read; rename them, as to prompt and response"
    return f"{fields}; nearest is {near.name} ({passed} of {len(records)} records: {reason})"
