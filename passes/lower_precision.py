"""Compute in 16 bits where that is safe, and keep the rest in float32."""

from __future__ import annotations

import operator
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch.fx import Node

from artifacts.dtype import DType
from artifacts.spec import Signature, TensorSpec
from artifacts.tolerances import TOLERANCES, Tolerance
from artifacts.weights import WeightStore
from passes.bodies import edited
from passes.borders import Border, borders
from passes.contract import Rewrite
from passes.low_types import LOOKUPS, MOVES, PRODUCTS, may_be_low
from passes.narrowing import Narrowing, without_idle_casts
from passes.precision import PrecisionPass, kept_of
from passes.program import Function, Program
from passes.torch_dtypes import torch_dtype_of
from passes.value_ranges import Ranges, observed_ranges

SMALL_BYTES = 1024
"""A weight of up to so many bytes may be stored in both types."""


@dataclass(frozen=True)
class LowerPrecision(PrecisionPass):
    """float32  ->  float16 or bfloat16, except where `low_types.py` or the values of the samples say otherwise.

    Weights are stored in the type that they are used in, once. A weight with a user that stays float32 stays so, and
    with it everything else that reads it: rounding it would cost the user that was kept for its precision, a cast at
    run time as much as the copy that it makes. What an encoder hands to a step, and a step to the next one, travels
    in 16 bits where its makers or its users are of 16 bits; what the caller gives and gets stays as it is.
    """

    name: ClassVar[str] = "lower-precision"
    dtype: Literal["float16", "bfloat16"] = "float16"

    @property
    def tolerance(self) -> Tolerance:
        return TOLERANCES[DType(self.dtype)]

    def candidates(self, program: Program) -> tuple[str, ...]:
        plan = _Plan.of(_without_idle_casts(program), torch_dtype_of(DType(self.dtype)))
        return tuple(
            f"{function}/{node.name}"
            for function, nodes in plan.low.items()
            for node in plan.program.functions[function].computations
            if node in nodes and _rounds(plan.program.functions[function], node)
        )

    def rewrite(self, program: Program) -> Rewrite:
        plan = _Plan.of(_without_idle_casts(program), torch_dtype_of(DType(self.dtype)), self.keep)
        store = program.weights
        functions: dict[str, Function] = {}
        notes: list[str] = []
        for name, function in plan.program.functions.items():
            if plan.low[name] or plan.ports[name]:
                functions[name], store = _narrowed(plan, function, store)
                computed = sum(_rounds(function, node) for node in plan.low[name])
                notes.append(f"{name}: nodes that compute in {self.dtype}: {computed}")
                notes += [f"{name}: {node} stays float32: it {reason}" for node, reason in plan.misfits[name].items()]
        return Rewrite(program.with_functions(functions, store), tuple(notes))


def _without_idle_casts(program: Program) -> Program:
    return program.with_functions({name: without_idle_casts(function) for name, function in program.functions.items()})


@dataclass(frozen=True, eq=False)
class _Plan:
    """Which nodes of each function become low, and through which places of its signature low values go.

    `misfits` is what the samples say against nodes that could be low.
    """

    program: Program
    dtype: torch.dtype
    low: dict[str, set[Node]]
    ports: dict[str, set[tuple[bool, int]]]
    misfits: dict[str, dict[str, str]]

    @classmethod
    def of(cls, program: Program, dtype: torch.dtype, keep: tuple[str, ...] = ()) -> _Plan:
        ranges = observed_ranges(program)
        plan = cls(program, dtype, {}, defaultdict(set), {})
        for name, function in program.functions.items():
            kept = kept_of(keep, name)
            may = [node for node in may_be_low(function) if node.name not in kept]
            reasons = {node: _misfit(name, node, ranges, dtype) for node in may}
            plan.low[name] = {node for node in may if not reasons[node]}
            plan.misfits[name] = {node.name: reason for node, reason in reasons.items() if reason}
        before = -1
        while before != (before := sum(map(len, plan.low.values()))):
            for name, function in program.functions.items():
                plan.low[name] = _worthwhile(function, plan.low[name])
            plan._drop_users_of_wide_weights()
        for border in borders(program):
            if plan._travels_low(border, ranges):
                for port, _ in border.ports:
                    plan.ports[port.function].add((port.is_input, port.place))
        return plan

    def _drop_users_of_wide_weights(self) -> None:
        """Keep what reads a weight that something in float32 reads."""
        wide = Counter(
            function.weights[weight.name].digest
            for name, function in self.program.functions.items()
            for weight in function.weight_nodes
            for user in weight.users
            if user not in self.low[name]
        )
        for name, function in self.program.functions.items():
            for weight in function.weight_nodes:
                ref = function.weights[weight.name]
                if ref.nbytes > SMALL_BYTES and wide[ref.digest]:
                    self.low[name] -= set(weight.users)

    def _travels_low(self, border: Border, ranges: Ranges) -> bool:
        if any(spec.dtype != DType.FLOAT32 for _, spec in border.ports):
            return False
        makers, users = set[bool](), set[bool]()
        for port, _ in border.ports:
            function, low = self.program.functions[port.function], self.low[port.function]
            if port.is_input:
                users |= {user in low for user in function.input_nodes[port.place].users if user.op != "output"}
                continue
            result = function.results[port.place]
            assert isinstance(result, Node)
            if ranges.misfit(port.function, result, self.dtype):
                return False
            makers |= {result in low} if result.op != "placeholder" else set()
        return makers == {True} or users == {True}


