"""Derive a key/value cache for a decoder that computes everything again at every step, and a window for drafts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from torch.fx import Node

from artifacts.checks import Tolerances
from artifacts.errors import PassError, Problem
from artifacts.names import free_name
from artifacts.schedule import Decode, Draft, Engine
from passes.contract import Pass, Rewrite
from passes.interpreter import call
from passes.prefix_invariance import first_variant
from passes.program import Function, Model, Program
from passes.step_builder import POSITION, Step, build_step, build_window
from passes.step_forms import NoCacheError
from passes.weight_products import weight_product

LEAST_BYTES = 1 << 22
"""A step that reads fewer bytes finds them in the processor's cache, and guessing takes as long as knowing."""


@dataclass(frozen=True)
class DeriveKvCache(Pass):
    """Decode(state=recompute)  ->  Decode(state=cached): a step takes the last token and what earlier steps kept.

    A decoder for which there is no cache, or whose rows change when tokens are appended, keeps its step, and the
    note says which node stands in the way; with `required` that is an error. Where one engine loops, and a step reads
    at least `least_bytes` of matrices, it gets a window over `draft` + 1 tokens as well; until a pass makes a cheaper
    one, the step is what guesses them.
    """

    name: ClassVar[str] = "derive-kv-cache"
    required: bool = False
    draft: int = 0
    least_bytes: int = LEAST_BYTES

    def rewrite(self, program: Program) -> Rewrite:
        functions: dict[str, Function] = {}
        models: dict[str, Model] = {}
        notes: list[str] = []
        notices: list[str] = []
        problems: list[Problem] = []
        for name, model in program.models.items():
            schedule = model.schedule
            if not isinstance(schedule, Decode) or schedule.state != "recompute":
                continue
            whole = program.functions[schedule.step]
            try:
                step = build_step(whole, schedule.tokens, schedule.logits)
                _prove(program, model, schedule, step)
            except NoCacheError as error:
                reason = f"no cache: {_named(error.node, whole)} {error}"
                notices.append(f"{name}: {reason}; every step computes all positions")
                problems.append(Problem(self.name, name, reason, "use --cache off, or --cache auto"))
                continue
            functions[whole.name] = step.function
            notes.append(f"{name}: slots: {len(step.slots)}")
            cached = _cached(schedule, step)
            if self._drafts(schedule, step.function):
                try:
                    window = build_window(
                        whole,
                        schedule.tokens,
                        schedule.logits,
                        self.draft + 1,
                        free_name(f"{whole.name}.window", set(program.functions)),
                    ).function
                except NoCacheError as error:
                    notices.append(f"{name}: guesses no tokens: {_named(error.node, whole)} {error}")
                else:
                    functions[window.name] = window
                    cached = _drafted(cached, window, self.draft)
                    notes.append(f"{name}: a window of {self.draft + 1} tokens")
            models[name] = replace(model, schedule=cached)
        if self.required:
            PassError.raise_if(problems)
        changed = Program({**program.functions, **functions}, {**program.models, **models}, program.weights)
        return Rewrite(changed, tuple(notes), tuple(notices))

    def _drafts(self, schedule: Decode, step: Function) -> bool:
        return bool(self.draft) and isinstance(schedule.control, Engine) and _matrix_bytes(step) >= self.least_bytes


def _drafted(schedule: Decode, window: Function, count: int) -> Decode:
    draft = Draft(step=schedule.step, window=window.name, count=count)
    return Decode.model_validate(schedule.model_copy(update={"draft": draft}).model_dump())


def _cached(schedule: Decode, step: Step) -> Decode:
    update = {
        "state": "cached",
        "slots": step.slots,
        "position": POSITION if step.takes_position else None,
    }
    return Decode.model_validate(schedule.model_dump() | update)


def _matrix_bytes(step: Function) -> int:
    """The bytes of the matrices that a step multiplies with, each counted once."""
    products = (weight_product(node, step) for node in step.computations)
    return sum({product.matrix.digest: product.matrix.nbytes for product in products if product}.values())


def _prove(program: Program, model: Model, schedule: Decode, step: Step) -> None:
    """Raise NoCacheError if a row that the cache keeps is not what it was when later tokens are there."""
    whole = program.functions[schedule.step]
    memory = () if schedule.encoder is None else program.functions[schedule.encoder].signature.outputs
    given = {f"encoder:{spec.name}" for spec in memory}
    for slot, node in zip(step.slots, step.kept, strict=True):
        if slot.init.startswith("encoder:") and slot.init not in given:
            raise NoCacheError(node, "starts from a state that the caller gives")
    vocabulary = whole.signature.output(schedule.logits).shape[2]
    for sample in model.samples[:1]:
        inputs = dict(sample.inputs)
        if schedule.encoder is not None:
            inputs |= call(program, schedule.encoder, inputs)
        moved = first_variant(
            whole,
            program.weights,
            inputs,
            schedule.tokens,
            vocabulary if isinstance(vocabulary, int) else 2,
            step.kept,
            schedule.generation.max_new_tokens,
            Tolerances(),
        )
        if moved is not None:
            raise NoCacheError(moved, "changes at earlier positions when tokens are appended")


def _named(node: Node, function: Function) -> str:
    source = function.sources.get(node.name)
    return f"node {node.name!r}" + (f" (source node {source!r})" if source else "")
