from __future__ import annotations

import numpy as np
import pytest

from tests.support.onnx_ops import sample
from tests.support.onnxruntime_ops import check_contrib

DATA, SKIP, SCALE, SHIFT, BIAS = (
    sample((2, 3, 8)),
    sample((2, 3, 8), seed=1),
    sample((8,), seed=2),
    sample((8,), seed=3),
    sample((8,), seed=4),
)


def test_activations() -> None:
    check_contrib("Gelu", [DATA])
    check_contrib("BiasGelu", [DATA, BIAS])
    check_contrib("FastGelu", [DATA])
    check_contrib("FastGelu", [DATA, BIAS])
    check_contrib("QuickGelu", [DATA])
    check_contrib("QuickGelu", [DATA], alpha=0.9)


@pytest.mark.parametrize("swap_a", [0, 1])
@pytest.mark.parametrize("swap_b", [0, 1])
def test_products(swap_a: int, swap_b: int) -> None:
    a, b = sample((2, 4, 3) if swap_a else (2, 3, 4)), sample((5, 4) if swap_b else (4, 5))
    check_contrib("FusedMatMul", [a, b], transA=swap_a, transB=swap_b, alpha=0.5)


@pytest.mark.parametrize("bias", [True, False])
def test_normalizations_of_sums(bias: bool) -> None:
    extra = [BIAS] if bias else [None]
    check_contrib("SkipLayerNormalization", [DATA, SKIP, SCALE, SHIFT, *extra], epsilon=1e-5)
    check_contrib("SkipLayerNormalization", [DATA, SKIP, SCALE, None, *extra], outputs=4, named=[0, 3], epsilon=1e-5)
    operands = [DATA, SKIP, SCALE, *extra]
    check_contrib("SkipSimplifiedLayerNormalization", operands, outputs=4, named=[0, 3], epsilon=1e-5)


def test_rms_normalization_in_the_domain_of_onnx() -> None:
    check_contrib("SimplifiedLayerNormalization", [DATA, SCALE], domain="", axis=-1, epsilon=1e-5)


@pytest.mark.parametrize("segments", [True, False])
@pytest.mark.parametrize("masked", [True, False])
def test_embeddings(segments: bool, masked: bool) -> None:
    tokens = sample((2, 5), "int32", low=0, high=9)
    kinds = sample((2, 5), "int32", low=0, high=1) if segments else None
    mask = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], np.int32) if masked else None
    tables = [sample((10, 8)), sample((7, 8), seed=1), sample((2, 8), seed=2) if segments else None]
    inputs = [tokens, kinds, *tables, SCALE, SHIFT, mask]
    check_contrib("EmbedLayerNormalization", inputs, outputs=3, epsilon=1e-5)
