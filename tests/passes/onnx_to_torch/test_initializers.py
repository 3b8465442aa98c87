"""Large initializers leave the protobuf message, and nothing else about the model changes."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from passes.onnx_to_torch.initializers import LARGE_BYTES, model_without_proto
from passes.onnx_to_torch.source import load_source
from tests.support.programs import Array, normal, parsed

COUNT = LARGE_BYTES


def with_weight(tensor: TensorProto) -> onnx.ModelProto:
    model = parsed("g (float[n] x) => (float[n] y) { y = Relu (x) }", small=normal(3))
    model.graph.initializer.append(tensor)
    return model


def arrays() -> dict[str, Array]:
    random = np.random.default_rng(0)
    return {
        "float32": normal(COUNT // 32, 32),
        "float64": random.standard_normal(COUNT),
        "float16": random.standard_normal(COUNT).astype(np.float16),
        "bfloat16": random.standard_normal(COUNT).astype(ml_dtypes.bfloat16),
        "int64": random.integers(-9, 9, COUNT),
        "int8": random.integers(-9, 9, COUNT).astype(np.int8),
        "bool": random.integers(0, 2, COUNT).astype(bool),
        "complex64": (random.standard_normal(COUNT) + 1j).astype(np.complex64),
        "int4": random.integers(-8, 8, 4 * COUNT).astype(ml_dtypes.int4),
    }


@pytest.mark.parametrize("name", arrays())
def test_a_large_initializer_keeps_its_elements(name: str) -> None:
    array = arrays()[name]
    model = model_without_proto(with_weight(ir.to_proto(ir.Tensor(array, name="w"))))
    found = model.graph.initializers["w"].const_value
    assert isinstance(found, ir.Tensor)
    assert (found.name, tuple(found.shape), found.dtype) == ("w", array.shape, ir.DataType.from_numpy(array.dtype))
    assert found.numpy().tobytes() == array.tobytes()
    assert found.numpy() is found.numpy(), "every look would be a copy"


def test_elements_that_are_not_raw_bytes_are_read_too() -> None:
    values = normal(COUNT)
    tensor = helper.make_tensor("w", TensorProto.FLOAT, [COUNT], values.tolist())
    assert not tensor.HasField("raw_data")
    found = model_without_proto(with_weight(tensor)).graph.initializers["w"].const_value
    assert isinstance(found, ir.Tensor)
    np.testing.assert_array_equal(found.numpy(), values)


def test_the_message_keeps_what_is_small_and_the_model_keeps_no_message() -> None:
    proto = with_weight(numpy_helper.from_array(normal(COUNT), "w"))
    model = model_without_proto(proto)
    assert proto.ByteSize() < LARGE_BYTES
    proto.Clear()
    small = model.graph.initializers["small"].const_value
    assert small is not None
    np.testing.assert_array_equal(small.numpy(), normal(3))


def test_external_data_stays_where_it_is(tmp_path: Path) -> None:
    model = parsed("g (float[n, 64] x) => (float[n, 64] y) { y = MatMul (x, w) }", w=normal(64, 64))
    path = tmp_path / "model.onnx"
    onnx.save(model, path, save_as_external_data=True, location="w.bin", size_threshold=0)
    found = load_source(path).model.graph.initializers["w"].const_value
    assert isinstance(found, ir.ExternalTensor)
    np.testing.assert_array_equal(found.numpy(), normal(64, 64))
