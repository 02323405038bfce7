"""Recipes: strict, inert, and clear about what is wrong."""

from pathlib import Path

import pytest
import yaml

from tulu_data import recipe as recipes
from tulu_data.errors import RecipeError, UsageError

GOOD = {
    "name": "mixed",
    "sources": {"a": {"path": "a.jsonl"}, "b": {"path": ["b1.jsonl", "b2.jsonl"], "license": "mit"}},
    "mix": {"a": {"all": True}, "b": {"count": 3}},
}


def with_key(path, value):
    data = yaml.safe_load(yaml.safe_dump(GOOD))
    node = data
    *parents, last = path.split(".")
    for key in parents:
        node = node.setdefault(key, {})
    node[last] = value
    return data


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("sed", 3, "r.yaml: sed: unknown key; did you mean 'seed'?"),
        ("sources.a.licence", "mit", "r.yaml: sources.a.licence: unknown key; did you mean 'license'?"),
        ("mix.a", 1, "r.yaml: mix.a: must say what it counts, got 1; write {all: true}, {count: N}, {fraction: F}"),
        ("mix.a", 1.0, "r.yaml: mix.a: must say what it counts, got 1.0; write {all: true}, {count: N}, {fraction: F}"),
        ("mix.c", {"all": True}, "r.yaml: mix.c: no such source; known sources: a, b"),
        ("mix.aa", {"all": True}, "r.yaml: mix.aa: no such source; did you mean 'a'?"),
        ("sources.a.hub", "org/name", "r.yaml: sources.a: takes exactly one of path, hub, synth, pairs"),
        ("name", "a", "r.yaml: two results would be called 'a'; rename the recipe or a source"),
        ("mix.a", {"coutn": 5}, "r.yaml: mix.a.coutn: unknown key; did you mean 'count'?"),
        ("mix", {}, "r.yaml: mix: names no source; name at least one, or leave 'mix' out"),
        ("name", "x/y", "r.yaml: dataset name 'x/y' holds '/'; use letters, digits, '-', '_' and '.'"),
        (
            "licenses.on_unknown",
            "fail",
            "r.yaml: licenses.on_unknown: should be 'allow', 'warn' or 'error', got 'fail'",
        ),
        ("sources", {}, "r.yaml: sources: Dictionary should have at least 1 item after validation, not 0, got {}"),
    ],
)
def test_a_wrong_key_or_value_is_one_line_with_its_place(path, value, message, tmp_path):
    with pytest.raises(RecipeError) as caught:
        recipes.from_data(with_key(path, value), place="r.yaml", base=tmp_path)
    assert str(caught.value) == message


def test_a_source_may_not_take_the_name_of_anothers_cleaned_rows(tmp_path):
    data = with_key("sources.a-clean", {"path": "c.jsonl"}) | {"decontaminate": {"suites": ["s.yaml"]}}
    with pytest.raises(RecipeError, match="two results would be called 'a-clean'; rename the recipe or a source"):
        recipes.from_data(data, place="r.yaml", base=tmp_path)


@pytest.mark.parametrize("key", ["size", "expect"])
def test_what_speaks_of_a_mixture_needs_one(key, tmp_path):
    data = {**GOOD, key: {"rows": 3}}
    del data["mix"]
    with pytest.raises(RecipeError, match=f"{key}: says something of a mixture, and there is no mix"):
        recipes.from_data(data, place="r.yaml", base=tmp_path)


def test_an_overridden_root_starts_at_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "r.yaml").write_text(yaml.safe_dump(GOOD))
    monkeypatch.chdir(tmp_path)
    assert recipes.load("recipes/r.yaml", ["root=data"]).root == (tmp_path / "data").resolve()
    assert recipes.load("recipes/r.yaml").root == (tmp_path / "recipes").resolve()


def test_overrides_replace_and_add_keys_with_yaml_values(tmp_path):
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(GOOD))
    overrides = ["seed=9", "mix.b.count=2", "licenses.deny=[gpl-3.0]"]
    recipe = recipes.load(tmp_path / "r.yaml", overrides).recipe
    assert (recipe.seed, recipe.mix["b"].count, recipe.licenses.deny) == (9, 2, ["gpl-3.0"])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed", "--set seed: write it as key.key=value"),
        ("name.x=1", "--set name.x=1: 'name' is 'mixed', which has no keys"),
        ("seed=[1", "--set seed=[1: '[1' is not a YAML value; quote it"),
    ],
)
def test_an_override_that_cannot_be_applied_says_so(override, message, tmp_path):
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(GOOD))
    with pytest.raises(UsageError) as caught:
        recipes.load(tmp_path / "r.yaml", [override])
    assert str(caught.value) == message


def test_relative_paths_start_at_the_root_and_the_root_at_the_recipes_folder(tmp_path):
    (tmp_path / "r.yaml").write_text(yaml.safe_dump({**GOOD, "root": "data"}))
    loaded = recipes.load(tmp_path / "r.yaml")
    assert loaded.resolve("a.jsonl") == (tmp_path / "data" / "a.jsonl").resolve()


def test_every_bundled_recipe_is_valid():
    names = recipes.bundled()
    assert {"quickstart", "public"} <= set(names)
    for name in names:
        assert recipes.load(name).recipe.name == name


def test_an_unknown_recipe_names_the_nearest():
    with pytest.raises(RecipeError, match="quikstart: no such recipe; did you mean 'quickstart'"):
        recipes.load("quikstart")


def test_a_missing_file_is_not_taken_for_a_name():
    with pytest.raises(RecipeError, match=r"gone\.yaml: no such recipe file"):
        recipes.load(Path("gone.yaml"))