def _misfit(function: str, node: Node, ranges: Ranges, dtype: torch.dtype) -> str:
    """What the samples say against a node: its own values, or those of what it takes."""
    for source in (node, *node.all_input_nodes):
        value = source.meta.get("val")
        is_wide = isinstance(value, (list, tuple)) or (isinstance(value, torch.Tensor) and value.is_floating_point())
        reason = ranges.misfit(function, source, dtype) if is_wide else ""
        if reason:
            return reason if source is node else f"takes {source.name}, which {reason}"
    return ""


def _worthwhile(function: Function, low: set[Node]) -> set[Node]:
    """Without the nodes that do not hang together with a product or a look-up that is low: casts cost more."""
    low -= {node for node in low if any(user.target is operator.getitem and user not in low for user in node.users)}
    low = {node for node in low if node.target is not operator.getitem or node.all_input_nodes[0] in low}
    low -= {node for node in low if _is_of_weights(function, node) and not set(node.users) <= low}
    kept, waiting = set[Node](), [node for node in low if node.target in PRODUCTS or _is_lookup(function, node)]
    while waiting:
        node = waiting.pop()
        if node not in kept:
            kept.add(node)
            waiting += [other for other in (*node.all_input_nodes, *node.users) if other in low]
    return kept


def _rounds(function: Function, node: Node) -> bool:
    """True for a node that gives values of its own, or rows of a table that is stored for it."""
    return node.target not in MOVES or _is_lookup(function, node)


def _is_lookup(function: Function, node: Node) -> bool:
    return node.target in LOOKUPS and node.all_input_nodes[0].name in function.weights


def _is_of_weights(function: Function, node: Node) -> bool:
    """True for another view of a weight."""
    return node.target in MOVES - LOOKUPS and all(n.name in function.weights for n in node.all_input_nodes)


def _narrowed(plan: _Plan, function: Function, store: WeightStore) -> tuple[Function, WeightStore]:
    """The function with its low nodes in the low type, and casts where values go from one type to the other."""
    low, ports = plan.low[function.name], plan.ports[function.name]
    inputs = {node for place, node in enumerate(function.input_nodes) if (True, place) in ports}
    narrowing = Narrowing(function, store, plan.dtype)
    for node in function.graph.nodes:
        if node.name in function.weights:
            narrowing.weight(node, low)
        elif node in inputs:
            narrowing.retype(node)
        elif node.op == "call_function":
            narrowing.computation(node, node in low)
    narrowing.outputs([(False, place) in ports for place in range(len(function.results))])
    dtype = DType(str(plan.dtype).removeprefix("torch."))
    signature = Signature(
        inputs=tuple(_specs(function.signature.inputs, True, ports, dtype)),
        outputs=tuple(_specs(function.signature.outputs, False, ports, dtype)),
    )
    body = edited(function.body, narrowing.graph)
    changed = replace(function, signature=signature, body=body, weights=narrowing.weights, sources=narrowing.sources)
    return changed, narrowing.store


def _specs(
    specs: Iterable[TensorSpec], are_inputs: bool, ports: set[tuple[bool, int]], dtype: DType
) -> Iterator[TensorSpec]:
    for place, spec in enumerate(specs):
        yield spec.model_copy(update={"dtype": dtype}) if (are_inputs, place) in ports else spec
