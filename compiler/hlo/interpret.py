"""Call a function with JAX arrays, so that JAX can trace it at the sizes that they have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import torch
from torch.fx import Node

from artifacts.errors import Problem, UnsupportedError
from compiler.hlo.decompose import decomposed
from compiler.hlo.dtypes import jax_dtype
from compiler.hlo.gaps import CHECKS, GAP_HINT, OF_SIZES, STAGE, is_lowered, place
from compiler.hlo.registry import lowerings
from compiler.hlo.sorts import SORTS, used_count
from passes.graph_builder import expression_of
from passes.program import Function
from passes.torch_dtypes import to_numpy


def call_function(function: Function, weights: Mapping[str, Any], inputs: Sequence[Any]) -> tuple[Any, ...]:
    """Call a function with arrays in its signature's order; `weights` are by the name of their placeholder.

    What the graph alone tells to have no form is found by `gaps.gaps`, which is asked first. Raises UnsupportedError
    for every operator that has none at these sizes.
    """
    given = {node.name: value for node, value in zip(function.input_nodes, inputs, strict=True)}
    values: dict[Node, Any] = {node: weights.get(node.name, given.get(node.name)) for node in function.placeholders}
    problems = list[Problem]()
    for node in function.computations:
        with jax.named_scope(_scope(function, node)):
            try:
                values[node] = _computed(node, values, place(function, node))
            except UnsupportedError as error:
                # Zeros stand in, so that what comes after is tried too.
                problems += error.problems
                values[node] = _stand_in(node, values)
    UnsupportedError.raise_if(problems)
    results = torch.fx.map_arg(function.results, values.__getitem__)
    return tuple(jnp.asarray(result) for result in results)


def _stand_in(node: Node, values: Mapping[Node, Any]) -> Any:
    """Zeros of the shapes that a node's results have where inputs have the sizes that they have."""
    sizes = {
        expression_of(size): given
        for source, array in values.items()
        if source.op == "placeholder"
        for size, given in zip(source.meta["val"].shape, array.shape, strict=True)
    }

    def zeros(value: torch.Tensor) -> Any:
        shape = [int(expression_of(size).subs(sizes)) for size in value.shape]
        return jnp.zeros(shape, jax_dtype(value.dtype))

    value = node.meta["val"]
    return zeros(value) if isinstance(value, torch.Tensor) else [zeros(each) for each in value]


def _computed(node: Node, values: Mapping[Node, Any], where: str) -> Any:
    """The value of a node whose operands have theirs; `where` is what an error is about."""
    if node.target in CHECKS:
        return None
    arguments, named = torch.fx.map_arg((node.args, node.kwargs), values.__getitem__)
    return _call(node, tuple(arguments), dict(named), where)


def _call(node: Node, arguments: tuple[Any, ...], named: dict[str, Any], where: str) -> Any:
    target: Any = node.target
    lowering = lowerings().get(target)
    if target in OF_SIZES:
        return target(*arguments, **named)
    if lowering is None:
        return _call_parts(target, arguments, named, where)
    if target in SORTS:
        named["count"] = used_count(node)
    try:
        result = lowering(*arguments, **{name: value for name, value in named.items() if value is not None})
    except NotImplementedError as error:
        raise UnsupportedError.of(STAGE, where, f"{target} has no lowering to HLO for {error}", GAP_HINT) from error
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
    unknown = sorted({str(node.target) for node in nodes if not is_lowered(node.target)})
    UnsupportedError.raise_if(
        Problem(STAGE, where, f"{target} is made of {part}, which has no lowering to HLO", GAP_HINT) for part in unknown
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


def _scope(function: Function, node: Node) -> str:
    """The source's name of a node, where it is in a path of names that HLO keeps as metadata."""
    return (function.sources.get(node.name) or node.name).replace("/", ".").strip(".") or node.name
