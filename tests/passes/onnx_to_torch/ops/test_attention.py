from __future__ import annotations

import numpy as np
import pytest

from tests.support.onnx_ops import Array, check_op, run_op, sample


def heads(batch: int = 2, count: int = 4, length: int = 3, size: int = 8, seed: int = 0) -> Array:
    return sample((batch, count, length, size), seed=seed, low=-1, high=1)


def test_mode_0_shows_the_scores_before_the_cap() -> None:
    inputs = [heads(), heads(seed=1), heads(seed=2)]
    shown = run_op("Attention", inputs, 23, attributes={"softcap": 0.1, "scale": 1.0}, outputs=4)[3]
    np.testing.assert_allclose(shown, inputs[0] @ inputs[1].swapaxes(2, 3), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("since", [23, 24, 25])
@pytest.mark.parametrize("key_heads", [1, 2, 4])
def test_heads_side_by_side(since: int, key_heads: int) -> None:
    inputs = [sample((2, 3, 32), seed=0), *(sample((2, 5, 8 * key_heads), seed=i) for i in (1, 2))]
    attributes = {"q_num_heads": 4, "kv_num_heads": key_heads}
    check_op("Attention", inputs, since, attributes=attributes, outputs=3)


@pytest.mark.parametrize("since", [24, 25])
@pytest.mark.parametrize("causal", [0, 1])
@pytest.mark.parametrize("mask", [None, "float32", "bool"])
def test_padded_keys_do_not_count(since: int, causal: int, mask: str | None) -> None:
    valid = np.array([4, 2], np.int64)
    # The mask reaches as far as the longest sample, and no further.
    bias = None if mask is None else sample((3, 4), mask, seed=3)
    inputs = [heads(), heads(length=6, seed=1), heads(length=6, seed=2), bias, None, None, valid]
    check_op("Attention", inputs, since, attributes={"is_causal": causal})


@pytest.mark.parametrize("left", [-1, 0, 1])
@pytest.mark.parametrize("right", [-1, 0, 2])
@pytest.mark.parametrize("past", [0, 2])
def test_windows(left: int, right: int, past: int) -> None:
    inputs: list[Array | None] = [heads(), heads(length=6, seed=1), heads(length=6, seed=2)]
    if past:
        inputs += [None, heads(length=past, seed=3), heads(length=past, seed=4)]
    attributes = {"left_window_size": left, "right_window_size": right}
    check_op("Attention", inputs, 25, attributes=attributes)


@pytest.mark.parametrize("mask", [np.zeros((3, 3), bool), np.full((3, 3), -np.inf, np.float32)])
def test_nothing_to_attend_to_gives_zeros(mask: Array) -> None:
    inputs = [heads(), heads(seed=1), heads(seed=2), mask]
    result, *_, weights = run_op("Attention", inputs, 23, attributes={"qk_matmul_output_mode": 3}, outputs=4)
    assert not result.any()
    assert not weights.any()


@pytest.mark.parametrize("precision", [1, 11])
def test_the_precision_of_softmax_does_not_show_in_the_result(precision: int) -> None:
    inputs = [heads(seed=i).astype(np.float16) for i in range(3)]
    attributes = {"softmax_precision": precision, "qk_matmul_output_mode": 3}
    check_op("Attention", inputs, 23, attributes=attributes, outputs=4)


@pytest.mark.parametrize("causal", [0, 1])
def test_exports_with_symbolic_lengths_and_a_growing_past(causal: int) -> None:
    def inputs(batch: int, length: int, past: int) -> list[Array | None]:
        rest = [heads(batch, 4, size, seed=i) for i, size in enumerate((length, length, length, past, past))]
        return [*rest[:3], None, *rest[3:]]

    attributes = {"is_causal": causal}
    check_op("Attention", inputs(2, 3, 4), 23, attributes=attributes, outputs=3, symbolic=inputs(3, 5, 7))
