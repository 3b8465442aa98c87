from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from passes.onnx_to_torch.importer import Importer
from tests.support.onnx_ops import Array, check_op, compare, export, node_model, run, sample


def divided(data: Array, size: int) -> Array:
    """Every channel over its neighbours' squares, by the definition."""
    sums = np.zeros_like(data)
    for channel in range(data.shape[1]):
        first, last = max(0, channel - (size - 1) // 2), channel + size // 2 + 1
        sums[:, channel] = (data[:, first:last] ** 2).sum(1)
    return np.asarray(data / (1.5 + 0.3 / size * sums) ** 0.6)


@pytest.mark.parametrize("since", [1, 13])
@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 9])
@pytest.mark.parametrize("shape", [(2, 6, 4, 3), (2, 6, 4), (2, 6), (1, 6, 2, 2, 2)])
def test_lrn(since: int, size: int, shape: tuple[int, ...]) -> None:
    data, attributes = sample(shape), {"size": size, "alpha": 0.3, "beta": 0.6, "bias": 1.5}
    check_op("LRN", [data], since, attributes=attributes, expected=[divided(data, size)])


def test_lrn_exports_with_symbolic_sizes() -> None:
    data, other = sample((2, 6, 4, 3)), sample((5, 6, 7, 8))
    model = node_model("LRN", [data], 13, {"size": 3, "alpha": 0.3, "beta": 0.6, "bias": 1.5})
    exported = export(Importer(ir.from_proto(model)), [data], [other]).module()
    compare(run(exported, [other]), [divided(other, 3)])


@pytest.mark.parametrize("since", [1, 22])
@pytest.mark.parametrize("axis", [-1, 0, 1])
@pytest.mark.parametrize("order", [1, 2])
def test_lp_normalization(since: int, axis: int, order: int) -> None:
    data = sample((3, 4))
    norm = np.linalg.norm(data, order, axis, keepdims=True)
    check_op("LpNormalization", [data], since, attributes={"axis": axis, "p": order}, expected=[data / norm])


def test_nothing_normalized_is_nothing() -> None:
    check_op("LpNormalization", [np.zeros((2, 3), np.float32)], 22, expected=[np.zeros((2, 3), np.float32)])
