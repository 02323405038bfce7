"""`tulu review` on a terminal: go through the pairs of an audit and say which are true. A mark is on disk at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Container, Horizontal, VerticalScroll
from textual.geometry import Size
from textual.screen import ModalScreen
from textual.scroll_view import ScrollView
from textual.strip import Strip
from textual.widgets import Footer, Input, Static

from decontam.filtering import Filter, choose, degrees_of
from decontam.highlighting import Highlighter, Side
from decontam.marks import Mark, add, keys_of
from decontam.result import Audit
from decontam.verdicts import LAYERS
from tulu_data.tables import printable

NARROW = 100  # columns: fewer, and list and texts stand one above the other
STEP = 0.1  # of the least degree
GLYPHS = {"true": "✓", "false": "✗", None: "·"}
STYLES = {"match": "black on #ffd75f", "wording": "dim", "similar": "black on #87d7c7"}

HELP = """\
[b]j k ↑ ↓[/b]  next, previous     [b]g G[/b]  first, last      [b]PgUp PgDn[/b]  a page

[b]t[/b]  a true match: it counts, whatever the layers say
[b]f[/b]  no match: it does not count, and its row may stay
[b]u[/b]  take the mark back

[b]s[/b]  suite   [b]d[/b]  training set   [b]l[/b]  layer   [b]v[/b]  severity   [b]m[/b]  mark: each goes on
[b]c[/b]  only pairs that count   [b]\\[ ][/b]  less, more coverage   [b]/[/b]  search   [b]x[/b]  clear all
[b]q[/b]  leave

