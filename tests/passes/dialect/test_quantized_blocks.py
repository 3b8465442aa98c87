from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from artifacts.dtype import DType
from artifacts.spec import Signature
from passes.dialect import QUANTIZED_EMBEDDING, QUANTIZED_LINEAR
from passes.onnx_to_torch.convert import export_module, to_function
from passes.quantized_blocks import quantized_blocks
from tests.support.bundles import spec
from tests.support.emitting import emitted
from tests.support.onnx_ops import FEW
from tests.support.programs import normal

ROWS, SIZE, BLOCK = 24, 64, 32
KINDS = [(8, True), (8, False), (4, True), (4, False)]

each_kind = pytest.mark.parametrize(("bits", "rounds"), KINDS)


def stored(bits: int) -> tuple[torch.Tensor, torch.Tensor]:
    found = quantized_blocks(normal(ROWS, SIZE), bits, BLOCK)
    return torch.from_numpy(found.codes), torch.from_numpy(found.scales)


def values(bits: int) -> torch.Tensor:
    """The matrix that the codes stand for, looked up row by row."""
    looked_up: torch.Tensor = QUANTIZED_EMBEDDING(*stored(bits), torch.arange(ROWS), bits)
    return looked_up


@pytest.mark.parametrize(("bits", "off"), [(8, 0.02), (4, 0.5)])
def test_a_look_up_gives_the_rows_that_were_stored(bits: int, off: float) -> None:
    np.testing.assert_allclose(values(bits).numpy(), normal(ROWS, SIZE), atol=off)
    indices = torch.tensor([[3, 3], [0, 23]])
    assert torch.equal(QUANTIZED_EMBEDDING(*stored(bits), indices, bits), values(bits)[indices])


@given(st.integers(1, 4), st.integers(0, 5), st.sampled_from(KINDS), st.booleans())
@settings(FEW)
def test_a_product_is_that_of_what_the_codes_stand_for(
    batch: int, count: int, kind: tuple[int, bool], biased: bool
) -> None:
    bits, rounds = kind
    x = torch.from_numpy(normal(batch, count, SIZE, seed=count))
    bias = torch.from_numpy(normal(ROWS, seed=5)) if biased else None
    found = QUANTIZED_LINEAR(x, *stored(bits), bias, bits, rounds)
    expected = torch.nn.functional.linear(x, values(bits), bias)
    # Rounding moves an element by half a step, a 254th of its block's largest: at most so much in each product.
    off = x.abs().amax(-1, keepdim=True) / 254 * values(bits).abs().sum(1) if rounds else torch.zeros(1)
    assert ((found - expected).abs() <= off + 1e-4).all()


@each_kind
def test_a_row_is_the_same_alone(bits: int, rounds: bool) -> None:
    x = torch.from_numpy(normal(5, SIZE))
    together = QUANTIZED_LINEAR(x, *stored(bits), None, bits, rounds)
    alone = torch.cat([QUANTIZED_LINEAR(row[None], *stored(bits), None, bits, rounds) for row in x])
    torch.testing.assert_close(alone, together)


@each_kind
def test_fakes_and_schemas_are_right(bits: int, rounds: bool) -> None:
    x, bias = torch.from_numpy(normal(2, 3, SIZE)), torch.from_numpy(normal(ROWS))
    tests = ("test_schema", "test_faketensor")
    torch.library.opcheck(QUANTIZED_LINEAR, (x, *stored(bits), bias, bits, rounds), test_utils=tests)
    torch.library.opcheck(QUANTIZED_EMBEDDING, (*stored(bits), torch.tensor([[1], [2]]), bits), test_utils=tests)


class _Both(torch.nn.Module):
    """A product and a look-up in one matrix, which are its weights."""

    codes: torch.Tensor
    scales: torch.Tensor
    bias: torch.Tensor

    def __init__(self, bits: int, rounds: bool) -> None:
        super().__init__()
        self.bits, self.rounds = bits, rounds
        codes, scales = stored(bits)
        for name, tensor in (("codes", codes), ("scales", scales), ("bias", torch.from_numpy(normal(ROWS, seed=5)))):
            self.register_buffer(name, tensor)

    def forward(self, *given: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x, indices = given
        product = QUANTIZED_LINEAR(x, self.codes, self.scales, self.bias, self.bits, self.rounds)
        return product, QUANTIZED_EMBEDDING(self.codes, self.scales, indices, self.bits)


@each_kind
def test_onnx_runtime_computes_the_same(bits: int, rounds: bool, tmp_path: Path) -> None:
    module = _Both(bits, rounds)
    signature = Signature(
        inputs=(spec("x", DType.FLOAT32, "b", 2, SIZE), spec("indices", DType.INT64, "n", 2)),
        outputs=(spec("product", DType.FLOAT32, "b", 2, ROWS), spec("rows", DType.FLOAT32, "n", 2, SIZE)),
    )
    indices = np.array([[3, 1], [0, 23]])
    body = export_module(module, signature, {"x": normal(3, 2, SIZE), "indices": indices}, "main")
    engine = emitted(to_function("main", body, signature, {}), tmp_path)
    for count in (1, 2, 8):
        x = normal(count, 2, SIZE, seed=count)
        found = engine.run({"x": x, "indices": indices})
        expected = module(torch.from_numpy(x), torch.from_numpy(indices))
        for result, wanted in zip(found.values(), expected, strict=True):
            np.testing.assert_allclose(result, wanted.numpy(), rtol=1e-4, atol=1e-4)
