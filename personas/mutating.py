"""Mutants of a program: copies with one slip each, which tests that mean anything notice."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator

MAX_MUTANTS = 4
_COMPARED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.GtE, ast.LtE: ast.Gt, ast.Gt: ast.LtE, ast.GtE: ast.Lt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
_COMPUTED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.FloorDiv: ast.Mult, ast.Div: ast.Mult, ast.Mod: ast.Mult,
}  # fmt: skip


def mutants(code: str, *, most: int = MAX_MUTANTS) -> list[str]:
    """Up to `most` programs that differ from this one in one comparison, operation or returned value.

    Spread over the program; none where it does not parse, or is too deeply nested to be written again.
    """
    try:
        tree = ast.parse(code)
        spots = [i for i, node in enumerate(ast.walk(tree)) if any(True for _ in _changed(node))]
        step = max(1, -(-len(spots) // most))
        return [_mutant(tree, spot) for spot in spots[::step][:most]]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []


def _mutant(tree: ast.Module, spot: int) -> str:
    other = copy.deepcopy(tree)
    for i, node in enumerate(ast.walk(other)):
        if i == spot:
            for name, value in next(_changed(node)).items():
                setattr(node, name, value)
            break
    return ast.unparse(ast.fix_missing_locations(other))


def _changed(node: ast.AST) -> Iterator[dict[str, object]]:
    """What a slip at this node would make of its fields."""
    match node:
        case ast.Compare(ops=[op, *rest]) if type(op) in _COMPARED:
            yield {"ops": [_COMPARED[type(op)](), *rest]}
        case ast.BinOp(op=op) if type(op) in _COMPUTED:
            yield {"op": _COMPUTED[type(op)]()}
        case ast.AugAssign(op=op) if type(op) in _COMPUTED:
            yield {"op": _COMPUTED[type(op)]()}
        case ast.BoolOp(op=op):
            yield {"op": ast.Or() if isinstance(op, ast.And) else ast.And()}
        case ast.Return(value=value) if value is not None and not (
            isinstance(value, ast.Constant) and value.value is None
        ):
            yield {"value": ast.Constant(None)}
