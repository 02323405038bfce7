"""The two engines behind one surface: the compiled one, and the reference, which gives the same tables."""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import pyarrow as pa

from decontam.analyzers import Analyzer, analyzer_of
from decontam.corpus import Corpus, analyse_suite, join, repeats
from decontam.evidence import ANSWER_MIN_TOKENS, FOUND, NearPair, Span, in_bytes, longest_span, severity, snippet
from decontam.reference import Match, ReferenceIndex, Tokens, canonical, find, scan
from decontam.suites import Suite
from decontam.verdicts import Settings
from tulu_data.errors import UsageError
from tulu_data.rows import Kind, content_messages

if TYPE_CHECKING:
    from decontam.nearness import Finder

EngineName = Literal["auto", "compiled", "reference"]


class Engine(Protocol):
    """Holds rows against the suites it was made for."""

    @property
    def corpus(self) -> Corpus:
        """The instances, numbered."""

    def scan_batch(
        self, name: str, kind: Kind, batch: pa.RecordBatch, first: int, near: Sequence[NearPair] = ()
    ) -> pa.Table:
        """Every pair of a batch of rows, in order, as `FOUND`; `first` is the index in the set of its first row.

        `near` are pairs that are near in meaning: they are among the pairs. Threads may call it at once.
        """

    def wording(self, text: int) -> list[int]:
        """The tokens of a field's text at which n-grams begin that more than `max_df` test texts hold."""


def can_compile() -> bool:
    """Whether the compiled engine runs here: Numba is installed and not switched off."""
    return find_spec("numba") is not None and os.environ.get("NUMBA_DISABLE_JIT", "0") in ("", "0")


def compiled_before(which: EngineName = "auto") -> bool:
    """Whether nothing has to be compiled for this engine: it is plain Python, or what was compiled once is on disk."""
    if which == "reference" or not can_compile():
        return True
    from decontam.kernel import scan as compiled_scan

    kept = compiled_scan.stats.cache_path
    on_disk = kept is not None and any(Path(kept).glob(f"kernel.{compiled_scan.__name__}-*.nbc"))
    return on_disk or bool(compiled_scan.signatures)


@dataclass(frozen=True)
class EngineSource:
    """What an engine is made of. It can be sent to other processes, each of which makes the engine once."""

    key: str  # of the engine among others of a process
    settings: Settings
    suites: tuple[Suite, ...] = ()
    index: Any = None  # of the compiled engine, or the folder that it is mapped from
    compiled: bool = False
    cache: Path | None = None

    def engine(self) -> Engine:
        """The engine, made when it is first asked for."""
        with _making:
            if self.key not in _made:
                _made.clear()  # one audit at a time: an index is large
                _made[self.key] = self._make()
            return _made[self.key]

    def finder(self) -> Finder | None:
        """What finds instances in other words; None where they are not looked for."""
        if self.settings.semantic is None:
            return None
        corpus = self.engine().corpus
        with _making:
            if self.key not in _finders:
                from decontam.nearness import finder_of

                _finders.clear()
                _finders[self.key] = finder_of(corpus, self.settings.semantic, self.cache)
            return _finders[self.key]

    def _make(self) -> Engine:
        if not self.compiled:
            return ReferenceEngine(self.suites, self.settings)
        from decontam.compiled import CompiledEngine
        from decontam.index_files import load

        return CompiledEngine(load(self.index) if isinstance(self.index, Path) else self.index, self.settings)


_made: dict[str, Engine] = {}
_finders: dict[str, Finder] = {}
_making = threading.Lock()


def source_of(
    suites: Sequence[Suite], settings: Settings, *, cache: Path | None = None, which: EngineName = "auto"
) -> EngineSource:
    """The compiled engine where it can run, or the one that is asked for; `cache` keeps compiled indexes.

    `UsageError` where the compiled engine is asked for and cannot run.
    """
    key = f"{which} {cache} {settings.model_dump_json()} {[(s.id, s.group, s.digest) for s in suites]}"
    if which == "reference" or (which == "auto" and not can_compile()):
        return EngineSource(key, settings, suites=tuple(suites), cache=cache)
    if not can_compile():
        raise UsageError("the compiled engine needs Numba, which is missing or switched off (NUMBA_DISABLE_JIT)")
    from decontam.index import index_of
    from decontam.index_files import folder_of

    made = folder_of(suites, settings, cache) if cache else index_of(suites, settings)
    return EngineSource(key, settings, index=made, compiled=True, cache=cache)


def make_engine(
    suites: Sequence[Suite], settings: Settings, *, cache: Path | None = None, which: EngineName = "auto"
) -> Engine:
    """The engine of `source_of`."""
    return source_of(suites, settings, cache=cache, which=which).engine()


