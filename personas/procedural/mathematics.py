"""Challenging mathematics with a short exact answer: numbers, counting, chance, series, geometry."""

from __future__ import annotations

import random
from collections.abc import Sequence
from fractions import Fraction
from math import comb, gcd, lcm
from typing import Any

from personas.procedural.family import Family, Made, Scene
from personas.procedural.wording import Answer, latex, listed, made, radical, words

FORM = "Final Answer: The final answer is ${}$. I hope it is correct."

Value = int | Fraction | str  # text is LaTeX already


def _made(
    rng: random.Random,
    prompts: Sequence[str],
    right: tuple[Sequence[str], Value],
    slip: tuple[str, Value],
    **numbers: Any,
) -> Made:
    value, off = (v if isinstance(v, str) else latex(v) for v in (right[1], slip[1]))
    return made(rng, FORM, prompts, Answer(right[0], value), Answer((slip[0],), off), numbers)


def _power_mod(rng: random.Random, scene: Scene) -> Made:
    w = words(rng, scene)
    while True:
        base, modulus, exponent = rng.randint(2, 19), rng.randint(7, 30), rng.randint(40, 900)
        if gcd(base, modulus) > 1 or base % modulus == 1:
            continue
        order = next(k for k in range(1, modulus) if pow(base, k, modulus) == 1)
        if exponent % order:
            break
    rest = exponent % order
    answer, off = pow(base, rest, modulus), pow(base, rest + 1, modulus)
    prompts = (
        f"{w.posed} What is the remainder when ${base}^{{{exponent}}}$ is divided by {modulus}?",
        f"{w.who} imagines that the number of {w.a} starts at one and is multiplied by {base} every day, for "
        f"{exponent} days. If all of them were then packed into boxes of {modulus}, with every box full but perhaps "
        "the last, how many would not be in a full box?",
        f"{w.hello} A dial {w.at} has the positions 0 to {modulus - 1}, and a number $n$ turns it from 0 by $n$ steps, "
        f"where {modulus} steps are a full circle. {w.name} enters $n = {base}^{{{exponent}}}$. At which position does "
        "the dial stop?",
        f"Let $r$ be the integer with $0 \\le r < {modulus}$ for which ${base}^{{{exponent}}} - r$ is a multiple of "
        f"{modulus}. {w.who} sets aside exactly $r$ of the {w.b}. Find $r$.",
    )
    ways = (
        f"Modulo ${modulus}$ the powers of ${base}$ repeat, since ${base}^{{{order}}} \\equiv 1$ and no smaller power "
        f"does this. As ${exponent} = {order} \\cdot {exponent // order} + {rest}$, we get ${base}^{{{exponent}}} "
        f"\\equiv {base}^{{{rest}}} \\equiv {answer}$.",
        f"The order of ${base}$ modulo ${modulus}$ is ${order}$. So only the exponent's remainder matters, which is "
        f"${exponent} - {order} \\cdot {exponent // order} = {rest}$. Multiplying step by step, ${base}^{{{rest}}}$ "
        f"leaves ${answer}$ when divided by ${modulus}$.",
    )
    slip = f"The powers of ${base}$ repeat after ${order}$ steps, and the exponent leaves ${rest + 1}$."
    return _made(rng, prompts, (ways, answer), (slip, off), base=base, exponent=exponent, modulus=modulus)


def _schedule(rng: random.Random, scene: Scene) -> Made:
    w = words(rng, scene)
    while True:
        a, b, c = sorted(rng.sample(range(3, 13), 3))
        if b % a and c % a and c % b:
            break
    days = rng.randint(140, 600)  # no two of the numbers have a larger least common multiple than 132
    singles = days // a + days // b + days // c
    pairs = days // lcm(a, b) + days // lcm(a, c) + days // lcm(b, c)
    triple = days // lcm(a, b, c)
    count = singles - pairs + triple
    prompts = (
        f"{w.posed} How many of the integers from 1 to {days} are divisible by at least one of {a}, {b} and {c}?",
        f"The {days} days of a project are numbered from 1. {w.who} checks the {w.a} on every day whose number is a "
        f"multiple of {a}, the {w.b} on every multiple of {b}, and the tools on every multiple of {c}. On how many "
        "days is anything checked?",
        f"{w.hello} Three bells hang {w.at}. Counting seconds, the first rings at each multiple of {a}, the second at "
        f"each multiple of {b}, the third at each multiple of {c}. {w.name} listens from second 1 to second {days}. In "
        "how many of these seconds is at least one bell heard?",
        f"A newsletter on {w.topic} has {days} editions, numbered 1 to {days}. A recipe stands in each edition whose "
        f"number is a multiple of {a}, a map in each multiple of {b}, an interview in each multiple of {c}. {w.who} "
        "keeps the editions with at least one of the three. Find how many editions are kept.",
    )
    ways = (
        f"Use inclusion and exclusion. The single counts are ${days // a}$, ${days // b}$ and ${days // c}$, in sum "
        f"${singles}$. Multiples of two of the numbers are multiples of ${lcm(a, b)}$, ${lcm(a, c)}$ or ${lcm(b, c)}$, "
        f"in sum ${pairs}$, and ${triple}$ are multiples of ${lcm(a, b, c)}$. So the count is ${singles} - {pairs} + "
        f"{triple} = {count}$.",
        f"Adding up the multiples of ${a}$, ${b}$ and ${c}$ gives ${singles}$. Those of two of them, found with the "
        f"least common multiples, were counted twice and number ${pairs}$; those of all three number ${triple}$ and "
        f"must be put back. Hence ${singles} - {pairs} + {triple} = {count}$.",
    )
    slip = f"The single counts are ${days // a}$, ${days // b}$ and ${days // c}$, and we add them."
    return _made(rng, prompts, (ways, count), (slip, singles), a=a, b=b, c=c, days=days)


