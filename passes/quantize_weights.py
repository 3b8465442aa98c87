"""Store matrices of weights in 8 or 4 bits, and multiply with them as they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from torch.fx import Node

from artifacts.dtype import DType
from artifacts.tolerances import Tolerance
from artifacts.weights import WeightRef, WeightStore
from passes.bodies import copied_graph, inserted_weight, rewritten
from passes.contract import Rewrite
from passes.dialect import QUANTIZED_EMBEDDING, QUANTIZED_LINEAR
from passes.precision import PrecisionPass
from passes.program import Function, Program
from passes.quantized_blocks import LARGEST_BLOCK, SMALLEST_BLOCK, block_for, quantized_blocks
from passes.torch_dtypes import torch_dtype_of
from passes.weight_products import weight_product

_aten = torch.ops.aten

_LOOK_UPS = (_aten.embedding.default, _aten.index.Tensor)

_TOLERANCES: Mapping[tuple[int, bool], float] = {(8, False): 0.05, (8, True): 0.1, (4, False): 0.5, (4, True): 0.5}
"""By bits, and whether operands are rounded: the share of the largest score that a score may be off by. Untrained
networks, and noise in place of an image, were seen to need two thirds of it."""


@dataclass(frozen=True)
class QuantizeWeights(PrecisionPass):
    """x W^T + bias, W float32  ->  `unspool::quantized_linear`, W in blocks of 8-bit or 4-bit codes.

    Tables that embeddings look up in become `unspool::quantized_embedding`. With `rounds` the operands of products are
    rounded to 8 bits as they come, each row by itself: the product is one of integers, and a row's result does not
    depend on the others of its batch. Matrices of fewer than `least` elements stay, and so do rows that do not divide
    into blocks. What one kept node uses stays for all that use it: there is one copy of a matrix. With `products_only`
    tables stay as they are.
    """

    name: ClassVar[str] = "quantize-weights"
    bits: Literal[8, 4] = 8
    rounds: bool = True
    block: int = 256
    least: int = 4096
    products_only: bool = False

    def __post_init__(self) -> None:
        if not SMALLEST_BLOCK <= self.block <= LARGEST_BLOCK or self.block & (self.block - 1):
            raise ValueError(f"block is a power of two from {SMALLEST_BLOCK} to {LARGEST_BLOCK}, not {self.block}")

    @property
    def tolerance(self) -> Tolerance:
        """A share of the largest element."""
        return Tolerance(atol=0.0, rtol=0.0, scale=_TOLERANCES[self.bits, self.rounds])

    def candidates(self, program: Program) -> tuple[str, ...]:
        """Products and look-ups whose matrix is large enough."""
        return tuple(use.place for use in self._uses(program))

    def layers(self, program: Program) -> tuple[tuple[str, ...], ...]:
        """What uses one matrix goes together."""
        found: dict[_Rows, list[str]] = {}
        for use in self._uses(program):
            found.setdefault(use.rows, []).append(use.place)
        return tuple(map(tuple, found.values()))

    def rewrite(self, program: Program) -> Rewrite:
        uses = tuple(self._uses(program))
        kept = {use.rows for use in uses if use.place in self.keep}
        store, notes = program.weights, []
        quantized: dict[_Rows, tuple[WeightRef, WeightRef]] = {}
        for rows in dict.fromkeys(use.rows for use in uses if use.rows not in kept):
            try:
                store, quantized[rows] = self._quantized(rows, store)
            except ValueError as error:
                notes += [f"{use.place} stays: {error}" for use in uses if use.rows == rows]
        changed = [use for use in uses if use.rows in quantized]
        functions = {
            name: _rewritten(program.functions[name], [u for u in changed if u.function == name], quantized, self)
            for name in dict.fromkeys(use.function for use in changed)
        }
        if changed:
            before = sum(rows.matrix.nbytes for rows in quantized)
            after = sum(ref.nbytes for refs in quantized.values() for ref in refs)
            notes.append(f"matrices in {self.bits} bits: {len(quantized)}, {before} bytes before, {after} after")
        return Rewrite(program.with_functions(functions, store), tuple(notes))

    def _uses(self, program: Program) -> Iterator[_Use]:
        for name, function in program.functions.items():
            for node in function.computations:
                use = _product(name, node, function)
                if use is None and not self.products_only:
                    use = _look_up(name, node, function)
                if (
                    use is not None
                    and use.rows.matrix.dtype == DType.FLOAT32
                    and use.rows.matrix.size >= self.least
                    and block_for(use.rows.size, self.block) is not None
                ):
                    yield use

    def _quantized(self, rows: _Rows, store: WeightStore) -> tuple[WeightStore, tuple[WeightRef, WeightRef]]:
        block = block_for(rows.size, self.block)
        assert block is not None
        matrix = store.array(rows.matrix)
        found = quantized_blocks(np.ascontiguousarray(matrix if rows.is_turned else matrix.T), self.bits, block)
        store, (codes, scales) = store.with_tensors([(found.codes, DType.UINT8), (found.scales, DType.FLOAT32)])
        return store, (codes, scales)


@dataclass(frozen=True)
class _Rows:
    """A matrix by its rows: [rows, size] if it is turned, else [size, rows]."""

    matrix: WeightRef
    is_turned: bool

    @property
    def size(self) -> int:
        return self.matrix.shape[1 if self.is_turned else 0]


@dataclass(frozen=True, eq=False)
class _Use:
    """A node of a function that uses the rows of a matrix, `weight`: a product with `operand`, or a look-up in it."""

    function: str
    node: Node
    weight: Node
    rows: _Rows
    operand: Node
    bias: Node | None = None

    @property
    def place(self) -> str:
        return f"{self.function}/{self.node.name}"

    @property
    def is_look_up(self) -> bool:
        return self.node.target in _LOOK_UPS


def _product(name: str, node: Node, function: Function) -> _Use | None:
    found = weight_product(node, function)
    if found is None or (found.bias is not None and tuple(found.bias.meta["val"].shape) != (found.rows,)):
        return None
    return _Use(name, node, found.weight, _Rows(found.matrix, found.is_turned), found.operand, found.bias)


def _look_up(name: str, node: Node, function: Function) -> _Use | None:
    if node.target not in _LOOK_UPS:
        return None
    table, indices = node.args[:2]
    if isinstance(indices, (list, tuple)):
        indices = indices[0] if len(indices) == 1 else None
    ref = function.weights.get(table.name) if isinstance(table, Node) else None
    if not isinstance(table, Node) or not isinstance(indices, Node) or ref is None or len(ref.shape) != 2:
        return None
    is_index = indices.meta["val"].dtype in (torch.int64, torch.int32) and indices.meta["val"].dim() > 0
    return _Use(name, node, table, _Rows(ref, is_turned=True), indices) if is_index else None


def _rewritten(
    function: Function,
    uses: Sequence[_Use],
    quantized: Mapping[_Rows, tuple[WeightRef, WeightRef]],
    step: QuantizeWeights,
) -> Function:
    """The function with the nodes of the uses changed in place: they keep their names."""
    graph, new = copied_graph(function.body)
    weights, sources = dict(function.weights), dict(function.sources)
    stored: dict[_Rows, list[Node]] = {}
    for use in uses:
        if use.rows not in stored:
            stored[use.rows] = []
            for ref, part in zip(quantized[use.rows], ("codes", "scales"), strict=True):
                with use.node.meta["val"].fake_mode:
                    value = torch.empty(ref.shape, dtype=torch_dtype_of(ref.dtype))
                placeholder = inserted_weight(graph, weights, f"{use.weight.name}_{part}", value)
                stored[use.rows].append(placeholder)
                weights[placeholder.name] = ref
                if use.weight.name in sources:
                    sources[placeholder.name] = f"{sources[use.weight.name]}.{part}"
        node = new[use.node]
        if use.is_look_up:
            node.target, node.args = QUANTIZED_EMBEDDING, (*stored[use.rows], new[use.operand], step.bits)
        else:
            bias = None if use.bias is None else new[use.bias]
            node.target = QUANTIZED_LINEAR
            node.args = (new[use.operand], *stored[use.rows], bias, step.bits, step.rounds)
        node.kwargs = {}
    return rewritten(function, graph, weights, sources)
