from __future__ import annotations

import numpy as np
import onnx
import onnx.helper
import onnx_ir as ir
import pytest

from artifacts.errors import UnsupportedError
from passes.onnx_to_torch.importer import Importer
from tests.support.onnx_ops import Array, run, sample


def optional_model(since: int, *, empty: bool, read: str) -> onnx.ModelProto:
    """x -> Optional -> has or get; an empty one is made from its type alone."""
    element = onnx.helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, [2])
    made = onnx.helper.make_node("Optional", [] if empty else ["x"], ["o"], **({"type": element} if empty else {}))
    graph = onnx.helper.make_graph(
        [made, onnx.helper.make_node(read, ["o"], ["y"])],
        "optional",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [2])],
        [onnx.helper.make_empty_tensor_value_info("y")],
    )
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", since)])


def result(model: onnx.ModelProto, data: Array) -> Array:
    return run(Importer(ir.from_proto(model)), [data])[0]


@pytest.mark.parametrize("since", [15, 18, 28])
def test_has_and_get(since: int) -> None:
    data = sample((2,))
    assert result(optional_model(since, empty=False, read="OptionalHasElement"), data)
    assert not result(optional_model(since, empty=True, read="OptionalHasElement"), data)
    np.testing.assert_array_equal(result(optional_model(since, empty=False, read="OptionalGetElement"), data), data)


def test_an_empty_optional_has_nothing_to_get() -> None:
    with pytest.raises(UnsupportedError, match="empty"):
        result(optional_model(18, empty=True, read="OptionalGetElement"), sample((2,)))


def test_any_value_has_an_element() -> None:
    node = onnx.helper.make_node("OptionalHasElement", ["x"], ["y"])
    absent = onnx.helper.make_node("OptionalHasElement", [], ["z"])
    graph = onnx.helper.make_graph(
        [node, absent],
        "optional",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [2])],
        [onnx.helper.make_empty_tensor_value_info(name) for name in ("y", "z")],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)])
    assert [bool(value) for value in run(Importer(ir.from_proto(model)), [sample((2,))])] == [True, False]