def _arrangement(rng: random.Random, scene: Scene) -> Made:
    w = words(rng, scene)
    i, k = rng.randint(2, 6), rng.randint(2, 6)
    j = rng.randint(2, 5)
    rest, gaps = i + k, i + k + 1
    orders, places = comb(rest, i), comb(gaps, j)
    total, off = orders * places, comb(rest + j, j) * orders
    prompts = (
        f"{w.who} puts {i} identical {w.a}, {j} identical {w.b} and {k} identical stones in a row from left to right. "
        f"No two of the {w.b} may be next to each other. How many different rows are possible?",
        f"{w.posed} In how many ways can the letters of a word made of {i} letters A, {j} letters B and {k} letters C "
        "be arranged so that no two letters B are adjacent?",
        f"{w.hello} A string of lamps {w.at} has {i + j + k} places in a line: {i} lamps are red, {j} are blue, {k} "
        f"are green, and lamps of one colour look alike. {w.name} wants no blue lamp directly beside another blue one. "
        "Count the possible strings.",
        f"A day of {w.topic} is split into {i + j + k} slots in a row: {i} for work, {j} for rest, {k} for reading. "
        f"{w.who} never wants two slots of rest in direct succession. How many orders of the day are there, if slots "
        "of the same kind are not told apart?",
    )
    ways = (
        f"First arrange the other ${i} + {k} = {rest}$, in $\\binom{{{rest}}}{{{i}}} = {orders}$ ways. They leave "
        f"${gaps}$ gaps, ends included, and each gap takes at most one of the ${j}$. That is $\\binom{{{gaps}}}{{{j}}} "
        f"= {places}$ choices, so there are ${orders} \\cdot {places} = {total}$.",
        f"The ${j}$ that must stay apart go into different gaps of a row of the other ${rest}$. A row of ${rest}$ has "
        f"${gaps}$ gaps, which gives ${places}$ choices, and the row itself can be chosen in ${orders}$ ways. The "
        f"product is ${total}$.",
    )
    slip = f"We choose places for the ${j}$ among all ${rest + j}$ and then arrange the other ${rest}$."
    numbers = {"i": i, "j": j, "k": k}
    return _made(rng, prompts, (ways, total), (slip, off), **numbers)


def _committee(rng: random.Random, scene: Scene) -> Made:
    w = words(rng, scene)
    m, n, size = rng.randint(4, 11), rng.randint(4, 11), rng.randint(4, 5)
    least = rng.randint(2, size - 2)
    terms = [(t, comb(m, t), comb(n, size - t)) for t in range(least, size + 1) if t <= m and size - t <= n]
    total, off = sum(p * q for _, p, q in terms), comb(m, least) * comb(m + n - least, size - least)
    prompts = (
        f"{m} experts and {n} beginners in {w.topic} have signed up. {w.who} picks a team of {size} people with at "
        f"least {least} experts in it. How many different teams are possible?",
        f"{w.who} has {m} {w.a} and {n} {w.b}, no two of them alike. In how many ways can {size} of these things be "
        f"chosen for display, if at least {least} of the chosen ones must be {w.a}?",
        f"{w.intro} A jury of {size} members is formed from {m} women and {n} men. The rules ask for {least} or more "
        "women. Find the number of possible juries.",
        f"{w.here}, {m + n} cards lie on a table, {m} red ones with different pictures and {n} blue ones with "
        f"different pictures. {w.who} takes {size} cards at once, with no fewer than {least} red ones among them. "
        "How many selections fit this description?",
    )
    shown = " + ".join(f"{p} \\cdot {q}" for _, p, q in terms)
    ways = (
        f"We add over the number $t$ taken from the group of ${m}$, from ${least}$ up. For each $t$ there are "
        f"$\\binom{{{m}}}{{t}} \\binom{{{n}}}{{{size} - t}}$ selections. This gives ${shown} = {total}$.",
        f"Split by how many come from the first group: {listed([t for t, _, _ in terms])}. The cases do not overlap "
        f"and contribute ${shown}$, which is ${total}$ in all.",
    )
    slip = f"We choose ${least}$ of the ${m}$ first and then any ${size - least}$ of the remaining ${m + n - least}$."
    return _made(rng, prompts, (ways, total), (slip, off), m=m, n=n, size=size, least=least)


