"""Dimensions that are computed from others: `w//2 + 1`, once the sizes of the symbols are known."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

from artifacts.spec import Dim, Signature, TensorSpec

_OPERATORS: Mapping[type[ast.operator], Callable[[int, int], int]] = MappingProxyType(
    {
        ast.Add: operator.add,
        ast.Sub: operator.sub,
        ast.Mult: operator.mul,
        ast.FloorDiv: operator.floordiv,
        ast.Mod: operator.mod,
    }
)

_ARITHMETIC = re.compile(r"[\w\s+\-*/%()]{1,1000}")
"""What is looked at: a manifest may come from anybody, and parsers nest."""


def size_at(dim: Dim, sizes: Mapping[str, int]) -> int | None:
    """How large a dimension is where its symbols have these sizes; None if that does not tell.

    Read are whole numbers, symbols, `+ - * // %` and parentheses: nothing of it is run.
    """
    if isinstance(dim, int) or dim in sizes:
        return dim if isinstance(dim, int) else sizes[dim]
    if not _ARITHMETIC.fullmatch(dim):
        return None
    try:
        found = _value(ast.parse(dim.strip(), mode="eval").body, sizes)
    except (SyntaxError, ValueError, ZeroDivisionError, KeyError, RecursionError, MemoryError):
        return None
    return found if found >= 0 else None


def _value(node: ast.expr, sizes: Mapping[str, int]) -> int:
    """Raises KeyError for what is neither known nor arithmetic."""
    match node:
        case ast.Constant(value=int() as value) if not isinstance(value, bool):
            return value
        case ast.Name(id=name):
            return sizes[name]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, sizes)
        case ast.BinOp(left=left, op=op, right=right):
            return _OPERATORS[type(op)](_value(left, sizes), _value(right, sizes))
    raise KeyError(type(node).__name__)


def signature_at(signature: Signature, sizes: Mapping[str, int]) -> Signature:
    """The signature with every dimension that these sizes tell as a number."""

    def fixed(spec: TensorSpec) -> TensorSpec:
        shape = tuple(dim if (size := size_at(dim, sizes)) is None else size for dim in spec.shape)
        return spec.model_copy(update={"shape": shape})

    return Signature(inputs=tuple(map(fixed, signature.inputs)), outputs=tuple(map(fixed, signature.outputs)))
