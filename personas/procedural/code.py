"""Code families: small Python functions with a reference, a second solution, a wrong one, and tests.

Those about records are here; `FAMILIES` has those about text, numbers and plans as well.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from personas.procedural.code_form import Drawn, Kind, family, things
from personas.procedural.code_numbers import NUMBERS
from personas.procedural.code_plans import PLANS
from personas.procedural.code_text import TEXT
from personas.procedural.family import Family, Scene

# ------------------------------------------------------------ records, filtered and sorted

_LIMITS = {
    # comparison → (in words, without the limit or with it, the opposite)
    ">=": ("at least", ">", "<"),
    ">": ("more than", ">=", "<="),
    "<=": ("at most", "<", ">"),
    "<": ("fewer than", "<=", ">="),
}


def _draw_records(rng: random.Random) -> dict[str, Any]:
    op, limit = rng.choice(list(_LIMITS)), rng.randint(5, 40)
    falling, by_name = rng.choice([True, False]), rng.choice([True, False])
    sign = "-" if falling else ""
    said, other, against = _LIMITS[op]
    return {
        "op": op,
        "limit": limit,
        "falling": falling,
        "by_name": by_name,
        "said": f"{said} {limit}",
        "other": other,
        "against": against,
        "order": "largest" if falling else "smallest",
        "ties": "in alphabetical order of their names" if by_name else "in the order in which they stand in the list",
        "key": f"({sign}r[1], r[0])" if by_name else f"{sign}r[1]",
        "full_key": f"({sign}amount, name, i)" if by_name else f"({sign}amount, i, name)",
        "at": "1" if by_name else "2",
    }


def _records(p: Drawn, records: list[tuple[str, int]]) -> list[str]:
    holds: dict[str, Callable[[int], bool]] = {
        ">=": lambda n: n >= p["limit"],
        ">": lambda n: n > p["limit"],
        "<=": lambda n: n <= p["limit"],
        "<": lambda n: n < p["limit"],
    }
    kept = [(name, n) for name, n in records if holds[p["op"]](n)]
    if p["by_name"]:
        kept.sort()
    kept.sort(key=lambda r: r[1], reverse=p["falling"])
    return [name for name, _ in kept]


def _record_inputs(rng: random.Random, scene: Scene, p: Drawn) -> list[tuple[Any, ...]]:
    names, limit = things(scene), p["limit"]

    def some(n: int) -> list[tuple[str, int]]:
        return [(rng.choice(names), max(0, limit + rng.randint(-4, 4))) for _ in range(n)]

    near = limit + (1 if p["op"] in (">=", ">") else -1)
    tie = [(names[1], near), (names[0], near), (names[2], near), (names[0], limit)]
    example = [(names[0], near), (names[1], limit), (names[2], 2 * limit - near), (names[3], 2 * near - limit)]
    return [(example,), ([],), ([(names[0], limit)],), (tie,), (tie[::-1],), (some(5),), (some(7),), (some(8),)]


RECORDS = Kind(
    names=("select_$noun", "list_$noun", "choose_$noun"),
    signature="(records: list[tuple[str, int]]) -> list[str]",
    openings=(
        "Write a Python function named `$fn` for $persona. Every record is a name and an amount, such as the number of "
        "$a left $place, and $name wants to see a certain part of the records only.",
        "Write a Python function to pick out the records that deserve a second look. Each of them gives an amount of "
        "$a, of $b, or of whatever else was counted $place by $persona.",
        "Write a Python function to filter and sort a stock list. The list of $name, $persona, has a tuple for the $b, "
        "one for the $a, and so on, each with an amount.",
        "Write a Python function named `$fn` that goes through pairs of name and amount and returns some of the names. "
        "It supports $persona with $topic.",
    ),
    rules=(
        (
            "Keep the records whose amount is $said and return their names, $order amount first.",
            "The result lists the names of all records with an amount of $said, sorted by amount, $order first.",
        ),
        (
            "Records with equal amounts come $ties.",
            "Where amounts are equal, the records stand $ties.",
        ),
        (
            "A name that occurs in several records that qualify is listed once for each of them.",
            "Every record counts by itself, so a name can be in the result more than once.",
        ),
        ("If no record qualifies, return `[]`.", "For an empty list, and when nothing qualifies, the result is `[]`."),
    ),
    notes=(
        "It filters first and then sorts with a key that settles ties as asked.",
        "It puts everything that matters for the order into tuples and sorts those.",
    ),
    reference="""    kept = [r for r in records if r[1] $op $limit]
    kept.sort(key=lambda r: $key)
    return [r[0] for r in kept]""",
    second="""    ranked = []
    for i, (name, amount) in enumerate(records):
        if amount $against $limit:
            continue
        ranked.append($full_key)
    return [entry[$at] for entry in sorted(ranked)]""",
    slip=("$op", "$other"),
    draw=_draw_records,
    twin=_records,
    inputs=_record_inputs,
)


# ------------------------------------------------------------ groups


def _draw_groups(rng: random.Random) -> dict[str, Any]:
    how, keep = rng.choice(["sum", "max", "min", "len"]), rng.choice(["> 0", ">= 0", "!= 0"])
    key = rng.choice(["kind", "day", "shelf"])
    return {
        "how": how,
        "keep": keep,
        "key": key,
        "least": rng.randint(2, 3),
        "value": {"sum": "sum", "max": "largest", "min": "smallest", "len": "number"}[how],
        "left_out": {"> 0": "zero or negative", ">= 0": "negative", "!= 0": "zero"}[keep],
    }


def _groups(p: Drawn, rows: list[dict[str, Any]]) -> dict[str, int]:
    def counts(n: int) -> bool:
        return n > 0 or (n == 0 and p["keep"] == ">= 0") or (n < 0 and p["keep"] == "!= 0")

    result = {}
    for name in {row[p["key"]] for row in rows}:
        amounts = sorted(r["amount"] for r in rows if r[p["key"]] == name and counts(r["amount"]))
        if len(amounts) >= p["least"]:
            result[name] = {"sum": sum(amounts), "max": amounts[-1], "min": amounts[0], "len": len(amounts)}[p["how"]]
    # In the order in which the groups turn up, as the solutions have it.
    return {row[p["key"]]: result[row[p["key"]]] for row in rows if row[p["key"]] in result}


_DAYS, _SHELVES = ["Monday", "Tuesday", "Friday"], ["top", "middle", "floor"]


def _group_inputs(rng: random.Random, scene: Scene, p: Drawn) -> list[tuple[Any, ...]]:
    names = {"kind": things(scene), "day": _DAYS, "shelf": _SHELVES}[p["key"]]
    least = p["least"]

    def rows(*pairs: tuple[str, int]) -> tuple[list[dict[str, Any]]]:
        return ([{p["key"]: name, "amount": amount} for name, amount in pairs],)

    def some(n: int) -> list[tuple[str, int]]:
        return [(rng.choice(names[:3]), rng.choice([0, -2, *range(-1, 16)])) for _ in range(n)]

    a, b = names[:2]
    n, m = rng.randint(2, 9), rng.randint(10, 15)
    example = [(a, n), (b, m), (b, n), (a, 0), (b, m + 1), (a, m)]
    exact = rows(*[(a, 4)] * least, *[(b, 3)] * (least - 1))
    zeros = rows(*[(a, 0)] * least, *[(b, -2)] * least)
    return [rows(*example), ([],), rows((a, 5)), exact, zeros, rows(*some(7)), rows(*some(9)), rows(*some(10))]


GROUPS = Kind(
    names=("group_$noun", "summarise_$noun", "digest_$noun"),
    signature="(rows: list[dict[str, int | str]]) -> dict[str, int]",
    openings=(
        "Write a Python function to summarise what $name, $persona, has noted about the $a. Each row is a dictionary "
        "with a `'$key'` and an `'amount'`, and the rows are to be grouped.",
        "Write a Python function named `$fn` that groups rows by their `'$key'`. The rows also have an `'amount'` and "
        "come from the order book of $persona, in which $a and $b take up most of the space.",
        "Write a Python function named `$fn` for $persona. Deliveries of $b $place are kept as dictionaries with the "
        "keys `'$key'` and `'amount'`, and $name would like one number per group.",
        "Write a Python function to boil down a list of dictionaries to one number for each `'$key'`. They record "
        "amounts of $a in connection with $topic, and $name, $persona, has hundreds of them.",
    ),
    rules=(
        (
            "For each value of `'$key'` give the $value of its amounts.",
            "The result maps each value that occurs under `'$key'` to the $value of the amounts found with it.",
        ),
        (
            "Leave out rows whose amount is $left_out, as if they were not there.",
            "A row with an amount that is $left_out does not count in any way.",
        ),
        (
            "A group appears in the result only if at least $least rows of it count.",
            "Groups with fewer than $least rows that count are dropped.",
        ),
        ("Without rows return `{}`.", "No rows, or no group that is large enough, gives `{}`."),
    ),
    notes=(
        "It collects the amounts per group and then reduces the groups that are large enough.",
        "It sorts the rows by group and reduces one group after another.",
    ),
    reference="""    groups = {}
    for row in rows:
        if row["amount"] $keep:
            groups.setdefault(row["$key"], []).append(row["amount"])
    return {name: $how(amounts) for name, amounts in groups.items() if len(amounts) >= $least}""",
    second="""    key = itemgetter("$key")
    result = {}
    for name, members in groupby(sorted(rows, key=key), key=key):
        amounts = [row["amount"] for row in members if row["amount"] $keep]
        if len(amounts) > $least - 1:
            result[name] = $how(amounts)
    return result""",
    imports=("", "from itertools import groupby\nfrom operator import itemgetter"),
    slip=("len(amounts) >= $least", "len(amounts) > $least"),
    draw=_draw_groups,
    twin=_groups,
    inputs=_group_inputs,
)


# ------------------------------------------------------------ stock after moves


def _draw_stock(rng: random.Random) -> dict[str, Any]:
    refuse, zeros = rng.choice([True, False]), rng.choice([True, False])
    put, take = rng.choice([("in", "out"), ("add", "remove"), ("bought", "sold"), ("store", "fetch")])
    part, whole = "max(have - amount, 0)", "have - amount if amount <= have else have"
    return {
        "refuse": refuse,
        "zeros": zeros,
        "put": put,
        "take": take,
        "cap": rng.randint(18, 60),
        "removal": whole if refuse else part,
        "slip": part if refuse else whole,
        "short": "does nothing at all" if refuse else "takes what there is and leaves 0",
        "kept": "is listed with 0, even if it was never in stock and only a move names it"
        if zeros
        else "does not appear in the result",
        "out": "result" if zeros else "{item: n for item, n in result.items() if n > 0}",
        "test": "True" if zeros else "level > 0",
    }


def _stock(p: Drawn, stock: dict[str, int], moves: list[tuple[str, str, int]]) -> dict[str, int]:
    level = dict.fromkeys([*stock, *(item for _, item, _ in moves)], 0) | stock
    for action, item, amount in moves:
        if action == p["put"]:
            level[item] += min(amount, p["cap"] - level[item])
        elif amount <= level[item] or not p["refuse"]:
            level[item] -= min(amount, level[item])
    return {item: n for item, n in level.items() if n or p["zeros"]}


def _stock_inputs(rng: random.Random, scene: Scene, p: Drawn) -> list[tuple[Any, ...]]:
    a, b, c, *_ = things(scene)
    put, take, cap = p["put"], p["take"], p["cap"]

    def moves(n: int) -> list[tuple[str, str, int]]:
        return [(rng.choice([put, take]), rng.choice([a, b, c]), rng.randint(1, cap // 2)) for _ in range(n)]

    def start() -> dict[str, int]:
        return {x: rng.randint(0, cap) for x in (a, b)}

    n = rng.randint(3, 9)
    short = ({a: n}, [(take, a, n + rng.randint(1, 4))])
    example = ({a: n, b: 2}, [(put, c, 4), (take, a, n - 1), (take, b, 3), (put, a, cap)])
    fixed = [({}, []), short, ({a: n, b: 0}, [(take, a, n)]), ({}, [(take, b, 1), (put, a, cap + 5)])]
    return [example, *fixed, (start(), moves(5)), (start(), moves(7)), (start(), moves(9))]


STOCK = Kind(
    names=("restock_$noun", "update_$noun", "book_$noun"),
    signature="(stock: dict[str, int], moves: list[tuple[str, str, int]]) -> dict[str, int]",
    openings=(
        "Write a Python function to bring a stock list up to date. $name, $persona, keeps $a and $b $place and writes "
        "down each move as a tuple of action, item and amount.",
        "Write a Python function named `$fn` that applies a day of moves to the stock of $persona. A move says what is "
        "done, with which item (the $a, for example), and how many there are of it.",
        "Write a Python function named `$fn` for $persona: from the stock in the morning and the moves of the day it "
        "finds the stock in the evening, for the $b and everything else.",
        "Write a Python function to replay a list of moves on a dictionary of amounts. Shelves $place hold the $a, and "
        "the dictionary is how $name, $persona, keeps count besides $topic.",
    ),
    rules=(
        (
            "A move is `(action, item, amount)` with the action `'$put'` or `'$take'` and an amount of at least 1; "
            "carry out the moves in order.",
            "Go through the moves in order; each is `(action, item, amount)`, where `'$put'` adds to the item and "
            "`'$take'` removes from it. Amounts are positive.",
        ),
        (
            "There is room for $cap of an item, never more in stock; what a `'$put'` would bring beyond it is lost.",
            "No item ever exceeds $cap, not even at the start: a `'$put'` that would go beyond leaves exactly $cap.",
        ),
        (
            "A `'$take'` of more than there is $short. Items that are not in stock count as 0.",
            "If a `'$take'` asks for more than is in stock (an unknown item has 0), it $short.",
        ),
        (
            "An item with nothing left at the end $kept.",
            "At the end, an item that stands at 0 $kept.",
        ),
        (
            "Return a new dictionary; with no stock and no moves it is `{}`.",
            "Empty stock and no moves give `{}`.",
        ),
    ),
    notes=(
        "It copies the stock and carries out the moves one by one.",
        "It settles one item after another, replaying only the moves that name it.",
    ),
    reference="""    result = dict(stock)
    for action, item, amount in moves:
        have = result.get(item, 0)
        if action == "$put":
            result[item] = min(have + amount, $cap)
        else:
            result[item] = $removal
    return $out""",
    second="""    result = {}
    for item in [*stock, *(move[1] for move in moves)]:
        have = stock.get(item, 0)
        for action, name, amount in moves:
            if name == item and action == "$put":
                have = min(have + amount, $cap)
            elif name == item:
                have = $removal
        result[item] = have
    return {item: level for item, level in result.items() if $test}""",
    slip=("$removal", "$slip"),
    draw=_draw_stock,
    twin=_stock,
    inputs=_stock_inputs,
)


# ------------------------------------------------------------ the top of a list

_TIES = {
    # rule → (in words, arguments of sorted, whether `name` goes before `best`)
    "alphabetical": ("the name that is first in the alphabet", "", "name < best"),
    "reverse": ("the name that is last in the alphabet", ", reverse=True", "name > best"),
    "short": (
        "the shorter name, and of equally long names the one that is first in the alphabet",
        ", key=lambda name: (len(name), name)",
        "(len(name), name) < (len(best), best)",
    ),
}


def _draw_top(rng: random.Random) -> dict[str, Any]:
    tie, largest = rng.choice(list(_TIES)), rng.choice([True, False])
    said, arguments, before = _TIES[tie]
    return {
        "tie": tie,
        "largest": largest,
        "least": rng.randint(1, 6),
        "said": said,
        "arguments": arguments,
        "before": before,
        "order": "largest" if largest else "smallest",
        "sign": "-" if largest else "",
        "op": ">" if largest else "<",
    }


def _by_tie(p: Drawn, names: list[str]) -> list[str]:
    if p["tie"] == "short":
        return sorted(sorted(names), key=len)
    return sorted(names)[:: -1 if p["tie"] == "reverse" else 1]


def _top(p: Drawn, counts: dict[str, int], k: int) -> list[str]:
    groups: dict[int, list[str]] = {}
    for name, n in counts.items():
        if n >= p["least"]:
            groups.setdefault(n, []).append(name)
    return [name for n in sorted(groups, reverse=p["largest"]) for name in _by_tie(p, groups[n])][:k]


def _top_inputs(rng: random.Random, scene: Scene, p: Drawn) -> list[tuple[Any, ...]]:
    names, least = things(scene), p["least"]
    tie = dict.fromkeys(reversed(_by_tie(p, names[:4])), least + 2)

    def some(n: int) -> dict[str, int]:
        return {name: rng.randint(max(0, least - 2), least + 3) for name in rng.sample(names, n)}

    example = {names[0]: least + 4, names[1]: least + 4, names[2]: least - 1, names[3]: least + 1}
    fixed: list[tuple[Any, ...]] = [({}, 2), ({names[0]: least}, 1), (tie, 1), (tie, 3), (tie, 9)]
    return [(example, 2), *fixed, (some(5), 3), (some(5), 4)]


TOP = Kind(
    names=("top_$noun", "leading_$noun", "rank_$noun"),
    signature="(counts: dict[str, int], k: int) -> list[str]",
    openings=(
        "Write a Python function named `$fn` that ranks things by their counts. $name, $persona, counts $a, $b and "
        "more $place and wants only the $order few on a slip of paper.",
        "Write a Python function to find the names with the $order counts in a dictionary. The counts concern $a "
        "as much as $b and were made by $persona.",
        "Write a Python function to answer a question that comes up in $topic again and again: which counts are the "
        "$order? $name, $persona, has them in a dictionary, with the $a as one of its keys.",
        "Write a Python function named `$fn` for $persona. From the counts it picks a few names, be it `$a` or "
        "something else that is kept $place, in a fixed order.",
    ),
    rules=(
        (
            "Return the names of the `k` $order counts, the $order first; `k` is 0 or more.",
            "The result has up to `k` names (`k` is never negative), sorted by count with the $order count first.",
        ),
        (
            "Among equal counts, the place goes to $said.",
            "If two counts are equal, first comes $said.",
        ),
        (
            "Names with a count below $least are left out.",
            "Only counts of $least or more take part.",
        ),
        (
            "If fewer than `k` names remain, return all of them; with none, or for `k` equal to 0, that is `[]`.",
            "There may be fewer than `k` names: then the list is shorter, down to `[]`.",
        ),
    ),
    notes=(
        "It sorts by the tie rule first and then by count; Python's sort is stable, so the first order survives.",
        "It takes out the best remaining name until there are `k` of them.",
    ),
    reference="""    kept = [name for name in counts if counts[name] >= $least]
    names = sorted(kept$arguments)
    names.sort(key=lambda name: ${sign}counts[name])
    return names[:k]""",
    second="""    left = [name for name in counts if counts[name] >= $least]
    chosen = []
    while left and len(chosen) < k:
        best = left[0]
        for name in left[1:]:
            if counts[name] $op counts[best] or (counts[name] == counts[best] and $before):
                best = name
        left.remove(best)
        chosen.append(best)
    return chosen""",
    slip=("sorted(kept$arguments)", "list(kept)"),
    draw=_draw_top,
    twin=_top,
    inputs=_top_inputs,
)


FAMILIES: tuple[Family, ...] = (
    family("code_records", RECORDS),
    family("code_groups", GROUPS),
    family("code_stock", STOCK),
    family("code_top", TOP),
    *PLANS,
    *TEXT,
    *NUMBERS,
)
