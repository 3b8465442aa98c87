"""Give a greedy decode a head in two stages: a quarter of the bytes, and the same tokens, by proof."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch.fx import Node

from artifacts.dtype import DType
from artifacts.names import free_name
from artifacts.schedule import Decode, Host
from artifacts.spec import Signature, TensorSpec
from artifacts.weights import WeightRef
from passes.bodies import copied_graph, dims, edited
from passes.contract import Pass, Rewrite
from passes.dependence import result_of
from passes.dialect import TWO_STAGE_CHOICE
from passes.graph_builder import GraphBuilder
from passes.program import Function, Program
from passes.quantized_rows import quantized_rows
from passes.torch_dtypes import torch_dtype_of
from passes.weight_products import WeightProduct, weight_product

_aten = torch.ops.aten

_VIEWS = (_aten.view.default, _aten.reshape.default, _aten.unsqueeze.default, _aten.squeeze.dim)

HIDDEN, ENDED, TOKEN, FULL = "hidden", "ended", "token", "full_products"
"""What a step gives besides, and what the function that chooses takes and gives."""

LEAST_BYTES = 1 << 22
"""A head of fewer bytes stays in the processor's cache, and two stages take more operators than they save."""

FEWEST, MOST = 16, 64
_TOKENS_A_CANDIDATE = 500
"""How many candidates there are. More of them cost more, and fewer are more often not enough to prove the best."""


@dataclass(frozen=True)
class TwoStageHead(Pass):
    """logits = hidden rows^T + bias, argmax  ->  `unspool::two_stage_choice` in a function of its own.

    The step gives its hidden state as well; the scores stay, for whoever wants them. The rows of the head are stored
    as the embedding's are, [tokens, size], so that where both are one matrix there is one copy. Only a loop inside
    an engine chooses tokens there, and only a step with a cache has one row of scores: others stay as they are.
    """

    name: ClassVar[str] = "two-stage-head"
    least_bytes: int = LEAST_BYTES

    def rewrite(self, program: Program) -> Rewrite:
        notes: list[str] = []
        for name, model in program.models.items():
            schedule = model.schedule
            if not isinstance(schedule, Decode) or isinstance(schedule.control, Host) or schedule.choice is not None:
                continue
            if schedule.state != "cached":
                continue
            heads = [_head(program.functions[step], schedule.logits) for step in schedule.choosers]
            if None in heads or len({head.weights for head in heads if head}) > 1:
                notes.append(f"{name}: its scores are no product with one matrix of weights")
            elif heads[-1] is not None and heads[-1].product.matrix.nbytes >= self.least_bytes:
                try:
                    program = _with_choice(program, name, schedule, [head for head in heads if head])
                except ValueError as error:
                    notes.append(f"{name}: its head stays whole: {error}")
                    continue
                notes.append(f"{name}: its head of {heads[-1].product.matrix.nbytes} bytes chooses in two stages")
        return Rewrite(program, tuple(notes))


@dataclass(frozen=True, eq=False)
class _Head:
    """The product that gives the scores of a step, of a hidden state [batch, size] or [batch, tokens, size]."""

    product: WeightProduct
    bias: WeightRef | None

    @property
    def weights(self) -> tuple[WeightRef, bool, WeightRef | None]:
        """What the scores of every position have to be made with."""
        return self.product.matrix, self.product.is_turned, self.bias


def _head(function: Function, logits: str) -> _Head | None:
    """The product behind the scores, under views and at most one bias; None if there is none in float32."""
    node, bias = result_of(function, logits), None
    tokens = node.meta["val"].shape[-1]
    while node.target in (*_VIEWS, _aten.add.Tensor):
        if node.target in _VIEWS:
            node = node.all_input_nodes[0]
        else:
            found = _biased(node, function)
            if found is None or bias is not None:
                return None
            node, bias = found
        if not node.meta["val"].dim() or node.meta["val"].shape[-1] != tokens:
            return None
    product = weight_product(node, function)
    if product is None or (product.bias is not None and bias is not None):
        return None
    summand = product.bias or bias
    ref = None if summand is None else function.weights.get(summand.name)
    if summand is not None and ref is None:
        return None
    fits = product.rows == tokens > 2 and product.matrix.dtype == DType.FLOAT32
    fits = fits and (ref is None or (ref.shape[-1:] == (tokens,) and ref.size == tokens and ref.dtype == DType.FLOAT32))
    return _Head(product, ref) if fits and _is_row(product.operand) else None


def _biased(node: Node, function: Function) -> tuple[Node, Node] | None:
    """The summand of an addition that is computed, and the one that is a weight."""
    for value, bias in (node.args[:2], node.args[1::-1]):
        if isinstance(value, Node) and isinstance(bias, Node) and bias.name in function.weights and not node.kwargs:
            return value, bias
    return None


def _is_row(hidden: Node) -> bool:
    shape = hidden.meta["val"].shape
    return len(shape) == 2 or (len(shape) == 3 and isinstance(shape[1], int))


