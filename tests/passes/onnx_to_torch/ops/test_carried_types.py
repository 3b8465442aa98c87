"""Integers of 2 and 4 bits and float4, which torch has not: their values travel in int8 and uint8."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper
import onnx_ir as ir
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from artifacts.carriers import in_carrier
from artifacts.dtype import DType
from artifacts.errors import UnsupportedError
from passes.onnx_to_torch.carried import encoded
from passes.onnx_to_torch.importer import Importer
from passes.onnx_to_torch.values import Carried
from tests.support.onnx_ops import FEW, Array, compare, node_model, reference

NAMES = ("int2", "uint2", "int4", "uint4", "float4_e2m1fn")


def run(model: onnx.ModelProto, arrays: list[Array]) -> list[Array]:
    """The importer's outputs, those of carried types as arrays of the type itself."""
    carriers = [torch.from_numpy(np.array(in_carrier(array, DType.of(array.dtype)))) for array in arrays]
    return [_array(value) for value in Importer(ir.from_proto(model)).run(carriers)]


def _array(value: Any) -> Array:
    if not isinstance(value, Carried):
        return np.asarray(value.numpy())
    own, carrier = getattr(ml_dtypes, value.dtype), value.tensor.numpy()
    return np.asarray(carrier.astype(own) if value.dtype.is_integer else carrier.view(own))


def values(name: str, shape: tuple[int, ...], seed: int = 0) -> Array:
    """Any values of a type."""
    return np.asarray(
        np.random.default_rng(seed).integers(-8, 16, shape).astype(np.float32).astype(getattr(ml_dtypes, name))
    )


def check(op_type: str, arrays: list[Array], opset: int = 25, **attributes: Any) -> None:
    model = node_model(op_type, arrays, opset, attributes)
    for got, want in zip(run(model, arrays), reference(model, arrays), strict=True):
        assert got.dtype == want.dtype
        compare([got.astype(np.float32)], [want.astype(np.float32)])


@pytest.mark.parametrize("name", NAMES)
@FEW
@given(
    numbers=st.lists(st.floats(-8, 15, width=16), min_size=1, max_size=9), dtype=st.sampled_from(["float32", "float16"])
)
def test_casts_there_and_back(name: str, numbers: list[float], dtype: str) -> None:
    # Beyond its range the conversion to an integer is undefined in ONNX; float4 saturates.
    limits = {"int2": (-2, 1), "uint2": (0, 3), "int4": (-8, 7), "uint4": (0, 15), "float4_e2m1fn": (-8, 15)}[name]
    data = np.clip(np.array(numbers, dtype), *limits)
    there = ir.DataType.from_numpy(np.dtype(getattr(ml_dtypes, name))).value
    check("Cast", [data], to=there)
    check("CastLike", [data, values(name, (2,))])
    check("Cast", [data.astype(getattr(ml_dtypes, name))], to=onnx.TensorProto.FLOAT)


@FEW
@given(st.floats(width=32, allow_nan=False) | st.sampled_from([n / 4 for n in range(-32, 33)]))
def test_a_float4_is_the_nearest_one_and_of_two_the_even_one(number: float) -> None:
    data = np.array([number], np.float32)
    found = encoded(torch.from_numpy(data), DType.FLOAT4_E2M1FN).tensor.numpy()
    assert found.view(ml_dtypes.float4_e2m1fn) == data.astype(ml_dtypes.float4_e2m1fn)


@pytest.mark.parametrize("name", NAMES)
def test_elements_are_moved_about(name: str) -> None:
    data = values(name, (2, 3, 1))
    check("Transpose", [data], perm=[1, 0, 2])
    check("Reshape", [data, np.array([3, -1])])
    check("Flatten", [data])
    check("Squeeze", [data, np.array([2])])
    check("Unsqueeze", [data, np.array([0])])
    check("Identity", [data])
    check("Shape", [data])


@pytest.mark.parametrize("name", NAMES)
def test_constants_are_read(name: str) -> None:
    data = values(name, (2, 3))
    model = node_model("Transpose", [data], 25, constants=(0,))
    found = run(model, [])[0]
    assert found.astype(np.float32).tolist() == data.T.astype(np.float32).tolist()
    importer = Importer(ir.from_proto(model))
    carrier = DType(name).numpy
    assert [result.numpy().dtype for result in importer()] == [carrier], "a program has the carrier"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("block", [0, 2])
def test_quantization_there_and_back(name: str, block: int) -> None:
    data = np.linspace(-20, 20, 12, dtype=np.float32).reshape(2, 6)
    scale = np.linspace(0.5, 3, 6 if block else 1, dtype=np.float32)
    scale = scale.reshape(2, 3) if block else scale[0]
    attributes = {"axis": 1, "block_size": block} if block else {}
    zero_point = np.ones(scale.shape, np.float32) * (0 if name.startswith("float") else 1)
    operands = [scale, zero_point.astype(getattr(ml_dtypes, name))]
    check("QuantizeLinear", [data, *operands], **attributes)
    check("DequantizeLinear", [values(name, (2, 6)), *operands], **attributes)


def test_arithmetic_is_refused() -> None:
    data = values("int4", (2, 3))
    model = node_model("Add", [data, data], 14)
    with pytest.raises(UnsupportedError, match="operands of type int4"):
        run(model, [data, data])


def test_bits_are_those_of_another_type() -> None:
    data = np.arange(-8, 8, dtype=np.int8).astype(ml_dtypes.int4)
    check("BitCast", [data], 26, to=onnx.TensorProto.UINT4)
    back = np.arange(16, dtype=np.uint8).astype(ml_dtypes.uint4)
    check("BitCast", [back], 26, to=onnx.TensorProto.INT4)


def test_a_tensor_filled_with_one() -> None:
    fill = onnx.helper.make_tensor("fill", onnx.TensorProto.INT4, [1], [-3])
    model = node_model("ConstantOfShape", [np.array([2, 3])], 25, {"value": fill})
    found = run(model, [np.array([2, 3])])[0]
    assert found.dtype == ml_dtypes.int4
    assert found.astype(np.int8).tolist() == [[-3] * 3] * 2
