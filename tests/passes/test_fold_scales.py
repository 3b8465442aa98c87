"""What golden texts do not show of scales that are folded: which weights may change, and which numbers may not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from passes.fold_scales import FoldScales
from passes.interpreter import call
from passes.program import Program
from tests.support.programs import bare, normal, operators, parsed

CHANNELS = 4


def _scaled(name: str = "main", scale: float = 2.0) -> Program:
    text = "g (float[n, 4, h, w] x) => (float[n, 4, h, w] y) { a = Conv (x, kernel) y = Div (a, scale) }"
    weights = {"kernel": normal(4, 4, 1, 1), "scale": np.array(scale, np.float32)}
    return bare(parsed(text, **weights), {"x": normal(2, 4, 3, 5)}, name)


def test_a_kernel_that_another_function_uses_stays() -> None:
    assert FoldScales()(_scaled()).modified
    assert not FoldScales()(_scaled("one").merged(_scaled("other"))).modified


def test_a_division_by_zero_stays_one() -> None:
    assert not FoldScales()(_scaled(scale=0.0)).modified


@pytest.mark.parametrize("padding", [0, 1])
@settings(max_examples=20, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["Mul", "Div", "Add", "Sub"]), st.booleans(), st.floats(0.5, 2)),
        min_size=1,
        max_size=5,
    ),
    groups=st.sampled_from([1, 2, CHANNELS]),
)
def test_any_chain_before_a_convolution_is_at_most_one_operator(
    padding: int, steps: list[tuple[str, bool, float]], groups: int
) -> None:
    lines, weights, value = [], {"kernel": normal(8, CHANNELS // groups, 3, 3)}, "a0"
    for number, (operator, by_channel, constant) in enumerate(steps):
        spread = np.linspace(1, 2, CHANNELS).reshape(-1, 1, 1) if by_channel else np.ones(())
        weights[f"c{number}"] = (constant * spread).astype(np.float32)
        lines.append(f"a{number + 1} = {operator} (a{number}, c{number})")
        value = f"a{number + 1}"
    conv = f"y = Conv <pads = [{padding}, {padding}, {padding}, {padding}], group = {groups}> ({value}, kernel)"
    chain = " ".join(lines)
    text = f"g (float[n, 4, h, w] x) => (float[n, 8, i, j] y) {{ a0 = Tanh (x) {chain} {conv} }}"
    inputs = {"x": normal(2, CHANNELS, 5, 6)}
    program = bare(parsed(text, **weights), inputs)
    folded = FoldScales()(program).program
    kinds = [kind for kind in operators(folded.functions["main"]) if "to.dtype" not in kind]
    assert kinds[0] == "aten.tanh.default"
    assert kinds[-1] == "aten.conv2d.default"
    assert kinds[1:-1] in ([], ["aten.batch_norm.default"] if padding else [])
    expected, found = (call(p, "main", inputs)["y"].astype(float) for p in (program, folded))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)
