from __future__ import annotations

import os
from pathlib import Path

import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto

from passes.onnx_to_torch.raw_data import LARGE_BYTES, LeanMessage, lean_message
from tests.support.models import DATA, EXPORTS


def restored(path: Path, lean: LeanMessage) -> onnx.ModelProto:
    """The message with the bytes that its own tensors refer to put back."""
    model = onnx.load_model_from_string(lean.data)
    data = path.read_bytes()
    for tensor in model.graph.initializer:
        if tensor.name in lean.own:
            entries = {entry.key: entry.value for entry in tensor.external_data}
            assert entries["location"] == path.resolve().name
            begin = int(entries["offset"])
            tensor.raw_data = data[begin : begin + int(entries["length"])]
            tensor.ClearField("external_data")
            tensor.ClearField("data_location")
    return model


@pytest.mark.parametrize("export", EXPORTS)
def test_the_bytes_are_those_that_onnx_reads(export: str) -> None:
    path = DATA / f"{export}.onnx"
    whole = onnx.load_model(path)
    lean = lean_message(path)
    large = {tensor.name for tensor in whole.graph.initializer if len(tensor.raw_data) >= LARGE_BYTES}
    assert large
    assert lean.own == large
    assert len(lean.data) < path.stat().st_size - sum(len(t.raw_data) for t in whole.graph.initializer) // 2
    assert restored(path, lean) == whole


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_graph(data: st.DataObject, tmp_path: Path) -> None:
    """Tensors of every kind between fields of every wire type, and lengths on both sides of the bound."""
    model = onnx.ModelProto(ir_version=9, model_version=data.draw(st.integers(0, 2**63 - 1)), doc_string="x" * 300)
    expected = set()
    for name in data.draw(st.lists(st.text(min_size=1), unique=True, max_size=5)):
        tensor = TensorProto(name=name, dims=[1, 2**40], doc_string=data.draw(st.text(max_size=3)))
        tensor.data_type = data.draw(st.sampled_from((TensorProto.FLOAT, TensorProto.STRING)))
        kind = data.draw(st.sampled_from(("raw", "floats", "external")))
        if kind == "raw":
            tensor.raw_data = bytes(data.draw(st.integers(LARGE_BYTES - 2, LARGE_BYTES + 2)))
            if len(tensor.raw_data) >= LARGE_BYTES and tensor.data_type != TensorProto.STRING:
                expected.add(name)
        elif kind == "floats":
            tensor.float_data.extend([1.5, 2.5] * LARGE_BYTES)
            tensor.double_data.extend([0.5])
        else:
            tensor.external_data.add(key="location", value="w.bin")
            tensor.data_location = TensorProto.EXTERNAL
        model.graph.initializer.append(tensor)
    node = model.graph.node.add(op_type="Constant", output=["c"])
    node.attribute.add(name="value", t=TensorProto(name="inner", raw_data=bytes(2 * LARGE_BYTES)), f=1.0)
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    lean = lean_message(path)
    assert lean.own == expected
    assert restored(path, lean) == model


def with_weight() -> onnx.ModelProto:
    model = onnx.ModelProto()
    model.graph.initializer.append(TensorProto(name="w", raw_data=os.urandom(LARGE_BYTES)))
    return model


def test_fields_of_a_fixed_size_are_stepped_over(tmp_path: Path) -> None:
    """protobuf keeps fields that it does not know: here one of eight bytes and one of four, before the graph."""
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\xf9\x07" + bytes(8) + b"\xfd\x07" + bytes(4) + with_weight().SerializeToString())
    lean = lean_message(path)
    assert lean.own == {"w"}
    assert restored(path, lean) == onnx.load_model(path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"\xfb\x07" + data,  # a group begins
        lambda data: data + b"\x3a\x80",  # a length that ends in the middle
        lambda data: data[:-1],
        lambda data: b"\x08" + b"\xff" * 11 + data,
        lambda _: b"",
        lambda _: b"not a message",
    ],
    ids=["group", "length", "truncated", "long number", "empty", "text"],
)
def test_what_is_not_understood_is_left_to_protobuf(damage: object, tmp_path: Path) -> None:
    assert callable(damage)
    path = tmp_path / "model.onnx"
    path.write_bytes(damage(with_weight().SerializeToString()))
    assert lean_message(path) == LeanMessage(path.read_bytes())


def test_a_weight_that_was_loaded_from_another_file_lies_in_this_one(tmp_path: Path) -> None:
    """onnx writes where it lies even so: in the message."""
    onnx.save(with_weight(), tmp_path / "apart.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    whole = onnx.load_model(tmp_path / "apart.onnx")
    path = tmp_path / "model.onnx"
    onnx.save(whole, path)
    assert whole.graph.initializer[0].HasField("data_location")
    lean = lean_message(path)
    assert lean.own == {"w"}
    assert len(lean.data) < LARGE_BYTES
    assert onnx.load_model_from_string(lean.data).graph.initializer[0].data_location == TensorProto.EXTERNAL
    whole.graph.initializer[0].ClearField("data_location")
    assert restored(path, lean) == whole


def test_of_two_weights_of_one_name_one_stays(tmp_path: Path) -> None:
    model = with_weight()
    model.MergeFrom(with_weight())
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    found = onnx.load_model_from_string(lean_message(path).data).graph.initializer
    assert [tensor.data_location for tensor in found] == [TensorProto.EXTERNAL, TensorProto.DEFAULT]


def test_a_file_with_two_hard_links_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(with_weight().SerializeToString())
    (tmp_path / "other.onnx").hardlink_to(path)
    assert lean_message(path) == LeanMessage(path.read_bytes())
