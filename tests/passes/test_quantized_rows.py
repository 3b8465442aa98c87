from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from passes.quantized_rows import LARGEST_CODE, Floats, QuantizedRows, quantized_rows
from tests.support.programs import normal


def bounds_of(hidden: Floats, quantized: QuantizedRows) -> Floats:
    """The bound on every score [tokens], computed as the operation does, with a scale and a zero of its own."""
    scale = np.maximum(np.abs(hidden).max(), np.float32(1e-20)) / np.float32(127)
    codes = np.rint(hidden / scale)
    lengths = np.array([np.linalg.norm(hidden), np.linalg.norm(hidden - codes * scale)], np.float32)
    products = (codes.astype(np.int64) @ quantized.codes.astype(np.int64)).astype(np.float32)
    bounds: Floats = products * (scale * quantized.scales) + quantized.ceilings + lengths @ quantized.bounds
    return bounds


def orders(size: int) -> list[npt.NDArray[np.int64]]:
    """Orders in which the products of a score can be added."""
    forwards = np.arange(size)
    return [forwards, forwards[::-1], np.random.default_rng(1).permutation(size)]


def added(terms: Floats, bias: Floats) -> Floats:
    """The sum of float32 [tokens, size] one after the other, and the bias."""
    total = np.zeros(terms.shape[0], np.float32)
    for column in terms.T:
        total += column
    scores: Floats = total + bias
    return scores


@st.composite
def heads(draw: st.DrawFn) -> tuple[Floats, Floats, Floats]:
    """Rows [tokens, size], a bias and a hidden state, of magnitudes that differ, with outliers."""
    seed, size, tokens = draw(st.integers(0, 2**32 - 1)), draw(st.integers(1, 70)), draw(st.integers(1, 40))
    random = np.random.default_rng(seed)
    scale = [10.0 ** draw(st.integers(-12, 8)) for _ in range(3)]
    rows = random.normal(size=(tokens, size)) * scale[0] * 10.0 ** random.integers(-3, 3, (tokens, 1))
    hidden = random.normal(size=size) * scale[1]
    hidden[random.integers(size)] *= draw(st.sampled_from([0, 1, 1000]))
    bias = random.normal(size=tokens) * scale[2] * draw(st.sampled_from([0, 1]))
    return rows.astype(np.float32), bias.astype(np.float32), hidden.astype(np.float32)


@settings(max_examples=300)
@given(heads())
def test_no_order_of_additions_gives_a_score_above_its_bound(head: tuple[Floats, Floats, Floats]) -> None:
    rows, bias, hidden = head
    quantized = quantized_rows(rows, bias)
    bounds = bounds_of(hidden, quantized)
    for order in orders(len(hidden)):
        assert (added(rows[:, order] * hidden[order], bias) <= bounds).all()


@settings(max_examples=300)
@given(heads())
def test_two_orders_of_additions_differ_by_less_than_half_the_margin(
    head: tuple[Floats, Floats, Floats],
) -> None:
    rows, bias, hidden = head
    quantized = quantized_rows(rows, bias)
    margin = float(quantized.margins[0]) * float(np.linalg.norm(hidden.astype(np.float64))) + quantized.margins[1]
    scores = [added(rows[:, order] * hidden[order], bias).astype(np.float64) for order in orders(len(hidden))]
    assert (np.max(scores, axis=0) - np.min(scores, axis=0) <= margin / 2).all()


def test_a_bound_is_no_looser_than_the_codes_make_it() -> None:
    rows, hidden = normal(1000, 256), normal(256, seed=1)
    bounds = bounds_of(hidden, quantized_rows(rows, np.zeros(1000, np.float32)))
    above = bounds - rows @ hidden
    assert above.max() <= 0.05 * np.linalg.norm(hidden) * np.linalg.norm(rows, axis=1).max()


def test_codes_are_small_enough_for_pairs_that_saturate() -> None:
    quantized = quantized_rows(normal(50, 16) * np.float32(100), np.zeros(50, np.float32))
    assert np.abs(quantized.codes).max() == LARGEST_CODE
    assert 2 * 255 * LARGEST_CODE < 2**15


def test_a_token_that_is_never_chosen_has_no_bound_above_it() -> None:
    bias = np.array([0, -np.inf, 0], np.float32)
    quantized = quantized_rows(normal(3, 4), bias)
    assert np.isneginf(quantized.ceilings).tolist() == [False, True, False]
    assert np.isfinite(quantized.margins).all()


def test_rows_of_zeros_have_bounds() -> None:
    quantized = quantized_rows(np.zeros((3, 4), np.float32), np.zeros(3, np.float32))
    assert np.isfinite(quantized.bounds).all()
    assert (bounds_of(np.zeros(4, np.float32), quantized) >= 0).all()


@pytest.mark.parametrize(("where", "value"), [("rows", np.nan), ("rows", np.inf), ("bias", np.nan), ("bias", np.inf)])
def test_without_finite_weights_there_is_no_bound(where: str, value: float) -> None:
    given = {"rows": normal(3, 4), "bias": np.zeros(3, np.float32)}
    given[where].flat[1] = value
    with pytest.raises(ValueError, match="finite"):
        quantized_rows(**given)
