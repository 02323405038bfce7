"""Whether two mathematical answers are the same.

Structure is compared piece by piece (lists and sets without order, tuples and matrices with it); expressions are
compared by value, those with variables at random rational points, which two different expressions of this size do not
survive (Schwartz 1980, Zippel 1979): exactly, as fractions, where they are rational, and otherwise to 1e-11 relative.
Decimals are not rounded: 0.333 is not 1/3. Nothing here can hang: every step is bounded by the answer's length.
"""

from __future__ import annotations

import cmath
import math
import re
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from hashlib import sha256

from tulu_data.verifiers.latex import WORD_LETTERS, Node, Unreadable, periods, read

Value = Fraction | complex
RELATIVE = 1e-11
CANCELLED = 1e-14  # of the largest term: what a float sum leaves of nothing
POINTS = 8  # at most, where expressions have variables
ENOUGH = 3  # points at which both have a value
MAX_BITS = 20_000  # of an exact power; larger ones are floats
MAX_ITEMS = 50  # of a list that is compared without order
MAX_FACTORIAL = 1_000


class NoValue(ArithmeticError):
    """An expression without a value at this point."""


# What is written differently and means the same, as text; and what follows an answer: its unit.
_LAYOUT = re.compile(r"\\(?:left|right|displaystyle|[,;:! ])|[\s$]|\\\$")
_SAME_TEXT = (
    (re.compile(r"\\[dt]frac"), r"\\frac"),
    (re.compile(r"\\(?:text|mathrm|mbox|textbf|mathbf)\{([^{}]*)\}"), r"\1"),
    (re.compile(r"\^\{?\\circ\}?|\\%|%"), ""),
    (re.compile(r"\.$"), ""),
)
_UNIT = re.compile(
    r"""(?<=[\d})\]a-z!%])(?:\s|\\[,;: ~])*  # something stands before it
        (?P<unit>(?:\\(?:text|mathrm|mbox|textrm|textbf)\s*\{[^{}]*\}
                   |(?:(?<=\s)|(?<=\d)(?=[A-Za-z]{2}))(?P<plain>[A-Za-z]{1,20})(?:[\s.-]+[A-Za-z]{1,20}){0,3})
        (?:\s*\^\s*\{?\s*[23]\s*\}?)?)[\s.$]*$""",
    re.VERBOSE,
)
# Units that are not each other. Unknown ones are passed over.
_UNITS = {
    alias: names[0]
    for names in (
        ("m", "meter", "metre"),
        ("cm", "centimeter", "centimetre"),
        ("mm", "millimeter", "millimetre"),
        ("km", "kilometer", "kilometre"),
        ("in", "inch", "inche"),
        ("ft", "foot", "feet"),
        ("yd", "yard"),
        ("mi", "mile"),
        ("g", "gram"),
        ("kg", "kilogram"),
        ("lb", "pound"),
        ("oz", "ounce"),
        ("s", "second", "sec"),
        ("min", "minute"),
        ("h", "hour", "hr"),
        ("day",),
        ("week",),
        ("month",),
        ("year",),
        ("cent",),
        ("dollar",),
        ("degree",),
        ("radian",),
    )
    for alias in names
}


def math_equal(answer: str, truth: str) -> bool:
    """Whether an answer is the true one.

    >>> math_equal(r"\\frac{1}{2}", "0.5"), math_equal("(0, 1]", "[0, 1]")
    (True, False)
    """
    if _plain(answer) == _plain(truth):
        return bool(_plain(truth))
    if _same_text(answer, truth):
        return True
    (bare_answer, unit), (bare_truth, true_unit) = _without_unit(answer), _without_unit(truth)
    if (bare_answer, bare_truth) == (answer, truth) or (unit and true_unit and unit != true_unit):
        return False
    return _plain(bare_answer) == _plain(bare_truth) or _same_text(bare_answer, bare_truth)


def _plain(text: str) -> str:
    plain = _LAYOUT.sub("", text.strip())
    for pattern, instead in _SAME_TEXT:
        plain = pattern.sub(instead, plain)
    return plain if "\\" in plain else plain.lower() if len(plain) > 3 else plain


