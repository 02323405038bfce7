"""Code families about plans: spans of time, links between places, queues."""

from __future__ import annotations

import heapq
import random
from itertools import pairwise
from typing import Any

from personas.procedural.code_form import Drawn, Kind, family, things
from personas.procedural.family import Family, Scene

# ------------------------------------------------------------ spans of time


def _draw_merge(rng: random.Random) -> dict[str, Any]:
    op, gap, least = rng.choice(["<=", "<"]), rng.randint(2, 9), rng.randint(12, 30)
    total = rng.choice([True, False])
    return {
        "op": op,
        "gap": gap,
        "least": least,
        "total": total,
        "close": f"at most {gap}" if op == "<=" else f"less than {gap}",
        "unit": rng.choice(["minutes after noon", "minutes since opening", "minutes after sunrise"]),
        "type": "int" if total else "list[tuple[int, int]]",
        "said": "the total length of the kept blocks"
        if total
        else "the kept blocks as tuples `(start, end)`, earliest first",
        "none": "0" if total else "[]",
        "out": f"sum(end - start for start, end in blocks if end - start >= {least})"
        if total
        else f"[(start, end) for start, end in blocks if end - start >= {least}]",
    }


def _merge(p: Drawn, spans: list[tuple[int, int]]) -> Any:
    near = p["gap"] + (p["op"] == "<=")  # breaks shorter than this are bridged
    blocks: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if blocks and start - blocks[-1][1] < near:
            blocks[-1] = (blocks[-1][0], max(end, blocks[-1][1]))
        else:
            blocks.append((start, end))
    long = [(s, e) for s, e in blocks if e - s >= p["least"]]
    return sum(e - s for s, e in long) if p["total"] else long


def _merge_inputs(rng: random.Random, _: Scene, p: Drawn) -> list[tuple[Any, ...]]:
    gap, least = p["gap"], p["least"]

    def some(n: int) -> list[tuple[int, int]]:
        starts = [rng.randint(0, 150) for _ in range(n)]
        return [(s, s + rng.randint(3, 40)) for s in starts]

    nested = [(10, 60), (20, 30)]
    edge = [(least + gap, 2 * least + gap), (0, least)]
    example = [(90, 95 + least), (0, 20), (20 + gap - 1, 25 + least), (5, 10)]
    fixed = [[], [(3, 3 + least)], nested, edge, [(0, least - 1), (200, 200 + least)]]
    return [(s,) for s in [example, *fixed, some(5), some(8)]]


MERGE = Kind(
    names=("merge_$noun_times", "blocks_of_$noun", "join_$noun_spans"),
    signature="(spans: list[tuple[int, int]]) -> $type",
    openings=(
        "Write a Python function to find out when $name was really busy. $name, $persona, notes down, in $unit, "
        "when each task with the $a began and ended.",
        "Write a Python function named `$fn` that joins spans of time. They are the hours spent on $topic, noted "
        "$place in pieces by $persona, with times in $unit.",
        "Write a Python function named `$fn` for $persona. Work on the $b and the $a overlaps $place, and the list of "
        "spans (in $unit) should be reduced to blocks without overlap.",
        "Write a Python function to merge the entries of a time sheet. Entries are in $unit, stem from $persona, and "
        "deal with $b that were loaded and unloaded $place.",
    ),
    rules=(
        (
            "Each span is `(start, end)` with `start < end`, in no particular order; two spans belong to one block if "
            "they overlap, touch, or the break between them is $close.",
            "Merge spans `(start, end)`, where `start < end`, into blocks whenever they overlap or touch or leave a "
            "break of $close between them. The spans come unsorted.",
        ),
        (
            "Merged spans can be merged on with further ones, and a block reaches from its first start to its last "
            "end.",
            "A block covers everything from its earliest start to its latest end, the bridged breaks included, and "
            "may grow through a chain of spans.",
        ),
        (
            "Blocks shorter than $least are dropped.",
            "Only blocks with a length of $least or more are kept.",
        ),
        ("Return $said; if there are none, `$none`.", "The result is $said (`$none` where there are none)."),
    ),
    notes=(
        "It sorts the spans and lets each one extend the last block or open a new one.",
        "It inserts span after span and swallows every block that is close enough.",
    ),
    reference="""    blocks = []
    for start, end in sorted(spans):
        if blocks and start - blocks[-1][1] $op $gap:
            blocks[-1] = (blocks[-1][0], max(blocks[-1][1], end))
        else:
            blocks.append((start, end))
    return $out""",
    second="""    blocks = []
    for start, end in spans:
        apart = []
        for s, e in blocks:
            if s - end $op $gap and start - e $op $gap:
                start, end = min(start, s), max(end, e)
            else:
                apart.append((s, e))
        blocks = [*apart, (start, end)]
    blocks.sort()
    return $out""",
    slip=("max(blocks[-1][1], end)", "end"),
    draw=_draw_merge,
    twin=_merge,
    inputs=_merge_inputs,
)


# ------------------------------------------------------------ links


