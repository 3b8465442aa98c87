"""Build the step of a decoder: the last tokens and a cache in, the last rows of the scores and the cache out.

step_forms.py says in which forms each value is wanted; here they are made. A value that is kept becomes a slot that
each step adds a row to, and a recurrence goes on from its last state: a slot of fixed size. What depends on the number
of tokens alone (a mask, positions) is computed in the form that is wanted. Whether rows that were kept stay what they
are is not seen here: see prefix_invariance.py. A step takes one token, or several that follow each other: a window.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sympy
import torch
from torch.fx import Node
from torch.fx.node import Argument

from artifacts.dtype import DType
from artifacts.schedule import CacheSlot
from artifacts.spec import Signature, TensorSpec
from passes.axis_maps import argument_of
from passes.bodies import dims
from passes.dialect.nodes import recurrence
from passes.graph_builder import GraphBuilder, NoSizeError, expression_of, values_of
from passes.program import Function
from passes.step_forms import Form, NoCacheError, StepForms, is_counted, storage_order
from passes.torch_dtypes import logical_dtype

_aten = torch.ops.aten

POSITION = "position"
_COUNT = sympy.Symbol(POSITION, integer=True, nonnegative=True)
"""Stands for the number of tokens before this one where no slot tells it."""

_SHAPES: Mapping[Any, int] = {
    _aten.reshape.default: 1,
    _aten.view.default: 1,
    _aten.expand.default: 1,
    _aten.repeat.default: 1,
    _aten.full.default: 0,
    _aten.zeros.default: 0,
    _aten.ones.default: 0,
}
"""Which argument is the shape of the result, or how often an axis is repeated."""


@dataclass(frozen=True, eq=False)
class Step:
    """The function of one step, its slots, and for each of them the node of the whole decoder that it keeps."""

    function: Function
    slots: tuple[CacheSlot, ...]
    kept: tuple[Node, ...]
    takes_position: bool


def build_step(function: Function, tokens: str, logits: str) -> Step:
    """The step of a decoder. Raises NoCacheError naming the node for which there is none."""
    return _StepBuilder(function, tokens, logits, 1, function.name).build()


def build_window(function: Function, tokens: str, logits: str, count: int, name: str) -> Step:
    """A step of that name that takes `count` tokens, [batch, count], and gives the scores after each of them.

    Raises NoCacheError naming the node for which there is none.
    """
    return _StepBuilder(function, tokens, logits, count, name).build()


class _StepBuilder:
    def __init__(self, function: Function, tokens: str, logits: str, count: int, name: str) -> None:
        self.function = function
        self.count = count
        self.name = name
        self.forms = StepForms(function, tokens, logits)
        self.builder = GraphBuilder(function)
        self.scored = function.signature.output(logits)
        self.made: dict[tuple[Node, Form], Any] = {}
        self.inputs: list[TensorSpec] = []
        self.slots: list[CacheSlot] = []
        self.kept: list[Node] = []
        self.pasts: dict[Node, list[Node]] = {}
        self.presents: list[Node] = []

    def build(self) -> Step:
        wanted = self.forms.wanted
        for node in self.function.weight_nodes:
            if node in wanted:
                self.made[node, ()] = self.builder.placeholder(node.name, node.meta["val"], weight=True)
        for node, spec in zip(self.function.input_nodes, self.function.signature.inputs, strict=True):
            if node in wanted:
                self._take(node, spec)
        keeps = any(self.forms.is_kept(node, form) for node in wanted for form in wanted[node])
        self.past = self.builder.symbol("past") if keeps else None
        self.before = _COUNT if self.past is None else expression_of(self.past)
        for node in self.function.graph.nodes:
            self._open_slots(node)
        self.position = self.builder.placeholder(POSITION, self.builder.empty((), torch.int64))
        for node in self.function.graph.nodes:
            for form in sorted(wanted.get(node, ())):  # rows before wholes, which may be made of them
                self.builder.source = self.function.sources.get(node.name)
                try:
                    self._make(node, form)
                except NoCacheError:
                    raise
                except NoSizeError as error:
                    raise NoCacheError(node, f"{error}: no cache counts the tokens") from error
                except (RuntimeError, ValueError) as error:  # torch refuses sizes that do not fit
                    raise NoCacheError(node, f"cannot be computed for one token: {_first_line(error)}") from error
        return self._close()

    def _take(self, node: Node, spec: TensorSpec) -> None:
        value = node.meta["val"]
        form = self.forms.rows(node)
        if node is self.forms.dependence.token_node:
            value = self.builder.empty((value.shape[0], self.count), value.dtype)
            spec = spec.model_copy(update={"shape": (spec.shape[0], self.count)})
        self.made[node, form] = self.builder.placeholder(node.name, value)
        self.inputs.append(spec)

    # Slots

    def _open_slots(self, node: Node) -> None:
        for form in self.forms.wanted.get(node, ()):
            if self.forms.is_kept(node, form):
                batch_axis = self.forms.batch_axis(node)
                assert batch_axis is not None
                value, (axis,) = node.meta["val"], self.forms.axes(node)
                order = storage_order(value.dim(), axis)
                shape = [self.past if a == axis else value.shape[a] for a in order]
                self._open_slot(node, shape, value.dtype, order.index(axis), order.index(batch_axis), "empty")
            elif self.forms.is_carried(node):
                if self.count > 1:
                    raise NoCacheError(node, "keeps its last state, which cannot go back to an earlier token")
                loop = recurrence(node)
                assert loop is not None
                for initial, value in zip(loop.initial, values_of(node)[1:], strict=True):
                    self._open_slot(node, value.shape, value.dtype, None, 1, self._init(node, initial))

    def _open_slot(
        self, node: Node, shape: Any, dtype: torch.dtype, axis: int | None, batch_axis: int, init: str
    ) -> None:
        name, after = f"past_{len(self.slots)}", f"present_{len(self.slots)}"
        past = self.builder.placeholder(name, self.builder.empty(shape, dtype))
        self.inputs.append(self._spec(name, past))
        self.slots.append(CacheSlot(input=name, output=after, axis=axis, batch_axis=batch_axis, init=init))
        self.kept.append(node)
        self.pasts.setdefault(node, []).append(past)

    def _init(self, node: Node, initial: Argument) -> str:
        """What a state is before the first step."""
        if initial is None or (
            isinstance(initial, Node) and initial.target is _aten.full.default and not initial.args[1]
        ):
            return "zeros"
        if isinstance(initial, Node) and initial.op == "placeholder" and initial.name not in self.function.weights:
            specs = zip(self.function.input_nodes, self.function.signature.inputs, strict=True)
            return f"encoder:{next(spec.name for n, spec in specs if n is initial)}"
        raise NoCacheError(node, "starts from a state that is neither zeros nor the encoder's")

    # Values

    def _make(self, node: Node, form: Form) -> None:
        if (node, form) in self.made:
            return
        if self.forms.is_kept(node, form):
            made: Any = self._append(node)
        elif node.target is operator.getitem:
            several = node.all_input_nodes[0]
            made = self.made[several, form or self.forms.rows(several)][node.args[1]]
        elif node not in self.forms.dependence.on_time:
            operands = (n for n in node.all_input_nodes if values_of(n))
            made = self._several(self.builder.copy(node, {n: self.made[n, ()] for n in operands}))
        elif self.forms.is_carried(node):
            made = self._carry(node)
        else:
            made = self._compute(node, form)
        self.made[node, form] = made

    def _append(self, node: Node) -> Node:
        """All rows: those of the slot and the new ones, which is what the slot holds next."""
        (past,) = self.pasts[node]
        row = self.made[node, (False,)]
        (axis,) = self.forms.axes(node)
        order = storage_order(row.meta["val"].dim(), axis)
        is_turned = order != tuple(range(len(order)))
        if is_turned:
            row = self.builder.call(_aten.transpose.int, row, -2, -1)
        present = self.builder.call(_aten.cat.default, [past, row], order.index(axis))
        self.presents.append(present)
        return self.builder.call(_aten.transpose.int, present, -2, -1) if is_turned else present

    def _carry(self, node: Node) -> list[Node]:
        """A recurrence that takes one step from the states in its slots."""
        states = iter(self.pasts[node])
        assert isinstance(node.target, torch._ops.OpOverload)
        arguments = []
        for position, argument in enumerate(node.target._schema.arguments):
            if argument.name.startswith("initial_"):
                arguments.append(next(states))
            else:
                arguments.append(self._argument(node, argument_of(node, position), (False,)))
        results: list[Node] = self._several(self.builder.call(node.target, *arguments))
        self.presents += results[1:]
        return results

    def _compute(self, node: Node, form: Form) -> Any:
        direct = self.forms.direct(node, form)
        cut = [axis for axis in self.forms.position_axes(node) if not direct[self.forms.axes(node).index(axis)]]
        made = self._position(node, cut[0], direct) if cut else self._call(node, direct)
        for axis, whole, asked in zip(self.forms.axes(node), direct, form, strict=True):
            if whole and not asked:
                made = self._last(made, axis)
        return made

    def _call(self, node: Node, form: Form) -> Any:
        """The same operator on operands in the forms that it takes, with sizes of this form."""
        shape = _SHAPES.get(node.target)
        args = [
            self._shape(node, form, argument) if position == shape else self._argument(node, argument, form)
            for position, argument in enumerate(node.args)
        ]
        kwargs = {key: self._argument(node, value, form) for key, value in node.kwargs.items()}
        if node.target is _aten.scaled_dot_product_attention.default and not all(form):
            causal = argument_of(node, 5, False)
            args, kwargs = args[:5], {key: value for key, value in kwargs.items() if key != "is_causal"}
            if causal and self.count > 1:  # the last query sees every key, and those before it do not
                args[3:4] = [self._causal()]
        return self._several(self.builder.call(node.target, *args, **kwargs))

    def _causal(self) -> Node:
        """Which keys each query sees, bool [count, keys]: those up to its own."""
        begin, end = self.builder.size(self.before), self.builder.size(self.before + self.count)
        queries = self.builder.call(_aten.arange.start_step, begin, end)
        keys = self.builder.call(_aten.arange.start_step, 0, end)
        return self.builder.call(_aten.ge.Tensor, self.builder.call(_aten.unsqueeze.default, queries, 1), keys)

    def _argument(self, node: Node, argument: Argument, form: Form) -> Any:
        def find(operand: Node) -> Any:
            if not values_of(operand):
                return self._size(operand.meta["val"], whole=True)
            forms = dict(self.forms.operands(node, form))
            return self.made[operand, forms[operand]]

        return torch.fx.map_arg(argument, find)

    def _shape(self, node: Node, form: Form, sizes: Any) -> list[int | Node]:
        wholes = dict(zip(self.forms.axes(node), form, strict=True))
        return [
            self._size(size.meta["val"], wholes.get(axis, True)) if is_counted(size) else size
            for axis, size in enumerate(sizes)
        ]

    def _size(self, size: torch.SymInt, whole: bool) -> int | Node:
        tokens = self.before + self.count if whole else sympy.Integer(self.count)
        return self.builder.size(self.forms.at(size.node.expr, tokens))

    def _position(self, node: Node, axis: int, form: Form) -> Node:
        """The last rows of a range, or of what is cut out of a table."""
        start = self._start(node)
        after = self.before + self.count
        size = self.forms.at(expression_of(values_of(node)[0].shape[axis]), after)
        at = self.forms.at(start, after) + size - self.count
        table = None
        if node.target is _aten.slice.Tensor:
            operand = node.all_input_nodes[0]
            table = self.made[operand, dict(self.forms.operands(node, form))[operand]]
        if self.past is None:
            index = self.builder.call(_aten.reshape.default, self.position, [1])
            offset = at - _COUNT
            if offset != 0:
                index = self.builder.call(_aten.add.Tensor, index, int(offset))
            return index if table is None else self.builder.call(_aten.index_select.default, table, axis, index)
        begin, end = self.builder.size(at), self.builder.size(at + self.count)
        if table is None:
            return self.builder.call(_aten.arange.start_step, begin, end, dtype=values_of(node)[0].dtype)
        return self.builder.call(_aten.slice.Tensor, table, axis, begin, end)

    @staticmethod
    def _start(node: Node) -> sympy.Expr:
        if node.target is _aten.arange.default:
            return sympy.Integer(0)
        start = argument_of(node, 2 if node.target is _aten.slice.Tensor else 0)
        return expression_of(start.meta["val"] if isinstance(start, Node) else start or 0)

    def _several(self, made: Node) -> Any:
        """A node, or one for each of its results."""
        if isinstance(made.meta["val"], torch.Tensor):
            return made
        return [self.builder.call(operator.getitem, made, i) for i in range(len(made.meta["val"]))]

    def _last(self, made: Any, axis: int) -> Any:
        if isinstance(made, list):
            return [self._last(one, axis) for one in made]
        return self.builder.call(_aten.slice.Tensor, made, axis, -self.count, sys.maxsize)

    # The function

    def _spec(self, name: str, node: Node) -> TensorSpec:
        value = node.meta["val"]
        return TensorSpec(name=name, dtype=logical_dtype(value.dtype), shape=dims(value, self.builder.symbols))

    def _close(self) -> Step:
        scores = self.made[self.forms.result, self.forms.rows(self.forms.result)]
        takes_position = bool(self.position.users)
        if takes_position:
            self.inputs.append(TensorSpec(name=POSITION, dtype=DType.INT64, shape=()))
        else:
            self.builder.graph.erase_node(self.position)
        outputs = [self.scored.model_copy(update={"shape": self._spec("scores", scores).shape})]
        # Slots were opened in the order of the graph, and filled in it.
        outputs += [self._spec(slot.output, node) for slot, node in zip(self.slots, self.presents, strict=True)]
        signature = Signature(inputs=tuple(self.inputs), outputs=tuple(outputs))
        if not self.slots:
            raise NoCacheError(self.forms.result, "depends on no token but the last, so that there is nothing to keep")
        results = [scores, *self.presents]
        function = self.builder.function(self.function, self.name, signature, results)
        return Step(function, tuple(self.slots), tuple(self.kept), takes_position)


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _is_zeros(node: Node) -> bool:
    return node.target is _aten.zeros.default or (node.target is _aten.full.default and bool(node.args[1] == 0))
