"""Bundles that decode to a length that is given: compiled once, and timed at every length."""

from __future__ import annotations

import onnx
from onnx import helper

TRIPS = "trips"
"""The value, int64 [], that says how many tokens an engine shall make; whoever asks for it gives it."""


def limit(graph: onnx.GraphProto) -> None:
    """Have the Loops of a decode end after `trips` tokens: the last one, and one before it that checks guesses."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    made = {output: node for node in graph.node for output in node.output}
    loops = [node for node in graph.node if node.op_type == "Loop"]
    counted = made.get(loops[-1].input[0], loops[-1])  # a Loop's own number of trips, or what another one left of it
    longest = int(onnx.numpy_helper.to_array(constants[counted.input[0]]))
    counted.input[0] = TRIPS
    for loop in loops[:-1]:
        (body,) = (attribute.g for attribute in loop.attribute if attribute.name == "body")
        (fits,) = (node for node in body.node if node.op_type == "LessOrEqual")
        width = longest - int(onnx.numpy_helper.to_array(constants[fits.input[1]]))
        graph.initializer.append(helper.make_tensor("width", onnx.TensorProto.INT64, [], [width]))
        added = [
            helper.make_node("Sub", [TRIPS, "width"], ["furthest"]),
            helper.make_node("LessOrEqual", ["width", TRIPS], ["one_fits"]),
            helper.make_node("And", [loop.input[1], "one_fits"], ["begins"]),
        ]
        fits.input[1], loop.input[1] = "furthest", "begins"
        place = list(graph.node).index(loop)
        for node in reversed(added):
            graph.node.insert(place, node)
