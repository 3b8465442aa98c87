"""A model whose branches use what is around them: weights, values and sizes; one of them branches again."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx.numpy_helper
import onnx.parser

Array = npt.NDArray[Any]

_GRAPH = """
    <ir_version: 10, opset_import: ["": 21]>
    graph (float[n, 3] x, bool given, bool deeper) => (float[m, k] y, float[k] z)
    <float[3, 3] w = {1, 2, 3, 4, 5, 6, 7, 8, 9}, int64[1] three = {3}, int64[1] first = {0}>
    {
        rows = Shape<end = 1>(x)
        shape = Concat<axis = 0>(rows, three)
        outer = Add(x, x)
        y, z = If (given) <
            then_branch = then () => (float[m, k] t, float[k] u) {
                own = Constant<value = float[3] {1, 2, 3}>()
                product = MatMul(outer, w)
                t = Add(product, own)
                u = Identity(own)
            },
            else_branch = otherwise () => (float[m, k] e, float[k] f) {
                e = Reshape(outer, shape)
                other = Constant<value = float[3] {OTHER}>()
                f = If (deeper) <
                    then_branch = deep () => (float[k] d) { d = ReduceSum<keepdims = 0>(outer, first) },
                    else_branch = deepest () => (float[k] g) { g = Add(other, other) }
                >
            }
        >
    }
"""


def branching_model(other: tuple[int, int, int] = (3, 2, 1)) -> onnx.ModelProto:
    """x float32 [n, 3] and two flags in; y float32 [n, 3] and z float32 [3] out. `other` is a weight of a branch."""
    return onnx.parser.parse_model(_GRAPH.replace("OTHER", ", ".join(map(str, other))))


def branching_inputs(rows: int, given: bool, deeper: bool, seed: int = 0) -> dict[str, Array]:
    """Inputs by name."""
    x = np.random.default_rng(seed + rows).standard_normal((rows, 3)).astype(np.float32)
    return {"x": x, "given": np.array(given), "deeper": np.array(deeper)}


REQUESTS = tuple((rows, given, deeper) for rows in (1, 4) for given in (False, True) for deeper in (False, True))
"""Sizes and flags that lead through every branch."""
