from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from artifacts.errors import UnsupportedError
from passes.onnx_to_torch.branches import Choices
from passes.onnx_to_torch.call import Call
from passes.onnx_to_torch.registry import schema_of


def call_of(op_type: str, attributes: Mapping[str, Any] | None = None, *, outputs: tuple[str, ...] = ("y",)) -> Call:
    given = ir.convenience.convert_attributes(attributes or {})
    node = ir.Node("", op_type, [], given, outputs=[ir.Value(name=name) for name in outputs])
    schema = schema_of("", op_type, 21)
    return Call(
        node=node,
        label="the node",
        since=schema.since_version if schema else 1,
        schema=schema,
        attributes=node.attributes,
        statics=lambda position: np.array([position]) if position == 0 else None,
        run_graph=lambda _, inputs: list(inputs),
        run_either=lambda *_: [],
        run_loop=lambda *_: [],
        choices=Choices(),
    )


def test_attributes_of_the_node() -> None:
    tensor = ir.tensor(np.array([1.5], np.float32))
    call = call_of("X", {"i": 3, "f": 0.5, "s": "text", "is": [1, 2], "fs": [0.5], "ss": ["a", "b"], "t": tensor})
    assert call.attr_int("i") == 3
    assert call.attr_float("f") == 0.5
    assert call.attr_text("s") == "text"
    assert call.attr_ints("is") == [1, 2]
    assert call.attr_floats("fs") == [0.5]
    assert call.attr_texts("ss") == ["a", "b"]
    np.testing.assert_array_equal(call.attr_array("t"), [1.5])
    assert call.has("i")
    assert not call.has("j")


def test_a_graph_attribute() -> None:
    graph = ir.Graph([], [], nodes=[], name="body")
    assert call_of("X", {"body": graph}).attr_graph("body") is graph


def test_defaults_come_from_the_caller_and_then_from_the_schema() -> None:
    call = call_of("Gemm")
    assert call.attr_float("alpha") == 1.0
    assert call.attr_int("transA") == 0
    assert call.attr_int("transA", 7) == 7
    assert call_of("Gemm", {"transA": 1}).attr_int("transA", 7) == 1
    assert call_of("Pad").attr_text("mode") == "constant"


def test_a_missing_attribute_is_named() -> None:
    with pytest.raises(UnsupportedError, match=r"Concat-13: attribute 'axis' is missing") as error:
        call_of("Concat").attr_int("axis")
    assert error.value.problems[0].subject == "the node"


def test_unsupported_says_operator_version_and_hint() -> None:
    with pytest.raises(UnsupportedError) as error:
        call_of("Resize").unsupported("no such mode", "use another")
    problem = error.value.problems[0]
    assert (problem.stage, problem.message, problem.hint) == ("convert", "Resize-19: no such mode", "use another")


def test_outputs_that_are_absent_at_the_end_do_not_count() -> None:
    assert call_of("Split", outputs=("a", "b", "")).output_count == 2
    assert call_of("Split", outputs=("", "b")).output_count == 2
    assert call_of("Split", outputs=("",)).output_count == 0


def test_statics_are_asked_by_position() -> None:
    static = call_of("Pad").static(0)
    assert static is not None
    assert static.tolist() == [0]
    assert call_of("Pad").static(1) is None
    assert call_of("Pad").op == "Pad"
