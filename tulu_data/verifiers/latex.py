"""LaTeX answers as trees: a small recursive-descent parser, linear in its input and bounded in depth.

It reads what answers are made of (numbers, fractions, roots, powers, functions, lists, intervals, sets, matrices,
equations, words), not all of LaTeX. What it cannot read it refuses, with `Unreadable`; it cannot hang.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any, NamedTuple

MAX_CHARS = 2_000  # of an answer; longer ones are only compared as text
MAX_DEPTH = 40


class Unreadable(ValueError):
    """The text is not an answer of this grammar."""


class Node(NamedTuple):
    """A node: its operator, and its arguments: nodes, or plain values for leaves.

    | op | args |
    |---|---|
    | num | Fraction |
    | based | digits, base (text) |
    | var, const, word | name |
    | add, mul | nodes |
    | neg, inv, abs, fact, floor, ceil | node |
    | pow, root, log | base and exponent · index and radicand · base and argument |
    | call | name, node |
    | binom | n, k |
    | pm | node: plus or minus it |
    | list, set | nodes: without order |
    | tuple | opening and closing bracket, nodes |
    | union, inter | nodes |
    | relation | operators, nodes |
    | matrix | rows of nodes |
    """

    op: str
    args: tuple[Any, ...]


def number(value: int | Fraction) -> Node:
    """A number's node."""
    return Node("num", (Fraction(value),))


FUNCTIONS = frozenset(
    "sin cos tan cot sec csc sinh cosh tanh arcsin arccos arctan exp ln lg max min gcd lcm det deg arg Re Im".split()
)
_WORD_COMMANDS = {"pi": "pi", "infty": "inf", "infinity": "inf", "emptyset": "empty", "varnothing": "empty"}
_DROPPED = frozenset(
    "left right big Big bigg Bigg bigl bigr Bigl Bigr displaystyle textstyle limits quad qquad hspace "
    "enspace thinspace nobreak circ degree % $ ! , ; : > space".split()
)
_TEXT = frozenset("text textbf textit textrm mathrm mathbf mathit mathsf mbox operatorname textnormal hbox".split())
_RELATIONS = {
    "=": "=",
    "<": "<",
    ">": ">",
    "le": "<=",
    "leq": "<=",
    "leqslant": "<=",
    "ge": ">=",
    "geq": ">=",
    "geqslant": ">=",
    "lt": "<",
    "gt": ">",
    "ne": "!=",
    "neq": "!=",
    "in": "in",
    "equiv": "=",
    "approx": "=",
    "to": "to",
    "rightarrow": "to",
    ":": ":",
}
_CHARACTERS = str.maketrans(
    {
        "−": "-",
        "–": "-",
        "×": r"\times ",
        "·": r"\cdot ",
        "÷": r"\div ",
        "π": r"\pi ",
        "√": r"\sqrt ",
        "∞": r"\infty ",
        "≤": r"\le ",
        "≥": r"\ge ",
        "≠": r"\ne ",
        "∪": r"\cup ",
        "∩": r"\cap ",
        "∈": r"\in ",
        "±": r"\pm ",
        "°": "",
        "²": "^2",
        "³": "^3",
        "½": r"\frac{1}{2}",
        "¼": r"\frac{1}{4}",
        "¾": r"\frac{3}{4}",
        "∅": r"\emptyset ",
        "θ": r"\theta ",
        "\u00a0": " ",
        "~": " ",
    }
)
_TOKEN = re.compile(
    r"""
      (?P<space>\s+)
    | (?P<mixed>\d+\s+\d+/\d+)
    | (?P<number>(?:\d{1,3}(?:(?:,|\{,\}|,\\!|\\,)\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+)
    | \\(?P<command>[A-Za-z]+|.)
    | (?P<letters>[A-Za-z]+)
    | (?P<sign>.)
    """,
    re.VERBOSE | re.DOTALL,
)
WORD_LETTERS = 4  # a run of so many letters is a word, not a product


class Token(NamedTuple):
    """A token: its kind, and what it says."""

    kind: str  # number | mixed | command | word | var | sign | text | end
    text: str