def _with_choice(program: Program, name: str, schedule: Decode, heads: Sequence[_Head]) -> Program:
    """The program with the hidden state among the results of the model's steps, and the function that chooses.

    Raises ValueError for weights that have no bound.
    """
    head, store = heads[-1], program.weights
    rows, tokens = head.product.matrix, head.product.rows
    matrix = store.array(rows)
    if not head.product.is_turned:
        store, rows = store.with_tensor(np.ascontiguousarray(matrix.T), DType.FLOAT32)
    bias = np.zeros(tokens, np.float32) if head.bias is None else store.array(head.bias).reshape(-1).copy()
    bias[schedule.generation.suppressed_of(tokens)] = -np.inf
    arrays = {"bias": bias} if bias.any() else {}
    arrays |= dataclasses.asdict(quantized_rows(store.array(rows), bias))
    store, refs = store.with_tensors((array, None) for array in arrays.values())
    weights = {"rows": rows, **dict(zip(arrays, refs, strict=True))}
    signatures = [program.functions[step].signature for step in schedule.choosers]
    taken = {spec.name for signature in signatures for spec in (*signature.inputs, *signature.outputs)}
    hidden = free_name(HIDDEN, taken)
    functions = {
        step: _with_hidden(program.functions[step], found, hidden, rows)
        for step, found in zip(schedule.choosers, heads, strict=True)
    }
    candidates = min(max(tokens // _TOKENS_A_CANDIDATE, FEWEST), MOST, tokens - 1)
    choice = _choice(
        functions[schedule.step], free_name(f"{name}.choice", set(program.functions)), hidden, weights, candidates
    )
    changed = schedule.model_copy(update={"choice": choice.name})
    return Program(
        {**program.functions, **functions, choice.name: choice},
        {**program.models, name: replace(program.models[name], schedule=changed)},
        store,
    )


def _with_hidden(function: Function, head: _Head, name: str, rows: WeightRef) -> Function:
    """The step with its hidden state [batch, 1, size] as one more result, and its scores made with `rows`."""
    graph, new = copied_graph(function.body)
    product, hidden = new[head.product.node], new[head.product.operand]
    weights = dict(function.weights)

    def call(target: Any, *args: Any) -> Node:
        node = graph.call_function(target, args)
        with product.meta["val"].fake_mode:
            node.meta["val"] = target(*torch.fx.map_arg(args, lambda n: n.meta["val"]))
        return node

    if not head.product.is_turned:
        with graph.inserting_before(next(iter(graph.nodes))):
            stored = graph.placeholder("head_rows")
        with product.meta["val"].fake_mode:
            stored.meta = {"val": torch.empty(rows.shape), "weight": True}
        weights[stored.name] = rows
        matrix = stored
        if product.target is not _aten.linear.default:
            with graph.inserting_before(product):
                matrix = call(_aten.permute.default, stored, [1, 0])
        product.update_arg(head.product.matrix_place, matrix)
        graph.eliminate_dead_code()
    output = next(iter(reversed(graph.nodes)))
    if hidden.meta["val"].dim() == 2:
        with graph.inserting_before(output):
            hidden = call(_aten.unsqueeze.default, hidden, 1)
    output.args = ((*output.args[0], hidden),)
    for node in [n for n in graph.nodes if n.name in weights and not n.users]:
        graph.erase_node(node)
    names = {node.name for node in graph.nodes}
    shape = dims(hidden.meta["val"], function.symbols)
    outputs = (*function.signature.outputs, TensorSpec(name=name, dtype=DType.FLOAT32, shape=shape))
    return replace(
        function,
        signature=Signature(inputs=function.signature.inputs, outputs=outputs),
        body=edited(function.body, graph),
        weights={weight: ref for weight, ref in weights.items() if weight in names},
        sources={node: source for node, source in function.sources.items() if node in names},
    )


def _choice(step: Function, name: str, hidden: str, weights: Mapping[str, WeightRef], candidates: int) -> Function:
    """The function that chooses: hidden states and which rows have ended in; tokens, and whether by all scores, out."""
    builder = GraphBuilder(step)
    held = {
        weight: builder.placeholder(weight, builder.empty(ref.shape, torch_dtype_of(ref.dtype)), weight=True)
        for weight, ref in weights.items()
    }
    (result,) = step.results[-1:]
    assert isinstance(result, Node)
    value = result.meta["val"]
    given = builder.placeholder(HIDDEN, value)
    ended = builder.placeholder(ENDED, builder.empty((value.shape[0], 1), torch.bool))
    operands = (held.get(argument.name) for argument in TWO_STAGE_CHOICE._schema.arguments[2:-1])
    chosen = builder.call(TWO_STAGE_CHOICE, given, ended, *operands, candidates)
    results = [builder.call(operator.getitem, chosen, number) for number in range(2)]
    spec = step.signature.output(hidden)
    rows = spec.shape[0]
    signature = Signature(
        inputs=(spec, TensorSpec(name=ENDED, dtype=DType.BOOL, shape=(rows, 1))),
        outputs=(
            TensorSpec(name=TOKEN, dtype=DType.INT64, shape=(rows, 1)),
            TensorSpec(name=FULL, dtype=DType.INT64, shape=()),
        ),
    )
    return replace(builder.function(step, name, signature, results), weights=weights)
