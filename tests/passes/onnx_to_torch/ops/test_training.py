from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.onnx_ops import FEW, Array, check_op, node_model, reference, sample

DOMAIN = "ai.onnx.preview.training"
CASES: list[tuple[str, int, dict[str, Any]]] = [
    ("Adagrad", 3, {"norm_coefficient": 0.01, "epsilon": 1e-5, "decay_factor": 0.1}),
    ("Adam", 4, {"norm_coefficient": 0.01, "alpha": 0.9, "beta": 0.99, "norm_coefficient_post": 0.02}),
    ("Momentum", 3, {"norm_coefficient": 0.01, "alpha": 0.9, "beta": 0.4, "mode": "standard"}),
    ("Momentum", 3, {"norm_coefficient": 0.01, "alpha": 0.9, "beta": 0.4, "mode": "nesterov"}),
]


@pytest.mark.parametrize(("name", "kinds", "attributes"), CASES)
@FEW
@given(count=st.integers(1, 3), step=st.integers(0, 3), seed=st.integers(0, 99))
def test_one_step(name: str, kinds: int, attributes: dict[str, Any], count: int, step: int, seed: int) -> None:
    shapes = [(2, 3), (4,), ()][:count]
    # Accumulated squares are not negative.
    tensors = [sample(shape, seed=seed + kind, low=0, high=2) for kind in range(kinds) for shape in shapes]
    inputs: list[Array] = [np.array(0.1, np.float32), np.array(step, np.int64), *tensors]
    outputs = count * (kinds - 1)
    model = node_model(name, inputs, 1, attributes, outputs, domain=DOMAIN)
    # The evaluator's Adam computes one tensor in float64, and several in float32.
    expected = [array.astype(np.float32) for array in reference(model, inputs)]
    check_op(name, inputs, 1, attributes=attributes, outputs=outputs, domain=DOMAIN, expected=expected)