def tokens(source: str) -> list[Token]:
    """The tokens of an answer; layout, units of angle and money, and percent signs are left out."""
    found: list[Token] = []
    text = source.translate(_CHARACTERS)
    at = 0
    while at < len(text):
        m = _TOKEN.match(text, at)
        assert m is not None  # the last alternative takes anything
        at = m.end()
        kind, said = m.lastgroup or "", m[m.lastgroup or 0]
        if kind == "command":
            at = _command(said, text, at, found)
        elif kind == "letters":
            found += _letters(said)
        elif kind != "space" and said not in "%$":
            found.append(Token(kind, said))
    return [*found, Token("end", "")]


def _command(said: str, text: str, at: int, found: list[Token]) -> int:
    if said in _DROPPED or said.isspace():
        if said in ("circ", "degree"):
            _drop_power(found)
        return at
    if said in _TEXT:
        inside, at = braced(text, at)
        words = inside.strip(" .,;:$()")
        if re.fullmatch(r"[\d.,/ -]*\d[\d.,/ -]*|[A-Za-z]", words):  # \text{5}, \mathbf{v}: not words
            found += tokens(words)[:-1]
        elif words:
            found.append(Token("text", words))
        return at
    found.append(Token("command", said))
    return at


def _drop_power(found: list[Token]) -> None:
    """`90^\\circ` and `90^{\\circ}`: takes the power sign back; the brace that is open closes on nothing."""
    if found and found[-1] == Token("sign", "{") and len(found) > 1 and found[-2] == Token("sign", "^"):
        del found[-2:]
        found.append(Token("sign", "{"))
    elif found and found[-1] == Token("sign", "^"):
        del found[-1]


def _letters(run: str) -> list[Token]:
    if run in FUNCTIONS or run in _WORD_COMMANDS or run in ("sqrt", "frac", "log"):
        return [Token("command", run)]
    if run in ("and", "or"):
        return [Token("word", run)]
    if len(run) >= WORD_LETTERS:
        return [Token("word", run)]
    return [Token("var", c) for c in run]


def braced(text: str, at: int) -> tuple[str, int]:
    """The braced group that starts at `at` (after spaces), without its braces, and where it ends.

    Without a brace there, the one character. Braces that never close reach to the end.
    """
    while at < len(text) and text[at].isspace():
        at += 1
    if at >= len(text) or text[at] != "{":
        return text[at : at + 1], min(at + 1, len(text))
    depth, start = 0, at + 1
    while at < len(text):
        if text[at] == "\\":
            at += 2
            continue
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        at += 1
        if not depth:
            return text[start : at - 1], at
    return text[start:], len(text)


def read(source: str) -> Node:
    """The tree of an answer.

    >>> read(r"\\frac12 x").op
    'mul'
    """
    if len(source) > MAX_CHARS:
        raise Unreadable(f"longer than {MAX_CHARS} characters")
    parser = _Parser(tokens(source.strip().rstrip(".")))
    node = parser.listing()
    if parser.here.kind != "end":
        raise Unreadable(f"cannot read from {parser.here.text!r}")
    return node


_NO_FACTOR = frozenset(("cup", "cap", "pm", "mp", "}", "\\", "mid", "end", "rvert", "vert", "|", "rfloor", "rceil"))


