"""Optional, OptionalGetElement, OptionalHasElement: an absent value is None, a present one is itself."""

from __future__ import annotations

import torch

from passes.onnx_to_torch.call import Call
from passes.onnx_to_torch.registry import op
from passes.onnx_to_torch.values import Known, Value


@op("Optional", 15, 28, either=(0,), moves=True)
def optional(_: Call, value: Value = None) -> Value:
    return value


@op("OptionalGetElement", 15, 18, 28, either=(0,), moves=True)
def optional_get_element(call: Call, value: Value) -> Value:
    if value is None:
        call.unsupported("the optional is empty")
    return value


@op("OptionalHasElement", 15, 18, 28, either=(0,), moves=True)
def optional_has_element(_: Call, value: Value = None) -> Known:
    return Known.of(value is not None, torch.bool)
