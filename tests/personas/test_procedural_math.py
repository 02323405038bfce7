"""The families of word problems and mathematics: each answer found a second way, and what every prompt must be."""

import cmath
import itertools
import math
import random
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from fractions import Fraction
from functools import cache
from typing import Any

import pytest

from personas.procedural import algebra, grade_math, mathematics
from personas.procedural.family import Made, Scene
from tulu_data.verifiers import verify

SCENES = (
    Scene(
        "a beekeeper who sells honey at a market",
        "keeping bees",
        ("jars of honey", "hive frames"),
        "at the farmers' market",
        "Imani",
    ),
    Scene(
        "a retired marine engineer in a small harbour town who restores wooden sailing boats with the help of two "
        "grandchildren and a very patient neighbour",
        "boat restoration",
        ("oak planks", "bronze screws"),
        "in the old boatyard",
        "Tomasz",
    ),
    Scene(
        "a school librarian with a weakness for maps",
        "medieval history",
        ("picture books", "reading lamps"),
        "in the town library",
        "Yuki",
    ),
)
SKILLS = {"grade_math": (grade_math, "gsm8k"), "algebra": (algebra, "math"), "mathematics": (mathematics, "math")}
FAMILIES = {f"{skill}/{f.name}": f for skill, (module, _) in SKILLS.items() for f in module.FAMILIES}
SEEDS = 30

Numbers = Mapping[str, Any]


def root(f: Callable[[Fraction], Fraction], largest: int, denominator: int = 5_000) -> str:
    """The rational zero of a monotone function, by bisection; the zero is checked exactly."""
    low, high = Fraction(-largest), Fraction(largest)
    rising = f(high) > 0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if (f(middle) > 0) == rising else (middle, high)
    zero = low.limit_denominator(denominator)
    assert f(zero) == 0
    return latex(zero)


def latex(value: Fraction) -> str:
    return f"\\frac{{{value.numerator}}}{{{value.denominator}}}"


def only(found: Any) -> str:
    """The one thing that was found, as text."""
    (one,) = found
    return str(one)


def surd(length: float, parts: int) -> str:
    """A length or area as the root of a rational number, the square of which has a divisor of `parts` below."""
    square = length * length * parts
    assert abs(square - round(square)) < 1e-3 + 1e-9 * square
    return f"\\sqrt{{{latex(Fraction(round(square), parts))}}}"


# ------------------------------------------------------------ grade school


def change(n: Numbers) -> str:
    left = n["paid"] * 100
    for price, count in ((n["each_a"], n["x"]), (n["each_b"], n["y"])):
        dollars, _, cents = price.partition(".")
        for _ in range(count):
            left -= int(dollars) * 100 + int(cents or 0)
    return f"{left // 100}.{left % 100:02}"


def pace(n: Numbers) -> str:
    done = hours = 0
    while done < n["total"]:
        done += n["slow"] if hours < n["alone"] else n["fast"]
        hours += 1
    assert done == n["total"]
    return str(hours - n["alone"])


def shares(n: Numbers) -> str:
    rest = n["total"] - n["kept"]
    while rest >= n["people"]:
        rest -= n["people"]
    return str(rest)


def discount(n: Numbers) -> str:
    each = n["price"] - Fraction(n["price"] * n["percent"], 100)
    return str(sum((each for _ in range(n["count"])), Fraction(n["delivery"])))


def ages(n: Numbers) -> str:
    pairs = ((p, c) for p in range(1, 120) for c in range(1, p))
    return only(p for p, c in pairs if p == n["times"] * c and (p + n["years"]) + (c + n["years"]) == n["total"])


def average(n: Numbers) -> str:
    assert len(n["seen"]) == n["days"] == n["all_days"] - 1
    return only(x for x in range(1000) if Fraction(sum((*n["seen"], x)), n["days"] + 1) == n["goal"])


def legs(n: Numbers) -> str:
    minutes = [n["slow"]] * 60 * n["hours"] + [n["fast"]] * n["minutes"]
    return str(sum(Fraction(speed, 60) for speed in minutes))