def _same_text(answer: str, truth: str) -> bool:
    try:
        return same(read(periods(answer)), read(periods(truth)))
    except (Unreadable, RecursionError):
        return False


def _without_unit(text: str) -> tuple[str, str | None]:
    """The text before a trailing unit, and that unit's name where it is a known one."""
    m = _UNIT.search(text[-200:])
    if m is None:
        return text, None
    unit = re.sub(r"\\(?:text|mathrm|mbox|textrm|textbf)|[{}\\.]", "", m["unit"]).strip().lower()
    name, power = re.match(r"(.*?)\s*(\^.*)?$", unit, re.DOTALL).groups()  # type: ignore[union-attr]
    known = _UNITS.get(name) or _UNITS.get(name.removesuffix("s"))
    if m["plain"] and not known and len(m["plain"]) < WORD_LETTERS:
        return text, None  # a product such as `2 x`
    before = text[: len(text) - len(text[-200:]) + m.start()]
    return before, known and known + (power or "").replace(" ", "")


# ------------------------------------------------------------ structure


def same(a: Node, b: Node) -> bool:
    """Whether two trees are the same answer."""
    a, b = _settled(a, b)
    if a.op == "relation" or b.op == "relation":
        return _same_relation(a, b)
    if a.op == "list" or b.op == "list" or a.op == "set" or b.op == "set":
        return _same_collection(a, b)
    if a.op != b.op and {a.op, b.op} & {"tuple", "matrix", "union", "inter", "word"}:
        return False
    if a.op == "tuple":
        return a.args[:2] == b.args[:2] and _in_order(a.args[2], b.args[2])
    if a.op == "matrix":
        return len(a.args) == len(b.args) and all(_in_order(r, s) for r, s in zip(a.args, b.args, strict=True))
    if a.op in ("union", "inter"):
        return _in_any_order(a.args, b.args)
    if a.op == "word":
        return bool(a.args == b.args)
    if a.op == "based" and b.op == "based":
        return bool(a.args == b.args)
    return _same_value(a, b)


def _settled(a: Node, b: Node) -> tuple[Node, Node]:
    """Without what only one side says: `x = 5` beside 5, `x ∈ [1, 2]` beside [1, 2], x < 3 beside (-∞, 3), ± as two."""
    a, b = _without_name(a, b), _without_name(b, a)
    if (a.op == "relation") != (b.op == "relation"):
        a, b = _interval(a), _interval(b)
    return _both_signs(a), _both_signs(b)


def _without_name(node: Node, other: Node) -> Node:
    if node.op == "relation" and set(node.args[0]) <= {"=", "in", "to"}:
        operators, sides = node.args
        if other.op != "relation" or operators[-1] == "in":
            return sides[-1]  # type: ignore[no-any-return]
    if node.op in ("list", "set") and other.op != "relation" and len(_names(node)) == 1:
        return Node(node.op, tuple(_without_name(item, _INF) for item in node.args))
    return node


def _names(collection: Node) -> set[Node | None]:
    """What the items of `x = 1, x = 2` name; several names where they differ, or None where one names nothing."""
    named = [i.args[1][0] if i.op == "relation" and set(i.args[0]) == {"="} else None for i in collection.args]
    return set(named) | ({None} if not named else set())


_FLIP = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}
_INF = Node("const", ("inf",))


def _interval(node: Node) -> Node:
    """`x > 3`, `3 < x`, `1 <= x < 2` as intervals."""
    if node.op != "relation":
        return node
    operators, sides = node.args
    if len(operators) == 2 and set(operators) <= {"<", "<="} and sides[1].op == "var":
        brackets = "(" if operators[0] == "<" else "[", ")" if operators[1] == "<" else "]"
        return Node("tuple", (*brackets, (sides[0], sides[2])))
    if len(operators) == 1 and operators[0] in _FLIP:
        (op,), (left, right) = operators, sides
        if right.op == "var":
            op, left, right = _FLIP[op], right, left
        if left.op == "var":
            if op in (">", ">="):
                return Node("tuple", ("(" if op == ">" else "[", ")", (right, _INF)))
            return Node("tuple", ("(", ")" if op == "<" else "]", (Node("neg", (_INF,)), right)))
    return node


