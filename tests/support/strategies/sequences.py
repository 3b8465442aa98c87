"""Sequences and optionals, which only whole models show: a graph here takes and gives tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnx.helper
from hypothesis import strategies as st

from tests.support.onnx_ops import Array
from tests.support.strategies.node import BIT, Node, onnx_type
from tests.support.strategies.table import draws


def whole(
    node: Node, nodes: Sequence[onnx.NodeProto], arrays: Sequence[Array], outputs: Sequence[str] = ("y",)
) -> Sequence[Array]:
    """A model of nodes whose inputs are x0, x1, ..."""
    graph = onnx.helper.make_graph(
        nodes,
        node.op,
        [onnx.helper.make_tensor_value_info(f"x{i}", onnx_type(a.dtype), a.shape) for i, a in enumerate(arrays)],
        [onnx.helper.make_empty_tensor_value_info(name) for name in outputs],
    )
    node.whole = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", node.since)])
    return arrays


def _node(op: str, inputs: Sequence[str], output: str, **attributes: Any) -> onnx.NodeProto:
    return onnx.helper.make_node(op, list(inputs), [output], **attributes)


def _items(node: Node, count: int, like: bool = False) -> tuple[list[Array], onnx.NodeProto]:
    """Tensors of one type, of one shape if they are to be `like` each other, and the node that makes a sequence."""
    dtype = node.choice(*map(np.dtype, ("float32", "float64", "int64", "uint8", "bool")))
    shape = node.shape(least=1)
    items = [node.array(shape if like else (node.size(), *shape[1:]), dtype) for _ in range(count)]
    return items, _node("SequenceConstruct", [f"x{i}" for i in range(count)], "s")


@draws("SequenceConstruct", "SequenceAt", "SequenceLength")
def read(node: Node) -> Sequence[Array | None]:
    items, construct = _items(node, node.size(1, 3))
    place = np.array(node.size(-len(items), len(items) - 1), node.choice(np.int32, np.int64))
    at = _node("SequenceAt", ["s", f"x{len(items)}"], "y")
    return whole(node, [construct, at, _node("SequenceLength", ["s"], "n")], [*items, place], ["y", "n"])


@draws("SequenceInsert", "SequenceErase", "SequenceEmpty", "ConcatFromSequence")
def write(node: Node) -> Sequence[Array | None]:
    """An element more and one less, in a sequence that may begin empty; then all of them in one tensor."""
    count = node.size(2, 3)
    axis = node.choice(0, -1)
    stacked = node.bit()
    items, construct = _items(node, count, like=stacked or axis != 0)
    node.asked |= {"axis", "new_axis", "dtype"}
    places = [np.array(node.size(-1, 1), np.int64) for _ in range(2)]
    names = [f"x{count}" if node.bit() else "", f"x{count + 1}" if node.bit() else ""]
    # Each of them twice: what is taken away is made up for.
    nodes = [construct, _node("SequenceInsert", ["s", "x0", *filter(None, names[:1])], "t")]
    nodes.append(_node("SequenceErase", ["t", *filter(None, names[1:])], "u"))
    nodes.append(_node("ConcatFromSequence", ["u"], "y", axis=axis, new_axis=int(stacked)))
    nodes.append(_node("SequenceEmpty", [], "e", dtype=onnx_type(items[0].dtype)))
    nodes += [_node("SequenceInsert", ["e", "x1"], "f"), _node("ConcatFromSequence", ["f"], "z", axis=0)]
    return whole(node, nodes, [*items, *places], ["y", "z"])


@draws("SplitToSequence")
def split_to_sequence(node: Node) -> Sequence[Array | None]:
    shape = list(node.shape(least=1))
    axis = node.attribute("axis", st.integers(-len(shape), len(shape) - 1))
    node.attribute("keepdims", BIT)
    lengths = [node.size(1, 2) for _ in range(node.size(1, 3))]
    shape[axis] = sum(lengths)
    data = node.array(shape, node.dtype(0, "iuf"))
    kind = node.choice("ones", "equal", "listed")
    given = {"ones": [], "equal": [np.array(2, np.int64)], "listed": [node.ints(*lengths)]}[kind]
    split = _node("SplitToSequence", ["x0", *(f"x{i + 1}" for i in range(len(given)))], "s", **node.attributes)
    place = np.array(node.choice(0, -1), np.int64)
    at = _node("SequenceAt", ["s", f"x{len(given) + 1}"], "y")
    return whole(node, [split, at, _node("SequenceLength", ["s"], "n")], [data, *given, place], ["y", "n"])


@draws("SequenceMap")
def sequence_map(node: Node) -> Sequence[Array | None]:
    items, construct = _items(node, node.size(1, 3))
    node.asked.add("body")
    body = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["a"], ["b"]), onnx.helper.make_node("Shape", ["b"], ["c"])],
        "body",
        [onnx.helper.make_empty_tensor_value_info("a")],
        [onnx.helper.make_empty_tensor_value_info(name) for name in ("b", "c")],
    )
    mapped = onnx.helper.make_node("SequenceMap", ["s"], ["t", "u"], body=body)
    nodes = [
        construct,
        mapped,
        *(_node("ConcatFromSequence", [name], out, axis=0) for name, out in (("t", "y"), ("u", "z"))),
    ]
    return whole(node, nodes, items, ["y", "z"])


@draws("Optional", "OptionalHasElement", "OptionalGetElement")
def optional(node: Node) -> Sequence[Array | None]:
    """By hand: the evaluator has no optional that is nothing."""
    data = node.array(node.shape(), node.choice(*map(np.dtype, ("float32", "int64", "bool"))))
    node.asked.add("type")
    kind = onnx.helper.make_tensor_type_proto(onnx_type(data.dtype), data.shape)
    nodes = [
        _node("Optional", ["x0"], "full"),
        _node("Optional", [], "empty", type=kind),
        _node("OptionalHasElement", ["full"], "yes"),
        _node("OptionalHasElement", ["empty"], "no"),
        _node("OptionalGetElement", ["full"], "y"),
    ]
    node.expected = [np.array(True), np.array(False), data]
    return whole(node, nodes, [data], ["yes", "no", "y"])