class _Parser:
    def __init__(self, found: list[Token]) -> None:
        self.found, self.at, self.depth = found, 0, 0
        self.bars = 0  # open absolute values

    @property
    def here(self) -> Token:
        return self.found[self.at]

    def take(self) -> Token:
        token = self.here
        self.at += token.kind != "end"
        return token

    def sign(self, *signs: str) -> bool:
        """Takes one of the signs where it stands here."""
        if self.here.kind == "sign" and self.here.text in signs:
            self.at += 1
            return True
        return False

    def command(self, *names: str) -> bool:
        """Takes one of the commands where it stands here."""
        if self.here.kind == "command" and self.here.text in names:
            self.at += 1
            return True
        return False

    def listing(self) -> Node:
        """Items with commas, semicolons, "and" or "or" between them; one item stands for itself."""
        items = [self.relation()]
        while self._separator():
            items.append(self.relation())
        return items[0] if len(items) == 1 else Node("list", tuple(items))

    def _separator(self) -> bool:
        met = False
        while self.sign(",", ";") or (self.here in (Token("word", "and"), Token("word", "or")) and self.take()):
            met = True
        if self.here.kind == "text" and self.here.text.lower() in ("and", "or"):
            self.take()
            met = True
        return met

    def relation(self) -> Node:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise Unreadable("nested too deeply")
        operators, sides = [], [self.union()]
        while self.here.text in _RELATIONS and self.here.kind in ("sign", "command"):
            operators.append(_RELATIONS[self.take().text])
            sides.append(self.union())
        self.depth -= 1
        return Node("relation", (tuple(operators), tuple(sides))) if operators else sides[0]

    def union(self) -> Node:
        parts = [self.sum()]
        op = ""
        while self.here.kind == "command" and self.here.text in ("cup", "cap"):
            new = {"cup": "union", "cap": "inter"}[self.take().text]
            if op and new != op:
                raise Unreadable("unions and intersections together")
            op = new
            parts.append(self.sum())
        return Node(op, tuple(parts)) if op else parts[0]

    def sum(self) -> Node:
        terms = [self._signed()]
        while self._at_sign():
            terms.append(self._signed())
        return terms[0] if len(terms) == 1 else Node("add", tuple(terms))

    def _at_sign(self) -> bool:
        return (self.here.kind == "sign" and self.here.text in "+-") or (
            self.here.kind == "command" and self.here.text in ("pm", "mp")
        )

    def _signed(self) -> Node:
        negative = pm = False
        while self._at_sign():
            token = self.take()
            negative ^= token.text == "-"
            pm |= token.text in ("pm", "mp")
        node = self.term()
        if pm:
            return Node("pm", (node,))
        return Node("neg", (node,)) if negative else node

    def term(self) -> Node:
        factors = [self.factor()]
        while True:
            if self.sign("*") or self.command("cdot", "times", "ast"):
                factors.append(self._after_operator())
            elif self.sign("/") or self.command("div"):
                factors.append(Node("inv", (self._after_operator(),)))
            elif self._starts_factor():
                factors.append(self._beside(factors[-1]))
            else:
                break
        factors = [f for f in factors if f.op != "nothing"]
        if not factors:
            raise Unreadable("an operator without operands")
        return factors[0] if len(factors) == 1 else _mixed(factors)

    def _after_operator(self) -> Node:
        negative = False
        while self.here == Token("sign", "-"):
            self.take()
            negative = not negative
        node = self.factor()
        return Node("neg", (node,)) if negative else node

    def _beside(self, before: Node) -> Node:
        beside = self.here.kind
        if beside in ("number", "mixed") and before.op == "num":
            raise Unreadable("two numbers side by side")
        return self.factor()

    def _starts_factor(self) -> bool:
        token = self.here
        if token.kind in ("end",) or (token.kind == "word" and token.text in ("and", "or")):
            return False
        if token.kind == "text" and token.text.lower() in ("and", "or"):
            return False
        if token.kind == "sign":
            return token.text in "([{" or (token.text == "|" and not self.bars)
        if token.kind == "command":
            return token.text not in _RELATIONS and token.text not in _NO_FACTOR
        return True

    def factor(self) -> Node:
        node = self.base()
        while True:
            if self.sign("^"):
                node = Node("pow", (node, self.argument()))
            elif self.sign("_"):
                node = _subscripted(node, self.argument())
            elif self.sign("!"):
                node = Node("fact", (node,))
            elif self.sign("'"):
                node = Node("var", (f"{_name(node)}'",))
            else:
                return node

    def argument(self) -> Node:
        """What follows `^`, `_` or a command: a braced group, or one token; `\\frac12` takes one digit each."""
        if self.here == Token("sign", "{"):
            return self.group()
        token = self.here
        if token.kind == "number" and len(token.text) > 1 and token.text.isdigit():
            self.found[self.at] = Token("number", token.text[1:])
            return number(int(token.text[0]))
        if token == Token("sign", "-"):
            self.take()
            return Node("neg", (self.argument(),))
        return self.base()

    def group(self) -> Node:
        """A braced group; an empty one is nothing, which multiplies as one."""
        self.sign("{")
        if self.sign("}"):
            return Node("nothing", ())
        node = self.listing()
        if not self.sign("}"):
            raise Unreadable("a brace that does not close")
        return node

    def base(self) -> Node:
        token = self.take()
        if token.kind == "number":
            return _literal(token.text)
        if token.kind == "mixed":
            whole, fraction = token.text.split()
            return number(int(whole) + _fraction(fraction))
        if token.kind == "var":
            return Node("const", (token.text,)) if token.text in ("e", "i") else Node("var", (token.text,))
        if token.kind in ("word", "text"):
            return self._words(token)
        if token.kind == "command":
            return self._command(token.text)
        if token.kind == "sign":
            return self._bracket(token.text)
        raise Unreadable("ends where something should follow")

    def _words(self, first: Token) -> Node:
        words = [first.text]
        while self.here.kind in ("word", "text") and self.here.text.lower() not in ("and", "or"):
            words.append(self.take().text)
        return Node("word", (" ".join(" ".join(words).lower().split()),))

    def _bracket(self, opening: str) -> Node:
        if opening == "{":
            self.at -= 1
            return self.group()
        if opening == "|" and not self.bars:
            self.bars += 1
            node = self.sum()
            self.bars -= 1
            if not self.sign("|"):
                raise Unreadable("a bar that does not close")
            return Node("abs", (node,))
        if opening not in "([":
            raise Unreadable(f"cannot read {opening!r}")
        bars, self.bars = self.bars, 0
        node = self.listing()
        self.bars = bars
        closing = self.take().text
        if closing not in (")", "]"):
            raise Unreadable("a bracket that does not close")
        if node.op == "list":
            return Node("tuple", (opening, closing, node.args))
        return node

    def _command(self, name: str) -> Node:
        if name in ("frac", "dfrac", "tfrac", "cfrac"):
            return Node("mul", (self.argument(), Node("inv", (self.argument(),))))
        if name == "sqrt":
            index = number(2)
            if self.sign("["):
                index = self.sum()
                if not self.sign("]"):
                    raise Unreadable("a root's index that does not close")
            return Node("root", (index, self.argument()))
        if name in ("binom", "dbinom", "tbinom"):
            return Node("binom", (self.argument(), self.argument()))
        if name in ("overline", "bar"):
            return self._overline()
        if name in _WORD_COMMANDS:
            return Node("const", (_WORD_COMMANDS[name],))
        if name in FUNCTIONS or name == "log":
            return self._function(name)
        if name in ("lfloor", "lceil"):
            node = self.sum()
            if not self.command("rfloor" if name == "lfloor" else "rceil"):
                raise Unreadable(f"\\{name} that does not close")
            return Node({"lfloor": "floor", "lceil": "ceil"}[name], (node,))
        if name == "lvert":
            node = self.sum()
            if not self.command("rvert"):
                raise Unreadable("a bar that does not close")
            return Node("abs", (node,))
        if name == "{":
            return self._set()
        if name == "begin":
            return self._matrix()
        if name in ("boxed", "fbox", "mathbb", "mathcal", "vec", "hat", "widehat", "underline"):
            return self.argument()
        if name.isalpha():
            return Node("var", (f"\\{name}",))
        raise Unreadable(f"cannot read \\{name}")

    def _overline(self) -> Node:
        """A line over digits is a period: `0.\\overline{3}` is a third, if a decimal stands before it."""
        before = self.found[self.at - 2] if self.at >= 2 else Token("end", "")
        node = self.argument()
        if node.op == "num" and before.kind == "number" and "." in before.text:
            raise Unreadable("a period")  # read in `_literal`, see `periods`
        return node

    def _function(self, name: str) -> Node:
        power = self.argument() if self.sign("^") else None
        base: Node | None = None
        if name == "log" and self.sign("_"):
            base = self.argument()
        argument = self._applied()
        node = Node("log", (base or number(10), argument)) if name == "log" else Node("call", (name, argument))
        return node if power is None else Node("pow", (node, power))

    def _applied(self) -> Node:
        """What a function without brackets applies to: the factors up to the next sign or function."""
        factors = [self.factor()]
        bracketed = self.found[self.at - 1] in (Token("sign", ")"), Token("sign", "]"))
        while not bracketed and self._starts_factor() and not self._at_function():
            factors.append(self.factor())
        return factors[0] if len(factors) == 1 else Node("mul", tuple(factors))

    def _at_function(self) -> bool:
        return self.here.kind == "command" and (self.here.text in FUNCTIONS or self.here.text == "log")

    def _set(self) -> Node:
        if self.command("}"):
            return Node("const", ("empty",))
        node = self.listing()
        if not self.command("}"):
            raise Unreadable("a set that does not close, or that is not a list")
        return Node("set", node.args if node.op == "list" else (node,))

    def _matrix(self) -> Node:
        kind = self._environment()
        if kind == "array" and self.here == Token("sign", "{"):
            while not self.sign("}") and self.here.kind != "end":
                self.take()
        if "matrix" not in kind and kind != "array":
            raise Unreadable(f"cannot read the environment {kind}")
        rows: list[tuple[Node, ...]] = [()]
        while not self.command("end"):
            if self.command("\\"):
                rows.append(())
            elif not self.sign("&"):
                if self.here.kind == "end":
                    raise Unreadable("a matrix that does not end")
                rows[-1] = (*rows[-1], self.relation())
        self._environment()
        return Node("matrix", tuple(r for r in rows if r))

    def _environment(self) -> str:
        if not self.sign("{"):
            raise Unreadable("an environment without a name")
        name = ""
        while self.here.kind in ("word", "var", "command") or self.here == Token("sign", "*"):
            name += self.take().text
        self.sign("}")
        return name