def _both_signs(node: Node) -> Node:
    if not _has(node, "pm"):
        return node
    return Node("list", (_signed(node, 1), _signed(node, -1)))


def _has(node: Node, op: str) -> bool:
    if node.op == op:
        return True
    if node.op in ("list", "set", "tuple", "matrix", "relation", "union", "inter"):
        return False
    return any(_has(a, op) for a in node.args if isinstance(a, Node))


def _holds(node: Node, op: str) -> bool:
    return node.op == op or any(_holds(a, op) for a in node.args if isinstance(a, Node))


def _signed(node: Node, sign: int) -> Node:
    if node.op == "pm":
        inner = _signed(node.args[0], sign)
        return inner if sign > 0 else Node("neg", (inner,))
    return Node(node.op, tuple(_signed(a, sign) if isinstance(a, Node) else a for a in node.args))


def _same_relation(a: Node, b: Node) -> bool:
    """Equations that are multiples of each other; other relations side by side."""
    if a.op != b.op:
        return False
    (ops_a, sides_a), (ops_b, sides_b) = a.args, b.args
    if ops_a == ops_b == ("=",):
        both = zip(sides_a, sides_b, strict=True)
        return all(same(x, y) for x, y in both) or _proportional(_difference(sides_a), _difference(sides_b))
    if ops_a == ops_b:
        return _in_order(sides_a, sides_b) or (_interval(a) != a and same(_interval(a), _interval(b)))
    if len(ops_a) == len(ops_b) and tuple(_FLIP.get(o, o) for o in reversed(ops_a)) == ops_b:
        return _in_order(tuple(reversed(sides_a)), sides_b)
    return False


def _difference(sides: Sequence[Node]) -> Node:
    return Node("add", (sides[0], Node("neg", (sides[1],))))


def _same_collection(a: Node, b: Node) -> bool:
    """Lists and sets, in any order; beside a tuple, in order; of one item, beside that item."""
    for one, other in ((a, b), (b, a)):
        if one.op == "list" and other.op == "tuple" and other.args[:2] == ("(", ")"):
            return _in_order(one.args, other.args[2])
    items_a = _expanded(a.args if a.op in ("list", "set") else (a,))
    items_b = _expanded(b.args if b.op in ("list", "set") else (b,))
    return _in_any_order(items_a, items_b)


def _expanded(items: Sequence[Node]) -> list[Node]:
    signed = [_both_signs(item) for item in items]
    return [inner for item in signed for inner in (item.args if item.op == "list" else (item,))]


def _in_order(a: Sequence[Node], b: Sequence[Node]) -> bool:
    return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))


def _in_any_order(a: Sequence[Node], b: Sequence[Node]) -> bool:
    if len(a) != len(b) or len(a) > MAX_ITEMS:
        return False
    left = list(b)
    for item in a:
        match = next((i for i, other in enumerate(left) if same(item, other)), None)
        if match is None:
            return False
        del left[match]
    return True


# ------------------------------------------------------------ value


def _same_value(a: Node, b: Node) -> bool:
    return _agree(a, b, lambda x, y, _: _near(x, y))


def _proportional(a: Node, b: Node) -> bool:
    """Whether `a = 0` and `b = 0` are one equation up to a factor."""
    factor: list[Value] = []

    def steady(x: Value, y: Value, _: int) -> bool:
        if not y or not x:
            return not x and not y
        factor.append(x / y)
        return _near(factor[0], factor[-1])

    return _agree(a, b, steady) and bool(factor)