def _draw_reach(rng: random.Random) -> dict[str, Any]:
    both, near_first, itself = (rng.choice([True, False]) for _ in range(3))
    hops = rng.randint(2, 4)
    return {
        "both": both,
        "near_first": near_first,
        "itself": itself,
        "hops": hops,
        "way": "can be used in both directions" if both else "can be used from `a` to `b` only",
        "pairs": "((a, b), (b, a))" if both else "((a, b),)",
        "slip": "((a, b),)" if both else "((a, b), (b, a))",
        "order": "alphabetically"
        if not near_first
        else "by the number of steps needed, and alphabetically where that is equal",
        "self_rule": "is part of the result (with 0 steps)" if itself else "is not part of the result",
        "names": "steps" if itself else "[name for name in steps if name != start]",
        "sorting": ", key=lambda name: (steps[name], name)" if near_first else "",
        "rings": "rings" if itself else "rings[1:]",
        "final": "[name for ring in found for name in sorted(ring)]" if near_first else "sorted(set().union(*found))",
        "there": "{b if here == a else a for a, b in links for here in rings[-1] if here in (a, b)}"
        if both
        else "{b for a, b in links if a in rings[-1]}",
    }


def _reach(p: Drawn, links: list[tuple[str, str]], start: str) -> list[str]:
    steps = {start: 0}
    for n in range(1, p["hops"] + 1):
        last = [x for x, s in steps.items() if s == n - 1]
        for a, b in [*links, *((b, a) for a, b in links if p["both"])]:
            if a in last:
                steps.setdefault(b, n)
    names = [x for x in steps if x != start or p["itself"]]
    return sorted(names, key=lambda x: (steps[x] if p["near_first"] else 0, x))


def _reach_inputs(rng: random.Random, _: Scene, p: Drawn) -> list[tuple[Any, ...]]:
    spots = rng.sample(["gate", "barn", "mill", "shop", "yard", "pond", "hall", "kiosk", "tower", "well"], 7)

    def some(n: int) -> list[tuple[str, str]]:
        return [(spots[a], spots[b]) for a, b in (rng.sample(range(6), 2) for _ in range(n))]

    chain = list(pairwise(spots))
    turned = [(spots[0], spots[1]), (spots[2], spots[1])]
    example = [(spots[0], spots[1]), (spots[1], spots[2]), (spots[3], spots[0]), (spots[4], spots[5])]
    loop = [(spots[0], spots[0])]
    fixed = [([], spots[0]), (turned, spots[1]), (chain, spots[0]), (loop, spots[0]), (chain[:1], spots[6])]
    return [(example, spots[0]), *fixed, (some(7), spots[0]), (some(9), spots[1])]


REACH = Kind(
    names=("places_for_$noun", "where_$noun_can_go", "reach_of_$noun"),
    signature="(links: list[tuple[str, str]], start: str) -> list[str]",
    openings=(
        "Write a Python function to find the places that a cart with $a can get to. $name, $persona, moves the cart "
        "along the links between places and starts $place or elsewhere.",
        "Write a Python function named `$fn` that explores a network of places. It is used by $persona to plan where "
        "$a and $b may be brought in a few steps.",
        "Write a Python function named `$fn` for $persona. Helpers pass the $b on along fixed links, and $name wants "
        "to know who or what can be reached soon.",
        "Write a Python function to list everything within a few steps of a starting point. The links were drawn up by "
        "$persona, whose map has grown with years of $topic and of handing on $a.",
    ),
    rules=(
        (
            "A link `(a, b)` $way; return the names that can be reached from `start` in at most $hops steps, each step "
            "along one link.",
            "Each tuple `(a, b)` is a link that $way. Find all names to which at most $hops links in a row lead from "
            "`start`.",
        ),
        ("Sort the result $order.", "The names are sorted $order, each of them listed once."),
        (
            "The start itself $self_rule, even if links lead back to it.",
            "`start` $self_rule, whether or not any link names it.",
        ),
        (
            "A name may occur in no link at all, and the list of links may be empty.",
            "The links may be none, may form circles, and need not mention `start`.",
        ),
    ),
    notes=(
        "It searches breadth first and notes the number of steps to each name.",
        "It builds ring after ring of names that are new.",
    ),
    reference="""    neighbours = {}
    for a, b in links:
        for here, there in $pairs:
            neighbours.setdefault(here, []).append(there)
    steps = {start: 0}
    queue = [start]
    for name in queue:
        if steps[name] == $hops:
            break
        for other in neighbours.get(name, []):
            if other not in steps:
                steps[other] = steps[name] + 1
                queue.append(other)
    return sorted($names$sorting)""",
    second="""    rings = [{start}]
    for _ in range($hops):
        there = $there
        rings.append(there - set().union(*rings))
    found = $rings
    return $final""",
    slip=("$pairs", "$slip"),
    draw=_draw_reach,
    twin=_reach,
    inputs=_reach_inputs,
)


# ------------------------------------------------------------ a queue with priorities


