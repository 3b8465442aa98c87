"""What a graph says about the values that its integer inputs may take, so that samples can be drawn from them."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from passes.onnx_to_torch.constant_nodes import constant_of

_CARRIES_FIRST = frozenset(
    {"Identity", "Cast", "Reshape", "Unsqueeze", "Squeeze", "Flatten", "Transpose", "Slice", "Expand"}
)
"""Operators whose output holds the elements of their first input; the others say how."""


@dataclass(frozen=True)
class InputHint:
    """What an input is for.

    `table` is the size of the smallest table that it indexes; `equals` are constants that it is compared with;
    `counts` is true if it says how often a loop runs.
    """

    table: int | None = None
    equals: tuple[int, ...] = ()
    counts: bool = False


def input_hint(value: ir.Value) -> InputHint:
    """Follow a graph input to the tables that it indexes, the constants that it is compared with, and loops."""
    tables: list[int] = []
    equals: list[int] = []
    counts = False
    seen: set[ir.Value] = set()
    pending = [value]
    while pending:
        current = pending.pop()
        if current in seen:
            continue
        seen.add(current)
        for node, position in current.uses():
            if node.op_type == "Gather" and position == 1:
                tables += _rows(node)
            elif node.op_type == "Loop" and position == 0:
                counts = True
            elif node.op_type == "Equal":
                equals += _scalar(node.inputs[1 - position])
            elif _carries(node, position):
                pending.extend(node.outputs)
    return InputHint(min(tables, default=None), tuple(equals), counts)


def _carries(node: ir.Node, position: int) -> bool:
    """True if the node's output holds elements of the input at that position."""
    if node.op_type == "Where":
        return position > 0
    return node.op_type == "Concat" or (node.op_type in _CARRIES_FIRST and position == 0)


def _rows(gather: ir.Node) -> list[int]:
    data = gather.inputs[0]
    axis = gather.attributes["axis"].as_int() if "axis" in gather.attributes else 0
    tensor = _constant(data)
    shape = tensor.shape if tensor is not None else data.shape if data is not None else None
    if shape is None or not -len(shape) <= axis < len(shape):
        return []
    size = shape[axis]
    return [size] if isinstance(size, int) else []


def _scalar(value: ir.Value | None) -> list[int]:
    tensor = _constant(value)
    return [int(tensor.numpy().item())] if tensor is not None and tensor.size == 1 else []


def _constant(value: ir.Value | None) -> ir.TensorProtocol | None:
    while value is not None and value.const_value is None:
        producer = value.producer()
        if producer is None:
            return None
        if producer.op_type == "Constant":
            return constant_of(producer)
        value = producer.inputs[0] if producer.op_type == "Identity" else None
    return None if value is None else value.const_value
