"""One tensor in, one of the same shape out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx.defs
from hypothesis import strategies as st

from tests.support.onnx_ops import Array
from tests.support.strategies.node import BIT, Node
from tests.support.strategies.table import draws

Attributes = Mapping[str, st.SearchStrategy[Any]]
COEFFICIENTS = st.sampled_from([0.25, 0.5, 1.0, 1.5])

WITHOUT = (
    *("Abs", "Neg", "Reciprocal", "Sqrt", "Exp", "Log", "Floor", "Ceil", "Round", "Erf", "Sign", "IsNaN"),
    *("Sin", "Cos", "Tan", "Asin", "Acos", "Atan", "Sinh", "Cosh", "Asinh", "Acosh", "Atanh", "Not", "BitwiseNot"),
    *("Relu", "Sigmoid", "Tanh", "HardSwish", "Mish", "Softplus", "Softsign"),
)
ATTRIBUTES: Mapping[str, Attributes] = {
    **{name: {} for name in WITHOUT},
    **{name: {"alpha": COEFFICIENTS} for name in ("LeakyRelu", "Elu", "Celu", "ThresholdedRelu", "Swish")},
    "IsInf": {"detect_positive": BIT, "detect_negative": BIT},
    "Selu": {"alpha": COEFFICIENTS, "gamma": COEFFICIENTS},
    "HardSigmoid": {"alpha": COEFFICIENTS | st.just(1 / 6), "beta": COEFFICIENTS},
    "Shrink": {"lambd": COEFFICIENTS, "bias": COEFFICIENTS},
    "Gelu": {"approximate": st.sampled_from(["none", "tanh"])},
}
OVERFLOWING = ("Gelu", "HardSwish")
"""Of what is near the greatest number of a type, torch's kernels of these make infinity."""
FLOAT32_INSIDE = ("Gelu", "HardSwish", "HardSigmoid")
"""What the evaluator computes with numbers of float32 (a sixth, say), whatever the type."""


@draws(*ATTRIBUTES)
def unary(node: Node) -> Sequence[Array | None]:
    values = {name: node.attribute(name, strategy) for name, strategy in ATTRIBUTES[node.op].items()}
    # The evaluator's Softsign has no scalars.
    data = node.tensor(0, node.shape(least=node.op == "Softsign"), edges=node.op not in OVERFLOWING)
    if values:  # the evaluator takes the defaults of the newest version for those of all
        newest = onnx.defs.get_schema(node.op).since_version
        node.ask([data], newest, {name: value for name, value in values.items() if value is not None})
    if node.op == "Erf":  # which the evaluator computes in float32
        wide = np.vectorize(math.erf, otypes=[np.float64])(data.astype(np.float64))
        node.expected = [wide.astype(data.dtype)]
    if node.op in FLOAT32_INSIDE and data.dtype == np.float64:
        node.tolerance = 1e-6
    return [data]


@draws("Clip")
def clip(node: Node) -> Sequence[Array | None]:
    data = node.tensor(0, node.shape(), edges=True)
    if node.has("min"):
        limits = [
            node.attribute("min", st.sampled_from([-2.0, 0.0])),
            node.attribute("max", st.sampled_from([0.5, 2.0])),
        ]
        node.expected = [data if limits == [None, None] else np.clip(data, *limits).astype(data.dtype)]
        return [data]
    bounds = [np.array(node.choice(*numbers), data.dtype) for numbers in ((0, 1, 3), (0, 2, 4))]
    return [data, *(bound if node.bit() else None for bound in bounds)]


@draws("Dropout")
def dropout(node: Node) -> Sequence[Array | None]:
    """As served, and so that nothing is dropped: what is random has no right answer."""
    node.outputs = node.choice(1, 2)
    data = node.tensor(0, node.shape(1), edges=True)
    node.set("is_test", 1)
    if node.has("ratio"):
        node.attribute("ratio", st.sampled_from([0.0, 0.5]))
    if node.has("seed"):
        node.attribute("seed", st.just(3))
    mask = np.ones(data.shape, bool if node.since >= 10 else data.dtype)
    node.expected = [data, mask][: node.outputs]
    if node.arity == 1:
        return [data]
    trains = node.bit()
    ratio = node.tensor(1, (), low=0, high=0 if trains else 0.9)
    return [data, ratio if trains or node.bit() else None, np.array(True) if trains else None]


@draws("SwiGLU")
def swiglu(node: Node) -> Sequence[Array | None]:
    node.attribute("alpha", COEFFICIENTS)
    shape = node.shape()
    return [node.tensor(0, shape), node.tensor(1, shape)]


@draws("PRelu")
def prelu(node: Node) -> Sequence[Array | None]:
    """The slope broadcasts in one direction; before version 7 it is one number, or one for each channel."""
    shape = node.shape(2)
    data = node.tensor(0, shape, edges=True)
    if node.since >= 7:
        kept = node.size(0, len(shape))
        slope = [node.choice(1, size) for size in shape[len(shape) - kept :]]
        return [data, node.tensor(1, slope)]
    slopes = node.tensor(1, (node.choice(1, shape[1]),))
    by_channel = slopes.reshape(-1, *[1] * (len(shape) - 2))
    node.expected = [np.where(data < 0, data * by_channel, data).astype(data.dtype)]
    return [data, slopes]
