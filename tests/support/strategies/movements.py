"""Random programs of operators that move elements, written node by node over symbolic sizes."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from random import Random
from typing import Any, TypeAlias

import torch
from hypothesis import strategies as st
from torch.fx import Node

from artifacts.spec import Signature, TensorSpec
from passes.bodies import dims
from passes.graph_builder import GraphBuilder
from passes.program import Function, Program
from passes.torch_dtypes import logical_dtype
from tests.support.programs import bare, normal, parsed

_aten = torch.ops.aten

Draw: TypeAlias = Callable[[st.SearchStrategy[Any]], Any]

LONGEST = 10


@cache
def _origin() -> Program:
    """x float32 [n, 8, m] and r [k, 8, m]: whose world of symbols the programs are written in.

    The sizes are none that a step names: torch would take one that is equal in the sample for that number.
    """
    text = (
        "g (float[n, 8, m] x, float[k, 8, m] r) => (float[n, 8, m] y, float[k, 8, m] z) { y = Relu (x) z = Relu (r) }"
    )
    return bare(parsed(text), {"x": normal(17, 8, 13), "r": normal(11, 8, 13)})


@st.composite
def moving_programs(draw: Draw) -> Program:
    """A function of x and r with up to `LONGEST` steps that move elements or compute with them; all ends are results.

    A program has few kinds of steps, so that those of one kind meet.
    """
    origin = _origin().functions["main"]
    builder = GraphBuilder(origin)
    given = [builder.placeholder(node.name, node.meta["val"]) for node in origin.input_nodes]
    values = list(given)
    # By a seed: values that are drawn one by one are mostly the first ones, and turns would hardly occur.
    random = Random(draw(st.binary(min_size=8, max_size=8)))
    kinds = random.sample(_STEPS, random.randint(1, 4))
    for _ in range(random.randint(1, LONGEST)):
        operand, step = random.choice(values[-2:]), random.choice(kinds)
        values += step(random, builder, operand, values)
    results = [value for value in values if not value.users] or values[-1:]
    outputs = tuple(_spec(origin, f"y{i}", node) for i, node in enumerate(results))
    signature = Signature(inputs=origin.signature.inputs, outputs=outputs)
    return replace(_origin(), functions={"main": builder.function(origin, "main", signature, results)})


def _spec(origin: Function, name: str, node: Node) -> TensorSpec:
    value = node.meta["val"]
    return TensorSpec(name=name, dtype=logical_dtype(value.dtype), shape=dims(value, origin.symbols))


def _shape(node: Node) -> list[Any]:
    return list(node.meta["val"].shape)


def _permute(random: Random, builder: GraphBuilder, x: Node, _: Sequence[Node]) -> list[Node]:
    order = random.sample(range(len(_shape(x))), len(_shape(x)))
    return [builder.call(_aten.permute.default, x, list(order))]


def _swap(random: Random, builder: GraphBuilder, x: Node, _: Sequence[Node]) -> list[Node]:
    if len(_shape(x)) < 2:
        return []
    return [builder.call(_aten.transpose.int, x, random.choice((0, -1)), 1)]


def _unsqueeze(random: Random, builder: GraphBuilder, x: Node, _: Sequence[Node]) -> list[Node]:
    if len(_shape(x)) > 4:
        return []
    return [builder.call(_aten.unsqueeze.default, x, random.randint(0, len(_shape(x))))]


def _squeeze(_: Random, builder: GraphBuilder, x: Node, __: Sequence[Node]) -> list[Node]:
    units = [axis for axis, size in enumerate(_shape(x)) if isinstance(size, int) and size == 1]
    return [builder.call(_aten.squeeze.dims, x, units[:1])] if units else []


def _flatten(random: Random, builder: GraphBuilder, x: Node, _: Sequence[Node]) -> list[Node]:
    fits = math.prod(size for size in _shape(x) if isinstance(size, int)) % 4 == 0
    shapes = ([-1], [-1, 4], [1, -1, 4], [2, -1, 2]) if fits else ([-1], [-1, 1])
    return [builder.call(_aten.reshape.default, x, random.choice(shapes))]


def _slice(random: Random, builder: GraphBuilder, x: Node, _: Sequence[Node]) -> list[Node]:
    known = [axis for axis, size in enumerate(_shape(x)) if isinstance(size, int) and size > 1]
    axis = random.choice(known or range(len(_shape(x))))
    size = _shape(x)[axis]
    if not isinstance(size, int):
        return [builder.call(_aten.slice.Tensor, x, axis, 0, 2**63 - 1)]
    start = random.randint(0, max(size - 1, 0))
    end = random.choice((2**63 - 1, *range(start + 1, size + 1)))
    return [builder.call(_aten.slice.Tensor, x, axis, start, end)]


def _split(random: Random, builder: GraphBuilder, x: Node, _: Sequence[Node]) -> list[Node]:
    axes = [axis for axis, size in enumerate(_shape(x)) if isinstance(size, int) and size > 1]
    if not axes:
        return []
    axis = random.choice(axes)
    size = _shape(x)[axis]
    first = random.randint(1, size - 1)
    parts = builder.call(_aten.split_with_sizes.default, x, [first, size - first], axis)
    pieces = [builder.call(operator.getitem, parts, i) for i in range(2)]
    again = random.choice(([0, 1], [1, 0], None))
    return pieces if again is None else [builder.call(_aten.cat.default, [pieces[i] for i in again], axis)]


def _cat(random: Random, builder: GraphBuilder, x: Node, values: Sequence[Node]) -> list[Node]:
    axis = random.randint(0, len(_shape(x)) - 1)
    alike = [
        other
        for other in values
        if other.meta["val"].dtype == x.meta["val"].dtype
        and len(_shape(other)) == len(_shape(x))
        and all(str(a) == str(b) for i, (a, b) in enumerate(zip(_shape(other), _shape(x), strict=True)) if i != axis)
    ]
    parts = [random.choice(alike) for _ in range(random.randint(1, 3))]
    whole = builder.call(_aten.cat.default, parts, axis)
    sizes = [_shape(part)[axis] for part in parts]
    if not all(isinstance(size, int) for size in sizes) or random.random() < 0.5:
        return [whole]
    pieces = builder.call(_aten.split_with_sizes.default, whole, sizes, axis)
    return [whole, *(builder.call(operator.getitem, pieces, i) for i in range(len(sizes)))]


def _select(random: Random, builder: GraphBuilder, x: Node, _: Sequence[Node]) -> list[Node]:
    axes = [axis for axis, size in enumerate(_shape(x)) if isinstance(size, int) and size > 0]
    if not axes or len(_shape(x)) < 2:
        return []
    axis = random.choice(axes)
    size = _shape(x)[axis]
    return [builder.call(_aten.select.int, x, axis, random.randint(-size, size - 1))]


def _expand(random: Random, builder: GraphBuilder, x: Node, _: Sequence[Node]) -> list[Node]:
    wanted = [3 if isinstance(size, int) and size == 1 and random.random() < 0.5 else -1 for size in _shape(x)]
    repeated = builder.call(_aten.expand.default, x, wanted)
    return [repeated, *([builder.call(_aten.add.Tensor, repeated, repeated)] if random.random() < 0.5 else [])]


def _broadcast(_: Random, builder: GraphBuilder, x: Node, __: Sequence[Node]) -> list[Node]:
    """The sum of a tensor and its expanded first column."""
    if len(_shape(x)) < 1 or not isinstance(_shape(x)[-1], int) or _shape(x)[-1] < 1:
        return []
    column = builder.call(_aten.slice.Tensor, x, len(_shape(x)) - 1, 0, 1)
    repeated = builder.call(_aten.expand.default, column, [*[-1] * (len(_shape(x)) - 1), _shape(x)[-1]])
    return [builder.call(_aten.add.Tensor, x, repeated)]


def _cast(random: Random, builder: GraphBuilder, x: Node, _: Sequence[Node]) -> list[Node]:
    kinds = (torch.float16, torch.float32, torch.float64, torch.bfloat16, torch.bool, torch.int32, torch.int64)
    return [builder.call(_aten.to.dtype, x, random.choice(kinds))]


def _compute(random: Random, builder: GraphBuilder, x: Node, _: Sequence[Node]) -> list[Node]:
    if not x.meta["val"].dtype.is_floating_point:
        return []
    target = random.choice((_aten.relu.default, _aten.neg.default, _aten.abs.default))
    return [builder.call(target, x)]


def _add(random: Random, builder: GraphBuilder, x: Node, values: Sequence[Node]) -> list[Node]:
    alike = [
        other
        for other in values
        if other.meta["val"].dtype == x.meta["val"].dtype and list(map(str, _shape(other))) == list(map(str, _shape(x)))
    ]
    return [builder.call(_aten.add.Tensor, x, random.choice(alike))]


_STEPS = (
    *(_permute, _swap, _unsqueeze, _squeeze, _flatten, _slice, _split, _cat, _select),
    *(_expand, _broadcast, _cast, _compute, _add),
)
