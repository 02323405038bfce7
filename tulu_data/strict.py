"""Strict configuration: YAML → frozen models, and every fault as one line that names its place and the remedy."""

from __future__ import annotations

import types
from collections.abc import Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from tulu_data.errors import RecipeError, nearest

Model = TypeVar("Model", bound=BaseModel)
Key = str | int


class Strict(BaseModel):
    """A frozen model that refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class _Loader(yaml.SafeLoader):
    """A safe loader that refuses a key given twice: YAML would silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = key_node.value if isinstance(key_node, yaml.ScalarNode) else None
            if key is not None and key in seen:
                problem = f"key {key!r} appears twice; remove or rename one"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def load_yaml(path: str | Path) -> dict[str, Any]:
    """The mapping that a YAML file holds; `RecipeError` in one line, with the line number of a syntax error."""
    try:
        data = yaml.load(Path(path).read_text(encoding="utf-8"), Loader=_Loader)
    except FileNotFoundError:
        raise RecipeError(f"{path}: no such file") from None
    except OSError as e:
        raise RecipeError(f"{path}: cannot be read ({e.strerror})") from None
    except UnicodeDecodeError as e:
        raise RecipeError(f"{path}: not UTF-8 text at byte {e.start}; re-encode it") from None
    except yaml.MarkedYAMLError as e:
        line = f":{e.problem_mark.line + 1}" if e.problem_mark else ""
        raise RecipeError(f"{path}{line}: {e.problem or 'not YAML'}") from None
    except yaml.YAMLError as e:
        raise RecipeError(f"{path}: not YAML: {' '.join(str(e).split())}") from None
    if data is None:
        raise RecipeError(f"{path}: the file is empty")
    if not isinstance(data, dict):
        raise RecipeError(f"{path}: must be a mapping of keys to values, got {type(data).__name__}")
    return data


def validate(model: type[Model], data: Mapping[str, Any], place: str, *, under: str = "") -> Model:
    """`data` as a `model`; `RecipeError` in one line for the first fault, unknown keys before all others.

    `under` is the key that `data` stands under in the file.

    >>> validate(Suites, {"suites": {"gsm8k": {"feilds": ["question"]}}}, "suites.yaml")
    Traceback (most recent call last):
    tulu_data.errors.RecipeError: suites.yaml: suites.gsm8k.feilds: unknown key; did you mean 'fields'?
    """
    try:
        return model.model_validate(data)
    except ValidationError as e:
        raise RecipeError(f"{place}: {_describe(model, data, e.errors(), under)}") from None


def _describe(model: type[BaseModel], data: Any, errors: Sequence[ErrorDetails], under: str) -> str:
    unknown = [e for e in errors if e["type"] == "extra_forbidden"]
    first = _path((unknown or errors)[0], data)
    # Of a union's members, the one that the data goes furthest along is meant.
    within = [e for e in unknown or errors if _path(e, data)[: len(first)] == first]
    error = max(within, key=lambda e: len(_path(e, data)))
    path = _path(error, data)
    where = _dotted((under, *path) if under else path)
    if unknown:
        known = _keys_at(model, path[:-1])
        holding = [name for name in sorted(known) if path[-1] in _keys_at(model, [*path[:-1], name])]
        if holding:  # one level too high
            return f"{where}: unknown key; did you mean '{holding[0]}.{path[-1]}'?"
        return f"{where}: unknown key; {nearest(str(path[-1]), known, noun='key')}"
    if error["type"] == "missing":
        return f"{where}: is missing"
    # A union reports one error for each of its members, all at one place.
    said = dict.fromkeys(_said(e) for e in errors if _path(e, data) == path)
    problem = " or ".join(said)
    if error["type"] not in ("value_error", "assertion_error"):
        problem += f", got {_short(error['input'])}"
    return f"{where}: {problem}" if where else problem


def _said(error: ErrorDetails) -> str:
    message = error["msg"]
    for prefix in ("Value error, ", "Assertion failed, ", "Input "):
        message = message.removeprefix(prefix)
    return message


def _path(error: ErrorDetails, data: Any) -> tuple[Key, ...]:
    """The keys and indices that lead to the fault; names of union members, which pydantic adds, are left out."""
    path: list[Key] = []
    node = data
    for part in error["loc"]:
        if _holds(node, part):
            node = node[part]
            path.append(part)
    if error["type"] == "missing":
        path.append(error["loc"][-1])
    return tuple(path)


def _holds(node: Any, part: Key) -> bool:
    if isinstance(node, list):
        return isinstance(part, int) and part < len(node)
    return isinstance(node, Mapping) and part in node


def _dotted(path: Sequence[Key]) -> str:
    return "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in path).removeprefix(".")


def _short(value: Any, limit: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _keys_at(annotation: Any, path: Sequence[Key]) -> set[str]:
    """The keys that the models at `path` know."""
    annotations = [annotation]
    for part in path:
        annotations = [inner for a in annotations for inner in _step(a, part)]
    models = [m for a in annotations for m in _members(a) if isinstance(m, type) and issubclass(m, BaseModel)]
    return {field.alias or name for m in models for name, field in m.model_fields.items()}


def _members(annotation: Any) -> Iterator[Any]:
    """What an annotation can stand for: the members of a union, the type inside `Annotated`."""
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        for member in get_args(annotation):
            yield from _members(member)
    elif origin is Annotated:
        yield from _members(get_args(annotation)[0])
    else:
        yield annotation


def _step(annotation: Any, part: Key) -> Iterator[Any]:
    """The annotations one key or index further in."""
    for member in _members(annotation):
        if isinstance(member, type) and issubclass(member, BaseModel):
            for name, field in member.model_fields.items():
                if part in (name, field.alias):
                    yield field.annotation
        else:
            args = get_args(member)
            yield from args[1:] if isinstance(part, str) else args