def _draw_queue(rng: random.Random) -> dict[str, Any]:
    high, early, stop = (rng.choice([True, False]) for _ in range(3))
    empty = rng.choice(["nothing", "idle", "nobody"])
    return {
        "high": high,
        "early": early,
        "stop": stop,
        "word": rng.choice(["next", "serve", "call", "take"]),
        "empty": empty,
        "first": "highest" if high else "lowest",
        "tie": "added first" if early else "added last",
        "sign": "-" if high else "",
        "age": "order" if early else "-order",
        "slip": "-order" if early else "order",
        "none": "is simply ignored" if stop else f"gives `'{empty}'` for each name that is missing",
        "when_none": "break" if stop else f'served.append("{empty}")',
        "pick": "max" if high else "min",
        "pos": "-i" if high is early else "i",
    }


def _queue(p: Drawn, steps: list[tuple[str, int]]) -> list[str]:
    waiting: list[tuple[int, int, str]] = []
    served: list[str] = []
    for order, (name, number) in enumerate(steps):
        if name != p["word"]:
            heapq.heappush(waiting, (-number if p["high"] else number, order if p["early"] else -order, name))
            continue
        there = min(number, len(waiting))
        served += [heapq.heappop(waiting)[2] for _ in range(there)]
        served += [] if p["stop"] else [p["empty"]] * (number - there)
    return served


def _queue_inputs(rng: random.Random, scene: Scene, p: Drawn) -> list[tuple[Any, ...]]:
    names, word = things(scene), p["word"]

    def some(n: int) -> list[tuple[str, int]]:
        steps = [(rng.choice(names), rng.randint(1, 3)) for _ in range(n)]
        return [x for step in steps for x in ([step, (word, rng.randint(1, 2))] if rng.random() < 0.35 else [step])]

    a, b, c, *_ = names
    tie = [(a, 2), (b, 2), (word, 1)]
    short = [(word, 1), (a, 1), (word, 2)]
    fixed = [[], [(a, 1)], tie, short, [(a, 3), (b, 1), (c, 2), (word, 3)]]
    return [(s,) for s in [[(a, 2), (b, 5), (c, 2), (word, 2)], *fixed, [*some(5), (word, 2)], [*some(7), (word, 3)]]]


QUEUE = Kind(
    names=("serve_$noun", "queue_of_$noun", "order_of_$noun"),
    signature="(steps: list[tuple[str, int]]) -> list[str]",
    openings=(
        "Write a Python function named `$fn` that simulates a waiting list. Requests for $a and $b pile up $place, "
        "each with a priority, and $name, $persona, deals with them by urgency.",
        "Write a Python function to work out in which order requests are dealt with. $name, $persona, adds names such "
        "as `$a` to a list and takes some of them off it now and then.",
        "Write a Python function to replay a day at the counter of $persona. Tasks around the $b come in with a number "
        "for their priority and wait until there is time.",
        "Write a Python function named `$fn` for $persona: a simulation of a priority queue for all that has to be "
        "done with $a in the course of $topic.",
    ),
    rules=(
        (
            "A step `('$word', n)` takes n names off the list and serves them one after another; any other step "
            "`(name, priority)` adds that name. Return the names in the order in which they are served.",
            "Go through the steps: `(name, priority)` puts a name on the list, unless the first element is `'$word'`, "
            "in which case as many names as the number says are taken off and served. The result lists what is served, "
            "in order.",
        ),
        (
            "The $first priority is served first; between equal priorities, the name that was $tie.",
            "Serve the name with the $first priority, and where priorities are equal the one $tie.",
        ),
        (
            "A `'$word'` that asks for more names than are waiting serves those; the excess $none.",
            "If fewer names wait than a `'$word'` asks for, all of them are served and the excess $none.",
        ),
        (
            "The same name may wait several times; names still waiting at the end do not appear.",
            "Names can be added again and again, each time as a new entry. What is never taken off is not listed.",
        ),
        ("No steps give `[]`.", "For an empty list of steps return `[]`."),
    ),
    notes=(
        "It keeps a heap of tuples in which the order of adding settles ties.",
        "It keeps a plain list and looks for the best entry each time.",
    ),
    reference="""    waiting = []
    served = []
    for order, (name, number) in enumerate(steps):
        if name != "$word":
            heapq.heappush(waiting, (${sign}number, $age, name))
            continue
        for _ in range(number):
            if waiting:
                served.append(heapq.heappop(waiting)[2])
            else:
                $when_none
    return served""",
    second="""    waiting = []
    served = []
    for name, number in steps:
        if name != "$word":
            waiting.append((name, number))
            continue
        while number > 0:
            number -= 1
            if not waiting:
                $when_none
                continue
            best = $pick(range(len(waiting)), key=lambda i: (waiting[i][1], $pos))
            served.append(waiting.pop(best)[0])
    return served""",
    imports=("import heapq", ""),
    slip=("$age", "$slip"),
    draw=_draw_queue,
    twin=_queue,
    inputs=_queue_inputs,
)


PLANS: tuple[Family, ...] = (
    family("code_merge", MERGE),
    family("code_reach", REACH),
    family("code_queue", QUEUE),
)