def _lattice(rng: random.Random, scene: Scene) -> Made:
    w = words(rng, scene)
    p, q = rng.randint(4, 9), rng.randint(4, 9)
    i, j = rng.randint(2, p - 2), rng.randint(2, q - 2)
    everything, one, two = comb(p + q, p), comb(i + j, i), comb(p + q - i - j, p - i)
    count = everything - one * two
    prompts = (
        f"To fetch {w.b}, {w.who} walks from a corner in a square grid of streets to a shop {p} blocks east and {q} "
        f"blocks north, always going east or north. The crossing {i} blocks east and {j} blocks north of the start is "
        f"closed because of an event on {w.topic}. How many routes are there?",
        f"{w.posed} A path in the plane goes from $(0, 0)$ to $({p}, {q})$ in unit steps to the right or upwards. How "
        f"many such paths do not pass through the point $({i}, {j})$?",
        f"{w.hello} A cart carries {w.a} along the aisles {w.at}, which form a grid. It has to move {p} units to the "
        f"right and {q} units ahead in single-unit moves of these two kinds, and it must avoid the spot {i} to the "
        f"right and {j} ahead of its start. In how many ways can {w.name} steer it?",
        f"In a board game about {w.topic}, a token starts on square $(0, 0)$ and each move raises one of its two "
        f"coordinates by one. {w.who} wants to bring it to $({p}, {q})$ without ever standing on the trap at $({i}, "
        f"{j})$. Count the sequences of moves that do this.",
    )
    ways = (
        f"Without the obstacle there are $\\binom{{{p + q}}}{{{p}}} = {everything}$ paths. Through the forbidden point "
        f"go $\\binom{{{i + j}}}{{{i}}} \\cdot \\binom{{{p + q - i - j}}}{{{p - i}}} = {one} \\cdot {two} = "
        f"{one * two}$. The difference is ${everything} - {one * two} = {count}$.",
        f"We count the complement. A path through the forbidden point consists of one of ${one}$ first parts and one "
        f"of ${two}$ second parts, so ${one * two}$ paths are lost. Of ${everything}$ paths in total, ${count}$ "
        "remain.",
    )
    slip = f"A path is a choice of ${p}$ of the ${p + q}$ steps, which gives ${everything}$."
    return _made(rng, prompts, (ways, count), (slip, everything), p=p, q=q, i=i, j=j)


def _sharing(rng: random.Random, scene: Scene) -> Made:
    w = words(rng, scene)
    parts, least = rng.randint(3, 5), rng.randint(2, 4)
    total = parts * least + rng.randint(4, 14)
    spare = total - parts * least
    count, off = comb(spare + parts - 1, parts - 1), comb(total + parts - 1, parts - 1)
    prompts = (
        f"{w.who} distributes {total} identical {w.a} over {parts} different shelves, with at least {least} on each "
        "shelf. In how many ways can this be done?",
        f"{w.posed} How many solutions in integers has the equation $x_1 + \\dots + x_{{{parts}}} = {total}$ if each "
        f"of the {parts} unknowns has to be at least {least}?",
        f"{w.hello} {w.here}, {parts} children with different names are given {total} equal {w.b} altogether. "
        f"{w.name} makes sure that nobody gets fewer than {least}. Count the possible distributions.",
        f"A plan for {w.topic} spreads {total} hours over {parts} named weekdays in whole hours, with no less than "
        f"{least} hours on any of these days. How many such plans can {w.who} choose from?",
    )
    ways = (
        f"Give every part its ${least}$ first. That uses ${parts} \\cdot {least} = {parts * least}$ and leaves "
        f"${spare}$ to be spread freely over ${parts}$ parts. By stars and bars there are $\\binom{{{spare + parts - 1}"
        f"}}{{{parts - 1}}} = {count}$ ways.",
        f"Subtract ${least}$ from each part: now ${parts}$ non-negative integers must add up to ${total} - "
        f"{parts * least} = {spare}$. Placing ${parts - 1}$ bars among ${spare + parts - 1}$ positions can be done in "
        f"${count}$ ways.",
    )
    slip = f"By stars and bars there are $\\binom{{{total + parts - 1}}}{{{parts - 1}}}$ ways."
    return _made(rng, prompts, (ways, count), (slip, off), total=total, parts=parts, least=least)


