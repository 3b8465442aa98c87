from __future__ import annotations

import numpy as np
import pytest
import torch

from passes.dialect.activations import ACTIVATIONS, Activations
from tests.support.onnx_ops import node_model, reference, sample

OPERATORS = sorted(set(ACTIVATIONS) - {"Affine", "ScaledTanh"})
"""Those two are operators of versions before the first."""

X = sample((40,), low=-6, high=6)


def applied(name: str, alpha: float = 0.0, beta: float = 0.0, clip: float | None = None) -> np.ndarray:
    (function,) = Activations([name], [alpha], [beta], clip).functions()
    return function(torch.from_numpy(X)).numpy()


@pytest.mark.parametrize("name", OPERATORS)
def test_as_the_onnx_operator_of_that_name(name: str) -> None:
    names = ("alpha", "beta")[: len(ACTIVATIONS[name].defaults)]
    for values in (ACTIVATIONS[name].defaults, (0.3, 0.4)[: len(names)]):
        attributes = dict(zip(names, values, strict=True))
        (expected,) = reference(node_model(name, [X], 22, attributes), [X])
        np.testing.assert_allclose(applied(name, *values), expected, 1e-6, 1e-6)


def test_the_two_that_are_no_operators() -> None:
    np.testing.assert_allclose(applied("Affine", 2.0, 1.0), 2 * X + 1, 1e-6)
    np.testing.assert_allclose(applied("ScaledTanh", 2.0, 0.5), 2 * np.tanh(0.5 * X), 1e-6)


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_what_is_clipped_is_the_argument(name: str) -> None:
    (function,) = Activations([name], [0.5], [0.5], None).functions()
    expected = function(torch.from_numpy(X).clamp(-1, 1)).numpy()
    np.testing.assert_array_equal(applied(name, 0.5, 0.5, 1.0), expected)
