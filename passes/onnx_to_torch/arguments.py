"""What a converter is handed for a node's inputs, and what becomes of its results."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from passes.onnx_to_torch.call import Call
from passes.onnx_to_torch.registry import Converter
from passes.onnx_to_torch.values import Carried, Text, Value, to_known, to_tensor


def arguments_of(call: Call, converter: Converter, inputs: Sequence[Value]) -> list[Value]:
    """A node's inputs as its converter wants them. Raises UnsupportedError for a type that it does not take."""
    return [_argument(call, converter, position, value) for position, value in enumerate(inputs)]


def results_of(converter: Converter, inputs: Sequence[Value], results: Sequence[Value]) -> Sequence[Value]:
    """A converter's results; tensors of an operator that moves elements have the type of what it moved."""
    moved = next((value.dtype for value in inputs if isinstance(value, Carried)), None)
    if moved is None or not converter.moves:
        return results
    return [Carried(result, moved) if isinstance(result, torch.Tensor) else result for result in results]


def _argument(call: Call, converter: Converter, position: int, value: Value) -> Value:
    if isinstance(value, Carried):
        if position in converter.carried:
            return value
        if not converter.moves:
            call.unsupported(f"operands of type {value.dtype}", "cast or dequantize them before")
        return value.tensor
    if isinstance(value, Text) and position not in converter.texts:
        call.unsupported("strings", "encode them outside the model")
    if value is None or isinstance(value, list | Text) or position in converter.either:
        return value
    return to_known(value) if position in converter.shapes else to_tensor(value)