def _agree(a: Node, b: Node, agrees: Callable[[Value, Value, int], bool]) -> bool:
    variables = _variables(a) | _variables(b)
    if not variables:
        try:
            return agrees(value(a, {}), value(b, {}), 0)
        except (ArithmeticError, ValueError, OverflowError):
            return False
    met = 0
    # Letters stand for positive numbers, as in √(ab) = √a√b, unless one side alone says |x|.
    signs = (-1, 1) if _holds(a, "abs") != _holds(b, "abs") else (1,)
    for k in range(POINTS):
        point = {name: signs[k % len(signs)] * _coordinate(name, k) for name in variables}
        try:
            pair = value(a, point), value(b, point)
        except (ArithmeticError, ValueError, OverflowError):
            continue
        if not agrees(*pair, k):
            return False
        met += 1
        if met == ENOUGH:
            break
    return met >= 2


def _variables(node: Node) -> set[str]:
    if node.op == "var":
        return {node.args[0]}
    inner = [a for a in node.args if isinstance(a, Node)]
    return set[str]().union(*(_variables(a) for a in inner))


def _coordinate(name: str, k: int) -> Fraction:
    """A fraction in [0.5, 2.5): the same for the same name and point. Polynomials are exact there, zero included."""
    return Fraction(1, 2) + Fraction(2 * int.from_bytes(sha256(f"{name}/{k}".encode()).digest()[:3]), 2**24)


def _near(x: Value, y: Value) -> bool:
    if isinstance(x, Fraction) and isinstance(y, Fraction):
        return x == y
    try:
        p, q = complex(x), complex(y)
    except OverflowError:  # only fractions are so large
        return False
    if cmath.isinf(p) or cmath.isinf(q):
        return p == q
    return abs(p - q) <= RELATIVE * max(abs(p), abs(q))


def value(node: Node, point: Mapping[str, Value]) -> Value:
    """The value of an expression where its variables have these values; `NoValue` where it has none."""
    op, args = node.op, node.args
    if op in ("num", "based"):
        return args[0]  # type: ignore[no-any-return]
    if op == "var":
        return point[args[0]]
    if op == "const":
        return _constant(args[0])
    if op == "nothing":
        return Fraction(1)
    if op == "call":
        return _call(args[0], value(args[1], point))
    if op not in _OPERATIONS:
        raise NoValue(f"{op} has no value")
    return _OPERATIONS[op](*(value(a, point) for a in args))


def _constant(name: str) -> Value:
    known: dict[str, complex] = {"pi": math.pi, "e": math.e, "i": 1j, "inf": complex(math.inf)}
    if name not in known:
        raise NoValue(name)
    return complex(known[name])


def _add(*values: Value) -> Value:
    total = values[0]
    for v in values[1:]:
        total = _both(total, v, lambda x, y: x + y)
    if isinstance(total, complex) and abs(total) <= CANCELLED * max(abs(complex(v)) for v in values):
        return Fraction(0)  # else √x√x - x would be no more than near to 0, and relatively to 0 nothing is
    return total


def _multiply(*values: Value) -> Value:
    product = values[0]
    for v in values[1:]:
        product = _both(product, v, lambda x, y: x * y)
        if isinstance(product, Fraction) and product.numerator.bit_length() > 4 * MAX_BITS:
            product = complex(product)
    return product


def _both(x: Value, y: Value, operation: Callable[[complex, complex], complex]) -> Value:
    if isinstance(x, Fraction) and isinstance(y, Fraction):
        return operation(x, y)  # type: ignore[arg-type]
    return operation(complex(x), complex(y))


def _negative(x: Value) -> Value:
    return -x if isinstance(x, Fraction) or not cmath.isinf(x) else complex(-x.real)


def _inverse(x: Value) -> Value:
    if not x:
        raise NoValue("division by zero")
    return 1 / x


def _power(base: Value, exponent: Value) -> Value:
    if isinstance(base, Fraction) and isinstance(exponent, Fraction):
        if exponent.denominator == 1:
            if not base and exponent < 0:
                raise NoValue("division by zero")
            bits = max(base.numerator.bit_length(), base.denominator.bit_length()) * abs(exponent.numerator)
            if bits <= MAX_BITS:
                return base**exponent.numerator
        elif exponent.denominator <= 64:
            return _power(_root(Fraction(exponent.denominator), base), Fraction(exponent.numerator))
    p, q = complex(base), complex(exponent)
    if not p:
        raise NoValue("a power of zero")
    return p**q


