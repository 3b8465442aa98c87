"""`unspool_loop`: a body that runs as often as only the data tells, on values that may grow.

torch has its own loop, `while_loop`, which refuses values that change their shape from one iteration to the next. So
this one is a higher-order operator of ours, made the same way: its body is a graph module that a body's module holds.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import sympy
import torch
from torch._C import DispatchKey
from torch._higher_order_ops.utils import autograd_not_implemented, reenter_make_fx, unique_graph_id
from torch._ops import HigherOrderOperator
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx import GraphModule, Node
from torch.fx.experimental.proxy_tensor import (
    ProxyTorchDispatchMode,
    disable_proxy_modes_tracing,
    track_tensor_tree,
)
from torch.utils._pytree import tree_map

Tensors: TypeAlias = tuple[torch.Tensor, ...]
Body: TypeAlias = Callable[..., Sequence[torch.Tensor]]
Size: TypeAlias = "int | torch.SymInt"
Count: TypeAlias = "torch.Tensor | Size | None"
Operands: TypeAlias = "tuple[torch.Tensor | torch.SymInt, ...]"


class Loop(HigherOrderOperator):
    """ONNX's Loop, its body a function of everything that it uses.

    `body` takes the number of the iteration, int64 [], then what is carried, then the operands, which stay the same.
    It gives whether to go on, bool [], then what is carried on, of the same types and ranks, then rows, of which each
    is of one shape in all iterations.
    """

    def __init__(self) -> None:
        super().__init__("unspool_loop")  # type: ignore[no-untyped-call]

    def __call__(
        self, body: Body, count: Count, going: torch.Tensor | None, carried: Tensors, operands: Operands
    ) -> Tensors:
        """What is carried after the last iteration, then the rows of each kind, along a new first axis.

        There are `count` iterations, or fewer if `going`, bool [], is false at the beginning or the body gives false.
        None for `count` is no limit; for `going` it means that what the body gives does not matter. Of no iteration
        the rows have the sizes that are fixed, and 0 for the others.
        """
        found: Tensors = super().__call__(body, count, going, carried, operands)  # type: ignore[no-untyped-call]
        return found


LOOP = Loop()

LONGEST_RUN = 100_000
"""Iterations: what torch runs for longer, a dozen times for the checks of a compilation, would be taken for a hang."""

# torch leaves these untyped.
_check: Callable[[object], None] = torch._check
_reenter_make_fx: Callable[[Body], Callable[..., GraphModule]] = reenter_make_fx
_unique_graph_id: Callable[[Any, str], tuple[int, str]] = unique_graph_id


@LOOP.py_impl(DispatchKey.CompositeExplicitAutograd)
def _run(body: Body, count: Count, going: torch.Tensor | None, carried: Tensors, operands: Operands) -> Tensors:
    rows: list[Sequence[torch.Tensor]] = []
    keep = going is None or bool(going)
    while keep and (count is None or len(rows) < int(count)):
        # The body was traced on tensors without gaps, and takes views of them.
        state = (tensor.contiguous() for tensor in carried)
        more, *results = body(torch.tensor(len(rows)), *state, *operands)
        carried, row = tuple(results[: len(carried)]), results[len(carried) :]
        rows.append(row)
        if len(rows) == LONGEST_RUN:
            raise ValueError(f"a loop that goes on for {LONGEST_RUN} iterations is too long to be checked")
        keep = going is None or bool(more)
    collected = map(torch.stack, zip(*rows, strict=True)) if rows else _no_rows(body, len(carried))
    return (*(tensor.contiguous() for tensor in carried), *collected)


def _no_rows(body: Body, carried: int) -> Iterator[torch.Tensor]:
    assert isinstance(body, GraphModule)
    for node in _outputs(body)[1 + carried :]:
        row = node.meta["val"]
        yield torch.empty([0, *(size if isinstance(size, int) else 0 for size in row.shape)], dtype=row.dtype)


@LOOP.py_impl(FakeTensorMode)
def _fake(
    mode: FakeTensorMode, body: Body, count: Count, going: torch.Tensor | None, carried: Tensors, operands: Operands
) -> Tensors:
    with mode:
        with _own_sizes(mode):
            results = _steady(body, carried, operands)
        return _outside(mode, results, count if going is None else None, carried, operands)


@LOOP.py_impl(ProxyTorchDispatchMode)
def _trace(
    mode: Any, body: Body, count: Count, going: torch.Tensor | None, carried: Tensors, operands: Operands
) -> Tensors:
    graphs: list[GraphModule] = []

    def traced(*given: object) -> Sequence[torch.Tensor]:
        graphs.append(_reenter_make_fx(body)(*given))
        return [node.meta["val"] for node in _outputs(graphs[-1])]

    fake = _fake_mode(carried, operands)
    with disable_proxy_modes_tracing(), _own_sizes(fake):
        inside = _steady(traced, carried, operands)
    _, name = _unique_graph_id(mode, "loop_body")
    mode.tracer.root.register_module(name, graphs[-1])
    arguments = tree_map(mode.tracer.unwrap_proxy, (graphs[-1], count, going, carried, operands))
    proxy = mode.tracer.create_proxy("call_function", LOOP, arguments, {})
    results = _outside(fake, inside, count if going is None else None, carried, operands)
    tracked: Tensors = track_tensor_tree(results, proxy, constant=None, tracer=mode.tracer)
    return tracked


@LOOP.py_functionalize_impl
def _functionalize(
    context: Any, body: Body, count: Count, going: torch.Tensor | None, carried: Tensors, operands: Operands
) -> Tensors:
    given = context.unwrap_tensors((count, going, carried, operands))
    with context.redispatch_to_next():
        wrapped: Tensors = context.wrap_tensors(LOOP(context.functionalize(body), *given))
        return wrapped


LOOP.py_impl(DispatchKey.Autograd)(autograd_not_implemented(LOOP, deferred_error=True))


def _steady(body: Body, carried: Tensors, operands: Operands) -> Tensors:
    """What a body gives in any iteration, without the condition, its sizes those of the inside.

    There a size of what is carried is the one before the loop if the body keeps it, else a symbol of its own.
    """
    mode = _fake_mode(carried, operands)
    number = torch.empty((), dtype=torch.int64)
    shapes: list[list[Size]] = [list(tensor.shape) for tensor in carried]
    open_axes: set[tuple[int, int]] = set()
    while True:
        inside = tuple(tensor.new_empty(shape) for tensor, shape in zip(carried, shapes, strict=True))
        _, *results = body(number, *inside, *operands)
        changed = set(_changed_axes(inside, results)) - open_axes
        if not changed:
            return tuple(results)
        open_axes |= changed
        for position, axis in changed:
            shapes[position][axis] = _new_size(mode)


def _outside(mode: FakeTensorMode, inside: Tensors, count: Count, carried: Tensors, operands: Operands) -> Tensors:
    """The loop's own results, `count` rows unless that is not known: a size that only the inside has is a new one."""
    given = _symbols(carried) | _symbols(operands)

    def size(found: Size) -> Size:
        return found if _expression(found).free_symbols <= given else _new_size(mode)

    shapes = [[*map(size, tensor.shape)] for tensor in inside]
    if len(inside) > len(carried):
        rows = count if isinstance(count, int | torch.SymInt) else _new_size(mode)
        shapes[len(carried) :] = [[rows, *shape] for shape in shapes[len(carried) :]]
    return tuple(tensor.new_empty(shape) for tensor, shape in zip(inside, shapes, strict=True))


