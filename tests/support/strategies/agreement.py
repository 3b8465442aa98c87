"""Whether the importer makes of a drawn node what is right."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx_ir as ir
import torch

from passes.onnx_to_torch.importer import Importer
from passes.onnx_to_torch.values import Carried, Known, Text, Value
from tests.support.onnx_ops import Array, as_array, as_tensor, compare, node_model
from tests.support.strategies.node import Node


def check(node: Node) -> None:
    """Assert that every output has the right values, element type and shape."""
    model = node.whole or node_model(
        node.op, node.inputs, node.since, node.attributes, node.outputs, node.constants, node.domain
    )
    given = [a for i, a in enumerate(node.inputs) if a is not None and i not in node.constants]
    with np.errstate(all="ignore"):
        wanted = node.judge(model, given) if node.expected is None else node.expected
    with torch.no_grad():
        found = Importer(ir.from_proto(model)).run([_value(array) for array in given])
    compare([_array(value) for value in found], wanted, node.tolerance)


def _value(array: Array) -> Value:
    return Text(array) if array.dtype == object else as_tensor(array)


def _array(value: Value) -> Array:
    if isinstance(value, Known):
        return np.asarray(value.numpy())
    if isinstance(value, Carried):
        own, carrier = getattr(ml_dtypes, value.dtype), value.tensor.numpy()
        return np.asarray(carrier.astype(own) if value.dtype.is_integer else carrier.view(own))
    if isinstance(value, Text):
        return value.array
    assert isinstance(value, torch.Tensor)
    return as_array(value)
