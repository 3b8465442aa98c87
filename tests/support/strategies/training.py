"""Steps of optimizers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st

from tests.support.onnx_ops import Array, node_model, reference
from tests.support.strategies.node import Node
from tests.support.strategies.table import draws

DOMAIN = "ai.onnx.preview.training"
FACTORS = st.sampled_from([0.0, 0.01, 0.4, 0.9])


@draws("Adagrad", "Adam", "Momentum", domain=DOMAIN)
def step(node: Node) -> Sequence[Array | None]:
    """Of several tensors at once, each with its gradient and what is accumulated of it."""
    kinds = 4 if node.op == "Adam" else 3
    for name in ("norm_coefficient", "norm_coefficient_post", "alpha", "beta", "decay_factor"):
        node.attribute(name, FACTORS)
    node.attribute("epsilon", st.just(1e-5))
    node.attribute("mode", st.sampled_from(["standard", "nesterov"]))
    shapes = [node.shape() for _ in range(node.size(1, 3))]
    # Accumulated squares are not negative.
    tensors = [node.array(shape, np.float32, 0, 2) for _ in range(kinds) for shape in shapes]
    inputs: list[Array | None] = [np.array(0.1, np.float32), np.array(node.size(0, 3), np.int64), *tensors]
    node.outputs = len(shapes) * (kinds - 1)
    model = node_model(node.op, inputs, 1, node.attributes, node.outputs, (), DOMAIN)
    # The evaluator's Adam computes one tensor in float64, and several in float32.
    found = reference(model, [array for array in inputs if array is not None])
    node.expected = [array.astype(np.float32) for array in found]
    return inputs
