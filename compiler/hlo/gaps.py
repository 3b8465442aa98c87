"""What of a function has no form in HLO that an accelerator's compiler takes, told from its graph before any trace."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator
from typing import Any

import jax
import numpy as np
import torch
from torch.fx import Node
from torch.fx.experimental.symbolic_shapes import free_unbacked_symbols

from artifacts.dtype import DType
from artifacts.errors import Problem
from artifacts.weights import WeightRef, WeightStore
from compiler.hlo.decompose import can_decompose, decomposed, is_torchs
from compiler.hlo.dtypes import is_known, jax_dtype
from compiler.hlo.registry import lowerings
from compiler.hlo.sorts import refused
from passes.graph_builder import values_of
from passes.program import Function

STAGE = "lower"

OF_SIZES = frozenset(
    {
        operator.getitem,
        operator.add,
        operator.sub,
        operator.mul,
        operator.floordiv,
        operator.mod,
        operator.neg,
        operator.truediv,
        torch.sym_max,
        torch.sym_min,
        torch.sym_int,
        torch.sym_float,
        torch.sym_not,
        torch.sym_ite,
    }
)
"""What the graph computes with sizes, and picking one of several results."""

CHECKS = frozenset({torch.ops.aten._assert_scalar.default, torch.ops.aten.sym_constrain_range_for_size.default})

GAP_HINT = "write the model with other operators, or compile for --target onnxruntime"
_TYPE_HINT = "export the model in float32"
_SIZE_HINT = "write it so that sizes follow from those of the inputs, with a mask say, or compile for another --target"
_WIDE_HINT = "export the model with whole numbers of 32 bits"

_INT32 = np.iinfo(np.int32)


def gaps(functions: Iterable[Function], store: WeightStore) -> list[Problem]:
    """Everything that functions over these weights have and HLO for accelerators has not, each with its source node.

    These are operators without a lowering, sizes that depend on values, types that accelerators lack (float64 among
    them, which JAX would make float32 without a word), and whole numbers that 32 bits do not hold.
    """
    return [problem for function in functions for problem in _gaps(function, store)]


def is_lowered(target: object) -> bool:
    """Whether there is a form of an operator."""
    return target in lowerings() or target in OF_SIZES or target in CHECKS or can_decompose(target)


def place(function: Function, node: Node) -> str:
    """A node as problems are about it."""
    source = function.sources.get(node.name)
    return f"function {function.name!r}, node {node.name!r}" + (f" (source node {source!r})" if source else "")


def _gaps(function: Function, store: WeightStore) -> Iterator[Problem]:
    for node in function.placeholders:
        ref = function.weights.get(node.name)
        if ref is None:
            where = f"function {function.name!r}, input {node.name!r}"
            yield from (Problem(STAGE, where, message, _TYPE_HINT) for message in _types(node, computes=False))
        elif node.users:
            # A weight has no node in the source: whoever takes it has.
            where = place(function, next(iter(node.users)))
            yield from (
                Problem(STAGE, where, f"a weight that it takes {m}", _TYPE_HINT) for m in _types(node, computes=False)
            )
            wide = _wide_weight(ref, store)
            if wide is not None:
                yield Problem(STAGE, where, f"a weight that it takes has {wide}, {_WIDE}", _WIDE_HINT)
    for node in function.computations:
        where = place(function, node)
        if any(free_unbacked_symbols(value) for value in values_of(node)):
            # What only hands such a tensor on is not told again.
            if not any(free_unbacked_symbols(value) for source in node.all_input_nodes for value in values_of(source)):
                yield Problem(
                    STAGE, where, f"{node.target} gives a size that depends on values: {_DYNAMIC}", _SIZE_HINT
                )
        elif not is_lowered(node.target):
            yield Problem(STAGE, where, f"{node.target} has no lowering to HLO", GAP_HINT)
        else:
            parts = _unknown_parts(node)
            made = (f"{node.target} is made of {part}, which has no lowering to HLO" for part in parts)
            yield from (Problem(STAGE, where, message, GAP_HINT) for message in made)
        reason = refused(node)
        if reason is not None:
            yield Problem(STAGE, where, f"{node.target} has no lowering to HLO for {reason}", GAP_HINT)
        yield from (Problem(STAGE, where, message, _TYPE_HINT) for message in _types(node, computes=True))
        yield from (Problem(STAGE, where, f"has the constant {n}, {_WIDE}", _WIDE_HINT) for n in _wide_constants(node))


def _unknown_parts(node: Node) -> list[str]:
    """What an operator of torch is made of that has no form, at the sizes of the example that its graph has."""
    if node.target in lowerings() or not is_torchs(node.target):
        return []

    def example(source: Node) -> Any:
        value = source.meta["val"]
        return _shaped(value) if isinstance(value, torch.Tensor) else _hint(value)

    arguments, named = torch.fx.map_arg((node.args, node.kwargs), example)
    module, _ = decomposed(node.target, tuple(arguments), dict(named))
    parts = {part.target for part in module.graph.nodes if part.op == "call_function"}
    return sorted(str(part) for part in parts if not is_lowered(part))


def _shaped(value: torch.Tensor) -> Any:
    return jax.ShapeDtypeStruct([_hint(size) for size in value.shape], jax_dtype(value.dtype))  # type: ignore[no-untyped-call]


def _hint(size: Any) -> Any:
    return size.node.hint if isinstance(size, torch.SymInt) else size


_DYNAMIC = "static shapes only [NCC_EMOD025]"
_WIDE = "which 32 bits do not hold [NCC_ESFH002]"


_LACKING = frozenset({torch.float64, torch.complex64, torch.complex128})


def _types(node: Node, computes: bool) -> Iterator[str]:
    """Types of what a node gives. What only goes in may be of more: a cast is perhaps all that takes it."""
    for dtype in dict.fromkeys(value.dtype for value in values_of(node)):
        if dtype in _LACKING or (computes and not is_known(dtype)):
            yield f"is {str(dtype).removeprefix('torch.')}, which accelerators lack"


def _wide_weight(ref: WeightRef, store: WeightStore) -> int | None:
    if ref.dtype != DType.INT64:
        return None
    values = store.array(ref)
    wide = values[(values < _INT32.min) | (values > _INT32.max)]
    return int(wide[0]) if wide.size else None


def _wide_constants(node: Node) -> Iterator[int]:
    """Numbers that a node computes with, not those that say where a slice ends."""
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        return
    named = {argument.name: str(argument.type) for argument in schema.arguments}
    given = [*zip(named, node.args, strict=False), *node.kwargs.items()]
    for name, value in given:
        is_number = named[name] in {"number", "Optional[number]"}
        if is_number and isinstance(value, int) and not _INT32.min <= value <= _INT32.max:
            yield value
