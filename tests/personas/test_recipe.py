"""Synthetic sources and pairs in a recipe: made, audited, cleaned and mixed in one command."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from tulu_data import pipeline
from tulu_data import recipe as recipes
from tulu_data.cli import cli
from tulu_data.errors import RecipeError, StoreError
from tulu_data.reproduce import reproduce
from tulu_data.store import Store

DATA = Path(__file__).parents[3] / "shared" / "data"
EVALS = DATA / "evals"
public = pytest.mark.skipif(not EVALS.is_dir(), reason=f"{EVALS} is absent: the public sets are not shipped")


def recipe(tmp_path, sources, **rest):
    return recipes.from_data({"name": "made", "sources": sources, **rest}, place="made.yaml", base=tmp_path)


def rows_of(version):
    return [row for batch in version.batches() for row in batch.to_pylist()]


@public
@pytest.mark.public_data
def test_the_bundled_recipe_makes_audits_cleans_and_mixes_in_one_command(tmp_path):
    sizes = ["sources.persona_if.synth.n=200", "sources.persona_gsm.synth.n=200", "sources.persona_code.synth.n=18"]
    sets = [f"decontaminate.suites_root={EVALS}", *sizes]
    command = ["run", "personas", "--store", str(tmp_path), "-q", *(part for s in sets for part in ("--set", s))]
    done = CliRunner().invoke(cli, command)
    assert done.exit_code == 0, done.output
    mixture = Store(tmp_path).open("personas")
    assert {row["source"] for row in rows_of(mixture)} == {"persona_if", "persona_gsm", "persona_code"}
    assert mixture.rows >= 400
    again = CliRunner().invoke(cli, [*command, "--json"])
    assert again.exit_code == 0
    assert {s["status"] for s in json.loads(again.output)["steps"]} == {"cached"}


@public
@pytest.mark.public_data
def test_test_items_that_a_model_repeats_are_caught_and_dropped(serve, tmp_path):
    import gzip

    with gzip.open(EVALS / "gsm8k.jsonl.gz", "rt") as lines:
        items = [json.loads(line) for _, line in zip(range(40), lines, strict=False)]
    planted = {i: items[i] for i in (3, 11, 17)}
    asked = {}

    def answer(request):
        content = request["messages"][-1]["content"]
        if "Math problem:" in content:
            index = asked.setdefault(content, len(asked))
            question = planted[index]["question"] if index in planted else own(index)
            return f"Math problem: {question}"
        index = next((i for i, item in planted.items() if item["question"] in content), None)
        number = 70 + len(content) if index is None else planted[index]["answer"].split("####")[1].strip()
        return f"We compute.\n#### {number}"

    def own(index):
        return f"Tray number {index} holds {index + 2} rows of {index * 3 + 4} buttons. How many buttons does it hold?"

    server = serve(answer=answer)
    model = {"openai": {"model": "parrot", "base_url": server.url, "max_in_flight": 1}}
    sources = {
        "parrot": {
            "synth": {"skill": "grade-math", "n": 20, "backend": model, "options": {"program": False}, "near": 1.0}
        },
        "words": {"synth": {"skill": "grade-math", "n": 60}},
        "rules": {"synth": {"skill": "precise-if", "n": 60}},
        "programs": {"synth": {"skill": "code", "n": 6}},
        "pairs": {"pairs": {"method": "relax", "of": "rules"}},
    }
    suites = {"suites": ["gsm8k", "humaneval", "ifeval"], "suites_root": str(EVALS), "policy": "rows"}
    mix = {name: {"all": True} for name in sources if name != "pairs"}
    ran = pipeline.run(recipe(tmp_path, sources, decontaminate=suites, mix=mix), Store(tmp_path / "store"), workers=2)
    made, clean = (rows_of(v) for v in (ran.sources["parrot"], ran.clean["parrot"]))
    leaked = {item["question"] for item in planted.values()}
    assert sum(row["messages"][0]["content"] in leaked for row in made) == 3
    assert {row["messages"][0]["content"] for row in made} - {row["messages"][0]["content"] for row in clean} == leaked
    assert len(clean) == len(made) - 3
    assert ran.clean["words"].rows == ran.sources["words"].rows
    assert ran.clean["pairs"].kind == "preference"
    assert not leaked & {m["content"] for row in rows_of(ran.mixture) for m in row["messages"]}
    with pytest.raises(StoreError, match="made from the answers of parrot"):  # nobody is asked, or paid, unawares
        reproduce(ran.sources["parrot"].manifest, Store(tmp_path / "elsewhere"))


def test_a_version_made_by_a_recipe_can_be_made_again(tmp_path):
    sources = {
        "rules": {"synth": {"skill": "precise-if", "n": 15}},
        "pairs": {"pairs": {"method": "relax", "of": "rules"}},
    }
    store = Store(tmp_path / "store")
    ran = pipeline.run(recipe(tmp_path, sources), store)
    for name in sources:
        done = CliRunner().invoke(
            cli, ["reproduce", ran.sources[name].ref, "--store", str(store.root), "-q", "-o", str(tmp_path / name)]
        )
        assert done.exit_code == 0, done.output


def test_what_no_model_had_a_part_in_can_be_made_again_beside_a_models_rows(tmp_path):
    model = {"openai": {"model": "m", "base_url": "http://127.0.0.1:9/v1"}}
    sources = {
        "words": {"synth": {"skill": "math", "n": 3}},
        "asked": {"synth": {"skill": "precise-if", "n": 3, "backend": model}},
        "pairs": {"pairs": {"method": "relax", "of": "asked"}},
    }
    loaded = recipe(tmp_path, sources)
    made = pipeline.run(loaded, Store(tmp_path / "store"), until="synth:words").sources["words"].manifest
    assert reproduce(made, Store(tmp_path / "again")).same_rows
    for step in ("synth:asked", "pairs:pairs", "drop:words", "mix"):
        later = made.model_copy(update={"origin": made.origin.model_copy(update={"step": step})})
        with pytest.raises(StoreError, match="made from the answers of m,"):
            reproduce(later, Store(tmp_path / "again"))


def test_versions_of_the_command_line_can_be_made_again_and_are_whole(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for command in (
        ["synth", "precise-if", "-n", "15", "--name", "rules", "--seed", "3", "-q"],
        ["pairs", "relax", "rules", "-q"],
        ["reproduce", "rules", "-q", "-o", "again-1"],
        ["reproduce", "rules-relax", "-q", "-o", "again-2"],
        ["verify", "rules", "--level", "3"],
        ["verify", "rules-relax", "--level", "3"],
        ["show", "rules", "--rows", "1", "--drops"],
        ["export", "rules", "-o", "out.jsonl", "--layout", "trl"],
    ):
        done = CliRunner().invoke(cli, command)
        assert done.exit_code == 0, (command, done.output, done.exception)


def test_what_is_cached_hangs_on_the_section_and_the_templates(tmp_path):
    store = Store(tmp_path / "store")

    def statuses(**section):
        sources = {"rules": {"synth": {"skill": "grade-math", "n": 8, **section}}}
        return [s.status for s in pipeline.run(recipe(tmp_path, sources), store).steps]

    assert statuses() == ["done"]
    assert statuses() == ["cached"]
    assert statuses(seed=5) == ["done"]
    assert statuses(near=0.9) == ["done"]
    people = tmp_path / "people.jsonl"
    for topic in ("bread", "rolls"):
        people.write_text(json.dumps({"persona": "A baker of rye.", "topic": topic}) + "\n")
        assert statuses(personas=str(people)) == ["done"]
    assert statuses(personas=str(people)) == ["cached"]
    plan = pipeline.run(recipe(tmp_path, {"rules": {"synth": {"skill": "algebra"}}}), store, dry_run=True)
    assert [s.status for s in plan.steps] == ["to run"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"synth": {"skil": "math"}}, "made.yaml: sources.a.synth: skil: unknown key; did you mean 'skill'?"),
        ({"synth": {"skill": "maths"}}, "sources.a.synth: skill 'maths' is unknown; did you mean 'math'?"),
        ({"synth": {"skill": "math", "n": 9000}}, "n is 9,000, and 320 personas with 10 rows each allow 3,200"),
        ({"synth": {"skill": "math"}, "license": "MIT"}, "license: says how a file is read, and this source is made"),
        ({"synth": {"skill": "math"}, "path": "x"}, "takes exactly one of path, hub, synth, pairs"),
        ({"pairs": {"method": "relax", "of": "bb"}}, "no source 'bb' to make them of; did you mean 'b'?"),
        ({"pairs": {"method": "relax", "of": "a"}}, "no source 'a' to make them of"),
        ({"pairs": {"method": "judge", "of": "b"}}, "judge: name the model that rates"),
        ({"synth": {"skill": "math", "backend": {}}}, "takes exactly one of openai, vllm"),
    ],
)
def test_a_wrong_source_is_one_line_before_anything_is_made(tmp_path, source, message):
    sources = {"a": source, "b": {"synth": {"skill": "precise-if", "n": 3}}}
    with pytest.raises(RecipeError) as wrong:
        pipeline.run(recipe(tmp_path, sources), Store(tmp_path / "store"))
    assert message in str(wrong.value)
    assert "\n" not in str(wrong.value)
    assert not list((tmp_path / "store").glob("*@*")) if (tmp_path / "store").exists() else True