class ReferenceEngine:
    """Plain Python: row by row, message by message."""

    def __init__(self, suites: Sequence[Suite], settings: Settings) -> None:
        self.settings = settings
        self.analyzer = analyzer_of(settings.analyzer)
        parts = [analyse_suite(s, lambda texts: canonical(self.analyzer, texts)) for s in suites]
        self.corpus = join(parts)
        self.index = ReferenceIndex(self.corpus, settings)
        self.instances = self.corpus.instances.to_pylist()
        self.repeats = repeats(self.corpus)

    def scan_batch(
        self, name: str, kind: Kind, batch: pa.RecordBatch, first: int, near: Sequence[NearPair] = ()
    ) -> pa.Table:
        """Every pair of a batch of rows; see `Engine`."""
        by_row: defaultdict[int, defaultdict[tuple[str, int], dict[int, NearPair]]]
        by_row = defaultdict(lambda: defaultdict(dict))
        for n in near:
            by_row[n.row][n.column, n.message][n.instance] = n
        pairs = (
            {"set": name, "row_index": first + i} | pair
            for i, row in enumerate(batch.to_pylist())
            for pair in self._row_pairs(kind, row, by_row[i])
        )
        return pa.Table.from_pylist(list(pairs), schema=FOUND)

    def wording(self, text: int) -> list[int]:
        """Where n-grams begin that many texts hold; see `Engine`."""
        tokens = self.index.texts[text]
        rare = set(self.index.grams.rare_starts(tokens))
        return [i for i in range(len(tokens) - self.settings.n + 1) if i not in rare]

    def _row_pairs(
        self, kind: Kind, row: Mapping[str, Any], near_to: Mapping[tuple[str, int], dict[int, NearPair]]
    ) -> Iterator[dict[str, Any]]:
        texts = _RowTexts(self.analyzer, kind, row)
        for column, i, message in content_messages(kind, row):
            if not self.settings.reads(message["role"]):
                continue
            near = near_to.get((column, i), {})
            for match in scan(self.index, self.analyzer.tokens(message["content"]), near):
                answer = texts.hold_answer(self.index.answers[match.instance])
                yield {
                    "row_id": row["id"],
                    "row_sha": row["row_sha"],
                    "row_source": row["source"],
                    "column": column,
                    "message": i,
                    "role": message["role"],
                    "severity": severity(answer),
                    "answer_found": answer,
                    "passage_found": texts.hold_passage(self.index.passage(match.instance)),
                } | self._describe(match, message["content"], near.get(match.instance))

    def _describe(self, match: Match, text: str, near: NearPair | None) -> dict[str, Any]:
        instance = self.instances[match.instance]
        suite = self.corpus.suites[instance["suite"]]
        fields = [int(self.corpus.field_name[f]) for f in self.corpus.fields_of(match.instance)]
        names = [instance["names"][f] for f in fields]
        field_texts = [instance["texts"][f] for f in fields]
        train = byte_spans(match.message_runs, self.analyzer, text)
        held = [byte_spans(r, self.analyzer, t) for r, t in zip(match.field_runs, field_texts, strict=True)]
        return {
            "suite": suite.id,
            "group": suite.group,
            "subset": instance["subset"],
            "instance_id": instance["id"],
            "repeats": self.repeats[match.instance],
            "exact": match.exact,
            "coverage": match.coverage,
            "covered_tokens": match.covered,
            "total_tokens": match.total,
            "informative": match.informative,
            "informative_covered": match.informative_covered,
            "informative_total": match.informative_total,
            "fuzzy": match.fuzzy,
            "semantic": near.cosine if near else None,
            "numbers": near.numbers if near else None,
            "semantic_span": {"start": near.start, "end": near.end} if near else None,
            "judgement": None,
            "field_coverage": [
                {"field": name, "coverage": c} for name, c in zip(names, match.field_coverage, strict=True)
            ],
            "longest_run": match.longest_run,
            "train_spans": [{"start": a, "end": b} for a, b in train],
            "eval_spans": [
                {"field": name, "start": a, "end": b} for name, spans in zip(names, held, strict=True) for a, b in spans
            ],
            "train_snippet": snippet(*longest_span([text], [train])),
            "eval_snippet": snippet(*longest_span(field_texts, held)),
        }


def byte_spans(runs: Sequence[tuple[int, int]], analyzer: Analyzer, text: str) -> list[Span]:
    """Where runs of tokens stand in a text: bytes, from the first character of each run to its last."""
    if not runs:
        return []
    places = analyzer.spans(text)
    return [in_bytes(text, (places[start][0], places[end - 1][1])) for start, end in runs]


class _RowTexts:
    """The texts of a row as tokens, once they are asked for: what it answers, and all of its messages."""

    def __init__(self, analyzer: Analyzer, kind: Kind, row: Mapping[str, Any]) -> None:
        self._analyzer = analyzer
        self._kind = kind
        self._row = row

    @cached_property
    def _messages(self) -> list[tuple[str, list[str]]]:
        return [(m["role"], self._analyzer.tokens(m["content"])) for _, _, m in content_messages(self._kind, self._row)]

    @cached_property
    def _answers(self) -> list[list[str]]:
        truth = self._row.get("ground_truth")
        said = [tokens for role, tokens in self._messages if role == "assistant"]
        return said + ([self._analyzer.tokens(truth)] if truth else [])

    def hold_answer(self, wanted: Tokens) -> bool | None:
        """Whether an assistant turn, a completion or the ground truth holds it; None where that would be chance."""
        if len(wanted) < ANSWER_MIN_TOKENS:
            return None
        return any(find(tokens, wanted) is not None for tokens in self._answers)

    def hold_passage(self, wanted: Tokens) -> bool | None:
        """Whether any message holds it; None where there is none."""
        if not wanted:
            return None
        return any(find(tokens, wanted) is not None for _, tokens in self._messages)
