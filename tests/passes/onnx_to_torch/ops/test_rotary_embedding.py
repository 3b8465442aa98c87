from __future__ import annotations

import numpy as np
import pytest

from tests.support.onnx_ops import Array, check_op, sample


@pytest.mark.parametrize("interleaved", [0, 1])
@pytest.mark.parametrize("turned", [0, 4])
@pytest.mark.parametrize("flat", [True, False])
@pytest.mark.parametrize("with_positions", [True, False])
def test_matches_the_reference(interleaved: int, turned: int, flat: bool, with_positions: bool) -> None:
    data = sample((2, 3, 32) if flat else (2, 4, 3, 8))
    pairs = (turned or 8) // 2
    tables = [sample((10, pairs) if with_positions else (2, 3, pairs), seed=i) for i in (1, 2)]
    inputs: list[Array] = [data, *tables]
    if with_positions:
        inputs.append(sample((2, 3), "int64", seed=3, low=0, high=9))
    attributes = {"interleaved": interleaved, "rotary_embedding_dim": turned, **({"num_heads": 4} if flat else {})}
    check_op("RotaryEmbedding", inputs, 23, attributes=attributes)


def test_exports_with_symbolic_sizes() -> None:
    def inputs(batch: int, length: int) -> list[Array]:
        positions = np.tile(np.arange(length), (batch, 1))
        return [sample((batch, 4, length, 8)), sample((10, 4), seed=1), sample((10, 4), seed=2), positions]

    check_op("RotaryEmbedding", inputs(2, 3), 23, constants={1, 2}, symbolic=inputs(3, 5))
