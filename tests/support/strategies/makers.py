"""Tensors made from a few numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx.numpy_helper
from hypothesis import strategies as st

from tests.support.onnx_ops import Array
from tests.support.strategies.node import Node, numpy_type, onnx_type
from tests.support.strategies.table import draws


@draws("Range")
def range_(node: Node) -> Sequence[Array | None]:
    dtype = node.dtype(0)
    step = node.choice(1, 2, 3) * (1 if dtype.kind == "u" else node.choice(-1, 1))
    numbers = [node.size(0, 9), node.size(0, 9), step]
    if dtype.kind not in "iu":
        numbers = [number + node.choice(0, 0.5) for number in numbers]
    node.attribute("stash_type", st.just(1))
    return [np.array(number, dtype) for number in numbers]


@draws("ConstantOfShape")
def constant_of_shape(node: Node) -> Sequence[Array | None]:
    node.attribute("value", _tensors(node, "T2").map(lambda array: onnx.numpy_helper.from_array(array, "fill")))
    return [node.ints(*node.shape(smallest=0))]


def _tensors(node: Node, variable: str) -> st.SearchStrategy[Array]:
    """Single elements of the types that an output may have."""
    return output_types(node, variable).map(lambda dtype: np.array([3], np.float32).astype(dtype))


def output_types(node: Node, variable: str, without: str = "") -> st.SearchStrategy[np.dtype[Any]]:
    """The types that a type variable may be, strings left out."""
    assert node.schema is not None
    (constraint,) = (c for c in node.schema.type_constraints if c.type_param_str == variable)
    types = [numpy_type(name) for name in sorted(constraint.allowed_type_strs)]
    return st.sampled_from([t for t in types if t is not None and t.kind not in without])


@draws("EyeLike")
def eye_like(node: Node) -> Sequence[Array | None]:
    node.attribute("dtype", output_types(node, "T2").map(onnx_type))
    node.attribute("k", st.integers(-4, 4))
    return [node.tensor(0, node.shape(least=2, most=2))]


@draws("OneHot")
def one_hot(node: Node) -> Sequence[Array | None]:
    shape = node.shape(least=1, most=2)
    axis = node.attribute("axis", st.integers(-len(shape) - 1, len(shape)))
    depth = node.size(1, 5)
    rank = node.choice((), (1,))
    indices, values = node.tensor(0, shape, -depth, depth), node.tensor(2, (2,))
    # The evaluator computes with the values, which it cannot with booleans.
    wide = np.expand_dims(indices.astype(np.float64), axis)
    places = np.arange(depth).reshape([-1 if i == axis % (len(shape) + 1) else 1 for i in range(len(shape) + 1)])
    node.expected = [values[(np.where(wide < 0, wide + depth, wide) == places).astype(int)]]
    return [indices, np.full(rank, depth, node.dtype(1)), values]


@draws("BlackmanWindow", "HammingWindow", "HannWindow")
def window(node: Node) -> Sequence[Array | None]:
    node.attribute("periodic", st.integers(0, 1))
    if node.attribute("output_datatype", st.sampled_from([1, 11])) == 11:
        node.tolerance = 1e-6  # constants of the body are float32
    return [np.array(node.size(2, 9), node.dtype(0))]
