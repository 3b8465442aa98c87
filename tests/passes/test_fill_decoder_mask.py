from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from artifacts.dtype import DType
from artifacts.spec import Signature
from passes.fill_decoder_mask import fill_decoder_mask
from passes.graph_builder import NoSizeError
from passes.interpreter import call
from passes.onnx_to_torch.convert import export_module, to_function
from passes.program import Function, Program
from tests.support.bundles import spec

MASKS = {DType.INT64: np.int64, DType.BOOL: np.bool_, DType.FLOAT32: np.float32}


class Masked(nn.Module):
    """A table's rows, of which the mask hides some, and how many are shown."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.arange(20.0).reshape(10, 2))

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        tokens, mask = inputs
        shown = mask.to(torch.float32).unsqueeze(2)
        return self.table[tokens] * shown, mask.sum(dim=1)


def masked(dtype: DType) -> tuple[Function, Program]:
    mask = spec("mask", dtype, "batch", "t")
    total = DType.FLOAT32 if dtype == DType.FLOAT32 else DType.INT64
    outputs = (spec("rows", DType.FLOAT32, "batch", "t", 2), spec("shown", total, "batch"))
    signature = Signature(inputs=(spec("tokens", DType.INT64, "batch", "t"), mask), outputs=outputs)
    inputs = {"tokens": np.ones((2, 3), np.int64), "mask": np.ones((2, 3), MASKS[dtype])}
    converted = to_function("main", export_module(Masked(), signature, inputs, "masked"), signature, {})
    return converted.function, Program({"main": converted.function}, {}, converted.weights)


@pytest.mark.parametrize("dtype", MASKS)
@pytest.mark.parametrize("shape", [(2, 3), (1, 1), (4, 7)])
def test_it_gives_what_a_mask_of_ones_gives(dtype: DType, shape: tuple[int, int]) -> None:
    function, program = masked(dtype)
    filled = fill_decoder_mask(function, ["mask"])
    assert [taken.name for taken in filled.signature.inputs] == ["tokens"]
    assert filled.signature.outputs == function.signature.outputs
    assert filled.weights == function.weights
    tokens = np.random.default_rng(0).integers(0, 10, shape)
    found = call(Program({"main": filled}, {}, program.weights), "main", {"tokens": tokens})
    expected = call(program, "main", {"tokens": tokens, "mask": np.ones(shape, MASKS[dtype])})
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


def test_without_masks_a_function_stays() -> None:
    function, _ = masked(DType.INT64)
    assert fill_decoder_mask(function, []) is function


def test_a_mask_whose_sizes_nothing_else_tells_cannot_be_filled() -> None:
    function, _ = masked(DType.INT64)
    with pytest.raises(NoSizeError):
        fill_decoder_mask(function, ["tokens", "mask"])
