"""Dropout as served: the identity, and a mask that keeps everything."""

from __future__ import annotations

import torch

from passes.onnx_to_torch.call import Call
from passes.onnx_to_torch.registry import op
from passes.onnx_to_torch.values import Known, to_known

_HINT = "export the model in inference mode"


@op("Dropout", 1, 6, 7, 10)
def dropout(call: Call, data: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Until version 6 the default is to train. The mask is boolean from 10 on, before that like the data."""
    if call.since < 7 and not call.attr_int("is_test"):
        call.unsupported("training mode (is_test=0)", _HINT)
    return _kept(call, data, torch.bool if call.since >= 10 else data.dtype)


@op("Dropout", 12, 13, 22, shapes=(2,))
def dropout_with_inputs(
    call: Call, data: torch.Tensor, ratio: torch.Tensor | None = None, training: Known | None = None
) -> tuple[torch.Tensor, ...]:
    """Training with ratio 0 drops nothing, and is the identity too."""
    trains = training is not None and not (training.is_concrete and training.elements == [False])
    if trains and not _drops_nothing(call, ratio):
        call.unsupported("training mode", _HINT)
    return _kept(call, data, torch.bool)


def _drops_nothing(call: Call, ratio: torch.Tensor | None) -> bool:
    if ratio is None:
        return False
    static = call.static(1)
    if static is not None:
        return bool(static.item() == 0)
    positive = to_known(ratio.to(torch.float32) > 0)
    return positive.is_concrete and positive.elements == [False]


def _kept(call: Call, data: torch.Tensor, mask: torch.dtype) -> tuple[torch.Tensor, ...]:
    return (data, torch.ones_like(data, dtype=mask))[: call.output_count]
