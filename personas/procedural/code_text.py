"""Code families about text: labels, runs of them, settings, lines, brackets."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from personas.procedural.code_form import Drawn, Kind, family, things
from personas.procedural.family import Family, Scene

# ------------------------------------------------------------ runs of equal labels


def _draw_runs(rng: random.Random) -> dict[str, Any]:
    folded, swapped = rng.choice([True, False]), rng.choice([True, False])
    return {
        "least": rng.randint(2, 4),
        "folded": folded,
        "swapped": swapped,
        "norm": "raw.strip().lower()" if folded else "raw.strip()",
        "fold_rule": "and upper and lower case count as the same (report lower case)"
        if folded
        else "while upper and lower case are kept apart",
        "pair": "(count, label)" if swapped else "(label, count)",
        "pair_type": "tuple[int, str]" if swapped else "tuple[str, int]",
    }


def _runs(p: Drawn, labels: list[str]) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    start = 0
    clean = [x.strip().lower() if p["folded"] else x.strip() for x in labels]
    for i in range(1, len(clean) + 1):
        if i == len(clean) or clean[i] != clean[start]:
            if i - start >= p["least"]:
                found.append((i - start, clean[start]) if p["swapped"] else (clean[start], i - start))
            start = i
    return found


def _run_inputs(rng: random.Random, scene: Scene, p: Drawn) -> list[tuple[Any, ...]]:
    a, b, *_ = things(scene)
    least = p["least"]

    def some(runs: int) -> list[str]:
        spelt = [a, b, a.upper(), f" {b}"]
        return [x for _ in range(runs) for x in [rng.choice(spelt)] * rng.randint(1, least + 1)]

    exact = [a] * least + [b] * (least - 1) + [a] * least
    mixed = [a, a.upper()] * least + [b]
    drawn = [(some(n),) for n in (5, 6, 4)]
    return [([a] * (least + 1) + [b] + [f" {b}"] * (least - 1),), ([],), ([a],), (exact,), (mixed,), *drawn]


RUNS = Kind(
    names=("runs_of_$noun", "count_$noun_in_a_row", "streaks_of_$noun"),
    signature="(labels: list[str]) -> list[$pair_type]",
    openings=(
        "Write a Python function named `$fn` for $persona. $name notes down every label in the order in which it comes "
        "up $place, mostly $a and $b, and wants the unbroken streaks of one label with their lengths.",
        "Write a Python function to find long stretches of the same label in a log kept while $topic. The log belongs "
        "to $persona, and a line in it says, for instance, $a or $b.",
        "Write a Python function to run-length encode the list of labels that $name, $persona, collects $place when "
        "$a and $b pass by one after another.",
        "Write a Python function named `$fn` that turns a sequence of labels ($a, $b and the like) into its runs. It "
        "will serve $persona in reviewing an afternoon of $topic.",
    ),
    rules=(
        (
            "A run is a stretch of equal labels next to each other, as long as it can be; give `$pair` for each run of "
            "at least $least labels, in order of appearance.",
            "Return one tuple `$pair` per maximal run of neighbouring equal labels, first run first, but only for runs "
            "of length $least or more.",
        ),
        (
            "Spaces around a label do not count, $fold_rule.",
            "Strip each label of surrounding spaces before comparing and reporting it, $fold_rule.",
        ),
        (
            "Runs that are too short still separate their neighbours: nothing is joined across them.",
            "Dropping a short run never merges the runs on its two sides.",
        ),
        ("For an empty list return `[]`.", "No labels, or no run that is long enough, gives `[]`."),
    ),
    notes=(
        "It extends the last run or opens a new one, and drops the short runs at the end.",
        "It lets `itertools.groupby` find the runs.",
    ),
    reference="""    runs = []
    for raw in labels:
        label = $norm
        if runs and runs[-1][0] == label:
            runs[-1][1] += 1
        else:
            runs.append([label, 1])
    return [$pair for label, count in runs if count >= $least]""",
    second="""    result = []
    for label, run in groupby($norm for raw in labels):
        count = sum(1 for _ in run)
        if count >= $least:
            result.append($pair)
    return result""",
    imports=("", "from itertools import groupby"),
    slip=("count >= $least", "count > $least"),
    draw=_draw_runs,
    twin=_runs,
    inputs=_run_inputs,
)


# ------------------------------------------------------------ labels made tidy


def _draw_labels(rng: random.Random) -> dict[str, Any]:
    case = rng.choice(["lower", "upper"])
    return {
        "case": case,
        "sep": rng.choice(["-", "_", ".", "+"]),
        "width": rng.randint(7, 18),
        "default": rng.choice(["none", "unnamed", "blank", "misc", "other"]),
    }


def _tidy(p: Drawn, label: str) -> str:
    kept = "".join(c for c in label if c.isalnum() or c.isspace())
    code: str = p["sep"].join((kept.lower() if p["case"] == "lower" else kept.upper()).split())[: p["width"]]
    while code.endswith(p["sep"]):
        code = code[:-1]
    return code or p["default"]


def _label_inputs(rng: random.Random, scene: Scene, p: Drawn) -> list[tuple[Any, ...]]:
    a, b, *_ = things(scene)
    cut = "k" * (p["width"] - 1) + " tail"
    marks = [f"{rng.choice(['No.', '#', '(', 'lot'])} {rng.randint(2, 99)} {x}{rng.choice('!?;)')}" for x in (a, b, a)]
    odd = [(f"  {a.title()}   ",), (" \t ",), ("",), (cut,), ("?! ... ?!",), (f"{b.upper()} - {rng.randint(2, 9)}",)]
    return [(f"  {b.title()}, {rng.randint(3, 60)} pcs!",), *odd, *((m,) for m in marks)]


LABELS = Kind(
    names=("code_for_$noun", "tidy_$noun_label", "short_name_of_$noun"),
    signature="(label: str) -> str",
    openings=(
        "Write a Python function named `$fn` for $persona. The handwritten labels on the $a and $b differ in spacing, "
        "case and punctuation, and $name needs one short code for each of them.",
        "Write a Python function to normalise a label. $name, $persona, types names such as $a in a hurry $place, and "
        "the list of $b suffers from it as well.",
        "Write a Python function to turn what stands on a box of $a into a short code, so that notes on $topic can be "
        "searched. The box is one of many $place, where $name, $persona, stores things.",
        "Write a Python function named `$fn` that cleans up one free-text label. It is meant for $persona, who has "
        "sorted $a under five spellings and $b under seven while $topic.",
    ),
    rules=(
        (
            "Split the label into words at white space, delete from each word every character that is neither a letter "
            "nor a digit, and forget words with nothing left.",
            "Only letters and digits survive inside the words (words are separated by white space); a word that loses "
            "all its characters disappears.",
        ),
        (
            "Write the words in $case case and join them with `$sep`.",
            "The words go into $case case, with a single `$sep` between two of them.",
        ),
        (
            "Cut the joined code to its first $width characters; if a `$sep` then stands at the end, remove it.",
            "The code has at most $width characters: cut off the rest after joining, and let no `$sep` remain at the "
            "end.",
        ),
        (
            "If nothing is left, return `'$default'`.",
            "A label without any letter or digit, the empty one included, becomes `'$default'`.",
        ),
    ),
    notes=(
        "It cleans the words one by one, joins them, and trims the result.",
        "It removes the unwanted characters with a regular expression first.",
    ),
    reference="""    words = []
    for word in label.split():
        clean = "".join(c for c in word if c.isalnum())
        if clean:
            words.append(clean.$case())
    code = "$sep".join(words)[:$width].rstrip("$sep")
    return "$default" if not code else code""",
    second="""    words = re.sub(r"[^\\w\\s]|_", "", label).$case().split()
    code = "$sep".join(words)[:$width]
    if code.endswith("$sep"):
        code = code[:-1]
    return "$default" if code == "" else code""",
    imports=("", "import re"),
    slip=('.rstrip("$sep")', ""),
    draw=_draw_labels,
    twin=_tidy,
    inputs=_label_inputs,
)


# ------------------------------------------------------------ key and value lines

_FOLDS = {
    # rule → (in words, on the spot, at the end, a slip)
    "first": ("the first value counts", "result.setdefault(key, number)", "numbers[0]", "result[key] = number"),
    "last": ("the last value counts", "result[key] = number", "numbers[-1]", "result.setdefault(key, number)"),
    "sum": (
        "the values are added up",
        "result[key] = result.get(key, 0) + number",
        "sum(numbers)",
        "result[key] = number",
    ),
    "largest": (
        "the largest value counts",
        "result[key] = max(number, result.get(key, number))",
        "max(numbers)",
        "result[key] = number",
    ),
}


def _draw_lines(rng: random.Random) -> dict[str, Any]:
    fold = rng.choice(list(_FOLDS))
    said, store, end, slip = _FOLDS[fold]
    sep, comment = rng.choice(["=", ":", "->", "=>"]), rng.choice(["#", ";", "//", "%", "!"])
    return {"fold": fold, "said": said, "store": store, "end": end, "slip": slip, "sep": sep, "comment": comment}


def _lines(p: Drawn, text: str) -> dict[str, int]:
    values: dict[str, list[int]] = {}
    for line in map(str.strip, text.split("\n")):
        at = line.find(p["sep"])
        if at >= 0 and not line.startswith(p["comment"]):
            values.setdefault(line[:at].strip().lower(), []).append(int(line[at + len(p["sep"]) :]))
    pick: dict[str, Callable[[list[int]], int]] = {
        "first": lambda v: v[0],
        "last": lambda v: v[-1],
        "sum": sum,
        "largest": max,
    }
    return {key: pick[p["fold"]](v) for key, v in values.items()}


def _line_inputs(rng: random.Random, scene: Scene, p: Drawn) -> list[tuple[Any, ...]]:
    sep, comment, names = p["sep"], p["comment"], things(scene)

    def line() -> str:
        key, value = rng.choice(names[:3]), rng.randint(-20, 60)
        gap = rng.choice(["", " "])
        kinds = [f"{key}{gap}{sep}{gap}{value}"] * 5
        return rng.choice([*kinds, f"{comment} {key} {sep} {value}", "", f"  {key.upper()} {sep} {value} ", "to do"])

    twice = f"{names[0]} {sep} 5\n{names[0]} {sep} 2"
    example = (
        f"{names[0]} {sep} {rng.randint(6, 30)}\n{comment} counted twice\n{names[1].upper()}{sep}-{rng.randint(2, 9)}"
    )
    texts = ["\n".join(line() for _ in range(n)) for n in (6, 7, 8)]
    fixed = [example, "", twice, f"{names[1]}{sep}0", f"  {comment} {names[0]} {sep} 1\n\nnothing"]
    return [(t,) for t in [*fixed, *texts]]


LINES = Kind(
    names=("read_$noun", "parse_$noun", "load_$noun"),
    signature="(text: str) -> dict[str, int]",
    openings=(
        "Write a Python function to read a small settings file that $name, $persona, edits by hand. Each line gives a "
        "number for something, for instance how many $a or how many $b are kept $place.",
        "Write a Python function named `$fn` that parses the text in which $name writes down counts of $a and $b. "
        "$name is $persona, and the text grows line by line during a day of $topic.",
        "Write a Python function named `$fn` to load counts from plain text for $persona. The file lies $place and "
        "mixes entries on $a, entries on $b, remarks and blank lines.",
        "Write a Python function to extract a dictionary of numbers from notes on $topic. The author of the notes is "
        "$persona; the names in them are things like $a.",
    ),
    rules=(
        (
            "An entry is a line `name $sep number`; the name is everything before the first `$sep`, without spaces "
            "around it and in lower case, and the number is an integer, perhaps negative.",
            "Split each entry at its first `$sep`: on the left is the name (strip it, make it lower case), on the "
            "right a whole number that may have a minus sign. Spaces around both are allowed.",
        ),
        (
            "Lines that begin with `$comment` after any leading spaces are remarks and are skipped.",
            "Ignore remarks: lines whose first characters, apart from spaces, are `$comment`.",
        ),
        (
            "Lines without `$sep`, blank ones among them, are skipped.",
            "A line in which `$sep` does not occur is no entry; skip it.",
        ),
        ("If a name comes up again, $said.", "When several entries share a name, $said."),
        ("Text without entries gives `{}`.", "Return `{}` where there is no entry at all."),
    ),
    notes=(
        "It goes through the lines, skips what is no entry, and stores each number at once.",
        "It first collects all numbers of a name and settles repeated names at the end.",
    ),
    reference="""    result = {}
    for line in text.splitlines():
        line = line.strip()
        if line.startswith("$comment") or "$sep" not in line:
            continue
        key, value = line.split("$sep", 1)
        key, number = key.strip().lower(), int(value)
        $store
    return result""",
    second="""    values = {}
    for line in text.split("\\n"):
        key, found, value = line.strip().partition("$sep")
        if found and not key.startswith("$comment"):
            values.setdefault(key.strip().lower(), []).append(int(value.strip()))
    return {key: $end for key, numbers in values.items()}""",
    slip=("$store", "$slip"),
    draw=_draw_lines,
    twin=_lines,
    inputs=_line_inputs,
)


# ------------------------------------------------------------ text in lines


def _draw_wrap(rng: random.Random) -> dict[str, Any]:
    mark, joined = rng.choice(["> ", "| ", "~ ", "+ ", ".. "]), rng.choice([True, False])
    return {
        "width": rng.randint(14, 30),
        "mark": mark,
        "joined": joined,
        "type": "str" if joined else "list[str]",
        "said": "one string, with a newline character between two lines" if joined else "the list of lines",
        "none": "''" if joined else "[]",
        "out": '"\\n".join(lines)' if joined else "lines",
    }


def _wrap(p: Drawn, text: str) -> str | list[str]:
    lines: list[list[str]] = []
    for word in text.split():
        mark = p["mark"] if len(lines) > 1 else ""
        if lines and len(mark) + len(" ".join([*lines[-1], word])) <= p["width"]:
            lines[-1].append(word)
        else:
            lines.append([word])
    full = [(p["mark"] if i else "") + " ".join(line) for i, line in enumerate(lines)]
    return "\n".join(full) if p["joined"] else full


def _wrap_inputs(rng: random.Random, scene: Scene, p: Drawn) -> list[tuple[Any, ...]]:
    width, names = p["width"], things(scene)
    said = ["carry", "the", "a", "and", "then", "count", "back", "before", "noon", "wash", "all", "of", *names]

    def text(n: int) -> str:
        return rng.choice([" ", "  "]).join(rng.choice(said) for _ in range(n))

    exact = "x" * 4 + " " + "y" * (width - 5) + " z"
    long = f"{names[0]} {'w' * (width + 3)} {names[1]}"
    return [(f"count the {names[0]} and then wash all {names[1]}",), ("",), ("   ",), (exact,), (long,)] + [
        (text(n),) for n in (9, 12, 15)
    ]


WRAP = Kind(
    names=("wrap_$noun_note", "fit_$noun", "lines_about_$noun"),
    signature="(text: str) -> $type",
    openings=(
        "Write a Python function named `$fn` that breaks a note into short lines. The notes say what to do with $a and "
        "$b, and they go onto narrow labels printed by $persona.",
        "Write a Python function to wrap a message for the little display $place. $name, $persona, shows reminders on "
        "it, mostly on $a and on $topic.",
        "Write a Python function to lay out a sentence on cards of limited width. The cards are put beside the $a and "
        "the $b by $persona, and $name copies them by hand.",
        "Write a Python function named `$fn` for $persona: it takes a remark made while $topic and breaks it at spaces "
        "only into lines for a slip that goes with the $b.",
    ),
    rules=(
        (
            "A line may have up to $width characters; put as many words on it as fit, with one space between two "
            "words, before starting the next.",
            "Fill each line greedily: a further word joins the current line, after one space, as long as the line then "
            "has no more than $width characters.",
        ),
        (
            "Every line but the first begins with `'$mark'`, which counts towards its length.",
            "Lines after the first start with the characters `'$mark'`, and these are part of the $width.",
        ),
        (
            "Words are what white space separates, and none is ever cut: one that is too long gets a line to itself.",
            "White space of any length separates words. A word that does not fit into any line stands alone on its "
            "line, uncut.",
        ),
        ("Return $said; without words, that is `$none`.", "The result is $said (`$none` if there are no words)."),
    ),
    notes=(
        "It keeps a current line and closes it when the next word no longer fits.",
        "The standard library's `textwrap` already works this way once its options are set.",
    ),
    reference="""    lines = []
    for word in text.split():
        if lines and len(lines[-1]) + 1 + len(word) <= $width:
            lines[-1] += " " + word
        else:
            lines.append("$mark" + word if lines else word)
    return $out""",
    second="""    wrapper = textwrap.TextWrapper(
        width=$width, subsequent_indent="$mark", break_long_words=False, break_on_hyphens=False
    )
    lines = wrapper.wrap(" ".join(text.split()))
    return $out""",
    imports=("", "import textwrap"),
    slip=("<= $width", "< $width"),
    draw=_draw_wrap,
    twin=_wrap,
    inputs=_wrap_inputs,
)


# ------------------------------------------------------------ brackets


def _draw_brackets(rng: random.Random) -> dict[str, Any]:
    pairs = rng.sample(["()", "[]", "{}", "<>"], rng.randint(2, 3))
    first, base = rng.choice([True, False]), rng.choice([0, 1])
    return {
        "pairs": pairs,
        "first": first,
        "base": base,
        "fine": base - 1,
        "closers": "{" + ", ".join(f'"{p[1]}": "{p[0]}"' for p in pairs) + "}",
        "opening": "".join(p[0] for p in pairs),
        "both": "".join(pairs),
        "said": " and ".join(f"`{p}`" for p in pairs),
        "which": "first" if first else "last",
        "at": "0" if first else "-1",
    }


def _brackets(p: Drawn, text: str) -> int:
    partner = {close: open_ for open_, close in p["pairs"]}
    open_at: list[int] = []
    for i, c in enumerate(text):
        if c in partner.values():
            open_at.append(i)
        elif c in partner and (not open_at or text[open_at.pop()] != partner[c]):
            return i + int(p["base"])
    if not open_at:
        return int(p["base"]) - 1
    return open_at[0 if p["first"] else -1] + int(p["base"])


def _bracket_inputs(rng: random.Random, scene: Scene, p: Drawn) -> list[tuple[Any, ...]]:
    (l1, r1), (l2, r2) = p["pairs"][:2]
    a, b, *_ = things(scene)
    good = f"{a} {l1}{rng.randint(2, 30)} {l2}old{r2}{r1}, {b}"
    fixed = ["", l1, f"{l1}{a}{l2}{r2}{l1}", f"{l1}{l2}{r1}{r2}", f"{b}{r2}{l2}"]
    noise = ["".join(rng.choice([l1, l1, r1, l2, r2, "x"]) for _ in range(n)) for n in (6, 8)]
    return [(t,) for t in [f"{a} {l1}{b} {l2}{rng.randint(2, 30)}{r1}", *fixed, good, *noise, f"{l1}{good}"]]


BRACKETS = Kind(
    names=("check_$noun_note", "bracket_slip_in_$noun", "proofread_$noun"),
    signature="(text: str) -> int",
    openings=(
        "Write a Python function named `$fn` that finds the place where brackets go wrong. $name, $persona, puts "
        "remarks on $a and $b into brackets within brackets and loses count of them.",
        "Write a Python function to check the brackets in a note on $topic. The note was typed $place by $persona, and "
        "a counting script will not read it until they match.",
        "Write a Python function to proofread descriptions of $a. They come from $persona, who uses brackets of "
        "several kinds, one inside the other.",
        "Write a Python function named `$fn` for $persona, who keeps a nested list of $b as text. Each bracket that is "
        "opened must be closed, and $name wants to see where that fails.",
    ),
    rules=(
        (
            "The brackets are $said; a closing bracket is right if the most recently opened one that is still open is "
            "of its kind, and all other characters are ignored.",
            "Only $said count as brackets. Every closing bracket must belong to the latest bracket still open.",
        ),
        (
            "At the first closing bracket that does not fit, or for which nothing is open, return its position.",
            "Return the position of the first closing bracket that matches no open bracket or the wrong kind.",
        ),
        (
            "If every closing bracket fits but brackets remain open at the end, return the position of the $which of "
            "these.",
            "When all closing brackets fit and some brackets are never closed, the answer is the position of the "
            "$which unclosed one.",
        ),
        (
            "Positions count from $base. If everything matches, as in the empty text, return $fine.",
            "Text without fault, including `''`, gives $fine; the position of the first character is $base.",
        ),
    ),
    notes=(
        "It keeps the positions of the open brackets on a stack.",
        "It takes out matching neighbours among the brackets until nothing changes, and looks at what remains.",
    ),
    reference="""    partner = $closers
    stack = []
    for position, char in enumerate(text, $base):
        if char in "$opening":
            stack.append((char, position))
        elif char in partner:
            if not stack or stack[-1][0] != partner[char]:
                return position
            stack.pop()
    return stack[$at][1] if stack else $fine""",
    second="""    left = [(char, i) for i, char in enumerate(text, $base) if char in "$both"]
    partner = $closers
    i = 0
    while i + 1 < len(left):
        if left[i][0] == partner.get(left[i + 1][0]):
            del left[i : i + 2]
            i = max(i - 1, 0)
        else:
            i += 1
    for char, position in left:
        if char in partner:
            return position
    return left[$at][1] if left else $fine""",
    slip=("stack[$at][1] if stack else $fine", "$fine"),
    draw=_draw_brackets,
    twin=_brackets,
    inputs=_bracket_inputs,
)


TEXT: tuple[Family, ...] = (
    family("code_runs", RUNS),
    family("code_labels", LABELS),
    family("code_lines", LINES),
    family("code_wrap", WRAP),
    family("code_brackets", BRACKETS),
)
