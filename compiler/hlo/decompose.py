"""Operators that have no lowering of their own, by what they are made of at the sizes that they are called with."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch._library.custom_ops import OPDEFS
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

from compiler.hlo.dtypes import torch_dtype


def can_decompose(target: Any) -> bool:
    """Whether it is known what an operator is made of."""
    return _body_of(target) is not None


def is_torchs(target: Any) -> bool:
    """Whether it is torch that says what an operator is made of: of our own every part has a lowering."""
    return target in _decompositions()


def decomposed(target: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> tuple[GraphModule, list[Any]]:
    """A graph of what an operator is made of, and what it is called with: the arrays among the arguments, in order.

    Recurrences are written out, a step at a time.
    """
    body = _body_of(target)
    assert body is not None
    arrays: list[Any] = []

    def placed(value: Any) -> Any:
        if hasattr(value, "dtype"):
            arrays.append(value)
            return _Place(len(arrays) - 1)
        return [placed(each) for each in value] if isinstance(value, list | tuple) else value

    def filled(value: Any, tensors: tuple[torch.Tensor, ...]) -> Any:
        if isinstance(value, _Place):
            return tensors[value.number]
        return [filled(each, tensors) for each in value] if isinstance(value, list) else value

    positions = [placed(value) for value in arguments]
    names = {name: placed(value) for name, value in named.items()}

    def call(*tensors: torch.Tensor) -> Any:
        return body(*(filled(p, tensors) for p in positions), **{n: filled(p, tensors) for n, p in names.items()})

    examples = [torch.empty(array.shape, dtype=torch_dtype(array.dtype)) for array in arrays]
    return make_fx(call, tracing_mode="fake")(*examples), arrays


class _Place:
    def __init__(self, number: int) -> None:
        self.number = number


def _body_of(target: Any) -> Callable[..., Any] | None:
    own = OPDEFS.get(getattr(target, "name", lambda: "")().partition(".")[0])
    found: Callable[..., Any] | None = own._init_fn if own is not None else _decompositions().get(target)
    return found


@cache
def _decompositions() -> dict[Any, Callable[..., Any]]:
    return dict(torch._decomp.core_aten_decompositions())