def _outputs(graph: GraphModule) -> Sequence[Node]:
    output = next(iter(reversed(graph.graph.nodes)))
    return tuple(output.args[0])


def _changed_axes(before: Sequence[torch.Tensor], after: Sequence[torch.Tensor]) -> Iterator[tuple[int, int]]:
    for position, (old, new) in enumerate(zip(before, after, strict=False)):
        if old.dtype != new.dtype or old.dim() != new.dim():
            raise ValueError(f"a loop carries {_described(old)} into its body, and {_described(new)} out of it")
        for axis, (one, other) in enumerate(zip(old.shape, new.shape, strict=True)):
            if _expression(one) != _expression(other):
                yield position, axis


def _described(tensor: torch.Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}"


def _fake_mode(*values: object) -> FakeTensorMode:
    mode = torch._guards.detect_fake_mode(values)
    assert mode is not None
    return mode


def _new_size(mode: FakeTensorMode) -> torch.SymInt:
    assert mode.shape_env is not None
    size: torch.SymInt = mode.shape_env.create_unbacked_symint()
    _check(size >= 0)
    return size


def _own_sizes(mode: FakeTensorMode) -> contextlib.AbstractContextManager[None]:
    """Where symbols are made that nobody outside ever sees: torch wants to find others in an operator's results."""
    assert mode.shape_env is not None
    ignoring: contextlib.AbstractContextManager[None] = mode.shape_env.ignore_fresh_unbacked_symbols()
    return ignoring


def _symbols(values: Sequence[torch.Tensor | Size]) -> set[sympy.Symbol]:
    sizes = [size for value in values for size in (value.shape if isinstance(value, torch.Tensor) else (value,))]
    return {symbol for size in sizes for symbol in _expression(size).free_symbols}


def _expression(size: Size) -> sympy.Expr:
    return size.node.expr if isinstance(size, torch.SymInt) else sympy.Integer(size)
