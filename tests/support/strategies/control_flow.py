"""Branches and loops."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnx.helper
import onnx.numpy_helper

from tests.support.onnx_ops import Array
from tests.support.strategies.node import Node
from tests.support.strategies.sequences import whole
from tests.support.strategies.table import draws


def _graph(nodes: Sequence[onnx.NodeProto], inputs: Sequence[str], outputs: Sequence[str]) -> onnx.GraphProto:
    info = onnx.helper.make_empty_tensor_value_info
    return onnx.helper.make_graph(nodes, "body", list(map(info, inputs)), list(map(info, outputs)))


def _constant(name: str, value: Any, dtype: Any) -> onnx.NodeProto:
    return onnx.helper.make_node(
        "Constant", [], [name], value=onnx.numpy_helper.from_array(np.array(value, dtype), name)
    )


@draws("If")
def branch(node: Node) -> Sequence[Array | None]:
    """On a condition of the file, or one that is given; branches see the graph around them. By numpy."""
    node.asked |= {"then_branch", "else_branch"}
    data = node.array(node.shape(), np.float32)
    taken, given = node.bit(), node.bit()
    then, other = (
        _graph([onnx.helper.make_node(op, ["x0"], [name])], [], [name]) for op, name in (("Abs", "t"), ("Exp", "e"))
    )
    nodes = [] if given else [_constant("x1", taken, bool)]
    nodes.append(onnx.helper.make_node("If", ["x1"], ["y"], then_branch=then, else_branch=other))
    node.expected = [np.asarray(np.abs(data) if taken else np.exp(data))]
    return whole(node, nodes, [data, np.array(taken)] if given else [data])


@draws("Loop")
def loop(node: Node) -> Sequence[Array | None]:
    """A value that is carried, one that is collected, ended by a count, by the body, or by both. By numpy."""
    node.asked.add("body")
    data = node.array(node.shape(), np.float32)
    count, last = node.size(1, 4), node.size(0, 4)
    kind = node.choice("count", "body", "both")
    body = _graph(
        [
            _constant("last", last, np.int64),
            onnx.helper.make_node("Less", ["i", "last"], ["keep"]),
            onnx.helper.make_node("Exp", ["carried"], ["grown"]),
            onnx.helper.make_node("Abs", ["grown"], ["seen"]),
            onnx.helper.make_node("Identity" if node.since > 1 else "Relu", ["seen"], ["next"]),
        ],
        ["i", "going", "carried"],
        ["keep", "next", "seen"],
    )
    if node.since < 9:  # Less takes no integers yet
        body.node[1].input[:] = ["j", "limit"]
        casts = [onnx.helper.make_node("Cast", [a], [b], to=1) for a, b in (("i", "j"), ("last", "limit"))]
        if node.since < 6:
            casts = [onnx.helper.make_node("Cast", [a], [b], to="FLOAT") for a, b in (("i", "j"), ("last", "limit"))]
        for position, cast in enumerate(casts):
            body.node.insert(1 + position, cast)
    named = ["" if kind == "body" else "n", "" if kind == "count" else "c", "x0"]
    nodes = [_constant("n", count, np.int64), _constant("c", True, bool)]
    nodes.append(onnx.helper.make_node("Loop", named, ["y", "all"], body=body))
    steps = {"count": count, "body": last + 1, "both": min(count, last + 1)}[kind]
    rows = [data]
    for _ in range(steps):
        rows.append(np.asarray(np.exp(rows[-1]), np.float32))
    node.expected = [rows[-1], np.stack(rows[1:])]
    node.tolerance = 1e-4
    return whole(node, nodes, [data], ["y", "all"])


@draws("Scan")
def scan(node: Node) -> Sequence[Array | None]:
    """Sums along an axis, in either direction. Version 8 has a batch of its own before. By numpy."""
    node.asked |= {"body", "num_scan_inputs", "directions", "scan_input_axes", "scan_input_directions"}
    node.asked |= {"scan_output_axes", "scan_output_directions"}
    length, width, backward = node.size(1, 4), node.size(1, 3), int(node.bit())
    add = onnx.helper.make_node("Add", ["total", "row"], ["next"])
    keep = onnx.helper.make_node("Identity", ["next"], ["seen"])
    body = _graph([add, keep], ["total", "row"], ["next", "seen"])
    if node.since == 8:
        batch = node.size(1, 2)
        start, rows = node.array((batch, width), np.float32), node.array((batch, length, width), np.float32)
        made = onnx.helper.make_node(
            "Scan", ["", "x0", "x1"], ["y", "all"], body=body, num_scan_inputs=1, directions=[backward]
        )
        sums = start[:, None] + np.cumsum(rows[:, :: -1 if backward else 1], 1)
        node.expected = [sums[:, -1], sums]
        return whole(node, [made], [start, rows], ["y", "all"])
    axis, out_axis, out_backward = node.choice(0, 1), node.choice(0, 1), int(node.bit())
    start, rows = node.array((width,), np.float32), node.array((length, width), np.float32)
    made = onnx.helper.make_node(
        "Scan",
        ["x0", "x1"],
        ["y", "all"],
        body=body,
        num_scan_inputs=1,
        scan_input_axes=[axis],
        scan_input_directions=[backward],
        scan_output_axes=[out_axis],
        scan_output_directions=[out_backward],
    )
    sums = start + np.cumsum(rows[:: -1 if backward else 1], 0)
    node.expected = [sums[-1], np.moveaxis(sums[:: -1 if out_backward else 1], 0, out_axis)]
    return whole(node, [made], [start, np.moveaxis(rows, 0, axis)], ["y", "all"])