def _literal(text: str) -> Node:
    return number(Fraction(re.sub(r"[^\d.]", "", text)))


def _fraction(text: str) -> Fraction:
    numerator, _, denominator = text.partition("/")
    if not int(denominator):
        raise Unreadable("a fraction over zero")
    return Fraction(int(numerator), int(denominator))


def _name(node: Node) -> str:
    if node.op not in ("var", "const"):
        raise Unreadable("a prime on what is no name")
    return str(node.args[0])


def _subscripted(node: Node, index: Node) -> Node:
    if node.op == "num":
        return Node("based", (node.args[0], str(index.args[0]) if index.args else ""))
    if node.op in ("var", "const"):
        return Node("var", (f"{node.args[0]}_{flat(index)}",))
    raise Unreadable("a subscript on what is no name")


def flat(node: Node) -> str:
    """A node as text, the same for the same tree."""
    return f"{node.op}({','.join(flat(a) if isinstance(a, Node) else str(a) for a in node.args)})"


def _mixed(factors: list[Node]) -> Node:
    """`3\\frac{1}{4}` is three and a quarter; otherwise factors side by side multiply."""
    if len(factors) == 2 and factors[0].op == "num" and factors[0].args[0].denominator == 1:
        right = factors[1]
        if right.op == "mul" and len(right.args) == 2 and right.args[1].op == "inv":
            top, bottom = right.args[0], right.args[1].args[0]
            if top.op == bottom.op == "num" and 0 < top.args[0] < bottom.args[0]:
                return Node("add", tuple(factors))
    return Node("mul", tuple(factors))


def periods(source: str) -> str:
    """Repeating decimals as fractions: `0.1\\overline{6}` → `\\frac{15}{90}`.

    >>> periods(r"0.\\overline{3}")
    '\\\\frac{3}{9}'
    """

    def fraction(m: re.Match[str]) -> str:
        whole, start, period = m["whole"] or "0", m["start"], m["period"]
        top = int(whole + start + period) - int(whole + start)
        return rf"\frac{{{top}}}{{{int('9' * len(period) + '0' * len(start))}}}"

    pattern = r"(?P<whole>\d{0,30})\.(?P<start>\d{0,30})\\(?:overline|bar)\s*\{(?P<period>\d{1,30})\}"
    return re.sub(pattern, fraction, source)
