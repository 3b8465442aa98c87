from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from passes.onnx_to_torch.values import Known, to_known, to_tensor
from tests.support.onnx_ops import FEW

INTEGERS = st.sampled_from([np.int64, np.int32, np.bool_]).flatmap(
    lambda dtype: arrays(dtype, array_shapes(min_dims=0, min_side=0, max_side=3))
)


class Traced(torch.nn.Module):
    """Runs a function of an input's two sizes while the module is exported."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        n, m = x.shape
        whole = Known(np.array([[n, 1], [m, n]], dtype=object))
        assert not whole.is_concrete
        assert Known.from_numpy(Known.of([1, 2]).numpy()).elements == [1, 2]
        with pytest.raises(TypeError, match="symbolic"):
            whole.numpy()
        return whole.tensor(), Known.of([n, n]).tensor(), Known.of(n + m).tensor(), Known.of([n > 1]).tensor()


@FEW
@given(array=INTEGERS)
def test_a_concrete_value_is_the_array(array: npt.NDArray[np.generic]) -> None:
    known = Known.from_numpy(array)
    assert known.is_concrete
    assert known.dtype == torch.from_numpy(array).dtype
    np.testing.assert_array_equal(known.numpy(), array, strict=True)
    np.testing.assert_array_equal(known.tensor().numpy(), array, strict=True)
    np.testing.assert_array_equal(to_known(torch.from_numpy(array)).numpy(), array, strict=True)


def test_elements_are_plain_python() -> None:
    assert [type(element) for element in Known.from_numpy(np.array([1, 2], np.int32)).elements] == [int, int]
    assert [type(element) for element in Known.from_numpy(np.array(True)).elements] == [bool]


def test_of_makes_a_scalar_or_a_vector() -> None:
    assert Known.of(3).array.shape == ()
    assert Known.of([3]).array.shape == (1,)
    assert Known.of([]).array.shape == (0,)
    assert Known.of(True, torch.bool).numpy() == np.array(True)


def test_floats_and_plain_arrays_are_refused() -> None:
    with pytest.raises(ValueError, match="float32"):
        Known(np.empty(0, dtype=object), torch.float32)
    with pytest.raises(ValueError, match="object array"):
        Known(np.zeros(1, np.int64))
    with pytest.raises(TypeError, match="expected known integers"):
        to_known(torch.zeros(1))
    with pytest.raises(TypeError, match="expected a tensor"):
        to_tensor(None)


def test_symbols_follow_the_sizes() -> None:
    dims = {0: torch.export.Dim.AUTO, 1: torch.export.Dim.AUTO}
    program = torch.export.export(Traced(), (torch.zeros(3, 4),), dynamic_shapes=(dims,), strict=False)
    whole, pair, total, more = program.module()(torch.zeros(5, 7))
    assert whole.tolist() == [[5, 1], [7, 5]]
    assert pair.tolist() == [5, 5]
    assert total.shape == ()
    assert total == 12
    assert more.tolist() == [True]


@pytest.mark.parametrize("elements", [range(512), range(9, -9, -3), range(4, 7)])
def test_a_progression_is_one_operator(elements: range) -> None:
    class Line(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + Known.of(elements).tensor()

    program = torch.export.export(Line(), (torch.zeros(1, dtype=torch.int64),), strict=False)
    targets = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert targets == ["aten.arange.start_step", "aten.add.Tensor"]
    assert program.module()(torch.zeros(1, dtype=torch.int64)).tolist() == list(elements)


def test_elements_that_are_no_progression_are_no_range() -> None:
    for elements in ([0, 2**62, 1], [1, 1, 2], [3, 2, 2], [0, 1]):
        assert Known.of(elements).tensor().tolist() == elements


def test_what_a_few_operators_make_is_brief() -> None:
    for elements in (range(1000), [7] * 1000, [10**12] * 20, [5, 1, 9], []):
        assert Known.of(elements).is_brief
    assert not Known.of([0, 1, 2, 3, 4, 5, 6, 7, 9]).is_brief
    assert not Known.of([True, False] * 5, torch.bool).is_brief