def _draws(rng: random.Random, scene: Scene) -> Made:
    w = words(rng, scene)
    r, s, drawn = rng.randint(4, 12), rng.randint(4, 12), rng.randint(3, 4)
    want = rng.randint(2, drawn - 1)
    good, every = comb(r, want) * comb(s, drawn - want), comb(r + s, drawn)
    chance = Fraction(good, every)
    with_return = comb(drawn, want) * Fraction(r, r + s) ** want * Fraction(s, r + s) ** (drawn - want)
    prompts = (
        f"{w.who} keeps {r} {w.a} and {s} {w.b} in a dark store room and takes out {drawn} things at random, without "
        f"putting any back. What is the probability that exactly {want} of them are {w.a}?",
        f"{w.hello} {w.here}, an urn holds {r} white and {s} black balls. {w.name} draws {drawn} balls in one grip, "
        f"all grips equally likely. Find the probability of getting exactly {want} white balls, as a fraction.",
        f"A quiz draws {drawn} different questions at random from {r} on {w.topic} and {s} on history. {w.who} hopes "
        f"for exactly {want} questions on {w.topic}. With what probability does this happen? Give a fraction in lowest "
        "terms.",
        f"Of {r + s} tickets, {r} carry a star and {s} do not. {drawn} tickets are picked at random without "
        f"replacement, and if exactly {want} stars show up, {w.who} gives away one of the {w.b}. Compute the "
        "probability of that.",
    )
    ways = (
        f"All $\\binom{{{r + s}}}{{{drawn}}} = {every}$ selections are equally likely. Favourable are "
        f"$\\binom{{{r}}}{{{want}}} \\cdot \\binom{{{s}}}{{{drawn - want}}} = {good}$. The probability is "
        f"$\\frac{{{good}}}{{{every}}} = {latex(chance)}$.",
        f"Count selections: ${comb(r, want)}$ ways for the ${want}$ wanted ones, times ${comb(s, drawn - want)}$ for "
        f"the others, is ${good}$. Out of ${every}$ selections in all this is a share of ${latex(chance)}$.",
    )
    slip = f"Each draw succeeds with probability ${latex(Fraction(r, r + s))}$, so we use the binomial formula."
    return _made(rng, prompts, (ways, chance), (slip, with_return), r=r, s=s, drawn=drawn, want=want)


def _bounce(rng: random.Random, scene: Scene) -> Made:
    w = words(rng, scene)
    height, ratio = rng.randint(15, 250), Fraction(rng.choice(("2/3", "3/4", "3/5", "4/5", "2/5", "5/7", "3/8", "5/6")))
    total, off = height * (1 + ratio) / (1 - ratio), height / (1 - ratio)
    r = latex(ratio)
    prompts = (
        f"A rubber ball falls off a shelf with {w.a}, {height} cm above the floor. After each impact it rises to "
        f"${r}$ of the height from which it last fell. {w.who} watches until it rests. What total distance, in cm, "
        "does the ball travel, up and down together, in the limit of infinitely many bounces?",
        f"{w.posed} A point moves {height} units down, then ${r}$ of that up and the same distance down again, then "
        f"${r}$ of the last distance up and down again, and so on forever. How long is its whole path?",
        f"{w.hello} {w.here}, {w.name} lets a marble drop from a height of {height} cm; each rebound reaches ${r}$ "
        "times the previous height. Add up all the falls and all the rises of the endless motion. What is the sum in "
        "centimetres?",
        f"As a model for ideas that come back in {w.topic}, {w.who} sets up a bouncing ball {w.at}. It first falls "
        f"{height} cm, and every rise is ${r}$ of the fall before it. {w.name} wonders how long the way of the ball is "
        "over infinitely many bounces, with rises and falls both counted. Find this length in cm.",
    )
    ways = (
        f"The falls form the geometric series ${height}(1 + {r} + \\dots) = {latex(off)}$. The rises are the same "
        f"without the first fall, ${latex(off)} - {height} = {latex(off - height)}$. Together the distance is "
        f"${latex(total)}$.",
        f"The distance is ${height} + 2 \\cdot {height} \\cdot q(1 + q + q^2 + \\dots)$ with $q = {r}$. The bracket "
        f"sums to $\\frac{{1}}{{1 - q}} = {latex(1 / (1 - ratio))}$. So the total is ${latex(total)}$.",
    )
    slip = f"The geometric series with first term ${height}$ and ratio ${r}$ has the sum ${latex(off)}$."
    return _made(rng, prompts, (ways, total), (slip, off), height=height, ratio=r)


