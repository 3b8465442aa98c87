"""The strategy of each operator, and nodes drawn by it."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from functools import cache
from typing import TypeAlias, TypeVar

import numpy as np
from hypothesis import strategies as st

from passes.onnx_to_torch.registry import Key, schema_of
from tests.support.onnx_ops import Array
from tests.support.strategies.node import Node

Strategy: TypeAlias = Callable[[Node], Sequence[Array | None]]
"""Draws the rest of a node and returns its inputs, or those of the whole model that it left in the node."""

Function = TypeVar("Function", bound=Strategy)

_TABLE: dict[tuple[str, str], Strategy] = {}


def draws(*names: str, domain: str = "") -> Callable[[Function], Function]:
    """Register how nodes of some operators are drawn, in all their versions. Raises ValueError for a second one."""

    def register(function: Function) -> Function:
        for name in names:
            if (domain, name) in _TABLE:
                raise ValueError(f"{name} is drawn twice")
            _TABLE[domain, name] = function
        return function

    return register


@cache
def table() -> dict[tuple[str, str], Strategy]:
    """The strategy by (domain, operator), every family loaded."""
    from tests.support import strategies

    for module in pkgutil.iter_modules(strategies.__path__):
        importlib.import_module(f"{strategies.__name__}.{module.name}")
    return _TABLE


@st.composite
def nodes(draw: st.DrawFn, key: Key) -> Node:
    """A node of an operator in a since-version. Some have every input as a constant of the file."""
    domain, name, since = key
    node = Node(draw, name, domain, since, schema_of(domain, name, since))
    with np.errstate(all="ignore"):
        node.inputs = list(table()[domain, name](node))
    while node.inputs and node.inputs[-1] is None:
        node.inputs.pop()
    strings = any(array is not None and array.dtype == object for array in node.inputs)
    if node.whole is None and not strings and draw(st.integers(0, 3)) == 3:
        node.constants = [i for i, array in enumerate(node.inputs) if array is not None]
    return node
