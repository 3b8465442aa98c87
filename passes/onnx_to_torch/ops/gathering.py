"""Gather, GatherElements, GatherND, ReverseSequence: elements by index; negative ones count from the end."""

from __future__ import annotations

import torch

from passes.onnx_to_torch.call import Call
from passes.onnx_to_torch.known_math import Int, always, integers, less, numbers, where
from passes.onnx_to_torch.movement import index_select, moved
from passes.onnx_to_torch.registry import known, op
from passes.onnx_to_torch.values import Known


@op("Gather", 1, 11, 13, either=(1,))
def gather(call: Call, data: torch.Tensor, indices: torch.Tensor | Known) -> torch.Tensor:
    axis = call.attr_int("axis", 0) % data.dim()
    if isinstance(indices, Known):
        if indices.array.ndim == 0:
            return data.select(axis, integers(indices)[0])
        indices = _counted_from_start(indices, data.shape[axis]).tensor()
    elif not _never_negative(call):
        # torch's indexing counts from the end as ONNX does, and goes back to a single Gather.
        places = (*[slice(None)] * axis, indices.to(torch.int64))
        return moved(lambda table: table[places], data)
    if axis == 0 and data.dim() == 2 and indices.dim() > 0:
        return moved(lambda table: torch.nn.functional.embedding(indices, table), data)
    rows = index_select(data, axis, indices.reshape(-1))
    return rows.reshape([*data.shape[:axis], *indices.shape, *data.shape[axis + 1 :]])


@known("Gather", 1, 11, 13)
def known_gather(call: Call, data: Known, indices: Known) -> Known | None:
    if not indices.is_concrete:
        return None
    axis = call.attr_int("axis", 0) % data.array.ndim
    taken = data.array.take(numbers(indices), axis)
    shape = (*data.array.shape[:axis], *indices.array.shape, *data.array.shape[axis + 1 :])
    return Known(taken.reshape(shape), data.dtype)


@op("GatherElements", 11, 13)
def gather_elements(call: Call, data: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    axis = call.attr_int("axis", 0)
    index = torch.where(indices < 0, indices + data.shape[axis], indices).to(torch.int64)
    # torch.gather wants no index beyond the other axes and neither does ONNX.
    return moved(lambda carried: carried.gather(axis, index), data)


@op("GatherND", 11, 12, 13)
def gather_nd(call: Call, data: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    batch_dims = call.attr_int("batch_dims", 0)
    # One tensor of positions for each leading axis of data; those of the batch axes are where they are.
    positions = [
        torch.arange(data.shape[axis]).reshape([-1 if axis == i else 1 for i in range(indices.dim() - 1)])
        for axis in range(batch_dims)
    ]
    return data[(*positions, *indices.unbind(-1))]


@op("ReverseSequence", 10, 28)
def reverse_sequence(call: Call, data: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    # Batch and time are the first two axes, in either order.
    axes = (call.attr_int("batch_axis"), call.attr_int("time_axis"))
    rows = data.movedim(axes, (0, 1))
    times, ends = torch.arange(rows.shape[1]), lengths.unsqueeze(1)
    source = torch.where(times < ends, ends - 1 - times, times)
    return rows[torch.arange(rows.shape[0]).unsqueeze(1), source].movedim((0, 1), axes)


def _never_negative(call: Call) -> bool:
    static = call.static(1)
    return static is not None and (static.size == 0 or int(static.min()) >= 0)


def _counted_from_start(indices: Known, size: Int) -> Known:
    given = integers(indices)
    if all(always(index >= 0) for index in given):
        return indices
    positions = [where(less(index, 0), index + size, index) for index in given]
    return Known(Known.of(positions).array.reshape(indices.array.shape), indices.dtype)
