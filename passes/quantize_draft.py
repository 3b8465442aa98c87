"""Let a decode guess its tokens with a step in 8 bits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from artifacts.names import free_name
from artifacts.schedule import Decode
from passes.contract import Pass, Rewrite
from passes.program import Program
from passes.quantize_weights import QuantizeWeights


@dataclass(frozen=True)
class QuantizeDraft(Pass):
    """Decode(draft: the step itself)  ->  Decode(draft: the step with its matrices in 8 bits).

    What a guess costs is reading the step's weights, a quarter of the bytes then. A guess decides nothing but how many
    tokens a window gives at once, so the answers stay those of the step. Tables stay as they are: a look-up reads one
    row. Matrices of fewer than `least` elements stay as well, and `block` is how many weights have one scale.
    """

    name: ClassVar[str] = "quantize-draft"
    block: int = 256
    least: int = 4096

    def rewrite(self, program: Program) -> Rewrite:
        notes: list[str] = []
        for name, model in program.models.items():
            schedule = model.schedule
            if not isinstance(schedule, Decode) or schedule.draft is None or schedule.draft.step != schedule.step:
                continue
            step = program.functions[schedule.step]
            draft = replace(step, name=free_name(f"{step.name}.draft", set(program.functions)))
            alone = replace(program, functions={draft.name: draft}, models={})
            quantize = QuantizeWeights(bits=8, rounds=True, block=self.block, least=self.least, products_only=True)
            found = quantize.rewrite(alone)
            changed = schedule.model_copy(update={"draft": schedule.draft.model_copy(update={"step": draft.name})})
            program = replace(
                program,
                functions={**program.functions, **found.program.functions},
                models={**program.models, name: replace(model, schedule=changed)},
                weights=found.program.weights,
            )
            notes += [f"{name}: its draft has {note}" for note in found.notes]
        return Rewrite(program, tuple(notes))