def units(n: Numbers) -> str:
    millimetres = n["metres"] * 1000
    for _ in range(n["count"]):
        millimetres -= n["strip"] * 10
    return str(millimetres // 10)


def ratio(n: Numbers) -> str:
    a = b = 0
    while a + b < n["total"]:
        a, b = a + n["x"], b + n["y"]
    assert a + b == n["total"]
    return str(b - n["taken"])


def savings(n: Numbers) -> str:
    has, weeks = n["has"], 0
    while has < n["goal"]:
        has, weeks = has + n["earns"] - n["spends"], weeks + 1
    return str(weeks)


def together(n: Numbers) -> str:
    return only(n["own"] + x for x in range(1000) if x + n["fewer"] == sum([n["own"]] * n["times"]))


def boxes(n: Numbers) -> str:
    return str(sum(len(range(0, n[f"many_{k}"], n[f"fits_{k}"])) for k in "ab"))


def profit(n: Numbers) -> str:
    money = -n["fee"]
    for i in range(n["bought"]):
        money += (n["price"] if i < n["sold"] else n["cheap"]) - n["cost"]
    return str(money)


def schedule(n: Numbers) -> str:
    start, end = (datetime.strptime(n[k], "%H:%M") for k in ("start", "end"))
    free = int((end - start).total_seconds()) // 60
    for spent in (n["pause"], n["last"], *[n["each"]] * n["count"]):
        free -= spent
    return str(free)


def parts(n: Numbers) -> str:
    left = list(range(n["whole"]))
    for share in (n["one"], n["two"]):
        gone = len(left) * Fraction(share)
        assert gone.denominator == 1
        left = left[int(gone) :]
    return str(len(left))


def visitors(n: Numbers) -> str:
    return parts({"whole": n["guests"], "one": Fraction(n["p"], 100), "two": Fraction(n["q"], 100)})


# ------------------------------------------------------------ algebra


def breakeven(n: Numbers) -> str:
    return only(x for x in range(500) if n["high"] + n["slow"] * x == n["low"] + n["fast"] * x)


def system(n: Numbers) -> str:
    pairs = itertools.product(range(40), repeat=2)
    return only(a + b for a, b in pairs if n["x"] * a + n["y"] * b == n["one"] and n["z"] * a + n["u"] * b == n["two"])


def larger_root(n: Numbers) -> str:
    a, b, c = n["a"], n["b"], n["c"]
    tops = [p for p in range(1, abs(c) + 1) if c % p == 0]
    tries = {Fraction(s * p, q) for p in tops for q in range(1, a + 1) if a % q == 0 for s in (1, -1)}
    return latex(max(x for x in tries if a * x * x + b * x + c == 0))


def revenue(n: Numbers) -> str:
    prices = (Fraction(i, 2 * n["k"]) for i in range(2 * n["n"] + 1))
    return latex(max(p * (n["n"] - n["k"] * p) for p in prices))


def discriminant(n: Numbers) -> str:
    def lowest(m: int) -> Fraction:
        x = Fraction(-m, 2 * n["a"])
        return n["a"] * x * x + m * x + n["c"]

    return str(sum(lowest(m) > 0 for m in range(-300, 301)))


def remainder(n: Numbers) -> str:
    left = list(n["coefficients"])
    while len(left) > 1:
        lead, *left = left
        left[0] += lead * n["r"]
    return str(left[0])


def rational(n: Numbers) -> str:
    return root(lambda x: n["a"] * x + n["b"] - n["k"] * (x + n["c"]), 1000)


def quadratic_inequality(n: Numbers) -> str:
    return str(sum(x * x + n["b"] * x + n["c"] <= 0 for x in range(-200, 201)))


def absolute(n: Numbers) -> str:
    return str(sum(abs(n["a"] * x - n["b"]) <= n["c"] for x in range(-200, 201)))


def composition(n: Numbers) -> str:
    return root(lambda x: n["a"] * (n["c"] * x - n["d"]) + n["b"] - n["k"], 1000)


def exponents(n: Numbers) -> str:
    one, two = math.log(n["one"]), math.log(n["two"])
    x = Fraction((n["b"] * two + n["c"] * one) / (one - two)).limit_denominator(12)
    assert math.isclose((x - n["c"]) * one, (x + n["b"]) * two, abs_tol=1e-9)
    return latex(x)


def logarithms(n: Numbers) -> str:
    def total(x: int) -> float:
        return math.log(x, n["base"]) + math.log(x + n["gap"], n["base"])

    return only(x for x in range(1, 200) if math.isclose(total(x), n["power"], abs_tol=1e-9))


def sequence(n: Numbers) -> str:
    def terms(first: int, step: int) -> list[int]:
        return [first + step * k for k in range(n["n"])]

    tries = (terms(a, d) for a in range(60) for d in range(20))
    return only(sum(t) for t in tries if t[n["i"] - 1] == n["at_i"] and t[n["j"] - 1] == n["at_j"])


def vieta(n: Numbers) -> str:
    a, b, c = n["a"], -n["b"], n["c"]
    r, s = ((-b + sign * cmath.sqrt(b * b - 4 * a * c)) / (2 * a) for sign in (1, -1))
    value = {
        "r^2 + s^2": r * r + s * s,
        "r^3 + s^3": r**3 + s**3,
        "(r + 1)(s + 1)": (r + 1) * (s + 1),
        "\\frac{1}{r} + \\frac{1}{s}": 1 / r + 1 / s,
    }[n["asked"]]
    return latex(Fraction(value.real).limit_denominator(500))


def mixture(n: Numbers) -> str:
    def pure(x: Fraction) -> Fraction:
        return (n["litres"] * n["low"] + x * n["high"]) - n["goal"] * (n["litres"] + x)

    return root(pure, 10_000)


def joint_work(n: Numbers) -> str:
    return root(lambda t: (n["alone"] + t) / n["a"] + t / n["b"] - 1, 100)


# ------------------------------------------------------------ mathematics


def power_mod(n: Numbers) -> str:
    value = 1
    for _ in range(n["exponent"]):
        value = value * n["base"] % n["modulus"]
    return str(value)


def multiples(n: Numbers) -> str:
    return str(sum(any(day % n[k] == 0 for k in "abc") for day in range(1, n["days"] + 1)))


def arrangement(n: Numbers) -> str:
    @cache
    def rows(i: int, j: int, k: int, after_b: bool) -> int:
        if not i + j + k:
            return 1
        return (
            (rows(i - 1, j, k, False) if i else 0)
            + (rows(i, j, k - 1, False) if k else 0)
            + (rows(i, j - 1, k, True) if j and not after_b else 0)
        )

    return str(rows(n["i"], n["j"], n["k"], False))


def committee(n: Numbers) -> str:
    people = [1] * n["m"] + [0] * n["n"]
    return str(sum(sum(team) >= n["least"] for team in itertools.combinations(people, n["size"])))


def lattice(n: Numbers) -> str:
    ways = {(0, 0): 1}
    for x, y in itertools.product(range(n["p"] + 1), range(n["q"] + 1)):
        if (x, y) != (0, 0):
            ways[x, y] = ways.get((x - 1, y), 0) + ways.get((x, y - 1), 0)
        if (x, y) == (n["i"], n["j"]):
            ways[x, y] = 0
    return str(ways[n["p"], n["q"]])


def sharing(n: Numbers) -> str:
    def ways(total: int, shares: int) -> int:
        if shares == 1:
            return int(total >= n["least"])
        return sum(ways(total - x, shares - 1) for x in range(n["least"], total + 1))

    return str(ways(n["total"], n["parts"]))


def draws(n: Numbers) -> str:
    every = list(itertools.combinations([1] * n["r"] + [0] * n["s"], n["drawn"]))
    return latex(Fraction(sum(sum(grip) == n["want"] for grip in every), len(every)))


def bounce(n: Numbers) -> str:
    top, below = map(int, re.findall(r"\d+", n["ratio"]))
    height, way = float(n["height"]), 0.0
    for _ in range(400):
        way += height
        height *= top / below
        way += height
    return latex(Fraction(way).limit_denominator(60))


def largest(n: Numbers) -> str:
    every = [grip[-1] for grip in itertools.combinations(range(1, n["top"] + 1), n["drawn"])]
    return latex(Fraction(sum(every), len(every)))


def polygon(n: Numbers) -> str:
    sides = {"equilateral triangle": 3, "regular hexagon": 6}[n["shape"]]
    far = n["radius"] / (math.cos(math.pi / sides) if n["placed"] == "circumscribed about" else 1)
    corners = [cmath.rect(far, 2 * math.pi * k / sides) for k in range(sides + 1)]
    area = sum((a.conjugate() * b).imag for a, b in itertools.pairwise(corners)) / 2
    return surd(area, 16)


def triangle(n: Numbers) -> str:
    a, b, c = n["a"], n["b"], n["c"]
    low, high = -100.0, 100.0  # the apex above the side c: its distances to the ends differ more the further it is
    for _ in range(200):
        x = (low + high) / 2
        low, high = (x, high) if b * b - x * x > a * a - (c - x) ** 2 else (low, x)
    return surd(math.sqrt(b * b - low * low) * c / 2, 16)


def surface(n: Numbers) -> str:
    def shortest(a: int, b: int, c: int) -> float:
        """Across the faces a x b and a x c, over the edge that both share, of length a."""
        low, high = 0.0, float(a)
        for _ in range(200):
            one, two = low + (high - low) / 3, high - (high - low) / 3
            longer = math.hypot(one, b) + math.hypot(a - one, c) > math.hypot(two, b) + math.hypot(a - two, c)
            low, high = (one, high) if longer else (low, two)
        return math.hypot(low, b) + math.hypot(a - low, c)

    return surd(min(shortest(*edges) for edges in itertools.permutations((n["x"], n["y"], n["z"]))), 1)


def divisors(n: Numbers) -> str:
    return str(sum(n["n"] % k == 0 and k % n["d"] == 0 for k in range(1, n["n"] + 1)))


@cache
def digit_sums() -> list[int]:
    return [sum(map(int, str(k))) for k in range(100_000)]


def digit_sum(n: Numbers) -> str:
    return str(digit_sums()[1 : n["top"] + 1].count(n["total"]))


def tiling(n: Numbers) -> str:
    count = 0
    for pieces in range(n["n"] + 1):
        for lengths in itertools.product((1, 2), repeat=pieces):
            if sum(lengths) == n["n"]:
                count += math.prod(n["c"] if length == 1 else n["d"] for length in lengths)
    return str(count)


def zeros(n: Numbers) -> str:
    product, count = math.factorial(n["n"]), 0
    while product % n["base"] == 0:
        product, count = product // n["base"], count + 1
    return str(count)


def fence(n: Numbers) -> str:
    def area(x: float) -> float:
        return x * (n["length"] - n["walls"] * x)

    low, high = 0.0, n["length"] / n["walls"]
    for _ in range(200):
        one, two = low + (high - low) / 3, high - (high - low) / 3
        low, high = (one, high) if area(one) < area(two) else (low, two)
    return latex(Fraction(area(low)).limit_denominator(60))


ORACLES: dict[str, Callable[[Mapping[str, Any]], str]] = {
    **{
        f"grade_math/{f.__name__}": f
        for f in (
            *(change, pace, shares, discount, ages, average, legs, units),
            *(ratio, savings, together, boxes, profit, schedule, parts, visitors),
        )
    },
    **{
        f"algebra/{f.__name__}": f
        for f in (
            *(breakeven, system, larger_root, revenue, discriminant, remainder, rational, quadratic_inequality),
            *(absolute, composition, exponents, logarithms, sequence, vieta, mixture, joint_work),
        )
    },
    **{
        f"mathematics/{f.__name__}": f
        for f in (
            *(power_mod, arrangement, committee, lattice, sharing, draws, bounce, largest, polygon, triangle),
            *(surface, divisors, digit_sum, tiling, zeros, fence),
        )
    },
    "mathematics/schedule": multiples,
}


# ------------------------------------------------------------ properties


@cache
def tasks(name: str) -> list[tuple[Scene, Made]]:
    rng = random.Random(f"{name} seeds")
    seeds = [rng.randrange(2**32) for _ in range(SEEDS)]
    return [(scene, FAMILIES[name].make(random.Random(seed), scene)) for scene in SCENES for seed in seeds]


def verifier(name: str) -> str:
    return SKILLS[name.partition("/")[0]][1]


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def is_said(value: object, prompt: str) -> bool:
    """Whether a number stands in a prompt as a number of its own; other values as they are."""
    if isinstance(value, tuple):
        return all(is_said(v, prompt) for v in value)
    if isinstance(value, int) or re.fullmatch(r"[\d.]+", str(value)):
        number = re.escape(str(value).lstrip("-"))
        return bool(re.search(rf"(?<![\d.]){number}(?!\d|\.\d)", prompt))
    return str(value) in prompt


def test_every_family_has_an_oracle():
    assert set(ORACLES) == set(FAMILIES)
    assert all(len(module.FAMILIES) >= 12 for module, _ in SKILLS.values())


@pytest.mark.parametrize("name", FAMILIES)
def test_the_oracle_finds_the_same_answer(name):
    for _, task in tasks(name):
        found = ORACLES[name](task.numbers)
        answer = f"#### {found}" if verifier(name) == "gsm8k" else f"The final answer is ${found}$."
        assert verify(verifier(name), answer, task.truth).right, (found, task)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_response_is_right_and_the_slip_is_wrong(name):
    form = SKILLS[name.partition("/")[0]][0].FORM
    for _, task in tasks(name):
        assert verify(verifier(name), task.response, task.truth).right is True, task
        assert verify(verifier(name), task.wrong, task.truth).right is False, task
        *work, last = task.response.splitlines()
        assert last == form.replace("{}", task.truth)
        assert len(words(" ".join(work))) > 10
        start = form.split("{}")[0]
        assert task.wrong.splitlines()[-1].startswith(start)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_same_state_gives_the_same_task(name):
    for seed, scene in itertools.product(range(10), SCENES):
        assert FAMILIES[name].make(random.Random(seed), scene) == FAMILIES[name].make(random.Random(seed), scene)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_prompt_says_every_number_and_names_the_scene(name):
    for scene, task in tasks(name):
        assert task.numbers
        for key, value in task.numbers.items():
            assert is_said(value, task.prompt), (key, value, task.prompt)
        slots = (scene.persona, scene.topic, *scene.items, scene.name)
        assert sum(slot in task.prompt for slot in slots) >= 2, task.prompt
        assert re.search(r"\d", task.prompt)
        assert re.search(r"[.?]$", task.prompt)
        assert not re.search(r"  |\.\.|,,|\?\.|[{}]w\.", task.prompt), task.prompt


@pytest.mark.parametrize("name", FAMILIES)
def test_grade_school_answers_are_amounts_that_can_be(name):
    if verifier(name) == "gsm8k":
        assert all(re.fullmatch(r"\d+(\.\d\d)?", task.truth) for _, task in tasks(name))


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_has_many_prompts_and_several_responses(name):
    for scene in SCENES:
        assert len({FAMILIES[name].make(random.Random(seed), scene).prompt for seed in range(200)}) >= 150
    openings = {re.sub(r"[\d.]+", "0", task.response)[:25] for _, task in tasks(name)}
    assert len(openings) >= 2


@pytest.mark.parametrize("name", FAMILIES)
def test_tasks_in_different_scenes_do_not_read_alike(name):
    grams = [(s, set(zip(w, w[1:], w[2:], strict=False))) for s, t in tasks(name) for w in [words(t.prompt)]]
    pairs = [(a, b) for (s, a), (t, b) in itertools.combinations(grams, 2) if s != t]
    alike = sum(len(a & b) >= 0.7 * len(a | b) for a, b in pairs)
    assert alike <= 0.005 * len(pairs)
