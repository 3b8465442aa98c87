"""Sequences, as Python lists of tensors: all are taken apart while the graph is walked."""

from __future__ import annotations

import torch

from passes.onnx_to_torch.call import Call
from passes.onnx_to_torch.known_math import Int, integers, numbers
from passes.onnx_to_torch.registry import op
from passes.onnx_to_torch.values import Known


@op("SequenceEmpty", 11)
def sequence_empty(_: Call) -> list[torch.Tensor]:
    return []


@op("SequenceConstruct", 11)
def sequence_construct(_: Call, *items: torch.Tensor) -> list[torch.Tensor]:
    return list(items)


@op("SequenceAt", 11, shapes=(1,))
def sequence_at(_: Call, items: list[torch.Tensor], position: Known) -> torch.Tensor:
    return items[numbers(position)[0]]


@op("SequenceLength", 11)
def sequence_length(_: Call, items: list[torch.Tensor]) -> Known:
    return Known.of(len(items))


@op("SequenceInsert", 11, shapes=(2,))
def sequence_insert(
    _: Call, items: list[torch.Tensor], item: torch.Tensor, position: Known | None = None
) -> list[torch.Tensor]:
    at = len(items) if position is None else numbers(position)[0]
    return [*items[:at], item, *items[at:]]


@op("SequenceErase", 11, shapes=(1,))
def sequence_erase(_: Call, items: list[torch.Tensor], position: Known | None = None) -> list[torch.Tensor]:
    at = range(len(items))[-1 if position is None else numbers(position)[0]]
    return [*items[:at], *items[at + 1 :]]


@op("ConcatFromSequence", 11)
def concat_from_sequence(call: Call, items: list[torch.Tensor]) -> torch.Tensor:
    join = torch.stack if call.attr_int("new_axis") else torch.cat
    return join(items, call.attr_int("axis"))


@op("SplitToSequence", 11, 24, shapes=(1,))
def split_to_sequence(call: Call, data: torch.Tensor, lengths: Known | None = None) -> list[torch.Tensor]:
    axis = call.attr_int("axis")
    if lengths is not None and lengths.array.ndim == 1:
        sizes: list[Int] = integers(lengths)
        return list(torch.split_with_sizes(data, sizes, axis))
    size = data.shape[axis]
    if not isinstance(size, int):
        call.unsupported("the number of parts depends on a size that is not fixed")
    part = 1 if lengths is None else numbers(lengths)[0]
    parts = torch.split_with_sizes(data, [min(part, size - start) for start in range(0, size, part)], axis)
    dropped = lengths is None and not call.attr_int("keepdims")
    return [item.squeeze(axis) for item in parts] if dropped else list(parts)
