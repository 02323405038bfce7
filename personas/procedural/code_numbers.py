"""Code families about numbers: averages, check numbers, cycles of days, sorted lists, totals, grids."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from personas.procedural.code_form import Drawn, Kind, family
from personas.procedural.family import Family, Scene

# ------------------------------------------------------------ a window that moves


def _draw_average(rng: random.Random) -> dict[str, Any]:
    window, step = rng.randint(2, 5), rng.randint(1, 3)
    up, alone = rng.choice([True, False]), rng.choice([True, False])
    rounded = "-(-sum({}) // {})" if up else "sum({}) // {}"
    return {
        "window": window,
        "step": step,
        "up": up,
        "alone": alone,
        "said": "up to the next integer" if up else "down to an integer",
        "begins": "at every position" if step == 1 else f"at positions 0, {step}, {2 * step} and so on",
        "short": "the list with the one average of all of them, rounded in the same way" if alone else "`[]`",
        "mean": rounded.format(f"readings[i : i + {window}]", window),
        "short_code": f"[{rounded.format('readings', 'len(readings)')}]" if alone else "[]",
        "moving": f"-(-total // {window})" if up else f"total // {window}",
    }


def _average(p: Drawn, readings: list[int]) -> list[int]:
    def mean(part: list[int]) -> int:
        low, rest = divmod(sum(part), len(part))
        return low + (p["up"] and rest > 0)

    windows = [readings[i : i + p["window"]] for i in range(0, len(readings), p["step"])]
    full = [w for w in windows if len(w) == p["window"]]
    return [mean(w) for w in full or ([readings] if readings and p["alone"] else [])]


def _average_inputs(rng: random.Random, _: Scene, p: Drawn) -> list[tuple[Any, ...]]:
    def some(n: int) -> list[int]:
        return [rng.randint(-9, 40) for _ in range(n)]

    window = p["window"]
    fixed = [[], [rng.randint(1, 30)], some(window), some(window - 1), [-3, 2, -4, 1, -2, 0]]
    return [(r,) for r in [some(window + 2), *fixed, some(window + 5), some(2 * window + 3), some(9)]]


AVERAGE = Kind(
    names=("smooth_$noun", "moving_mean_of_$noun", "level_$noun_counts"),
    signature="(readings: list[int]) -> list[int]",
    openings=(
        "Write a Python function to smooth the daily numbers of $a that $name, $persona, writes down. A single busy "
        "day $place should no longer hide how things go, so $name looks at averages of several days.",
        "Write a Python function named `$fn` for $persona. $name compares the change in the stock of $b from hour to "
        "hour (a reading may be negative) and wants a moving average in whole numbers.",
        "Write a Python function named `$fn` that averages neighbouring readings taken $place. They say how many $a "
        "were gained or lost, and $name, $persona, draws a curve from the result.",
        "Write a Python function to compute integer averages over a sliding window. Notes on $topic are full of such "
        "readings, and $name, $persona, has one list for $a and another for $b.",
    ),
    rules=(
        (
            "A window covers $window readings in a row; windows begin $begins, as long as they are complete.",
            "Take windows of exactly $window neighbouring readings that start $begins; leave out a window that would "
            "run past the end.",
        ),
        (
            "For each window, in order, give its average, rounded $said (also where it is negative).",
            "Each window yields the sum of its readings divided by $window and rounded $said, below zero as well as "
            "above.",
        ),
        (
            "If there are readings, but fewer than $window, return $short.",
            "With at least one reading and fewer than $window of them the result is $short.",
        ),
        ("An empty list gives `[]`.", "Without readings return `[]`."),
    ),
    notes=(
        "It sums each window and divides with integer division, which rounds the right way for negative sums too.",
        "It keeps a moving total: the newest reading comes in, the oldest goes out.",
    ),
    reference="""    if not readings:
        return []
    if len(readings) < $window:
        return $short_code
    return [$mean for i in range(0, len(readings) - $window + 1, $step)]""",
    second="""    if 0 < len(readings) < $window:
        return $short_code
    means = []
    total = 0
    for i, reading in enumerate(readings):
        total += reading
        if i >= $window:
            total -= readings[i - $window]
        if i >= $window - 1 and (i - $window + 1) % $step == 0:
            means.append($moving)
    return means""",
    slip=(" - $window + 1", " - $window"),
    draw=_draw_average,
    twin=_average,
    inputs=_average_inputs,
)


# ------------------------------------------------------------ check numbers


def _draw_checksum(rng: random.Random) -> dict[str, Any]:
    weights, modulus = rng.sample(range(1, 7), rng.randint(2, 3)), rng.choice([7, 9, 10, 11, 13, 17, 23])
    right, missing = rng.choice([True, False]), rng.choice([True, False])
    return {
        "weights": tuple(weights),
        "count": len(weights),
        "said": ", ".join(map(str, weights)),
        "modulus": modulus,
        "right": right,
        "missing": missing,
        "side": "right" if right else "left",
        "order": "reversed(code)" if right else "code",
        "turned": "code" if right else "reversed(code)",
        "slice": "[::-1]" if right else "",
        "result": f"what must be added to the sum to reach a multiple of {modulus}, a number from 0 to {modulus - 1}"
        if missing
        else f"the remainder of the sum on division by {modulus}",
        "final": f"-total % {modulus}" if missing else f"total % {modulus}",
    }


def _checksum(p: Drawn, code: str) -> int:
    digits = [int(c) for c in code if c.isdecimal()]
    if p["right"]:
        digits.reverse()
    rest: int = sum(d * p["weights"][i % len(p["weights"])] for i, d in enumerate(digits)) % p["modulus"]
    return (p["modulus"] - rest) % p["modulus"] if p["missing"] else rest


def _checksum_inputs(rng: random.Random, scene: Scene, _: Drawn) -> list[tuple[Any, ...]]:
    letters = [x[0].upper() for x in scene.items]

    def code(n: int) -> str:
        digits = "".join(rng.choice("0123456789") for _ in range(n))
        return f"{rng.choice(letters)}{rng.choice('- /')}{digits[:3]}{rng.choice(' -')}{digits[3:]}"

    return [(code(5),), ("",), ("12",), (str(rng.randint(1, 9)),), (f"{letters[0]}-",)] + [
        (code(n),) for n in (4, 6, 8)
    ]


CHECKSUM = Kind(
    names=("check_number_of_$noun", "control_digit_for_$noun", "seal_$noun"),
    signature="(code: str) -> int",
    openings=(
        "Write a Python function named `$fn` that computes a check number. $name, $persona, puts a code on each box of "
        "$a $place and wants to notice when a digit was copied wrongly.",
        "Write a Python function to work out the check number of a delivery code. The codes stand on $b and are typed "
        "by $persona between other tasks of $topic.",
        "Write a Python function to guard the codes on $a and $b against slips of the pen. For $persona, a small "
        "number computed from the digits is protection enough.",
        "Write a Python function named `$fn` for the register that $name, $persona, keeps $place: from a code such "
        "as those on the $b it finds the number that is printed behind it.",
    ),
    rules=(
        (
            "Number the digits of the code from the $side and multiply them by the weights $said in turn, starting "
            "over with the first weight whenever the weights run out; add up the products.",
            "The digits, taken from the $side, get the weights $said, then $said again, and so on; the sum is that of "
            "digit times weight.",
        ),
        (
            "Only the characters 0 to 9 count; letters, spaces and all other characters are passed over and use up no "
            "weight.",
            "Anything but the digits 0 to 9 is ignored as if it were not there.",
        ),
        ("Return $result.", "The result is $result."),
        ("A code without digits has the sum 0.", "If there is no digit, the sum is 0."),
    ),
    notes=(
        "It takes the digits from the $side and walks through the weights in step with them.",
        "It lets `itertools.cycle` repeat the weights.",
    ),
    reference="""    weights = $weights
    digits = [int(c) for c in $order if c in "0123456789"]
    total = 0
    for i, digit in enumerate(digits):
        total += digit * weights[i % $count]
    return $final""",
    second="""    digits = re.sub("[^0-9]", "", code)$slice
    total = sum(int(digit) * weight for digit, weight in zip(digits, cycle($weights)))
    return $final""",
    imports=("", "import re\nfrom itertools import cycle"),
    slip=("$order", "$turned"),
    draw=_draw_checksum,
    twin=_checksum,
    inputs=_checksum_inputs,
)


# ------------------------------------------------------------ days of rest


def _draw_workdays(rng: random.Random) -> dict[str, Any]:
    cycle, back = rng.randint(5, 11), rng.choice([True, False])
    rest = sorted(rng.sample(range(cycle), rng.randint(1, min(3, cycle - 4))))
    return {
        "cycle": cycle,
        "rest": rest,
        "back": back,
        "top": cycle - 1,
        "rest_said": str(rest[0]) if len(rest) == 1 else f"{', '.join(map(str, rest[:-1]))} and {rest[-1]}",
        "days": "day" if len(rest) == 1 else "days",
        "sign": "-" if back else "+",
        "way": "backwards" if back else "forwards",
        "nearest": "the last working day before it" if back else "the next working day after it",
        "wrap": f"day 0 comes after day {cycle - 1}" if not back else f"going back from day 0 leads to day {cycle - 1}",
        "ring": f"range({cycle - 1}, -1, -1)" if back else f"range({cycle})",
    }


def _workdays(p: Drawn, day: int, steps: int) -> int:
    move = -1 if p["back"] else 1
    for left in range(steps, -1, -1):
        while day in p["rest"]:
            day = (day + move) % p["cycle"]
        if left:
            day = (day + move) % p["cycle"]
    return day


def _workday_inputs(rng: random.Random, _: Scene, p: Drawn) -> list[tuple[Any, ...]]:
    resting = p["rest"][0]
    working = next(d for d in range(p["cycle"]) if d not in p["rest"])
    drawn = [(rng.randrange(p["cycle"]), rng.randint(6 * i, 6 * i + 5)) for i in range(1, 5)]
    return [(working, rng.randint(3, 5)), (resting, 0), (working, 0), (resting, 1), (working, 1), *drawn]


WORKDAYS = Kind(
    names=("day_for_$noun", "workday_of_$noun", "when_to_pack_$noun"),
    signature="(day: int, steps: int) -> int",
    openings=(
        "Write a Python function to count working days in a rota that repeats every $cycle days. $name, $persona, "
        "works by it and wants to know on which of its days the $a are due.",
        "Write a Python function named `$fn` for $persona. Work $place follows a cycle of $cycle days instead of the "
        "week, and some of its days are free of any work on $a or $b.",
        "Write a Python function named `$fn` that moves along a cycle of $cycle numbered days and skips the days of "
        "rest. It helps $persona to plan $topic and the packing of $a.",
        "Write a Python function to find the day of a $cycle-day cycle on which $name deals with the $b. $name, "
        "$persona, does nothing of the kind on days of rest.",
    ),
    rules=(
        (
            "The days of the cycle are numbered 0 to $top, and $wrap; no work is done on $days $rest_said.",
            "A cycle has the days 0 to $top ($wrap). Days of rest: $rest_said.",
        ),
        (
            "Count $way from `day`: a step leads to $nearest, so that days of rest are passed over without being "
            "counted.",
            "Each of the `steps` steps goes $way to $nearest; days of rest do not count.",
        ),
        (
            "If `day` itself is a day of rest, first move $way to a working day; this uses up no step.",
            "Should the start be a day of rest, then go $way to the nearest working day before the first step is "
            "counted.",
        ),
        (
            "`steps` may be 0, and then the answer is the working day at which the count would start.",
            "With `steps` equal to 0 return the start, or the working day that stands in for it.",
        ),
    ),
    notes=(
        "It moves day by day and never stays on a day of rest.",
        "It puts the working days into a ring and moves along it by index.",
    ),
    reference="""    rest = $rest
    while day in rest:
        day = (day $sign 1) % $cycle
    for _ in range(steps):
        day = (day $sign 1) % $cycle
        while day in rest:
            day = (day $sign 1) % $cycle
    return day""",
    second="""    ring = [d for d in $ring if d not in $rest]
    while day not in ring:
        day = (day $sign 1) % $cycle
    return ring[(ring.index(day) + steps) % len(ring)]""",
    slip=("    while day in rest:\n        day = (day $sign 1) % $cycle\n    for", "    for"),
    draw=_draw_workdays,
    twin=_workdays,
    inputs=_workday_inputs,
)


# ------------------------------------------------------------ searching what is sorted

_SEARCHES = {
    # (descending, first) → comparisons that hold from some index on (first) or up to some index (last)
    (False, True): (">=", ">"),
    (False, False): ("<=", "<"),
    (True, True): ("<=", "<"),
    (True, False): (">=", ">"),
}
_SAID = {">=": "at least", ">": "greater than", "<=": "at most", "<": "less than"}
_LOOSER = {">=": ">", ">": ">=", "<=": "<", "<": "<="}


def _draw_search(rng: random.Random) -> dict[str, Any]:
    falling, first, none_at_end = (rng.choice([True, False]) for _ in range(3))
    op = rng.choice(_SEARCHES[falling, first])
    miss, hit = "low = middle + 1", "high = middle"
    return {
        "falling": falling,
        "first": first,
        "op": op,
        "other": _LOOSER[op],
        "none_at_end": none_at_end,
        "sorted": "largest first" if falling else "smallest first",
        "which": "first" if first else "last",
        "said": f"{_SAID[op]} `target`",
        "absent": "len(values)" if none_at_end else "-1",
        "then": hit if first else miss,
        "else_": miss if first else hit,
        "found": "low < len(values)" if first else "low > 0",
        "at": "low" if first else "low - 1",
        "pick": "0" if first else "-1",
    }


def _search(p: Drawn, values: list[int], target: int) -> int:
    holds: dict[str, Callable[[int], bool]] = {
        ">=": lambda v: v >= target,
        ">": lambda v: v > target,
        "<=": lambda v: v <= target,
        "<": lambda v: v < target,
    }
    order = range(len(values)) if p["first"] else range(len(values) - 1, -1, -1)
    absent = len(values) if p["none_at_end"] else -1
    return next((i for i in order if holds[p["op"]](values[i])), absent)


def _search_inputs(rng: random.Random, _: Scene, p: Drawn) -> list[tuple[Any, ...]]:
    def some(n: int) -> list[int]:
        return sorted((rng.randint(1, 30) for _ in range(n)), reverse=p["falling"])

    long, t = some(7), rng.randint(5, 25)
    twice = sorted([*long, long[3], long[3]], reverse=p["falling"])
    fixed = [([], t), ([t, t], t), ([t], t + 1), ([t], t - 1), (twice, long[3])]
    return [(some(5), rng.randint(8, 22)), *fixed, (long, 0), (long, 31), (some(9), rng.randint(1, 30))]


SEARCH = Kind(
    names=("find_in_$noun", "locate_$noun", "search_$noun"),
    signature="(values: list[int], target: int) -> int",
    openings=(
        "Write a Python function to search a sorted list of sizes. $name, $persona, has put the $a in a row by size, "
        "and looking at every one of them takes too long.",
        "Write a Python function named `$fn` that looks up a position in a sorted list by halving the range again and "
        "again. The list holds prices of $b, collected $place by $persona.",
        "Write a Python function to find out by binary search where a limit falls in a row of weights. The weights "
        "belong to $a and $b, and the row was made by $persona.",
        "Write a Python function named `$fn` for $persona. Records on $topic have grown to thousands of sorted numbers "
        "(one for each delivery of $a), so that the search must not go through them one by one.",
    ),
    rules=(
        (
            "`values` is sorted, $sorted, and numbers may repeat; return the index of the $which value that is $said.",
            "Find the $which number in `values` that is $said and return its index. The list is in order, $sorted, "
            "perhaps with repetitions.",
        ),
        (
            "If no value is $said, return `$absent`.",
            "Where there is no such value, the empty list included, the result is `$absent`.",
        ),
        ("Indices count from 0.", "The index of the first element is 0, as usual in Python."),
    ),
    notes=(
        "It halves the range between `low` and `high` until one index is left.",
        "For comparison, this one simply tests every value; it gives the same results, only more slowly.",
    ),
    reference="""    low, high = 0, len(values)
    while low < high:
        middle = (low + high) // 2
        if values[middle] $op target:
            $then
        else:
            $else_
    return $at if $found else $absent""",
    second="""    matches = [i for i, value in enumerate(values) if value $op target]
    return matches[$pick] if matches else $absent""",
    slip=("$op", "$other"),
    draw=_draw_search,
    twin=_search,
    inputs=_search_inputs,
)


# ------------------------------------------------------------ running totals


def _draw_totals(rng: random.Random) -> dict[str, Any]:
    mode, start, limit = rng.choice(["cap", "floor", "reset"]), rng.randint(2, 9), rng.randint(15, 40)
    low = -rng.randint(0, 8)
    said, step, slip = {
        "cap": (
            f"never rises above {limit}: where it would, it is {limit} instead",
            f"min(total + change, {limit})",
            f"total + change if total + change <= {limit} else total",
        ),
        "floor": (
            f"never falls below {low}: where it would, it is {low} instead",
            f"max(total + change, {low})",
            f"total + change if total + change >= {low} else total",
        ),
        "reset": (
            f"starts again from 0 once it has come to {limit} or more: that total is still recorded, and only the next "
            "change is added to 0",
            f"(0 if total >= {limit} else total) + change",
            f"(0 if total > {limit} else total) + change",
        ),
    }[mode]
    return {
        "mode": mode,
        "start": start,
        "limit": low if mode == "floor" else limit,
        "said": said,
        "step": step,
        "slip": slip,
    }


def _totals(p: Drawn, changes: list[int]) -> list[int]:
    totals = [int(p["start"])]
    for change in changes:
        base = 0 if p["mode"] == "reset" and totals[-1] >= p["limit"] else totals[-1]
        total = base + change
        if (p["mode"] == "cap" and total > p["limit"]) or (p["mode"] == "floor" and total < p["limit"]):
            total = p["limit"]
        totals.append(total)
    return totals[1:]


def _total_inputs(rng: random.Random, _: Scene, p: Drawn) -> list[tuple[Any, ...]]:
    def some(n: int) -> list[int]:
        return [rng.randint(-12, 20) for _ in range(n)]

    to_limit = p["limit"] - p["start"]
    beyond = to_limit - 3 if p["mode"] == "floor" else to_limit + 3
    fixed = [[], [rng.randint(1, 5)], [to_limit, 2], [beyond, -1, 1], [0, to_limit, -1, 4]]
    return [(c,) for c in [some(4), *fixed, some(7), some(9), some(11)]]


TOTALS = Kind(
    names=("track_$noun", "level_of_$noun", "running_$noun"),
    signature="(changes: list[int]) -> list[int]",
    openings=(
        "Write a Python function to follow the number of $a through a day. $name, $persona, notes each change $place, "
        "be it positive or negative, and wants the total after every one of them.",
        "Write a Python function named `$fn` for $persona. From a list of changes in the number of $b it computes "
        "the running total, with one twist that is described below; $name needs it for $topic.",
        "Write a Python function named `$fn` that keeps a running total of $b with a limit. The numbers come from a "
        "tally that $name, $persona, keeps $place.",
        "Write a Python function to compute running totals for the tally sheet on $a and $b. The sheet has a rule "
        "of its own about extreme values and is kept by $persona.",
    ),
    rules=(
        (
            "The total is $start at the beginning (this is not part of the result); add the changes one after another "
            "and record the total after each.",
            "Start from a total of $start, apply the changes in order, and return the totals after the first, second, "
            "third … change. The starting value itself is not listed.",
        ),
        ("The total $said.", "One twist: the total $said."),
        (
            "The result is as long as the list of changes; without changes it is `[]`.",
            "Return `[]` for an empty list, and otherwise exactly one total per change.",
        ),
    ),
    notes=(
        "It applies the rule at each change, before the total is recorded.",
        "`itertools.accumulate` does the same once it is given the rule and the starting value.",
    ),
    reference="""    total = $start
    totals = []
    for change in changes:
        total = $step
        totals.append(total)
    return totals""",
    second="""    totals = accumulate(changes, lambda total, change: $step, initial=$start)
    return list(totals)[1:]""",
    imports=("", "from itertools import accumulate"),
    slip=("$step", "$slip"),
    draw=_draw_totals,
    twin=_totals,
    inputs=_total_inputs,
)


# ------------------------------------------------------------ grids


def _draw_grid(rng: random.Random) -> dict[str, Any]:
    column, largest, lowest = (rng.choice([True, False]) for _ in range(3))
    limit, measure = rng.randint(4, 8), rng.choice(["sum", "spread", "count"])
    said, score = {
        "sum": ("sum of its numbers", "sum(line)"),
        "spread": ("difference between its largest and its smallest number", "max(line) - min(line)"),
        "count": (f"count of numbers that are {limit} or more", f"sum(1 for n in line if n >= {limit})"),
    }[measure]
    op = ">" if largest else "<"
    return {
        "column": column,
        "largest": largest,
        "lowest": lowest,
        "measure": measure,
        "limit": limit,
        "line": "column" if column else "row",
        "best": "largest" if largest else "smallest",
        "tie": "lowest" if lowest else "highest",
        "said": said,
        "score": score,
        "lines": "zip(*grid)" if column else "grid",
        "op": op if lowest else f"{op}=",
        "other": f"{op}=" if lowest else op,
        "extreme": "max" if largest else "min",
        "pick": "0" if lowest else "-1",
        "nth": "[row[i] for row in grid]" if column else "grid[i]",
        "size": "len(grid[0])" if column else "len(grid)",
    }


def _grid(p: Drawn, grid: list[list[int]]) -> int:
    lines = [list(c) for c in zip(*grid, strict=True)] if p["column"] else grid
    score: dict[str, Callable[[list[int]], int]] = {
        "sum": sum,
        "spread": lambda line: max(line) - min(line),
        "count": lambda line: len([n for n in line if n >= p["limit"]]),
    }
    sign, turn = 1 if p["largest"] else -1, -1 if p["lowest"] else 1
    ranked = [(sign * score[p["measure"]](line), turn * i, i) for i, line in enumerate(lines)]
    return max(ranked)[2] if ranked else -1


def _grid_inputs(rng: random.Random, _: Scene, p: Drawn) -> list[tuple[Any, ...]]:
    def some(rows: int, columns: int) -> list[list[int]]:
        return [[rng.randint(0, 10) for _ in range(columns)] for _ in range(rows)]

    n = rng.randint(1, 9)
    ties = [[[n, n], [n, n]], [[n]], [[3, 9, 3], [9, 3, 9], [3, 9, 3]]]
    grids = [some(3, 3), [], *ties, some(1, 4), some(4, 2), some(3, 5)]
    return [(g,) for g in grids]


GRID = Kind(
    names=("best_line_of_$noun", "pick_line_for_$noun", "scan_$noun"),
    signature="(grid: list[list[int]]) -> int",
    openings=(
        "Write a Python function named `$fn` that picks one $line of a grid. The grid says how many $a lie in each "
        "compartment of a shelf $place, and $name, $persona, clears one $line at a time.",
        "Write a Python function to choose a $line from a rectangular table of counts. $name, $persona, has one row "
        "per day and one column per kind of $b.",
        "Write a Python function to compare the ${line}s of a seating plan, a stock table or any other grid of whole "
        "numbers. It was asked for by $persona, who lays out $a and $b in rows while $topic.",
        "Write a Python function named `$fn` for $persona. Counts of $a from several places are in a table, and for "
        "$topic a single $line of it has to be found.",
    ),
    rules=(
        (
            "Return the index, from 0, of the $line with the $best $said.",
            "Judge each $line by the $said; the answer is the index (the first has index 0) of the $line where this is "
            "$best.",
        ),
        (
            "If several ${line}s are equally good, take the one with the $tie index.",
            "A tie goes to the $tie index.",
        ),
        (
            "All rows are of the same length, at least 1; for a grid without rows return -1.",
            "The grid is rectangular, with no empty rows. If there are no rows at all, the result is -1.",
        ),
    ),
    notes=(
        "It scores every $line and keeps the best index so far.",
        "It looks up which ${line}s reach the $best score and takes the one that the tie rule asks for.",
    ),
    reference="""    if not grid:
        return -1
    scores = [$score for line in $lines]
    best = 0
    for index, score in enumerate(scores):
        if score $op scores[best]:
            best = index
    return best""",
    second="""    if len(grid) == 0:
        return -1
    scores = []
    for i in range($size):
        line = $nth
        scores.append($score)
    goal = $extreme(scores)
    return [i for i, score in enumerate(scores) if score == goal][$pick]""",
    slip=("$op", "$other"),
    draw=_draw_grid,
    twin=_grid,
    inputs=_grid_inputs,
)


NUMBERS: tuple[Family, ...] = (
    family("code_average", AVERAGE),
    family("code_checksum", CHECKSUM),
    family("code_workdays", WORKDAYS),
    family("code_search", SEARCH),
    family("code_totals", TOTALS),
    family("code_grid", GRID),
)
