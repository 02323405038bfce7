from typing import Annotated, Literal

import pytest
from pydantic import Field, ValidationError, model_validator

from tulu_data.errors import RecipeError
from tulu_data.strict import Strict, load_yaml, validate


class Step(Strict):
    size: Annotated[int, Field(ge=1)] = 1
    mode: Literal["fast", "slow"] = "fast"
    path: str | list[str] | None = None


class Plan(Strict):
    name: str
    steps: dict[str, Step] = Field(default_factory=dict)
    others: list[Step] = Field(default_factory=list)
    last: Step | None = None
    way: Literal["none"] | Step = "none"

    @model_validator(mode="after")
    def _named(self) -> "Plan":
        if self.name == "":
            raise ValueError("name: must not be empty")
        return self


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"nam": "x"}, "p: nam: unknown key; did you mean 'name'?"),
        ({}, "p: name: is missing"),
        ({"name": "x", "steps": {"a": {"szie": 1}}}, "p: steps.a.szie: unknown key; did you mean 'size'?"),
        ({"name": "x", "others": [{}, {"szie": 1}]}, "p: others[1].szie: unknown key; did you mean 'size'?"),
        ({"name": "x", "last": {"zzz": 1}}, "p: last.zzz: unknown key; known keys: mode, path, size"),
        ({"name": "x", "last": {"size": 0}}, "p: last.size: should be greater than or equal to 1, got 0"),
        ({"name": "x", "last": {"mode": "fsat"}}, "p: last.mode: should be 'fast' or 'slow', got 'fsat'"),
        ({"name": "x", "way": {"size": 0}}, "p: way.size: should be greater than or equal to 1, got 0"),
        (
            {"name": "x", "last": {"path": 3}},
            "p: last.path: should be a valid string or should be a valid list, got 3",
        ),
        ({"name": "x", "steps": []}, "p: steps: should be a valid dictionary, got []"),
        ({"name": ""}, "p: name: must not be empty"),
    ],
)
def test_a_fault_is_one_line_with_its_place(data, message):
    with pytest.raises(RecipeError) as caught:
        validate(Plan, data, "p")
    assert str(caught.value) == message


def test_a_model_cannot_be_changed():
    plan = validate(Plan, {"name": "x"}, "p")
    with pytest.raises(ValidationError):
        plan.name = "y"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "{file}: the file is empty"),
        (b"# only a comment\n", "{file}: the file is empty"),
        (b"a: 1\nb: [\n", "{file}:3: expected the node content, but found '<stream end>'"),
        (b"a: 1\nb: {c: 1, c: 2}\n", "{file}:2: key 'c' appears twice; remove or rename one"),
        (b"3\n", "{file}: must be a mapping of keys to values, got int"),
        (b"a: \xff\n", "{file}: not UTF-8 text at byte 3; re-encode it"),
    ],
)
def test_a_wrong_file_is_one_line(tmp_path, content, message):
    path = tmp_path / "f.yaml"
    path.write_bytes(content)
    with pytest.raises(RecipeError) as caught:
        load_yaml(path)
    assert str(caught.value) == message.format(file=path)


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(RecipeError, match=r"none\.yaml: no such file$"):
        load_yaml(tmp_path / "none.yaml")


def test_yaml_is_data_and_never_runs(tmp_path):
    path = tmp_path / "f.yaml"
    path.write_text("a: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(RecipeError, match=r"f\.yaml:1: could not determine a constructor"):
        load_yaml(path)