Yellow: words of an n-gram that few test texts hold. Dim: wording that many hold. Green: words found by alignment.\
"""


class PairList(ScrollView, can_focus=True):
    """Any number of pairs, drawn line by line as they come into view."""

    def __init__(self, line: Callable[[int], Text]) -> None:
        super().__init__(id="list")
        self.line = line
        self.chosen: Sequence[int] = []
        self.at = 0

    def show_pairs(self, chosen: Sequence[int], at: int) -> None:
        """Shows these pairs, one of them selected."""
        self.chosen, self.at = chosen, at
        self.virtual_size = Size(self.size.width, len(chosen))
        self.move_to(at)

    def move_to(self, at: int) -> None:
        """Selects a line and brings it into view."""
        self.at = at
        height = max(1, self.size.height)
        if not self.scroll_offset.y <= at < self.scroll_offset.y + height:
            self.scroll_to(y=max(0, at - height // 2), animate=False)
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """One line of the window."""
        number = y + self.scroll_offset.y
        if number >= len(self.chosen):
            return Strip.blank(self.size.width)
        text = self.line(self.chosen[number])
        text.truncate(self.size.width, overflow="ellipsis", pad=True)
        if number == self.at:
            text.stylize("reverse")
        return Strip([Segment(s.text, s.style or Style()) for s in text.render(self.app.console, end="")])


class Help(ModalScreen[None]):
    """The keys."""

    BINDINGS: ClassVar[list[BindingType]] = [("escape,question_mark,q,enter", "dismiss", "Close")]

    def compose(self) -> ComposeResult:
        """One box."""
        yield Static(HELP, id="help")


class Review(App[None]):
    """The audit's pairs, their texts side by side, and what a person says of them."""

    CSS = """
    #status { height: 1; padding: 0 1; background: $panel; }
    #list { width: 44; border-right: solid $panel; }
    #detail { padding: 0 1; }
    #sides { height: auto; }
    #train, #test { width: 1fr; padding: 0 1 1 0; height: auto; }
    #scores { height: auto; padding: 0 0 1 0; }
    #search { display: none; dock: bottom; }
    #search.on { display: block; }
    #help { width: 104; max-width: 96%; height: auto; padding: 1 2; border: round $accent; background: $surface; }
    Help { align: center middle; }
    Review.narrow #main { layout: vertical; }
    Review.narrow #list { width: 100%; height: 9; border-right: none; border-bottom: solid $panel; }
    Review.narrow #sides { layout: vertical; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("t", "mark('true')", "true"),
        Binding("f", "mark('false')", "false"),
        Binding("u", "mark('')", "unmark"),
        Binding("j,down", "move(1)", "next", show=False, priority=True),
        Binding("k,up", "move(-1)", "previous", show=False, priority=True),
        Binding("pagedown", "move(20)", "", show=False, priority=True),
        Binding("pageup", "move(-20)", "", show=False, priority=True),
        Binding("g,home", "end(0)", "", show=False),
        Binding("G,end", "end(1)", "", show=False),
        Binding("s", "turn('suite')", "suite"),
        Binding("d", "turn('set')", "set"),
        Binding("l", "turn('layer')", "layer"),
        Binding("v", "turn('severity')", "severity"),
        Binding("m", "turn('mark')", "marked"),
        Binding("c", "counting", "counts"),
        Binding("left_square_bracket", "least(-1)", "", show=False),
        Binding("right_square_bracket", "least(1)", "coverage"),
        Binding("slash", "search", "search"),
        Binding("x", "clear", "clear"),
        Binding("question_mark", "help", "help"),
        Binding("q", "quit", "quit"),
    ]
    ENABLE_COMMAND_PALETTE = False

    def __init__(self, folder: Path, audit: Audit, wanted: Filter) -> None:
        super().__init__()
        self.folder, self.audit, self.wanted = folder, audit, wanted
        self.keys = keys_of(audit.pairs)
        self.said: list[Any] = audit.pairs["mark"].to_pylist()
        self.counts = audit.counts().tolist()
        self.degrees = degrees_of(audit).tolist()
        self.leaks = [s == "question+answer" for s in audit.pairs["severity"].to_pylist()]
        self.highlighter = Highlighter(audit)
        self.marked = 0  # in this session
        self.chosen: list[int] = []
        self.choices = self._choices()

    def _choices(self) -> dict[str, list[str | None]]:
        """What each key goes through: only what pairs have."""
        pairs = self.audit.pairs
        fired = set(pairs["layers"].combine_chunks().flatten().to_pylist())
        return {
            "suite": [None, *dict.fromkeys(sorted(pairs["suite"].to_pylist()))],
            "set": [None, *dict.fromkeys(sorted(pairs["set"].to_pylist()))],
            "layer": [None, *(layer for layer in LAYERS if layer in fired)],
            "severity": [None, "question", "question+answer"],
            "mark": [None, "none", "true", "false"],
        }

    # -------------------------------------------------------- the screen

    def compose(self) -> ComposeResult:
        """Status, list, texts, search."""
        yield Static(id="status", markup=False)
        with Horizontal(id="main"):
            yield PairList(self._line)
            with VerticalScroll(id="detail"):
                yield Static(id="scores", markup=False)
                with Container(id="sides"):
                    yield Static(id="train", markup=False)
                    yield Static(id="test", markup=False)
        yield Input(placeholder="words of either text, or of an id; Enter", id="search")
        yield Footer()

    def on_mount(self) -> None:
        """Begins with the first pair."""
        self.query_one("#sides").styles.layout = "horizontal"
        self.query_one(PairList).focus()
        self._filter()

    def on_resize(self) -> None:
        """Side by side where there is room."""
        narrow = self.size.width < NARROW
        self.set_class(narrow, "narrow")
        self.query_one("#sides").styles.layout = "vertical" if narrow else "horizontal"

    def _line(self, pair: int) -> Text:
        key = self.keys[pair]
        mark = self.said[pair]
        text = Text(no_wrap=True)
        text.append(f" {GLYPHS[mark]} ", "green" if mark == "true" else "red" if mark == "false" else "dim")
        degree = f"{100 * self.degrees[pair]:3.0f} %"
        text.append(f"{degree} ", "bold red" if self.leaks[pair] else "bold" if self.counts[pair] else "dim")
        text.append(printable(f"{key.suite}/{key.instance_id}"), "" if self.counts[pair] else "dim")
        return text

    def _filter(self) -> None:
        """Chooses anew, and stays with the pair that is shown where it still fits."""
        list_ = self.query_one(PairList)
        current = self.chosen[list_.at] if self.chosen else None
        marks = pa.array(self.said, pa.string())
        place = self.audit.pairs.schema.get_field_index("mark")
        self.audit = replace(self.audit, pairs=self.audit.pairs.set_column(place, "mark", marks))
        self.counts = self.audit.counts().tolist()
        self.chosen = choose(self.audit, self.wanted)
        at = self.chosen.index(current) if current in self.chosen else 0
        list_.show_pairs(self.chosen, at)
        self._show()

    def _show(self) -> None:
        list_ = self.query_one(PairList)
        true, false = self.said.count("true"), self.said.count("false")
        filters = self.wanted.words()
        place = f"{list_.at + 1:,} of {len(self.chosen):,}" if self.chosen else "no pair fits"
        said = f"{place} · {true:,} true, {false:,} false" + (f" · {filters}" if filters else " · all pairs")
        self.query_one("#status", Static).update(Text(printable(said)))
        if not self.chosen:
            empty = "This audit holds no pair." if not self.keys else "No pair fits the filter; x clears it."
            self.query_one("#scores", Static).update(Text(empty))
            self.query_one("#train", Static).update("")
            self.query_one("#test", Static).update("")
            return
        pair = self.chosen[list_.at]
        match, row = self.highlighter.match(pair), self.audit.pairs.slice(pair, 1).to_pylist()[0]
        self.query_one("#scores", Static).update(scores(row, counts=self.counts[pair], mark=self.said[pair]))
        self.query_one("#train", Static).update(train_text(row, match.train))
        self.query_one("#test", Static).update(test_text(row, match.fields, match.answer, match.passage))
        self.query_one("#detail").scroll_home(animate=False)

    # -------------------------------------------------------- keys

    def action_move(self, step: int) -> None:
        """To another pair."""
        list_ = self.query_one(PairList)
        if self.chosen and not isinstance(self.focused, Input):
            list_.move_to(min(max(0, list_.at + step), len(self.chosen) - 1))
            self._show()

    def action_end(self, last: int) -> None:
        """To the first pair, or the last."""
        self.action_move(len(self.keys) * (1 if last else -1))

    def action_mark(self, mark: str) -> None:
        """Says of the pair what is true; on disk before the next one shows."""
        if not self.chosen:
            return
        list_ = self.query_one(PairList)
        pair = self.chosen[list_.at]
        said: Mark | None = "true" if mark == "true" else "false" if mark == "false" else None
        add(self.folder, self.audit.manifest["scan"], [(self.keys[pair], said)])
        self.said[pair] = said
        self.marked += 1
        if list_.at + 1 < len(self.chosen):
            self.action_move(1)
        else:
            self._show()
            list_.refresh()

    def action_turn(self, name: str) -> None:
        """The next choice of a filter."""
        choices = self.choices[name]
        current = getattr(self.wanted, name)
        following = choices[(choices.index(current) + 1) % len(choices)] if current in choices else None
        self.wanted = Filter(**self.wanted._asdict() | {name: following})
        self._filter()

    def action_counting(self) -> None:
        """Only pairs that count, or all."""
        self.wanted = self.wanted._replace(counts=not self.wanted.counts)
        self._filter()

    def action_least(self, step: int) -> None:
        """More or less coverage."""
        least = round(min(1.0, max(0.0, (self.wanted.least or 0.0) + step * STEP)), 2)
        self.wanted = self.wanted._replace(least=least or None)
        self._filter()

    def action_clear(self) -> None:
        """Without filters."""
        self.wanted = Filter()
        self._filter()

    def action_search(self) -> None:
        """Asks for words."""
        box = self.query_one("#search", Input)
        box.value = self.wanted.text or ""
        box.add_class("on")
        box.focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Searches."""
        event.input.remove_class("on")
        self.query_one(PairList).focus()
        self.wanted = self.wanted._replace(text=event.value or None)
        self._filter()

    def action_help(self) -> None:
        """The keys."""
        self.push_screen(Help())


