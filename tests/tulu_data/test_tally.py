"""Counts per source equal those of plain dictionaries, however the rows arrive."""

from __future__ import annotations

import itertools
from collections import Counter
from hashlib import sha256
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tulu_data.rows import CHAT, finish, to_table
from tulu_data.tally import UNSTATED, Tally

ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "text": st.sampled_from(["a", "b", "cc", "ddd"]),
            "source": st.sampled_from(["s1", "s2", "s3"]),
            "license": st.sampled_from([None, "mit", "cc0-1.0"]),
            "counted": st.sampled_from([True, True, True, False]),
        }
    ),
    max_size=25,
)


def finished(spec: dict[str, Any]) -> dict[str, Any]:
    messages = [{"role": "user", "content": "q"}, {"role": "assistant", "content": spec["text"]}]
    count = len if spec["counted"] else None
    return finish("sft", {"messages": messages}, source=spec["source"], license=spec["license"], count_tokens=count)


def plain_sources(rows: list[dict[str, Any]]) -> dict[str, Any]:
    found = {}
    for name in sorted({r["source"] for r in rows}):
        mine = [r for r in rows if r["source"] == name]
        tokens = [r["n_tokens"] for r in mine]
        unique = len({r["row_sha"] for r in mine})
        found[name] = {
            "rows": len(mine),
            "unique": unique,
            "copies": len(mine) - unique,
            "chars": sum(r["n_chars"] for r in mine),
            "tokens": None if None in tokens else sum(tokens),
            "licenses": dict(sorted(Counter(r["license"] or UNSTATED for r in mine).items())),
        }
    return found


@settings(max_examples=150, deadline=None)
@given(ROWS, st.lists(st.integers(0, 25), max_size=4), st.data())
def test_counts_equal_those_of_plain_dictionaries_in_any_batches_and_merges(specs, cuts, data):
    rows = [finished(s) for s in specs]
    bounds = [0, *sorted(min(c, len(rows)) for c in cuts), len(rows)]
    whole = Tally()
    for start, end in itertools.pairwise(bounds):
        batch = to_table("sft", rows[start:end])
        if data.draw(st.booleans()):
            other = Tally()
            other.add(batch)
            whole.merge(other)
        else:
            whole.add(batch)
    logical = whole.logical()
    sources = plain_sources(rows)
    assert {name: s.model_dump() for name, s in logical.sources.items()} == sources
    assert list(logical.sources) == sorted(logical.sources)
    tokens = [s["tokens"] for s in sources.values()]
    assert logical.tokens == (None if None in tokens else sum(tokens))
    assert (logical.rows, logical.chars) == (len(rows), sum(r["n_chars"] for r in rows))
    digests = [r["row_sha"] for r in rows]
    assert logical.order_id == sha256(b"".join(digests)).hexdigest()
    assert logical.set_id == sha256(b"".join(sorted(digests))).hexdigest()


def test_rows_that_share_64_bits_of_a_digest_are_not_taken_for_copies():
    table = to_table("sft", [finished({"text": "a", "source": "s", "license": None, "counted": True})] * 4)
    digests = [b"a" * 32, b"a" * 15 + b"b" * 17, b"a" * 32, b"b" * 32]
    column = pa.array(digests, table.schema.field("row_sha").type)
    tally = Tally()
    tally.add(table.set_column(table.schema.get_field_index("row_sha"), "row_sha", column))
    assert tally.logical().sources["s"].copies == 1


def test_a_chunked_table_counts_like_a_whole_one():
    rows = [finished({"text": t, "source": s, "license": None, "counted": True}) for t in "ab" for s in ("x", "y")]
    one, many = Tally(), Tally()
    one.add(to_table("sft", rows))
    many.add(pa.concat_tables([to_table("sft", [r]) for r in rows]))
    assert one.logical() == many.logical()


@pytest.mark.parametrize("added", [False, True])
def test_nothing_counts_as_nothing(added):
    tally = Tally()
    if added:
        tally.add(CHAT.empty_table())
    logical = tally.logical()
    assert (logical.rows, logical.chars, logical.tokens, logical.sources) == (0, 0, 0, {})