def _largest(rng: random.Random, scene: Scene) -> Made:
    w = words(rng, scene)
    top, drawn = rng.randint(7, 27), rng.randint(2, 4)
    mean, off = Fraction(drawn * (top + 1), drawn + 1), Fraction(drawn * top, drawn + 1)
    prompts = (
        f"{w.who} numbers the {w.a} from 1 to {top}, picks {drawn} of them at random without replacement and notes the "
        "largest number among those picked. What is the expected value of that number?",
        f"{w.posed} From the set $\\{{1, 2, \\dots, {top}\\}}$ a subset of {drawn} elements is chosen uniformly at "
        "random. Compute the mean of its greatest element.",
        f"{w.hello} {w.here}, {top} tickets with the numbers 1 to {top} are in a hat. {w.name} draws {drawn} tickets "
        "at once and wins as many points as the highest of their numbers. How many points should be expected on "
        "average, as an exact value?",
        f"A book on {w.topic} has {top} chapters, numbered from 1. {w.who} reads {drawn} different chapters, every "
        f"choice of {drawn} being equally likely. Let $M$ be the highest chapter number read. Find $E(M)$.",
    )
    n = comb(top, drawn)
    ways = (
        f"The largest is $m$ in $\\binom{{m - 1}}{{{drawn - 1}}}$ of ${n}$ cases. Since $m \\binom{{m - 1}}"
        f"{{{drawn - 1}}} = {drawn} \\binom{{m}}{{{drawn}}}$, the mean is $\\frac{{{drawn}}}{{{n}}} "
        f"\\binom{{{top + 1}}}{{{drawn + 1}}} = {latex(mean)}$.",
        f"The ${drawn}$ numbers cut the others into ${drawn + 1}$ gaps which by symmetry have the same mean length, "
        f"$\\frac{{{top} - {drawn}}}{{{drawn + 1}}}$. Above the largest lies one gap, so its mean is ${top} - "
        f"{latex(Fraction(top - drawn, drawn + 1))} = {latex(mean)}$.",
    )
    slip = f"The ${drawn}$ numbers cut the range of length ${top}$ into ${drawn + 1}$ equal parts."
    return _made(rng, prompts, (ways, mean), (slip, off), top=top, drawn=drawn)


# Area of a regular polygon whose circle has radius 1, as a rational factor of the square root of 3.
_AREAS = {
    ("equilateral triangle", "inscribed in"): Fraction(3, 4),
    ("equilateral triangle", "circumscribed about"): Fraction(3),
    ("regular hexagon", "inscribed in"): Fraction(3, 2),
    ("regular hexagon", "circumscribed about"): Fraction(2),
}


def _polygon(rng: random.Random, scene: Scene) -> Made:
    w = words(rng, scene)
    (shape, placed), factor = rng.choice(list(_AREAS.items()))
    other = next(f for (s, p), f in _AREAS.items() if s == shape and p != placed)
    radius = rng.randint(2, 60)
    area, off = (radical(3 * (f * radius**2) ** 2) for f in (factor, other))
    prompts = (
        f"{w.posed} One {shape} is {placed} a circle of radius {radius}. What is the area of the polygon?",
        f"{w.who} designs a floor for the {w.a}. It has the form of one {shape} {placed} a circle whose radius is "
        f"{radius} metres. How many square metres does the floor measure, exactly?",
        f"{w.hello} {w.here}, a circle of radius {radius} cm is painted on the ground, together with the {shape} "
        f"{placed} it. {w.name} wants to cover the polygon with felt. Find its exact area in square centimetres.",
        f"The logo of a club for {w.topic} shows a circle and one {shape} that is {placed} the circle. {w.who} draws "
        f"the circle with a radius of {radius} mm. Determine the area in mm$^2$ that the polygon encloses.",
    )
    sides = 3 if "triangle" in shape else 6
    far = placed == "inscribed in"
    angle = 180 // sides
    half = ("\\sin" if far else "\\tan") + f" {angle}^\\circ"
    ways = (
        f"Lines from the centre cut the polygon into ${2 * sides}$ right triangles with the angle ${angle}^\\circ$ at "
        f"the centre. Half a side is ${radius} {half}$, and "
        + (f"the height is ${radius} \\cos {angle}^\\circ$. " if far else f"the height is ${radius}$. ")
        + f"The areas of the right triangles add up to ${area}$.",
        f"For radius $1$ the area is ${latex(factor)}\\sqrt{{3}}$, from ${sides}$ equal triangles around the centre. "
        f"Areas grow with the square of the radius, so we multiply by ${radius}^2 = {radius**2}$ and get ${area}$.",
    )
    slip = f"For radius $1$ the area is ${latex(other)}\\sqrt{{3}}$, and we multiply by ${radius**2}$."
    return _made(rng, prompts, (ways, area), (slip, off), shape=shape, placed=placed, radius=radius)


