from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto

from compiler.parts.raw_data import raw_data_places
from tests.support.models import DATA, EXPORTS


def read(path: Path) -> dict[str, bytes]:
    data = path.read_bytes()
    return {name: data[place.offset : place.offset + place.length] for name, place in raw_data_places(path).items()}


@pytest.mark.parametrize("export", EXPORTS)
def test_the_bytes_are_those_that_onnx_reads(export: str) -> None:
    path = DATA / f"{export}.onnx"
    expected = {
        tensor.name: tensor.raw_data
        for tensor in onnx.load_model(path).graph.initializer
        if tensor.HasField("raw_data")
    }
    assert len(expected) > 10
    assert read(path) == expected


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_graph(data: st.DataObject, tmp_path: Path) -> None:
    """Tensors of every kind between fields of every wire type, and lengths on both sides of one byte's reach."""
    model = onnx.ModelProto(ir_version=9, model_version=data.draw(st.integers(0, 2**63 - 1)), doc_string="x" * 300)
    names = data.draw(st.lists(st.text(min_size=1), unique=True, max_size=5))
    expected = {}
    for name in names:
        tensor = TensorProto(name=name, dims=[1, 2**40], doc_string=data.draw(st.text(max_size=3)))
        kind = data.draw(st.sampled_from(("raw", "floats", "external")))
        if kind == "raw":
            tensor.raw_data = expected[name] = data.draw(st.binary(max_size=300))
        elif kind == "floats":
            tensor.float_data.extend([1.5, 2.5])
            tensor.double_data.extend([0.5])
        else:
            tensor.external_data.add(key="location", value="w.bin")
        model.graph.initializer.append(tensor)
    node = model.graph.node.add(op_type="Constant", output=["c"])
    node.attribute.add(name="value", t=TensorProto(name="inner", raw_data=b"not an initializer"), f=1.0)
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    assert read(path) == expected


def test_fields_of_a_fixed_size_are_stepped_over(tmp_path: Path) -> None:
    """protobuf keeps fields that it does not know: here one of eight bytes and one of four, before the graph."""
    model = onnx.ModelProto()
    model.graph.initializer.append(TensorProto(name="w", raw_data=b"weights"))
    path = tmp_path / "model.onnx"
    path.write_bytes(b"\xf9\x07" + bytes(8) + b"\xfd\x07" + bytes(4) + model.SerializeToString())
    assert onnx.load_model(path).graph.initializer[0].raw_data == b"weights"
    assert read(path) == {"w": b"weights"}
    path.write_bytes(b"\xfb\x07")
    with pytest.raises(ValueError, match="no protobuf field"):
        raw_data_places(path)
