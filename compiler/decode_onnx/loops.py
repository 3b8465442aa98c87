"""What the bodies of Loops take and give."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from artifacts.decode_inputs import DecodeInputs
from artifacts.dtype import DType
from compiler.decode_onnx.position import Carried
from compiler.decode_onnx.scope import Scope, onnx_type


def carry_of(begun: Carried, given: DecodeInputs) -> Carried:
    """What the body of a Loop is given of what it carries."""
    step = given.signatures[given.schedule.step]
    return Carried(
        inner(None, given.token_type),
        inner(("batch", 1), DType.BOOL),
        {slot.input: inner(None, step.input(slot.input).dtype) for slot in given.schedule.slots},
        None if begun.full_products is None else inner((), DType.INT64),
    )


def inner(shape: Sequence[int | str] | None, dtype: DType) -> ir.Value:
    """An input of a body; None leaves its shape open."""
    return ir.Value(type=ir.TensorType(onnx_type(dtype)), shape=None if shape is None else ir.Shape(shape))


def some_go_on(scope: Scope, ended: ir.Value) -> ir.Value:
    """A bool [] of ended bool [batch, 1]. Of numbers: TensorRT takes no smallest of booleans."""
    least = scope.op("ReduceMin", scope.op("Cast", ended, to=ir.DataType.INT32), keepdims=0)
    return scope.op("Equal", least, scope.constant(0, np.int32))
