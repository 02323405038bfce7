"""`tulu mix` weighs topics that its parts know, and scales."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from tulu_data.commands.mix import command, parse_emphases
from tulu_data.errors import RecipeError, TuluError
from tulu_data.manifest import Origin
from tulu_data.mixture import Part, mix
from tulu_data.store import Store, Version
from tulu_data.take import Take

Make = Callable[..., Version]


@pytest.fixture
def filled(tmp_path: Path, make_version: Make) -> Store:
    """`maths` and `chat` as a recipe made them, of 40 rows each, `bare` of no recipe, and `both`, their mixture."""
    store = Store(tmp_path / "store")
    sources = {"maths": {"path": "m", "topic": "Math"}, "chat": {"path": "c", "topic": "General"}}
    made = {}
    for name in sources:
        origin = Origin(recipe={"sources": sources}, root="/", step=f"ingest:{name}")
        made[name] = make_version(store, name, [f"{name} {i}" for i in range(40)], origin=origin)
    make_version(store, "bare", [f"bare {i}" for i in range(40)])
    mix(store, "both", [Part(n, v, Take(count=20), sources[n]["topic"]) for n, v in made.items()])
    return store


def planned(store: Store, *args: str) -> dict[str, int]:
    done = CliRunner().invoke(
        command, [*args, "-o", "m", "--dry-run", "--json", "--store", str(store.root)], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    return {p["part"].partition("@")[0]: p["rows"] for p in json.loads(done.stdout)}


def test_a_part_has_the_topic_that_all_its_sources_share(filled):
    parts = ["maths:count=20", "chat:count=20", "bare:count=20"]
    more = planned(filled, *parts, "--emphasize", "Math:share=0.5")
    assert more == {"maths": 30, "chat": 15, "bare": 15}
    both = planned(filled, *parts, "--emphasize", "Math:times=1.5", "--emphasize", "General:share=0")
    assert both == {"maths": 30, "chat": 0, "bare": 30}
    with pytest.raises(RecipeError) as caught:  # of two topics: it has none
        planned(filled, "both:count=20", "bare:count=20", "--emphasize", "Math:times=2")
    assert str(caught.value) == "topics.Math: no part of the mixture has this topic; give its sources a 'topic'"


def test_a_size_scales_all_parts_and_the_manifest_tells(filled):
    parts = ["maths:count=20", "chat:count=30"]
    assert planned(filled, *parts, "--size-rows", "25", "--scale") == {"maths": 10, "chat": 15}
    args = [*parts, "--size-rows", "25", "--scale", "--emphasize", "Math:share=0.2", "-o", "m", "-q"]
    assert CliRunner().invoke(command, [*args, "--store", str(filled.root)], catch_exceptions=False).exit_code == 0
    params = filled.open("m").manifest.steps[-1].params
    assert params["size"] == {"rows": 25, "scale": True}
    assert params["topics"] == {"Math": {"share": 0.2}}
    assert {n: (p["topic"], p["rows"]) for n, p in params["parts"].items()} == {
        "maths": ("Math", 5),
        "chat": ("General", 20),
    }


def test_an_emphasis_is_written_as_topic_and_amount():
    assert parse_emphases(["a:b:times=2", "c d:share=0.5"]) == {"a:b": {"times": 2.0}, "c d": {"share": 0.5}}
    for text in ("Math", "Math=2", "Math:2", "Math:time=2", "Math:times=x", ":times=2", "Math:times="):
        with pytest.raises(click.UsageError) as caught:
            parse_emphases([text])
        expected = f"--emphasize {text}: write TOPIC:times=F or TOPIC:share=F, e.g. Math:times=1.5"
        assert caught.value.message == expected
    with pytest.raises(click.UsageError, match="'Math' is emphasised twice"):
        parse_emphases(["Math:times=2", "Math:share=0.1"])


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--scale"], "--scale: to which size? add --size-rows or --size-tokens"),
        (["--emphasize", "Maths:times=2"], "topics.Maths: no part of the mixture has this topic; did you mean 'Math'?"),
        (["--emphasize", "Math:times=-1"], "--emphasize Math: times: should be greater than or equal to 0, got -1.0"),
        (["--emphasize", "Math:share=nan"], "--emphasize Math: share: should be a finite number, got nan"),
    ],
)
def test_what_cannot_be_weighed_is_refused_in_one_line(filled, args, message):
    given = ["maths:count=2", "chat:count=2", *args, "-o", "m", "--dry-run", "--store", str(filled.root)]
    done: Any = CliRunner().invoke(command, given)
    said = str(done.exception) if isinstance(done.exception, TuluError) else done.output.splitlines()[-1]
    assert said.removeprefix("Error: ") == message


def test_a_take_names_the_topic_of_its_part(filled):
    args = ["maths:count=9,topic=Proofs", "chat:count=9", "--emphasize", "Proofs:share=0.5", "-o", "m", "-q"]
    assert CliRunner().invoke(command, [*args, "--store", str(filled.root)], catch_exceptions=False).exit_code == 0
    assert filled.open("m").manifest.steps[-1].params["parts"]["maths"]["topic"] == "Proofs"


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("maths:all,of=chat", "of says which source a recipe's part is of; here the part is maths itself"),
        ("maths:count=1,count=2", "'count' is given twice; give it once"),
        ("maths:count=[", "'[' is no value for count; write a number or a name"),
    ],
)
def test_a_take_that_makes_no_sense_here_is_refused_in_one_line(filled, part, message):
    done = CliRunner().invoke(command, [part, "-o", "m", "--store", str(filled.root)])
    assert done.exit_code == 2
    assert done.output.splitlines()[-1].endswith(message)
    assert "m" not in filled.names()