# ------------------------------------------------------------ texts


def scores(row: dict[str, Any], *, counts: bool, mark: str | None) -> Text:
    """What the layers say of a pair, in two lines."""
    text = Text()
    text.append("counts " if counts else "does not count ", "bold red" if counts else "bold")
    text.append(" ".join(layer for layer in row["layers"]) or "near", "cyan")
    if mark:
        text.append(f"  marked {mark}", "bold green" if mark == "true" else "bold red")
    if row["severity"] == "question+answer":
        text.append("  the answer leaks too", "bold red")
    parts = [
        f"coverage {row['coverage']:.2f} ({row['covered_tokens']} of {row['total_tokens']} tokens)",
        f"informative {row['informative']:.2f}",
        f"longest run {row['longest_run']}",
        *([f"fuzzy {row['fuzzy']:.2f}"] if row["fuzzy"] is not None else []),
        *([f"semantic {row['semantic']:.2f}"] if row["semantic"] is not None else []),
        *([f"numbers {row['numbers']:.2f}"] if row["numbers"] is not None else []),
        *([f"judge: {row['judgement']}"] if row["judgement"] else []),
        *([f"the same text as {row['repeats']}"] if row["repeats"] else []),
    ]
    return text.append("\n" + printable(" · ".join(parts)), "dim")


def train_text(row: dict[str, Any], side: Side) -> Text:
    """The training message with its matches."""
    place = f"{row['set']} · {row['row_id']} · {row['column']}[{row['message']}] · {row['role']}"
    text = Text("TRAINING TEXT\n", "bold").append(printable(place) + "\n\n", "dim not bold")
    return text.append_text(marked(side))


def test_text(row: dict[str, Any], fields: Sequence[Side], answer: str | None, passage: str | None) -> Text:
    """The test instance with its matches, its answer and what it is about."""
    place = " · ".join(str(p) for p in (row["suite"], row["instance_id"], row["subset"]) if p)
    text = Text("TEST INSTANCE\n", "bold").append(printable(place) + "\n\n", "dim not bold")
    for side in fields:
        text.append_text(marked(side)).append("\n")
    if answer:
        leaks = row["severity"] == "question+answer"
        text.append("\nANSWER, in the row too\n" if leaks else "\nANSWER\n", "bold red" if leaks else "bold")
        text.append(printable(answer) + "\n", "not bold")
    if passage:
        text.append("\nPASSAGE\n", "bold").append(printable(passage), "dim not bold")
    return text


def marked(side: Side) -> Text:
    """A text whose words that match stand out; what is not printable is shown, not obeyed."""
    text = Text("… " if side.cut_before else "", "not bold")
    at = 0
    for run in side.runs:
        text.append(printable(side.text[at : run.start]), "not bold")
        text.append(printable(side.text[run.start : run.end]), f"not bold {STYLES[run.kind]}")
        at = run.end
    return text.append(printable(side.text[at:]) + (" …" if side.cut_after else ""), "not bold")
