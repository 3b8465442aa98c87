"""Give a decoder's cache one length, for a loop on the host around engines of static shapes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from artifacts.errors import PassError, Problem
from artifacts.names import free_name
from artifacts.schedule import CacheSlot, Decode
from artifacts.spec import Signature, TensorSpec
from passes.bounded_places import NoBoundError
from passes.bounded_step import bounded_step
from passes.contract import Pass, Rewrite
from passes.program import Function, Model, Program
from passes.step_builder import POSITION


@dataclass(frozen=True)
class BoundCache(Pass):
    """Decode(state=cached): slots that grow by a row a step  ->  slots with room for the longest decode.

    A step writes its row at its position, which it is given, and what sums or compares rows leaves out those that
    are not there yet. Such a slot has one shape at every step, as the state of a recurrence has, and starts as zeros.
    """

    name: ClassVar[str] = "bound-cache"

    def rewrite(self, program: Program) -> Rewrite:
        functions: dict[str, Function] = {}
        models: dict[str, Model] = {}
        notes: list[str] = []
        problems: list[Problem] = []
        for name, model in program.models.items():
            schedule = model.schedule
            if not isinstance(schedule, Decode) or not any(map(_grows, schedule.slots)):
                continue
            try:
                functions[schedule.step], bounded = _bounded(program.functions[schedule.step], schedule)
            except NoBoundError as error:
                problems.append(Problem(self.name, name, str(error), "use --cache padded, or --schedule unrolled"))
                continue
            models[name] = replace(model, schedule=bounded)
            rows = schedule.generation.max_new_tokens
            notes.append(f"{name}: slots of {rows} rows: {sum(map(_grows, schedule.slots))}")
        PassError.raise_if(problems)
        return Rewrite(
            Program({**program.functions, **functions}, {**program.models, **models}, program.weights), tuple(notes)
        )


def _grows(slot: CacheSlot) -> bool:
    return slot.axis is not None


def _bounded(step: Function, schedule: Decode) -> tuple[Function, Decode]:
    """The step and the schedule with slots of one size. Raises NoBoundError."""
    taken = {spec.name for spec in step.signature.inputs}
    position = schedule.position or free_name(POSITION, taken)
    growing = {slot.input: slot.axis for slot in schedule.slots if slot.axis is not None}
    if schedule.first is not None or any(slot.init != "empty" for slot in schedule.slots if _grows(slot)):
        raise NoBoundError("its cache is not empty before the first step")
    rows = schedule.generation.max_new_tokens
    function = bounded_step(step, growing, position, rows)
    axes = {**growing, **{slot.output: slot.axis for slot in schedule.slots if slot.axis is not None}}

    def sized(spec: TensorSpec) -> TensorSpec:
        axis = axes.get(spec.name)
        shape = tuple(rows if number == axis else dim for number, dim in enumerate(spec.shape))
        return spec.model_copy(update={"shape": shape})

    # The body has the position last, unless the step had it before.
    added = () if schedule.position is not None else (function.signature.inputs[-1],)
    signature = Signature(
        inputs=(*map(sized, step.signature.inputs), *added), outputs=tuple(map(sized, step.signature.outputs))
    )
    slots = tuple(
        slot.model_copy(update={"axis": None, "init": "zeros"}) if _grows(slot) else slot for slot in schedule.slots
    )
    bounded = schedule.model_copy(update={"slots": slots, "position": position})
    return replace(function, signature=signature), Decode.model_validate(bounded.model_dump())
