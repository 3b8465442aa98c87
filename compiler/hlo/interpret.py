"""Call a function with JAX arrays, so that JAX can trace it at the sizes that they have."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import torch
from torch.fx import Node

from artifacts.errors import Problem, UnsupportedError
from compiler.hlo.decompose import can_decompose, decomposed
from compiler.hlo.dtypes import is_known, jax_dtype
from compiler.hlo.registry import lowerings
from passes.program import Function
from passes.torch_dtypes import to_numpy

_STAGE = "lower"

_OF_SIZES = frozenset(
    {
        operator.getitem,
        operator.add,
        operator.sub,
        operator.mul,
        operator.floordiv,
        operator.mod,
        operator.neg,
        operator.truediv,
        torch.sym_max,
        torch.sym_min,
        torch.sym_int,
        torch.sym_float,
        torch.sym_not,
        torch.sym_ite,
    }
)
"""What the graph computes with sizes, and picking one of several results."""

_CHECKS = frozenset({torch.ops.aten._assert_scalar.default, torch.ops.aten.sym_constrain_range_for_size.default})


def gaps(function: Function) -> list[Problem]:
    """A problem for every operator that has no lowering and every value of a type that accelerators lack."""
    found = []
    for node in function.computations:
        where = f"function {function.name!r}, {_place(function, node)}"
        if not _is_known(node.target):
            found.append(Problem(_STAGE, where, f"{node.target} has no lowering to HLO", _GAP_HINT))
        found += [
            Problem(_STAGE, where, f"computes in {str(value.dtype).removeprefix('torch.')}", _TYPE_HINT)
            for value in _tensors(node)
            if not is_known(value.dtype) or value.dtype == torch.float64
        ]
    return found


_GAP_HINT = "write the model with other operators, or compile for --target onnxruntime"
_TYPE_HINT = "export the model in float32"


def call_function(function: Function, weights: Mapping[str, Any], inputs: Sequence[Any]) -> tuple[Any, ...]:
    """Call a function with arrays in its signature's order; `weights` are by the name of their placeholder.

    Raises UnsupportedError with every gap at once.
    """
    UnsupportedError.raise_if(gaps(function))
    given = {node.name: value for node, value in zip(function.input_nodes, inputs, strict=True)}
    values: dict[Node, Any] = {node: weights.get(node.name, given.get(node.name)) for node in function.placeholders}
    for node in function.computations:
        with jax.named_scope(_scope(function, node)):
            values[node] = _computed(node, values, f"function {function.name!r}, {_place(function, node)}")
    results = torch.fx.map_arg(function.results, values.__getitem__)
    return tuple(jnp.asarray(result) for result in results)


def _is_known(target: Any) -> bool:
    return target in lowerings() or target in _OF_SIZES or target in _CHECKS or can_decompose(target)


def _computed(node: Node, values: Mapping[Node, Any], where: str) -> Any:
    """The value of a node whose operands have theirs; `where` is what an error is about."""
    if node.target in _CHECKS:
        return None
    arguments, named = torch.fx.map_arg((node.args, node.kwargs), values.__getitem__)
    return _call(node, tuple(arguments), dict(named), where)


def _call(node: Node, arguments: tuple[Any, ...], named: dict[str, Any], where: str) -> Any:
    target: Any = node.target
    lowering = lowerings().get(target)
    if target in _OF_SIZES:
        return target(*arguments, **named)
    if lowering is None:
        return _call_parts(target, arguments, named, where)
    try:
        result = lowering(*arguments, **{name: value for name, value in named.items() if value is not None})
    except NotImplementedError as error:
        raise UnsupportedError.of(_STAGE, where, f"{target} has no lowering to HLO for {error}", _GAP_HINT) from error
    wanted = node.meta.get("val")
    if isinstance(wanted, torch.Tensor):
        return jnp.asarray(result).astype(jax_dtype(wanted.dtype))
    if isinstance(wanted, Sequence):
        return [jnp.asarray(r).astype(jax_dtype(w.dtype)) for r, w in zip(result, wanted, strict=True)]
    return result


def _call_parts(target: Any, arguments: tuple[Any, ...], named: dict[str, Any], where: str) -> Any:
    """Call what an operator is made of."""
    module, arrays = decomposed(target, arguments, named)
    nodes = [node for node in module.graph.nodes if node.op == "call_function"]
    unknown = sorted({str(node.target) for node in nodes if not _is_known(node.target)})
    UnsupportedError.raise_if(
        Problem(_STAGE, where, f"{target} is made of {part}, which has no lowering to HLO", _GAP_HINT)
        for part in unknown
    )
    placeholders = [node for node in module.graph.nodes if node.op == "placeholder"]
    values: dict[Node, Any] = dict(zip(placeholders, arrays, strict=True))
    for node in module.graph.nodes:
        if node.op == "get_attr":
            values[node] = jnp.asarray(to_numpy(getattr(module, str(node.target))))
        if node.op == "call_function":
            values[node] = _computed(node, values, where)
    output = next(iter(reversed(module.graph.nodes)))
    return torch.fx.map_arg(output.args[0], values.__getitem__)


def _tensors(node: Node) -> list[torch.Tensor]:
    value = node.meta.get("val")
    values = value if isinstance(value, list | tuple) else [value]
    return [each for each in values if isinstance(each, torch.Tensor)]


def _place(function: Function, node: Node) -> str:
    source = function.sources.get(node.name)
    return f"node {node.name!r}" + (f" (source node {source!r})" if source else "")


def _scope(function: Function, node: Node) -> str:
    """The source's name of a node, where it is in a path of names that HLO keeps as metadata."""
    return (function.sources.get(node.name) or node.name).replace("/", ".").strip(".") or node.name
