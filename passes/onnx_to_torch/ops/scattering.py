"""Scatter, ScatterElements, ScatterND, TensorScatter: a copy of the data with some elements replaced."""

from __future__ import annotations

import torch

from passes.onnx_to_torch.call import Call
from passes.onnx_to_torch.known_math import product
from passes.onnx_to_torch.movement import moved
from passes.onnx_to_torch.registry import op
from passes.onnx_to_torch.unsigned import by_order, modular

_REDUCTIONS = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


@op("Scatter", 9, 11)
@op("ScatterElements", 11, 13, 16, 18)
def scatter_elements(call: Call, data: torch.Tensor, indices: torch.Tensor, updates: torch.Tensor) -> torch.Tensor:
    axis = call.attr_int("axis", 0)
    index = torch.where(indices < 0, indices + data.shape[axis], indices).to(torch.int64)
    return _scatter(data, axis, index, updates, call.attr_text("reduction", "none"))


@op("ScatterND", 11, 13, 16, 18)
def scatter_nd(call: Call, data: torch.Tensor, indices: torch.Tensor, updates: torch.Tensor) -> torch.Tensor:
    reduction = call.attr_text("reduction", "none")
    positions = indices.unbind(-1)
    if reduction == "none":
        return moved(lambda old, new: old.index_put(positions, new), data, updates)
    if reduction == "add":
        return modular(lambda old, new: old.index_put(positions, new, accumulate=True), data, updates)
    # Rows of a matrix, each row what one index tuple selects.
    named = data.shape[: len(positions)]
    flat = torch.zeros_like(positions[0])
    for position, size in zip(positions, named, strict=True):
        flat = flat * size + torch.where(position < 0, position + size, position)
    width = product(data.shape[len(positions) :])
    rows = updates.reshape(product(updates.shape[: indices.dim() - 1]), width)
    index = flat.reshape(-1, 1).expand(rows.shape)
    matrix = data.reshape(product(named), width)
    return _scatter(matrix, 0, index, rows, reduction).reshape(data.shape)


@op("TensorScatter", 24, moves=True)
def tensor_scatter(
    call: Call, past: torch.Tensor, update: torch.Tensor, write_indices: torch.Tensor | None = None
) -> torch.Tensor:
    axis = call.attr_int("axis") % past.dim()
    size, length = past.shape[axis], update.shape[axis]
    positions = torch.arange(length).reshape([length, *[1] * (past.dim() - axis - 1)])
    if write_indices is not None:
        positions = positions + write_indices.reshape([-1, *[1] * (past.dim() - 1)])
    if call.attr_text("mode") == "circular":
        positions = positions.remainder(size)
    return _scatter(past, axis, positions.expand(update.shape), update, "none")


def _scatter(data: torch.Tensor, axis: int, index: torch.Tensor, updates: torch.Tensor, reduction: str) -> torch.Tensor:
    if reduction == "none":
        return moved(lambda old, new: old.scatter(axis, index, new), data, updates)
    reduce = _REDUCTIONS[reduction]
    through = modular if reduction in ("add", "mul") else by_order
    return through(lambda old, new: old.scatter_reduce(axis, index, new, reduce), data, updates)
