"""Let an encoder give its keys as it gives its values: rows before columns, as a kernel of attention takes them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch.fx import Node

from artifacts.schedule import Decode
from artifacts.spec import Signature, TensorSpec
from passes.bodies import copied_graph, rewritten
from passes.contract import Pass, Rewrite
from passes.program import Function, Program
from passes.turns import unturned

_aten = torch.ops.aten

_BETWEEN = (_aten.mul.Tensor, _aten.div.Tensor, _aten.add.Tensor, _aten.where.self, _aten.to.dtype)
"""What stands between a product of queries and keys, and the softmax."""

_TURN = [0, 1, 3, 2]


@dataclass(frozen=True)
class TurnMemory(Pass):
    """encoder -> keys [batch, heads, size, rows]  ->  encoder -> keys [batch, heads, rows, size], turned in the step.

    Exporters turn keys before they multiply with them, and what depends on the encoder alone is the encoder's. Turned
    back are those that every step uses in products that become the weights of a softmax, and in nothing else. A step
    that computes all rows attends in products of its own, so only those with a cache are looked at.
    """

    name: ClassVar[str] = "turn-memory"

    def rewrite(self, program: Program) -> Rewrite:
        functions, notes = dict(program.functions), []
        for name, model in program.models.items():
            schedule = model.schedule
            if not isinstance(schedule, Decode) or schedule.encoder is None or schedule.state != "cached":
                continue
            steps = [functions[step] for step in schedule.decoders]
            started = {slot.init.removeprefix("encoder:") for slot in schedule.slots}
            keys = _keys(functions[schedule.encoder], steps) - started
            if keys:
                functions[schedule.encoder] = _giving(functions[schedule.encoder], keys)
                functions |= {step.name: _taking(step, keys) for step in steps}
                notes.append(f"{name}: keys of the encoder turned: {len(keys)}")
        return Rewrite(program.with_functions(functions), tuple(notes))


def _keys(encoder: Function, steps: Collection[Function]) -> set[str]:
    """Outputs of the encoder that the steps take as keys, and nobody as anything else."""
    taken = [_nodes(step) for step in steps]
    return {
        spec.name
        for spec in encoder.signature.outputs
        if len(spec.shape) == 4
        and any(spec.name in nodes for nodes in taken)
        and all(_is_key(nodes[spec.name]) for nodes in taken if spec.name in nodes)
    }


def _nodes(function: Function) -> dict[str, Node]:
    return {spec.name: n for n, spec in zip(function.input_nodes, function.signature.inputs, strict=True)}


def _is_key(node: Node) -> bool:
    """True if the node is the right factor of products that give scores, and nothing else."""
    return bool(node.users) and all(
        user.target is _aten.matmul.default and user.args[1] is node and user.args[0] is not node and _is_score(user)
        for user in node.users
    )


def _is_score(node: Node) -> bool:
    """True for a product of matrices of rank 4 that is scaled and biased on its way to a softmax."""
    if not isinstance(node.meta["val"], torch.Tensor) or node.meta["val"].dim() != 4:
        return False
    while len(node.users) == 1:
        (node,) = node.users
        if node.target not in _BETWEEN:
            return node.target is _aten.softmax.int
    return False


def _giving(encoder: Function, keys: Collection[str]) -> Function:
    """The encoder with those outputs turned."""
    graph, _ = copied_graph(encoder.body)
    output = next(iter(reversed(graph.nodes)))
    results = []
    for node, spec in zip(output.args[0], encoder.signature.outputs, strict=True):
        if spec.name not in keys:
            results.append(node)
            continue
        base, order = unturned(node)
        with graph.inserting_before(output):
            turned = graph.call_function(_aten.permute.default, (base, [order[axis] for axis in _TURN]))
        turned.meta["val"] = _fake_turn(node)
        results.append(turned)
    output.args = (tuple(results),)
    outputs = tuple(_turned(spec) if spec.name in keys else spec for spec in encoder.signature.outputs)
    changed = replace(encoder, signature=Signature(inputs=encoder.signature.inputs, outputs=outputs))
    return rewritten(changed, graph, encoder.weights, encoder.sources)


def _taking(step: Function, keys: Collection[str]) -> Function:
    """The step that takes them so, and turns them back."""
    graph, new = copied_graph(step.body)
    given = {name: new[node] for name, node in _nodes(step).items() if name in keys}
    last = next(node for node in graph.nodes if node.op != "placeholder")
    for node in given.values():
        before = node.meta["val"]
        with graph.inserting_before(last):
            back = graph.call_function(_aten.permute.default, (node, _TURN))
        for user in [user for user in node.users if user is not back]:
            user.replace_input_with(node, back)
        node.meta = {**node.meta, "val": _fake_turn(node)}
        back.meta["val"] = before
    inputs = tuple(_turned(spec) if spec.name in keys else spec for spec in step.signature.inputs)
    changed = replace(step, signature=Signature(inputs=inputs, outputs=step.signature.outputs))
    return rewritten(changed, graph, step.weights, step.sources)


def _turned(spec: TensorSpec) -> TensorSpec:
    return spec.model_copy(update={"shape": tuple(spec.shape[axis] for axis in _TURN)})


def _fake_turn(node: Node) -> torch.Tensor:
    value = node.meta["val"]
    with value.fake_mode:
        turned: torch.Tensor = torch.empty([value.shape[axis] for axis in _TURN], dtype=value.dtype)
    return turned
