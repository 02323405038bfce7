"""Intermediate algebra: equations, functions, polynomials, sequences and the stories that lead to them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from fractions import Fraction
from math import ceil, floor, isqrt
from typing import Any

from personas.procedural.family import Family, Made, Scene
from personas.procedural.wording import Answer, latex, made, polynomial, words

FORM = "Final Answer: The final answer is ${}$. I hope it is correct."


def _made(
    rng: random.Random,
    prompts: Sequence[str],
    right: tuple[Sequence[str], int | Fraction],
    slip: tuple[str, int | Fraction],
    **numbers: Any,
) -> Made:
    answers = Answer(right[0], latex(right[1])), Answer((slip[0],), latex(slip[1]))
    return made(rng, FORM, prompts, *answers, numbers)


def _breakeven(rng: random.Random, scene: Scene) -> Made:
    w = words(rng, scene)
    count, slow = rng.randint(6, 40), rng.randint(2, 12)
    fast, low = slow + rng.randint(2, 9), rng.randint(10, 60)
    high = low + (fast - slow) * count
    prompts = (
        f"{w.who} compares two suppliers of {w.a}. The first asks {high} dollars for the contract and {slow} dollars "
        f"for each piece, the second {low} dollars for the contract and {fast} dollars for each piece. For how many "
        "pieces do both ask the same total?",
        f"{w.intro} {w.name} watches two tanks. Tank A holds {high} litres and is filled at {slow} litres per minute. "
        f"Tank B holds {low} litres and is filled at {fast} litres per minute. After how many minutes do the two tanks "
        "hold equally much?",
        f"Two clubs for {w.topic} are growing. One has {low} members and gains {fast} every month; the other, led by "
        f"{w.who} has {high} members and gains {slow} every month. In how many months will they have the same number "
        "of members?",
        f"{w.hello} {w.here}, {w.name} can rent a room for {high} dollars plus {slow} dollars per guest, or a tent for "
        f"{low} dollars plus {fast} dollars per guest. Find the number of guests at which the two cost the same.",
    )
    gap, step = high - low, fast - slow
    ways = (
        f"Let $x$ be the number asked for. The totals are equal when ${high} + {slow}x = {low} + {fast}x$. Subtracting "
        f"${low} + {slow}x$ gives ${gap} = {step}x$, so $x = {count}$.",
        f"The first total starts higher by ${high} - {low} = {gap}$. Each step closes the distance by ${fast} - {slow} "
        f"= {step}$. Since ${gap} / {step} = {count}$, they are equal after ${count}$ steps.",
    )
    slip = f"The distance is ${high} - {low} = {gap}$, and ${fast} + {slow} = {fast + slow}$, so we divide the two."
    numbers = {"high": high, "slow": slow, "low": low, "fast": fast}
    return _made(rng, prompts, (ways, count), (slip, Fraction(gap, fast + slow)), **numbers)


def _system(rng: random.Random, scene: Scene) -> Made:
    w = words(rng, scene)
    price_a, price_b = rng.sample(range(2, 25), 2)
    while True:
        x, y, z, u = (rng.randint(2, 9) for _ in range(4))
        det = x * u - y * z
        if det:
            break
    one, two, both = x * price_a + y * price_b, z * price_a + u * price_b, price_a + price_b
    prompts = (
        f"{w.who} pays {one} dollars for {x} {w.a} and {y} {w.b}. At the same prices {z} {w.a} and {u} {w.b} cost "
        f"{two} dollars. What is the price, in dollars, of one of the {w.a} together with one of the {w.b}?",
        f"{w.intro} On a scale, {x} {w.a} and {y} {w.b} weigh {one} units, and {z} {w.a} and {u} {w.b} weigh {two} "
        f"units. All {w.a} are equally heavy, and so are all {w.b}. Find the weight, in units, of a pair made of one "
        "of each kind.",
        f"In a game about {w.topic}, each of the {w.a} is worth a fixed number of points and each of the {w.b} another "
        f"fixed number. {w.who} collects {x} of the former and {y} of the latter for {one} points; a rival scores "
        f"{two} points with {z} of the former and {u} of the latter. How many points does one of each kind bring "
        "together?",
        f"{w.intro} Let $a$ and $b$ be the minutes that it takes to clean one of the {w.a} and one of the {w.b}. "
        f"{w.name} notes that ${x}a + {y}b = {one}$ and ${z}a + {u}b = {two}$. What is $a + b$?",
    )
    ways = (
        f"Call the unknowns $a$ and $b$, so ${x}a + {y}b = {one}$ and ${z}a + {u}b = {two}$. By Cramer's rule the "
        f"determinant is ${x} \\cdot {u} - {y} \\cdot {z} = {det}$, which gives $a = {price_a}$ and $b = {price_b}$. "
        f"Hence $a + b = {both}$.",
        f"We solve ${x}a + {y}b = {one}$ and ${z}a + {u}b = {two}$. Multiplying the first by ${u}$ and the second by "
        f"${y}$ and subtracting leaves ${det} \\cdot a = {one * u - two * y}$, so $a = {price_a}$. Then ${y}b = {one} "
        f"- {x * price_a}$, so $b = {price_b}$, and the sum is ${both}$.",
    )
    slip = f"Subtracting the equations and solving, the larger of the two unknowns is ${max(price_a, price_b)}$."
    numbers = {"x": x, "y": y, "one": one, "z": z, "u": u, "two": two}
    return _made(rng, prompts, (ways, both), (slip, max(price_a, price_b)), **numbers)


def _larger_root(rng: random.Random, scene: Scene) -> Made:
    w = words(rng, scene)
    lead, other = rng.randint(2, 6), rng.randint(2, 5)
    while True:
        top, second = rng.randint(-15, 25), rng.randint(-20, 15)
        big, small = Fraction(top, lead), Fraction(second, other)
        a, b, c = lead * other, -(lead * second + other * top), top * second
        if big > small and big.denominator > 1 and abs(b) > 1 and abs(c) > 1:
            break
    equation, disc = f"{polynomial((a, b, c))} = 0", b * b - 4 * a * c
    prompts = (
        f"{w.posed} The quadratic equation ${equation}$ has two real solutions. What is the larger one?",
        f"{w.who} writes the equation ${equation}$ on a card next to the {w.a}. Solve it for $x$ and give the greater "
        "of its two roots as a fraction in lowest terms.",
        f"{w.hello} {w.here}, {w.name} draws the parabola $y = {polynomial((a, b, c))}$ for a talk on {w.topic}. It "
        "meets the $x$-axis in two points. Find the $x$-coordinate of the one further to the right.",
        f"A lock on the box of {w.b} opens with the largest real number $x$ for which ${polynomial((a, b, c))}$ equals "
        f"zero. {w.who} knows some algebra. Which number opens the lock?",
    )
    root = isqrt(disc)
    ways = (
        f"The discriminant is $({b})^2 - 4 \\cdot {a} \\cdot ({c}) = {disc} = {root}^2$. So the roots are "
        f"$\\frac{{{-b} \\pm {root}}}{{{2 * a}}}$, which are ${latex(small)}$ and ${latex(big)}$. The larger root is "
        f"${latex(big)}$.",
        f"The left side factors as $({polynomial((lead, -top))})({polynomial((other, -second))})$. A product is zero "
        f"when a factor is, so $x = {latex(big)}$ or $x = {latex(small)}$. The larger of the two is ${latex(big)}$.",
    )
    slip = f"The formula gives $\\frac{{{-b} \\pm {root}}}{{{2 * a}}}$, and we take the minus sign."
    return _made(rng, prompts, (ways, big), (slip, small), a=a, b=b, c=c)


def _revenue(rng: random.Random, scene: Scene) -> Made:
    w = words(rng, scene)
    k = rng.randint(2, 9)
    n = 2 * k * rng.randint(5, 30) + rng.choice((0, k))
    best, price = Fraction(n * n, 4 * k), Fraction(n, 2 * k)
    prompts = (
        f"{w.who} finds that at a price of $p$ dollars each, ${n} - {k}p$ of the {w.a} are sold per month. Any real "
        "price is allowed. What is the largest possible monthly revenue in dollars?",
        f"{w.intro} {w.name} models the height of a kite above the {w.b} by $h(t) = {n}t - {k}t^2$ centimetres after "
        "$t$ seconds. Find its greatest height in centimetres.",
        f"Tickets for an evening about {w.topic} are to be priced. {w.here}, {w.who} estimates that a price of $p$ "
        f"euros brings ${n} - {k}p$ guests. Treating $p$ as a real number, compute the maximum of the takings $p({n} - "
        f"{k}p)$.",
        f"{w.intro} The value of a crop that grows for $x$ weeks is modelled by $V(x) = {n}x - {k}x^2$. {w.name} stops "
        "at the moment when the model is highest. What value does $V$ have then?",
    )
    ways = (
        f"The quadratic ${n}x - {k}x^2$ opens downwards, so its maximum is at the vertex $x = \\frac{{{n}}}{{2 \\cdot "
        f"{k}}} = {latex(price)}$. The value there is $\\frac{{{n}^2}}{{4 \\cdot {k}}} = {latex(best)}$.",
        f"Complete the square: ${n}x - {k}x^2 = {latex(best)} - {k}\\left(x - {latex(price)}\\right)^2$. The square "
        f"is never negative, so the maximum is ${latex(best)}$, taken at $x = {latex(price)}$.",
    )
    slip = f"The vertex is at $\\frac{{{n}}}{{2 \\cdot {k}}}$, and we multiply by ${n}$."
    return _made(rng, prompts, (ways, best), (slip, price * n), n=n, k=k)


def _discriminant(rng: random.Random, scene: Scene) -> Made:
    w = words(rng, scene)
    a, c = rng.randint(2, 12), rng.randint(2, 40)
    bound = 4 * a * c
    edge = isqrt(bound - 1)
    count = 2 * edge + 1
    form = f"{a}x^2 + mx + {c}"
    prompts = (
        f"{w.posed} For how many integers $m$ does the equation ${form} = 0$ have no real solution?",
        f"{w.who} sorts {w.a} by numbers. An integer $m$ gets a red sticker exactly when the graph of $y = {form}$ "
        "does not touch the $x$-axis. How many get a red sticker?",
        f"{w.hello} {w.here}, {w.name} wonders for which whole numbers $m$, negative ones and zero included, the "
        f"expression ${form}$ is positive for every real $x$. Count all such $m$.",
        f"During a break from {w.topic}, {w.who} says: the parabola $y = {form}$ has both of its zeros outside the "
        "real numbers. Determine how many integer values of $m$ make this statement true.",
    )
    ways = (
        f"There is no real root when the discriminant is negative: $m^2 - 4 \\cdot {a} \\cdot {c} < 0$, that is $m^2 < "
        f"{bound}$. The largest such integer is ${edge}$, since ${edge}^2 = {edge**2} < {bound} \\le {edge + 1}^2$. So "
        f"$m$ runs from $-{edge}$ to ${edge}$, which are $2 \\cdot {edge} + 1 = {count}$ integers.",
        f"We need $m^2 < 4 \\cdot {a} \\cdot {c} = {bound}$. This holds for $|m| \\le {edge}$, because ${edge}^2 = "
        f"{edge**2}$ and ${edge + 1}^2 = {(edge + 1) ** 2}$. Counting zero once and each of the others with both signs "
        f"gives ${count}$.",
    )
    slip = f"We need $m^2 < {bound}$, so $m$ is at most ${edge}$ in size, with two signs for each."
    return _made(rng, prompts, (ways, count), (slip, count - 1), a=a, c=c)


def _remainder(rng: random.Random, scene: Scene) -> Made:
    w = words(rng, scene)
    while True:
        cs = [rng.randint(2, 7), *(rng.choice((-1, 1)) * rng.randint(2, 12) for _ in range(3))]
        r = rng.choice((-4, -3, -2, 2, 3, 4, 5))
        terms = [c * r ** (3 - i) for i, c in enumerate(cs)]
        other = sum(c * (-r) ** (3 - i) for i, c in enumerate(cs))
        if sum(terms) != other:
            break
    p, divisor, rest = polynomial(cs), polynomial((1, -r)), sum(terms)
    prompts = (
        f"{w.posed} What is the remainder when ${p}$ is divided by ${divisor}$?",
        f"{w.who} writes $P(x) = {p}$ on the lid of a box of {w.a}. Dividing $P(x)$ by ${divisor}$ gives a quotient "
        "$Q(x)$ and a constant remainder. Find that constant.",
        f"{w.hello} {w.here}, a blackboard for {w.topic} shows ${p} = ({divisor}) \\cdot Q(x) + R$, where $Q$ is a "
        "polynomial and $R$ a number. Determine $R$.",
        f"A number $k$ is to be subtracted from ${p}$ so that the result is divisible by ${divisor}$ without "
        f"remainder. {w.who} offers some {w.b} to whoever finds it. What is $k$?",
    )
    shown = " + ".join(f"({t})" for t in terms)
    ways = (
        f"By the remainder theorem the remainder is the value of the polynomial at $x = {r}$. That is ${shown} = {rest}"
        "$.",
        f"Synthetic division by ${divisor}$ starts with ${cs[0]}$, then ${cs[0]} \\cdot ({r}) + ({cs[1]}) = "
        f"{cs[0] * r + cs[1]}$, then ${cs[0] * r + cs[1]} \\cdot ({r}) + ({cs[2]}) = {(cs[0] * r + cs[1]) * r + cs[2]}$"
        f". The last step adds ${cs[3]}$ to ${r}$ times that, which is ${rest}$.",
    )
    slip = f"The remainder is the value of the polynomial at $x = {-r}$."
    return _made(rng, prompts, (ways, rest), (slip, other), coefficients=tuple(cs), r=r)


def _rational(rng: random.Random, scene: Scene) -> Made:
    w = words(rng, scene)
    while True:
        a, c, k, b = rng.randint(2, 9), rng.randint(2, 9), rng.randint(2, 9), rng.randint(2, 30)
        if a != k and b != k * c and a * c != b:
            break
    x, off = Fraction(b - k * c, k - a), Fraction(b - c, k - a)
    left = f"\\frac{{{a}x + {b}}}{{x + {c}}}"
    if off == x:
        off = -x
    prompts = (
        f"{w.posed} Solve ${left} = {k}$ for $x$.",
        f"{w.who} mixes {w.a} and {w.b} by the rule that ${left}$ must come out as ${k}$. Which value of $x$ fulfils "
        "the rule?",
        f"{w.hello} {w.here}, {w.name} plots the function $f(x) = {left}$ for a poster on {w.topic}. At which $x$ does "
        f"the graph cross the horizontal line $y = {k}$?",
        f"There is exactly one real number $x$ for which dividing ${a}x + {b}$ by $x + {c}$ gives ${k}$. {w.who} needs "
        f"it to adjust the {w.b}. Find this number, as a fraction in lowest terms or an integer.",
    )
    ways = (
        f"Multiply by $x + {c}$: ${a}x + {b} = {k}x + {k * c}$. Collecting terms, ${b - k * c} = "
        f"{polynomial((k - a, 0))}$, so $x = {latex(x)}$. The denominator is not zero there, so this is the solution.",
        f"For $x \\ne -{c}$ the equation says ${a}x + {b} = {k}(x + {c})$. Hence $({a} - {k})x = {k * c} - {b}$ and $x "
        f"= {latex(x)}$, which is different from $-{c}$.",
    )
    slip = f"Multiplying out gives ${a}x + {b} = {k}x + {c}$, which we solve for $x$."
    return _made(rng, prompts, (ways, x), (slip, off), a=a, b=b, c=c, k=k)


def _quadratic_inequality(rng: random.Random, scene: Scene) -> Made:
    w = words(rng, scene)
    while True:
        low = rng.randint(-14, 6)
        high = low + rng.randint(5, 30)
        b, c = -(low + high), low * high
        if abs(b) > 1 and abs(c) > 1:
            break
    p, count = polynomial((1, b, c)), high - low + 1
    prompts = (
        f"{w.posed} How many integers $x$ satisfy ${p} \\le 0$?",
        f"{w.who} measures temperatures $x$ in whole degrees, and the {w.a} stay safe exactly while ${p}$ is not "
        "positive. For how many whole temperatures are they safe?",
        f"{w.hello} {w.here}, {w.name} marks on a number line all integers at which the parabola $y = {p}$ lies on or "
        f"below the $x$-axis, as a riddle about {w.topic}. Count the marks.",
        f"Every integer is written on one tag in an endless row beside the {w.b}. {w.who} removes all tags with "
        f"${p} > 0$. How many tags are left?",
    )
    ways = (
        f"The quadratic factors as $({polynomial((1, -low))})({polynomial((1, -high))})$. It is at most zero between "
        f"its roots, for ${low} \\le x \\le {high}$. These are ${high} - ({low}) + 1 = {count}$ integers.",
        f"The roots are ${low}$ and ${high}$, since their sum is ${low + high}$ and their product is ${c}$. The "
        f"parabola opens upwards, so the integers from ${low}$ to ${high}$ count, ends included: ${count}$ of them.",
    )
    slip = f"The roots are ${low}$ and ${high}$, so there are ${high} - ({low}) = {count - 1}$ integers."
    return _made(rng, prompts, (ways, count), (slip, count - 1), b=b, c=c)


def _absolute(rng: random.Random, scene: Scene) -> Made:
    w = words(rng, scene)
    a, b, c = rng.randint(2, 6), rng.randint(3, 40), rng.randint(12, 90)
    low, high = Fraction(b - c, a), Fraction(b + c, a)
    first, last = ceil(low), floor(high)
    count = last - first + 1
    prompts = (
        f"{w.posed} How many integers $x$ satisfy $|{a}x - {b}| \\le {c}$?",
        f"{w.who} accepts a setting $x$ for the {w.a} if $x$ is an integer, negative or not, and ${a}x$ differs from "
        f"${b}$ by at most ${c}$. How many settings are accepted?",
        f"{w.hello} {w.here}, {w.name} explains distance with {w.topic} as the example: which integers $x$ have a "
        f"multiple ${a}x$ whose distance from ${b}$ on the number line is no more than ${c}$? Give the number of such "
        "integers.",
        f"Among the integers on a long number line painted next to the {w.b}, {w.who} crosses out those with $|{b} - "
        f"{a}x| > {c}$. Find how many integers are not crossed out.",
    )
    ways = (
        f"The inequality means $-{c} \\le {a}x - {b} \\le {c}$, so ${b - c} \\le {a}x \\le {b + c}$. Dividing by "
        f"${a}$, $x$ lies between ${latex(low)}$ and ${latex(high)}$. The integers there go from ${first}$ to "
        f"${last}$, which is ${last} - ({first}) + 1 = {count}$ of them.",
        f"We need ${latex(low)} \\le x \\le {latex(high)}$. The smallest integer in this interval is ${first}$ and the "
        f"largest is ${last}$, so there are ${count}$.",
    )
    slip = f"From ${first}$ to ${last}$ there are ${last} - ({first}) = {count - 1}$ integers."
    return _made(rng, prompts, (ways, count), (slip, count - 1), a=a, b=b, c=c)


def _composition(rng: random.Random, scene: Scene) -> Made:
    w = words(rng, scene)
    a, c = rng.sample(range(2, 10), 2)
    b, d, k = rng.randint(2, 20), rng.randint(2, 20), rng.randint(20, 150)
    f, g = f"f(x) = {a}x + {b}", f"g(x) = {c}x - {d}"
    x, off = Fraction(k - b + a * d, a * c), Fraction(k + d - c * b, a * c)
    off = x + 1 if off == x else off
    prompts = (
        f"{w.posed} Let ${f}$ and ${g}$. For which $x$ is $f(g(x)) = {k}$?",
        f"{w.who} has two rules for the {w.a}. The first turns a number $x$ into ${c}x - {d}$; the second turns a "
        f"number $x$ into ${a}x + {b}$. A number goes through the first and the result through the second, and ${k}$ "
        "comes out. What was the number?",
        f"{w.hello} For a lesson on {w.topic}, {w.name} defines ${f}$ and ${g}$ and then $h(x) = f(g(x))$. "
        f"Compute $h^{{-1}}({k})$.",
        f"{w.here}, a code changes numbers in two steps: multiply by ${c}$ and subtract ${d}$, then multiply the "
        f"result by ${a}$ and add ${b}$. {w.who} reads the coded number ${k}$ on one of the {w.b}. Find the number "
        "before the two steps.",
    )
    ways = (
        f"Put the inner step into the outer one: ${a}({c}x - {d}) + {b} = {k}$. Then ${a * c}x = {k} - {b} + {a * d} = "
        f"{k - b + a * d}$, so $x = {latex(x)}$.",
        f"Work backwards. The outer step gave ${k}$, so its input was $\\frac{{{k} - {b}}}{{{a}}} = "
        f"{latex(Fraction(k - b, a))}$. The inner step gave that number, so its input was that plus ${d}$, divided by "
        f"${c}$, which is ${latex(x)}$.",
    )
    slip = f"Applying the steps in the other order, ${c}({a}x + {b}) - {d} = {k}$, and we solve for $x$."
    return _made(rng, prompts, (ways, x), (slip, off), a=a, b=b, c=c, d=d, k=k)


def _exponents(rng: random.Random, scene: Scene) -> Made:
    w = words(rng, scene)
    base = rng.choice((2, 3, 5))
    i, j = rng.sample((1, 2, 3, 4) if base == 2 else (1, 2, 3), 2)
    i, j = max(i, j), min(i, j)
    b, c = rng.randint(2, 12), rng.randint(2, 12)
    x, off = Fraction(j * b + i * c, i - j), Fraction(b + c, i - j)
    if off == x:
        off = x + 1
    slow = f"{j}(x + {b})" if j > 1 else f"x + {b}"
    one, two = base**i, base**j
    prompts = (
        f"{w.posed} Solve ${one}^{{x - {c}}} = {two}^{{x + {b}}}$ for the real number $x$.",
        f"{w.who} models two kinds of growth. After $x$ days there are ${one}^{{x - {c}}}$ cells in the first dish and "
        f"${two}^{{x + {b}}}$ in the second, both kept near the {w.a}. For which $x$ are these numbers equal?",
        f"{w.hello} {w.here}, {w.name} sees that raising ${one}$ to the power $x - {c}$ gives the same as raising "
        f"${two}$ to the power $x + {b}$, and uses $x$ as a page number in a book on {w.topic} if it is whole. "
        "Find $x$, whole or not.",
        f"The graphs of $y = {two}^{{x + {b}}}$ and $y = {one}^{{x - {c}}}$ cross in one point. {w.who} wants to put "
        f"the {w.b} there. What is the $x$-coordinate of that point?",
    )
    ways = (
        f"Write both sides as powers of ${base}$: ${one} = {base}^{i}$ and ${two} = {base}^{j}$. The exponents must "
        f"agree, so ${i}(x - {c}) = {slow}$. Collecting terms gives ${i - j} \\cdot x = {j * b + i * c}$ and so $x = "
        f"{latex(x)}$.",
        f"Taking logarithms to base ${base}$ turns the equation into ${i}(x - {c}) = {slow}$. Then ${i}x - "
        f"{polynomial((j, 0))} = {j * b} + {i * c}$, so $x = {latex(x)}$.",
    )
    slip = f"As powers of ${base}$ the two sides have the exponents ${i}x - {c}$ and ${polynomial((j, 0))} + {b}$."
    return _made(rng, prompts, (ways, x), (slip, off), one=one, two=two, b=b, c=c)


def _logarithms(rng: random.Random, scene: Scene) -> Made:
    w = words(rng, scene)
    base = rng.choice((2, 3, 4, 6, 10, 12))
    power = rng.randint(3, 4 if base > 5 else 7)
    value = base**power
    pairs = [(u, value // u) for u in range(2, isqrt(value) + 1) if value % u == 0 and value // u - u > 1]
    x, partner = rng.choice(pairs)
    gap = partner - x
    left = f"\\log_{{{base}}} x + \\log_{{{base}}}(x + {gap})"
    prompts = (
        f"{w.posed} Find the real number $x$ with ${left} = {power}$.",
        f"{w.who} numbers the {w.a} and opens the one whose number $x$ satisfies ${left} = {power}$. Which number is "
        "it?",
        f"{w.hello} {w.here}, {w.name} has a formula about {w.topic} in which two logarithms to base ${base}$ occur, "
        f"one of $x$ and one of $x + {gap}$. Their sum is ${power}$. Determine $x$.",
        f"The sum of $\\log_{{{base}}}(x + {gap})$ and $\\log_{{{base}}} x$ is ${power}$. {w.who} thinks that only one "
        f"real $x$ can be meant, and wants that many {w.b}. What is $x$?",
    )
    ways = (
        f"The sum is $\\log_{{{base}}}(x(x + {gap}))$, so $x(x + {gap}) = {base}^{power} = {value}$. The quadratic "
        f"$x^2 + {gap}x - {value} = 0$ factors as $(x - {x})(x + {partner})$. A logarithm needs $x > 0$, so $x = {x}$.",
        f"From the product rule, $x^2 + {gap}x = {value}$. The solutions are ${x}$ and $-{partner}$, since their "
        f"product is $-{value}$ and their sum $-{gap}$. Only ${x}$ has a logarithm.",
    )
    slip = f"From $x^2 + {gap}x = {value}$ the solutions are ${x}$ and $-{partner}$."
    return _made(rng, prompts, (ways, x), (slip, -partner), base=base, gap=gap, power=power)


def _sequence(rng: random.Random, scene: Scene) -> Made:
    w = words(rng, scene)
    first, step = rng.randint(3, 40), rng.randint(2, 12)
    i = rng.randint(3, 8)
    j, n = i + rng.randint(3, 9), rng.randint(18, 40)
    at_i, at_j = first + (i - 1) * step, first + (j - 1) * step
    total = n * first + step * n * (n - 1) // 2
    prompts = (
        f"{w.posed} In an arithmetic sequence, term number {i} is {at_i} and term number {j} is {at_j}. What is the "
        f"sum of the first {n} terms?",
        f"{w.who} stacks {w.a} in rows, each row longer than the one before by the same number. Row {i} has {at_i} and "
        f"row {j} has {at_j}. How many {w.a} are in rows 1 to {n} altogether?",
        f"{w.intro} Interest in {w.topic} grows evenly: each week the number of new readers exceeds last week's by a "
        f"fixed amount. In week {i} there were {at_i} new readers, in week {j} there were {at_j}. Find the total of "
        f"new readers in the first {n} weeks.",
        f"{w.here}, seats are arranged so that the number of seats per row increases by a constant. {w.who} counts "
        f"{at_i} seats in row {i} and {at_j} in row {j}. If there are {n} rows, how many seats are there?",
    )
    last = first + (n - 1) * step
    ways = (
        f"The common difference is $\\frac{{{at_j} - {at_i}}}{{{j} - {i}}} = {step}$, so the first term is ${at_i} - "
        f"{i - 1} \\cdot {step} = {first}$. Term ${n}$ is ${first} + {n - 1} \\cdot {step} = {last}$. The sum is "
        f"$\\frac{{{n}({first} + {last})}}{{2}} = {total}$.",
        f"From term ${i}$ to term ${j}$ the sequence rises by ${at_j - at_i}$ in ${j - i}$ steps, thus by ${step}$ "
        f"each time, and it starts with ${first}$. Hence the sum is ${n} \\cdot {first} + {step} \\cdot "
        f"\\frac{{{n} \\cdot {n - 1}}}{{2}} = {total}$.",
    )
    slip = f"The difference is ${step}$ and the first term ${first}$, and the sum has ${n - 1}$ terms."
    return _made(rng, prompts, (ways, total), (slip, total - last), i=i, at_i=at_i, j=j, at_j=at_j, n=n)


def _vieta(rng: random.Random, scene: Scene) -> Made:
    w = words(rng, scene)
    while True:
        a, b, c = rng.randint(2, 6), rng.randint(3, 20), rng.choice((-1, 1)) * rng.randint(2, 12)
        if b * b != 4 * a * c:
            break
    s, p = Fraction(b, a), Fraction(c, a)
    equation = f"{polynomial((a, -b, c))} = 0"
    value, asked, steps = rng.choice(
        (
            (s * s - 2 * p, "r^2 + s^2", "$(r + s)^2 - 2rs$"),
            (s / p, "\\frac{1}{r} + \\frac{1}{s}", "$\\frac{r + s}{rs}$"),
            (s**3 - 3 * p * s, "r^3 + s^3", "$(r + s)^3 - 3rs(r + s)$"),
            (p + s + 1, "(r + 1)(s + 1)", "$rs + (r + s) + 1$"),
        )
    )
    prompts = (
        f"{w.posed} Let $r$ and $s$ be the (possibly complex) solutions of ${equation}$. Compute ${asked}$.",
        f"{w.who} bets some {w.a} that nobody can find ${asked}$ without solving the equation ${equation}$, whose two "
        "roots, real or complex, are called $r$ and $s$. What is its value?",
        f"{w.hello} {w.here}, a riddle for people who like {w.topic} goes like this: the polynomial "
        f"${polynomial((a, -b, c))}$ has the complex zeros $r$ and $s$. Evaluate ${asked}$.",
        f"Suppose ${polynomial((a, -b, c))} = {a}(x - r)(x - s)$ for complex numbers $r$ and $s$. {w.who} needs the "
        f"number ${asked}$ for a label on the {w.b}. Find this number.",
    )
    ways = (
        f"By Vieta's formulas $r + s = {latex(s)}$ and $rs = {latex(p)}$. The expression equals {steps}. Putting the "
        f"two numbers in gives ${latex(value)}$.",
        f"Rewrite the expression as {steps}, which needs only the sum and the product of the roots. From the "
        f"coefficients the sum is ${latex(s)}$ and the product is ${latex(p)}$, so the value is ${latex(value)}$.",
    )
    wrong_s = -s
    off = {"r^2 + s^2": s * s + 2 * p, "(r + 1)(s + 1)": p + wrong_s + 1}.get(asked, -value)
    if off == value:
        off = value + 1
    slip = f"The roots have sum ${latex(s)}$ and product ${latex(p)}$ up to sign, which we put in."
    return _made(rng, prompts, (ways, value), (slip, off), a=a, b=b, c=c, asked=asked)


def _mixture(rng: random.Random, scene: Scene) -> Made:
    w = words(rng, scene)
    litres = rng.randint(4, 40)
    low, goal, high = sorted(rng.sample(range(5, 95, 5), 3))
    added, off = Fraction(litres * (goal - low), high - goal), Fraction(litres * (goal - low), high)
    prompts = (
        f"{w.who} has {litres} litres of a liquid with {low}% alcohol for cleaning {w.a}. How many litres of a liquid "
        f"with {high}% alcohol must be added so that the mixture has {goal}% alcohol?",
        f"{w.intro} A barrel holds {litres} kg of an alloy powder that is {low}% copper by mass. Powder with {high}% "
        f"copper is poured in until the barrel holds {goal}% copper. How many kg are poured in?",
        f"For an experiment about {w.topic}, juice with {high}% sugar is stirred into {litres} litres of juice with "
        f"{low}% sugar. {w.here}, {w.who} wants {goal}% sugar in the end. Find the volume of the sweeter juice in "
        "litres.",
        f"{w.intro} Paint for {w.b} contains a share of white. {w.name} starts with {litres} litres that are {low}% "
        f"white and wants to reach {goal}% white by adding paint that is {high}% white. What number of litres is "
        "needed?",
    )
    ways = (
        f"Let $x$ be the amount added. Then ${low} \\cdot {litres} + {high}x = {goal}({litres} + x)$. This gives "
        f"${high - goal}x = {litres} \\cdot {goal - low} = {litres * (goal - low)}$, so $x = {latex(added)}$.",
        f"Each unit of the weaker one lacks ${goal} - {low} = {goal - low}$ points and each unit of the stronger one "
        f"has ${high} - {goal} = {high - goal}$ too many. The two must balance, so we need ${litres} \\cdot "
        f"\\frac{{{goal - low}}}{{{high - goal}}} = {latex(added)}$.",
    )
    slip = f"We need ${high}x = {litres} \\cdot ({goal} - {low}) = {litres * (goal - low)}$."
    return _made(rng, prompts, (ways, added), (slip, off), litres=litres, low=low, goal=goal, high=high)


def _joint_work(rng: random.Random, scene: Scene) -> Made:
    w = words(rng, scene)
    a, b = rng.sample(range(4, 25), 2)
    alone = rng.randint(2, a - 2)
    rest = 1 - Fraction(alone, a)
    more = rest / (Fraction(1, a) + Fraction(1, b))
    prompts = (
        f"Alone, {w.who} would need {a} hours to sort all the {w.a}; a friend would need {b} hours for the same work. "
        f"{w.name} starts alone and is joined by the friend after {alone} hours. How many more hours do they need "
        "together?",
        f"{w.intro} {w.name} looks after two pumps. One could empty a pool in {a} hours, the other in {b} hours. The "
        f"first runs by itself for {alone} hours, and then both run until the pool is empty. For how many hours do "
        "both run?",
        f"A printer could print a whole book on {w.topic} in {a} minutes, and a second one could do it in {b} minutes. "
        f"{w.here}, {w.who} lets the first print for {alone} minutes and then has both share the remaining pages so "
        "that they stop at the same time. Find how many minutes the second printer runs.",
        f"{w.intro} Painting the {w.b} would take {w.name} {a} days without help, and it would take a neighbour {b} "
        f"days without help. After {alone} days of painting alone, {w.name} calls the neighbour. In how many further "
        "days, as an exact number, do they finish side by side?",
    )
    ways = (
        f"After the first part $\\frac{{{alone}}}{{{a}}}$ of the work is done, so ${latex(rest)}$ is left. Together "
        f"they do $\\frac{{1}}{{{a}}} + \\frac{{1}}{{{b}}} = {latex(Fraction(a + b, a * b))}$ per unit of time. The "
        f"rest takes ${latex(rest)}$ divided by that, which is ${latex(more)}$.",
        f"Let $t$ be the time together. Then $\\frac{{{alone} + t}}{{{a}}} + \\frac{{t}}{{{b}}} = 1$. Multiplying by "
        f"${a * b}$ gives ${b}({alone} + t) + {a}t = {a * b}$, so ${a + b}t = {a * b - b * alone}$ and $t = "
        f"{latex(more)}$.",
    )
    slip = f"Together they need $\\frac{{{a} \\cdot {b}}}{{{a} + {b}}}$ for the whole work."
    return _made(rng, prompts, (ways, more), (slip, Fraction(a * b, a + b)), a=a, b=b, alone=alone)


FAMILIES: tuple[Family, ...] = (
    Family("breakeven", _breakeven),
    Family("system", _system),
    Family("larger_root", _larger_root),
    Family("revenue", _revenue),
    Family("discriminant", _discriminant),
    Family("remainder", _remainder),
    Family("rational", _rational),
    Family("quadratic_inequality", _quadratic_inequality),
    Family("absolute", _absolute),
    Family("composition", _composition),
    Family("exponents", _exponents),
    Family("logarithms", _logarithms),
    Family("sequence", _sequence),
    Family("vieta", _vieta),
    Family("mixture", _mixture),
    Family("joint_work", _joint_work),
)
