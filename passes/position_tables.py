"""Tables of what a step needs at each position: which there are, and how a row of them is looked up."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import sympy
import torch
from torch.fx import Node

from artifacts.weights import WeightRef, WeightStore
from passes.dependence import needed
from passes.graph_builder import GraphBuilder
from passes.program import Function
from passes.torch_dtypes import logical_dtype, to_numpy

_aten = torch.ops.aten


@dataclass(frozen=True, eq=False)
class PositionTable:
    """A weight, and the indices along one of its axes that a position reads.

    With `grows` None one row of axis 0 is read. Otherwise so many elements more than the position are read along
    `axis`: the first ones, or with `shifts` the last ones.
    """

    tensor: torch.Tensor
    axis: int = 0
    grows: int | None = None
    shifts: bool = False

    def look_up(self, builder: GraphBuilder, table: Node, past: sympy.Symbol) -> Node:
        """The value at position `past`, of the shape that the row has there."""
        position = builder.size(past)
        length = self.tensor.shape[self.axis]
        if self.grows is None:
            index = builder.call(_aten.scalar_tensor.default, position, dtype=torch.int64)
        elif self.shifts:
            start = builder.call(operator.sub, length - self.grows, position)
            index = builder.call(_aten.arange.start_step, start, length)
        else:
            index = builder.call(_aten.arange.start_step, 0, builder.size(past + self.grows))
        return builder.call(_aten.index.Tensor, table, [*[None] * self.axis, index])


def table_of(rows: Sequence[torch.Tensor]) -> PositionTable | None:
    """The table that holds these values, one a position from 0 on; None if they grow in no way that one can tell."""
    if len({tuple(row.shape) for row in rows}) == 1:
        return PositionTable(torch.stack(list(rows)))
    last = rows[-1]
    growing = [axis for axis in range(last.dim()) if last.shape[axis] != rows[0].shape[axis]]
    if len({row.dim() for row in rows}) > 1 or len(growing) != 1:
        return None
    (axis,) = growing
    grows = last.shape[axis] - (len(rows) - 1)
    if any(row.shape[axis] != position + grows for position, row in enumerate(rows)):
        return None
    if all(torch.equal(row, last.narrow(axis, 0, row.shape[axis])) for row in rows):
        return PositionTable(last, axis, grows)
    if all(torch.equal(row, last.narrow(axis, last.shape[axis] - row.shape[axis], row.shape[axis])) for row in rows):
        return PositionTable(last, axis, grows, shifts=True)
    return None


def stored(
    table: PositionTable, made_of: Sequence[WeightRef], store: WeightStore, limit: int
) -> tuple[WeightStore, WeightRef] | None:
    """The table as rows of a weight that it was made of, else as a content of its own of at most `limit` bytes."""
    array = to_numpy(table.tensor)
    dtype = logical_dtype(table.tensor.dtype)
    if table.grows is None:
        for ref in made_of:
            rows = _rows(array, ref, store) if ref.dtype == dtype else None
            if rows is not None:
                return store, rows
    return store.with_tensor(array, dtype) if array.nbytes <= limit else None


def _rows(table: npt.NDArray[Any], ref: WeightRef, store: WeightStore) -> WeightRef | None:
    """The rows of the weight that the table is, as a view of the table's shape."""
    width = table[0].size
    if not width or ref.size % width or ref.size < table.size:
        return None
    flat = ref.reshaped((ref.size // width, width))
    weight, rows = store.array(flat), table.reshape(len(table), width)
    for start in np.flatnonzero((weight[: len(weight) - len(rows) + 1] == rows[0]).all(axis=1)):
        found = flat.rows(int(start), int(start) + len(rows))
        if store.raw(found).tobytes() == rows.tobytes():
            return found.reshaped(table.shape)
    return None


def weights_under(node: Node, function: Function) -> tuple[WeightRef, ...]:
    """The weights that a node is computed from, in the function's order."""
    under = needed([node], lambda found: found.all_input_nodes)
    return tuple(function.weights[weight.name] for weight in function.weight_nodes if weight in under)
