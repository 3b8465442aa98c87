from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from artifacts.dtype import DType
from artifacts.spec import Signature
from compiler.emit_onnx import emit_onnx, serialized
from passes.dialect import ATTENTION, CACHED_ATTENTION
from passes.onnx_to_torch.convert import export_module, to_function
from tests.support.bundles import spec
from tests.support.onnx_ops import FEW

HEADS, SIZE = 2, 3


def operands(batch: int, past: int, bias: tuple[int, ...] | None) -> list[Tensor | None]:
    generator = torch.Generator().manual_seed(batch + past)
    shapes = [
        *[(batch, 1, HEADS * SIZE)] * 3,
        *[(batch, HEADS, past, SIZE)] * 2,
        bias,
    ]
    return [None if shape is None else torch.randn(shape, generator=generator) for shape in shapes]


def heads(x: Tensor) -> Tensor:
    return x.reshape(len(x), 1, HEADS, SIZE).transpose(1, 2)


@given(st.integers(1, 3), st.integers(0, 4), st.booleans())
@settings(FEW)
def test_it_is_torch_s_attention_over_all_keys(batch: int, past: int, biased: bool) -> None:
    q, k, v, past_k, past_v, bias = given = operands(batch, past, (1, HEADS, 1, past + 1) if biased else None)
    assert q is not None
    assert k is not None
    assert v is not None
    assert past_k is not None
    assert past_v is not None
    out, keys, values = CACHED_ATTENTION(*given, 0.7)
    assert torch.equal(keys, torch.cat([past_k, heads(k)], 2))
    assert torch.equal(values, torch.cat([past_v, heads(v)], 2))
    expected = F.scaled_dot_product_attention(heads(q), keys, values, bias, scale=0.7)
    torch.testing.assert_close(out, expected.transpose(1, 2).flatten(2))


@pytest.mark.parametrize("bias", [None, (1, 1, 1, 5), (2, HEADS, 1, 5)])
def test_its_fake_and_its_schema_are_right(bias: tuple[int, ...] | None) -> None:
    torch.library.opcheck(CACHED_ATTENTION, (*operands(2, 4, bias), 0.5), test_utils=("test_schema", "test_faketensor"))


class _Step(torch.nn.Module):
    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        bias = given[5] if len(given) > 5 else None
        found: tuple[Tensor, ...] = CACHED_ATTENTION(*given[:5], bias, 0.7)
        return found


@pytest.mark.parametrize("bias", [None, ("batch", 1, 1, "now"), (1, HEADS, 1, "now")])
def test_onnx_runtime_computes_the_same_from_the_first_position_on(bias: tuple[int | str, ...] | None) -> None:
    """In one node."""
    inputs = [
        *(spec(name, DType.FLOAT32, "batch", 1, HEADS * SIZE) for name in ("q", "k", "v")),
        *(spec(name, DType.FLOAT32, "batch", HEADS, "past", SIZE) for name in ("past_k", "past_v")),
        *([] if bias is None else [spec("bias", DType.FLOAT32, *bias)]),
    ]
    outputs = (
        spec("out", DType.FLOAT32, "batch", 1, HEADS * SIZE),
        *(spec(name, DType.FLOAT32, "batch", HEADS, "now", SIZE) for name in ("present_k", "present_v")),
    )
    signature = Signature(inputs=tuple(inputs), outputs=outputs)

    def request(batch: int, past: int) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
        sizes = {"batch": batch, "now": past + 1}
        shape = None if bias is None else tuple(sizes[d] if isinstance(d, str) else d for d in bias)
        drawn = [tensor.numpy() for tensor in operands(batch, past, shape) if tensor is not None]
        return dict(zip((taken.name for taken in inputs), drawn, strict=True))

    exported = export_module(_Step(), signature, request(2, 4), "step")
    model = emit_onnx(to_function("step", exported, signature, {}).function).model
    assert [node.op_type for node in model.graph] == ["MultiHeadAttention"]
    session = onnxruntime.InferenceSession(serialized(model), providers=["CPUExecutionProvider"])
    for batch, past in ((2, 0), (1, 1), (3, 6)):
        asked = request(batch, past)
        expected = _Step()(*map(torch.from_numpy, asked.values()))
        for found, wanted in zip(session.run(None, asked), expected, strict=True):
            np.testing.assert_allclose(found, wanted.numpy(), 1e-5, 1e-5)


class _OverMemory(torch.nn.Module):
    def forward(self, *given: Tensor) -> Tensor:
        found: Tensor = ATTENTION(*given[:3], given[3] if len(given) > 3 else None, 0.7)
        return found


def over_memory(batch: int, rows: int, bias: tuple[int, ...] | None) -> list[Tensor]:
    q, _, _, k, v, drawn = operands(batch, rows, bias)
    return [tensor for tensor in (q, k, v, drawn) if tensor is not None]


@given(st.integers(1, 3), st.integers(1, 4), st.booleans())
@settings(FEW)
def test_over_a_memory_it_is_torch_s_attention(batch: int, rows: int, biased: bool) -> None:
    q, k, v, *bias = over_memory(batch, rows, (batch, 1, 1, rows) if biased else None)
    mask = bias[0] if bias else None
    expected = F.scaled_dot_product_attention(heads(q), k, v, mask, scale=0.7)
    torch.testing.assert_close(_OverMemory()(q, k, v, *bias), expected.transpose(1, 2).flatten(2))
    given = (q, k, v, mask, 0.7)
    torch.library.opcheck(ATTENTION, given, test_utils=("test_schema", "test_faketensor"))


@pytest.mark.parametrize("bias", [None, ("batch", 1, 1, "rows"), (1, HEADS, 1, "rows")])
def test_over_a_memory_onnx_runtime_computes_the_same(bias: tuple[int | str, ...] | None) -> None:
    inputs = [
        spec("q", DType.FLOAT32, "batch", 1, HEADS * SIZE),
        *(spec(name, DType.FLOAT32, "batch", HEADS, "rows", SIZE) for name in ("k", "v")),
        *([] if bias is None else [spec("bias", DType.FLOAT32, *bias)]),
    ]
    signature = Signature(inputs=tuple(inputs), outputs=(spec("out", DType.FLOAT32, "batch", 1, HEADS * SIZE),))

    def request(batch: int, rows: int) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
        sizes = {"batch": batch, "rows": rows}
        shape = None if bias is None else tuple(sizes[d] if isinstance(d, str) else d for d in bias)
        drawn = [tensor.numpy() for tensor in over_memory(batch, rows, shape)]
        return dict(zip((taken.name for taken in inputs), drawn, strict=True))

    exported = export_module(_OverMemory(), signature, request(2, 4), "step")
    model = emit_onnx(to_function("step", exported, signature, {}).function).model
    assert [node.op_type for node in model.graph] == ["MultiHeadAttention"]
    session = onnxruntime.InferenceSession(serialized(model), providers=["CPUExecutionProvider"])
    for batch, rows in ((2, 3), (1, 1), (3, 6)):
        asked = request(batch, rows)
        wanted = _OverMemory()(*map(torch.from_numpy, asked.values()))
        np.testing.assert_allclose(session.run(None, asked)[0], wanted.numpy(), 1e-5, 1e-5)