def _triangle(rng: random.Random, scene: Scene) -> Made:
    w = words(rng, scene)
    while True:
        a, b, c = sorted(rng.sample(range(4, 25), 3))
        if c < a + b - 1 and c * c != a * a + b * b:
            break
    sixteen = (a + b + c) * (a + b - c) * (a - b + c) * (b + c - a)
    area, s = radical(Fraction(sixteen, 16)), Fraction(a + b + c, 2)
    prompts = (
        f"{w.posed} A triangle has sides of length {a}, {b} and {c}. What is its exact area?",
        f"{w.who} fences off a three-cornered piece of ground for the {w.a}. The fences along its edges are {b} m, {c} "
        f"m and {a} m long. Find the enclosed area in square metres, without rounding.",
        f"{w.hello} {w.here}, three ropes of {c}, {a} and {b} feet are pulled tight between three posts and form a "
        f"triangle. {w.name} wants to know its area. How many square feet is it, as an exact expression?",
        f"A sail in a picture about {w.topic} is a triangle with edges {a} cm, {c} cm and {b} cm. {w.who} cuts it out "
        f"and lays it beside the {w.b}. Determine its area in square centimetres in the form $k\\sqrt{{n}}$ or as a "
        "rational number.",
    )
    ways = (
        f"By Heron's formula with half the perimeter $s = {latex(s)}$, the squared area is $s(s - {a})(s - {b})(s - {c}"
        f") = {latex(Fraction(sixteen, 16))}$. Hence the area is ${area}$.",
        f"Let $x$ be the part of the side ${c}$ cut off by its height, next to the side ${b}$. Then $x = \\frac{{{b}^2 "
        f"+ {c}^2 - {a}^2}}{{2 \\cdot {c}}} = {latex(Fraction(b * b + c * c - a * a, 2 * c))}$ and the squared height "
        f"is ${b}^2 - x^2$. Half of ${c}$ times the height is ${area}$.",
    )
    slip = f"Taking the two shorter sides as base and height, the area is $\\frac{{{a} \\cdot {b}}}{{2}}$."
    return _made(rng, prompts, (ways, area), (slip, Fraction(a * b, 2)), a=a, b=b, c=c)


def _surface(rng: random.Random, scene: Scene) -> Made:
    w = words(rng, scene)
    a, b, c = sorted(rng.randint(2, 24) for _ in range(3))
    sides = rng.sample((a, b, c), 3)
    square, direct = (a + b) ** 2 + c * c, a * a + b * b + c * c
    x, y, z = sides
    path, off = radical(square), radical(direct)
    prompts = (
        f"{w.posed} A closed box measures {x} by {y} by {z}. What is the length of the shortest path on its surface "
        "from one corner to the corner that is farthest away through the inside?",
        f"A crate of {w.a} that belongs to {w.who} is {x} dm long, {y} dm wide and {z} dm high. An ant sits at one "
        "corner and wants to reach the diagonally opposite one, crawling on the outside, on any faces. What is the "
        "least distance, in dm, that it must crawl?",
        f"{w.hello} A rectangular block with edges {x} m, {y} m and {z} m stands {w.at}, and a cable has to run along "
        "its faces between two opposite corners, the ends of a space diagonal. Every face may be used. Which length "
        f"in metres does {w.name} need at least?",
        f"For a puzzle about {w.topic}, {w.who} glues a thread onto a solid cuboid of {x} cm by {y} cm by {z} cm. It "
        "joins two corners that share no face, and it never leaves the surface. How short, in cm, can it be?",
    )
    ways = (
        f"Unfold two faces into one rectangle; the path is its diagonal. The choices give squared lengths $({a} + "
        f"{b})^2 + {c}^2$, $({a} + {c})^2 + {b}^2$ and $({b} + {c})^2 + {a}^2$. The smallest is ${square}$, so the "
        f"length is ${path}$.",
        "A shortest path crosses one edge, and flattening there makes it straight. The squared length is "
        f"${direct}$ plus twice the product of the two edges that are added, so we add the shortest ones, ${a}$ and "
        f"${b}$. This gives ${direct} + 2 \\cdot {a} \\cdot {b} = {square}$ and the length ${path}$.",
    )
    slip = f"The diagonal of the box has the squared length ${a}^2 + {b}^2 + {c}^2 = {direct}$."
    return _made(rng, prompts, (ways, path), (slip, off), x=x, y=y, z=z)


def _divisors(rng: random.Random, scene: Scene) -> Made:
    w = words(rng, scene)
    while True:
        primes = sorted(rng.sample((2, 3, 5, 7, 11, 13), 3))
        powers = [rng.randint(1, 5) for _ in primes]
        taken = [rng.randint(0, e) for e in powers]
        n = primes[0] ** powers[0] * primes[1] ** powers[1] * primes[2] ** powers[2]
        d = primes[0] ** taken[0] * primes[1] ** taken[1] * primes[2] ** taken[2]
        if 500 < n < 60_000 and 1 < d < n / 10:
            break
    left = [e - t for e, t in zip(powers, taken, strict=True)]
    count, off = ((e[0] + 1) * (e[1] + 1) * (e[2] + 1) for e in (left, powers))
    prompts = (
        f"{w.posed} How many positive divisors of {n} are multiples of {d}?",
        f"{w.who} could pack {n} {w.a} into equal boxes without any left over. The number in a box has to be a "
        f"multiple of {d}. How many different box sizes are possible, a single box for all of them included?",
        f"{w.hello} {w.here}, {n} tiles are to be laid as a full rectangle whose width, counted in tiles, is divisible "
        f"by {d}. {w.name} tells width from length. For how many widths does this work?",
        f"In a game about {w.topic}, each positive integer that divides {n} and is itself divisible by {d} brings one "
        f"of the {w.b}. {w.who} finds all of these integers. How many are there?",
    )
    shown = " \\cdot ".join(f"{p}^{{{e}}}" for p, e in zip(primes, powers, strict=True))
    factors = " \\cdot ".join(f"({e} + 1)" for e in left)
    ways = (
        f"A divisor of ${n}$ that is a multiple of ${d}$ is ${d}$ times a divisor of ${n} / {d} = {n // d}$. As ${n} = "
        f"{shown}$, the exponents that remain are {listed(left)}. So there are ${factors} = {count}$.",
        f"Factor ${n} = {shown}$. Dividing by ${d}$ leaves the exponents {listed(left)}, and each divisor of the "
        f"quotient ${n // d}$ gives exactly one of the wanted numbers. Their number is ${factors} = {count}$.",
    )
    slip = f"Since ${n} = {shown}$, we multiply the exponents, each increased by one."
    return _made(rng, prompts, (ways, count), (slip, off), n=n, d=d)


