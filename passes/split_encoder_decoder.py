"""Split a decoder's graph in two: what its tokens do not change is computed once, in a function of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch.fx import Node

from artifacts.errors import PassError, Problem
from artifacts.schedule import Decode
from artifacts.spec import Signature, TensorSpec
from passes.bodies import dims
from passes.contract import Pass, Rewrite
from passes.dependence import Dependence, needed, result_of, smallest_form
from passes.graph_builder import GraphBuilder, NoSizeError, values_of
from passes.program import Function, Model, Program
from passes.torch_dtypes import logical_dtype

MEMORY = "memory"
"""The encoder's outputs are called memory_0, memory_1 and so on, in the order in which the step uses them."""


@dataclass(frozen=True)
class SplitEncoderDecoder(Pass):
    """Decode(encoder=None)  ->  Decode(encoder=NAME.encoder, step=NAME.step).

    What depends neither on the tokens' values nor on their number goes to the encoder: the keys and values of
    cross-attention too. What depends on weights and sizes alone stays where it is used. A tensor that only repeats
    a smaller one is repeated in the step, and what a caller gives is given to the step directly.
    """

    name: ClassVar[str] = "split-encoder-decoder"

    def rewrite(self, program: Program) -> Rewrite:
        functions = dict(program.functions)
        models: dict[str, Model] = {}
        notes: list[str] = []
        for name, model in program.models.items():
            schedule = model.schedule
            if isinstance(schedule, Decode) and schedule.encoder is None and schedule.state != "cached":
                found = _split(program.functions[schedule.step], schedule)
                if found is not None:
                    del functions[schedule.step]
                    functions |= {part.name: part for part in found}
                    encoder, step = found
                    schedule = schedule.model_copy(update={"encoder": encoder.name, "step": step.name})
                    notes.append(_note(name, encoder, step))
            models[name] = replace(model, schedule=schedule)
        return Rewrite(Program(functions, models, program.weights), tuple(notes))


def _note(model: str, encoder: Function, step: Function) -> str:
    once, each = (sum(1 for node in part.computations if values_of(node)) for part in (encoder, step))
    return f"{model}: nodes computed once: {once}, in every step: {each}"


def _split(function: Function, schedule: Decode) -> tuple[Function, Function] | None:
    """The encoder and the step, or None if everything depends on the tokens. Raises PassError."""
    dependence = Dependence(function, schedule.tokens)
    logits = result_of(function, schedule.logits)
    once = {n for n in function.computations if n in dependence.on_caller and n not in dependence.on_time}
    handed: dict[Node, None] = {}
    seen: set[Node] = set()
    waiting = [logits]
    while waiting:
        node = waiting.pop()
        if node in seen or node.op == "placeholder":
            continue
        seen.add(node)
        if node in once and isinstance(node.meta["val"], torch.Tensor) and smallest_form(node, once) is node:
            handed[node] = None
            continue
        waiting += [n for n in node.all_input_nodes if values_of(n)]
    if not handed:
        return None
    order = {node: number for number, node in enumerate(function.graph.nodes)}
    memory = {node: f"{MEMORY}_{i}" for i, node in enumerate(sorted(handed, key=order.__getitem__))}
    specs = tuple(_spec(name, node, function) for node, name in memory.items())
    try:
        encoder = _part(function, f"{function.name}.encoder", tuple(memory), {}, specs)
        scored = function.signature.output(schedule.logits)
        step = _part(function, f"{function.name}.step", (logits,), memory, (scored,))
    except NoSizeError as error:
        raise PassError(
            Problem(SplitEncoderDecoder.name, function.name, str(error), "use --schedule single, or --cache off")
        ) from error
    return encoder, replace(step, time=function.time)


def _spec(name: str, node: Node, function: Function) -> TensorSpec:
    value = node.meta["val"]
    return TensorSpec(name=name, dtype=logical_dtype(value.dtype), shape=dims(value, function.symbols))


def _part(
    function: Function,
    name: str,
    results: Sequence[Node],
    given: Mapping[Node, str],
    outputs: tuple[TensorSpec, ...],
) -> Function:
    """A function that computes `results` and what they need, where `given` come in under their names."""

    def operands(node: Node) -> list[Node]:
        return [] if node in given else [n for n in node.all_input_nodes if values_of(n)]

    wanted = needed(results, operands)
    builder = GraphBuilder(function)
    new = {n: builder.placeholder(n.name, n.meta["val"], weight=True) for n in function.weight_nodes if n in wanted}
    inputs = []
    for node, spec in zip(function.input_nodes, function.signature.inputs, strict=True):
        if node in wanted:
            new[node] = builder.placeholder(node.name, node.meta["val"])
            inputs.append(spec)
    for node, memory in given.items():
        new[node] = builder.placeholder(memory, node.meta["val"])
        inputs.append(_spec(memory, node, function))
    for node in function.computations:
        if node in wanted and node not in new:
            new[node] = builder.copy(node, new)
    signature = Signature(inputs=tuple(inputs), outputs=outputs)
    return builder.function(function, name, signature, [new[node] for node in results])