def _root(index: Value, radicand: Value) -> Value:
    """The real root where there is one: the cube root of -8 is -2."""
    if isinstance(index, Fraction) and index.denominator == 1 and 0 < index <= 64 and isinstance(radicand, Fraction):
        n = index.numerator
        if radicand < 0 and n % 2:
            return _negative(_root(index, -radicand))
        if radicand >= 0:
            top, bottom = _whole_root(radicand.numerator, n), _whole_root(radicand.denominator, n)
            if top is not None and bottom is not None:
                return Fraction(top, bottom)
    if not index:
        raise NoValue("a root of index zero")
    p = complex(radicand)
    return cmath.sqrt(p) if index == 2 else complex(p ** (1 / complex(index))) if p else Fraction(0)


def _whole_root(x: int, n: int) -> int | None:
    if x.bit_length() > MAX_BITS:
        return None
    near = round(x ** (1 / n)) if x.bit_length() < 900 else 0
    root = math.isqrt(x) if n == 2 else near
    return root if root**n == x else None


def _logarithm(base: Value, x: Value) -> Value:
    if not x or not base or base == 1:
        raise NoValue("a logarithm of zero")
    found = cmath.log(complex(x)) / cmath.log(complex(base))
    whole = round(found.real) if abs(found.imag) < RELATIVE and abs(found.real) < 1e6 else None
    if (
        whole is not None
        and isinstance(x, Fraction)
        and isinstance(base, Fraction)
        and _power(base, Fraction(whole)) == x
    ):
        return Fraction(whole)
    return found


def _absolute(x: Value) -> Value:
    return abs(x) if isinstance(x, Fraction) else complex(abs(x))


def _factorial(x: Value) -> Value:
    if not isinstance(x, Fraction) or x.denominator != 1 or not 0 <= x <= MAX_FACTORIAL:
        raise NoValue("a factorial of no small whole number")
    return Fraction(math.factorial(x.numerator))


def _binomial(n: Value, k: Value) -> Value:
    if not (isinstance(n, Fraction) and isinstance(k, Fraction)) or n.denominator != 1 or k.denominator != 1:
        raise NoValue("a binomial of no whole numbers")
    if not 0 <= n <= MAX_FACTORIAL or k < 0:
        raise NoValue("a binomial that is too large")
    return Fraction(math.comb(n.numerator, k.numerator))


def _round_with(rounding: Callable[[float | Fraction], int]) -> Callable[[Value], Value]:
    def rounded(x: Value) -> Value:
        return Fraction(rounding(x if isinstance(x, Fraction) else x.real))

    return rounded


_OPERATIONS: dict[str, Callable[..., Value]] = {
    "add": _add,
    "mul": _multiply,
    "neg": _negative,
    "inv": _inverse,
    "pow": _power,
    "root": _root,
    "log": _logarithm,
    "abs": _absolute,
    "fact": _factorial,
    "binom": _binomial,
    "floor": _round_with(math.floor),
    "ceil": _round_with(math.ceil),
}

_CALLS: dict[str, Callable[[complex], complex]] = {
    "sin": cmath.sin,
    "cos": cmath.cos,
    "tan": cmath.tan,
    "cot": lambda x: 1 / cmath.tan(x),
    "sec": lambda x: 1 / cmath.cos(x),
    "csc": lambda x: 1 / cmath.sin(x),
    "sinh": cmath.sinh,
    "cosh": cmath.cosh,
    "tanh": cmath.tanh,
    "arcsin": cmath.asin,
    "arccos": cmath.acos,
    "arctan": cmath.atan,
    "exp": cmath.exp,
    "ln": cmath.log,
    "lg": cmath.log10,
}


def _call(name: str, x: Value) -> Value:
    if name not in _CALLS:
        raise NoValue(name)
    return _CALLS[name](complex(x))