def _strings(length: int, total: int) -> int:
    """How many strings of so many decimal digits have that sum, by inclusion and exclusion over digits above nine."""
    over = range(total // 10 + 1)
    return sum((-1) ** t * comb(length, t) * comb(total - 10 * t + length - 1, length - 1) for t in over)


def _digit_sum(rng: random.Random, scene: Scene) -> Made:
    w = words(rng, scene)
    length, lead = rng.randint(2, 4), rng.randint(3, 10)
    total, top = rng.randint(10, 9 * length), lead * 10**length - 1
    terms = [_strings(length, total - first) for first in range(lead)]
    count, off = sum(terms), sum(terms[1:])
    prompts = (
        f"{w.posed} How many integers from 1 to {top} have digits that add up to {total}?",
        f"The {w.a} of {w.who} carry the serial numbers 1 to {top}, each number once. Those whose digits have the sum "
        f"{total} are special. How many special ones are there?",
        f"{w.hello} {w.here}, a counter runs through 1, 2, 3 and so on up to {top}, and a lamp flashes each time the "
        f"sum of the decimal digits shown is {total}. {w.name} counts the flashes. Find their number.",
        f"To choose a page of an archive on {w.topic}, {w.who} looks only at page numbers with digit sum {total}. The "
        f"pages are numbered from 1 through {top}. Among how many pages is the choice made?",
    )
    shown = " + ".join(map(str, terms))
    ways = (
        f"Write the numbers with ${length + 1}$ digits, leading zeros allowed. The first digit $f$ is at most "
        f"${lead - 1}$, and the other ${length}$ digits must have the sum ${total} - f$. Counting these by stars and "
        f"bars, without the cases where a digit exceeds nine, for each $f$ from zero on gives ${shown} = {count}$.",
        f"Split by the leading digit, which may be zero and is at most ${lead - 1}$. For each of its values, "
        f"inclusion and exclusion counts the strings of ${length}$ further digits with the right sum. The counts "
        f"${shown}$ add up to ${count}$. The number zero itself has the wrong sum, so nothing must be taken off.",
    )
    slip = f"The leading digit runs from one to ${lead - 1}$, and for each value we count the other digits."
    return _made(rng, prompts, (ways, count), (slip, off), top=top, total=total)


def _tiling(rng: random.Random, scene: Scene) -> Made:
    w = words(rng, scene)
    n, c, d = rng.randint(5, 12), rng.randint(2, 6), rng.randint(2, 6)
    seen = [1, c]
    while len(seen) <= n:
        seen.append(c * seen[-1] + d * seen[-2])
    prompts = (
        f"{w.posed} A strip of length {n} is tiled with pieces of length 1, which come in {c} colours, and pieces of "
        f"length 2, which come in {d} colours. How many different tilings are there?",
        f"A shelf is {n} units wide. Each of the {w.a} takes 1 unit and each of the {w.b} takes 2; the former exist in "
        f"{c} designs, the latter in {d}, with plenty of each. In how many ways can {w.who} fill the shelf from left "
        "to right without a gap?",
        f"{w.hello} A stair {w.at} has {n} steps. {w.name} climbs it by single steps, each in one of {c} styles, and "
        f"by double steps, each in one of {d} styles. Count the ways to get from the bottom to the top.",
        f"A playlist on {w.topic} has to last exactly {n} minutes. Clips of 1 minute are of {c} kinds and clips of 2 "
        f"minutes are of {d} kinds; a kind may be used again and the order matters. How many playlists can {w.who} "
        "make?",
    )
    ways = (
        f"Let $f(n)$ be the number for length $n$. Looking at the last piece, $f(n) = {c} f(n - 1) + {d} f(n - 2)$ "
        f"with $f(0) = 1$ and $f(1) = {c}$. The next values are {listed(seen[2:])}, so the answer is ${seen[n]}$.",
        f"The first piece has length one, in ${c}$ ways, or two, in ${d}$ ways, and then a shorter problem is left. "
        f"So from $1$ and ${c}$ on, each value is ${c}$ times the last plus ${d}$ times the one before: "
        f"{listed(seen)}. For ${n}$ we get ${seen[n]}$.",
    )
    slip = f"With $f(n) = {c} f(n - 1) + {d} f(n - 2)$ the values are {listed(seen[:n])}."
    return _made(rng, prompts, (ways, seen[n]), (slip, seen[n - 1]), n=n, c=c, d=d)


def _zeros(rng: random.Random, scene: Scene) -> Made:
    w = words(rng, scene)
    n, (small, large) = rng.randint(130, 600), rng.choice(((2, 3), (2, 5), (2, 7), (3, 5), (3, 7), (5, 7), (2, 11)))
    base, floors, power = small * large, [], large
    while power <= n:
        floors.append(n // power)
        power *= large
    count, shown = sum(floors), " + ".join(map(str, floors))
    prompts = (
        f"{w.posed} With how many zeros does ${n}!$ end when it is written in base {base}?",
        f"{w.who} multiplies the integers from 1 to {n} and divides the product by {base} as often as the result "
        f"stays an integer, putting one of the {w.a} aside at each division. How many are put aside?",
        f"{w.hello} {w.here}, someone claims to know the largest $k$ for which ${base}^k$ divides ${n}!$, and {w.name} "
        "has to check it. What is the true value of $k$?",
        f"A computer that logs data on {w.topic} writes numbers in base {base}. {w.who} lets it print the factorial "
        f"of {n}. Find the number of zeros at the end of the printout.",
    )
    ways = (
        f"As ${base} = {small} \\cdot {large}$, the number of factors ${large}$ decides, because factors ${small}$ are "
        f"more frequent in ${n}!$. By Legendre's formula that number is ${shown} = {count}$.",
        f"Each zero needs one factor ${small}$ and one factor ${large}$, and the latter are scarcer. Counting "
        f"multiples of ${large}$, of its square and so on up to ${n}$ gives ${shown} = {count}$.",
    )
    slip = f"There are ${floors[0]}$ multiples of ${large}$ up to ${n}$, and each gives one zero."
    return _made(rng, prompts, (ways, count), (slip, floors[0]), n=n, base=base)


def _fence(rng: random.Random, scene: Scene) -> Made:
    w = words(rng, scene)
    length, walls = rng.randint(20, 300), rng.randint(2, 7)
    area, off = Fraction(length**2, 4 * walls), Fraction(length**2, 4 * (walls + 1))
    width = Fraction(length, 2 * walls)
    prompts = (
        f"{w.who} has {length} m of fence for a rectangular yard {w.at}, in which {w.a} and {w.b} are to be kept. A "
        f"long straight wall is one side and needs no fence; the fence makes the opposite side and {walls} equally "
        "long pieces at right angles to it, two of them at the ends. What is the largest possible area of the yard in "
        "square metres?",
        f"{w.posed} Positive real numbers $x$ and $y$ satisfy ${walls}x + y = {length}$. What is the greatest value "
        "that $xy$ can take?",
        f"{w.hello} A frame for the {w.b} is made from {length} cm of wire: one horizontal bar at the top and "
        f"{walls} vertical bars of equal length, the outer ones at the ends of the horizontal bar. {w.name} wants the "
        "rectangle spanned by the frame to be as big as it can be. Find that area in square centimetres.",
        f"{w.here}, a budget of {length} hours is split between planning, $y$ hours, and {walls} meetings of $x$ hours "
        f"each on {w.topic}. {w.who} values a plan at $xy$ points. What is the highest number of points, if $x$ and "
        "$y$ may be any positive real numbers?",
    )
    ways = (
        f"With width $x$ the other side is ${length} - {walls}x$, so we maximise $x({length} - {walls}x)$. The zeros "
        f"are $0$ and ${latex(2 * width)}$, so the maximum lies halfway, at $x = {latex(width)}$. It equals "
        f"${latex(width)} \\cdot {latex(Fraction(length, 2))} = {latex(area)}$.",
        f"By the inequality of the means, ${walls}x \\cdot y \\le \\left(\\frac{{{length}}}{{2}}\\right)^2 = "
        f"{latex(Fraction(length**2, 4))}$, with equality for ${walls}x = y$. Dividing by ${walls}$, the maximum of "
        f"$xy$ is ${latex(area)}$.",
    )
    slip = f"The other side is ${length} - {walls + 1}x$, and the maximum lies halfway between the zeros."
    return _made(rng, prompts, (ways, area), (slip, off), length=length, walls=walls)


FAMILIES: tuple[Family, ...] = (
    Family("power_mod", _power_mod),
    Family("schedule", _schedule),
    Family("arrangement", _arrangement),
    Family("committee", _committee),
    Family("lattice", _lattice),
    Family("sharing", _sharing),
    Family("draws", _draws),
    Family("bounce", _bounce),
    Family("largest", _largest),
    Family("polygon", _polygon),
    Family("triangle", _triangle),
    Family("surface", _surface),
    Family("divisors", _divisors),
    Family("digit_sum", _digit_sum),
    Family("tiling", _tiling),
    Family("zeros", _zeros),
    Family("fence", _fence),
)
