"""The loop of a greedy decode in TorchScript, around parts that were traced at one length of tokens.

The text is made of the schedule's numbers and of names that are made here: none comes from a model's file.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from artifacts.decode_inputs import DecodeInputs
from artifacts.schedule import CacheSlot, Decode
from compiler.neuron.trace_job import Role
from compiler.torchscript.parts import quiet


class _Whole(torch.jit.ScriptModule):
    def __init__(self, parts: Mapping[Role, torch.jit.ScriptModule]) -> None:
        super().__init__()
        for role, part in parts.items():
            setattr(self, role, part)


def whole(loop: str, parts: Mapping[Role, torch.jit.ScriptModule]) -> torch.jit.ScriptModule:
    """The loop as a module, around its `step` and, if it has one, its `encoder`."""
    with quiet():
        module = _Whole(parts)
        module.define(loop)
    return module


def loop_source(inputs: DecodeInputs, tensors: Mapping[str, torch.Tensor]) -> str:
    """The loop: it takes the caller's inputs, and gives `tokens` int64 [batch, n] and `lengths` int64 [batch].

    `tensors` are such as the first step is given, by name: tokens at one length or one alone, and slots, which keep
    their shapes. The loop ends when every row has.
    """
    schedule = inputs.schedule
    rules = schedule.generation
    cached, length = schedule.state == "cached", tensors[schedule.tokens].shape[1]
    callers = {spec.name: f"i{number}" for number, spec in enumerate(inputs.callers)}
    made = {spec.name: f"m{number}" for number, spec in enumerate(inputs.encoded)}
    slots = {slot.input: f"s{number}" for number, slot in enumerate(schedule.slots)}
    lines = [
        f"def forward(self, {', '.join(f'{name}: Tensor' for name in callers.values())}) -> Tuple[Tensor, Tensor]:"
    ]
    if schedule.encoder is not None:
        taken = ", ".join(callers[spec.name] for spec in inputs.signatures[schedule.encoder].inputs)
        lines.append(f"    {', '.join(made.values())}{',' if len(made) == 1 else ''} = self.encoder({taken})")
    rows = next(iter(callers.values()))
    values = {**callers, **made, **slots, schedule.tokens: "tokens", schedule.position or "": "at"}
    arguments = ", ".join(values[spec.name] for spec in inputs.signatures[schedule.step].inputs)
    results = [spec.name for spec in inputs.signatures[schedule.step].outputs]
    given = ", ".join(f"r{number}" for number in range(len(results)))
    lines += [
        f"    rows = {rows}.size({_row_axis(inputs)})",
        f"    tokens = torch.full([rows, {length}], {rules.pad}, dtype=torch.int64)",
        f"    tokens[:, 0] = {rules.start}",
        *(f"    {slots[slot.input]} = {_first(slot, made, tensors[slot.input])}" for slot in schedule.slots),
        f"    generated = torch.full([rows, {rules.max_new_tokens}], {rules.pad}, dtype=torch.int64)",
        "    ended = torch.zeros([rows], dtype=torch.bool)",
        "    lengths = torch.zeros([rows], dtype=torch.int64)",
        "    position = 0",
        f"    while position < {rules.max_new_tokens} and not bool(ended.all().item()):",
        "        at = torch.tensor(position)",
        f"        {given}{',' if len(results) == 1 else ''} = self.step({arguments})",
        *(f"        {slots[slot.input]} = r{results.index(slot.output)}" for slot in schedule.slots),
        f"        scores = r{results.index(schedule.logits)}[:, {'0' if cached else 'position'}].to(torch.float32)",
        *(f"        scores[:, {token}] = float('-inf')" for token in rules.suppressed),
        "        chosen = scores.argmax(1)",
        *_forced(schedule),
        f"        chosen = torch.where(ended, torch.full_like(chosen, {rules.pad}), chosen)",
        "        generated[:, position] = chosen",
        "        lengths = lengths + torch.logical_not(ended).to(torch.int64)",
        *(f"        ended = torch.logical_or(ended, chosen == {end})" for end in rules.eos),
        "        position = position + 1",
        *(["        tokens = chosen.unsqueeze(1)"] if cached else _appended(length)),
        "    return generated[:, :position], lengths",
    ]
    return "\n".join(lines) + "\n"


def _appended(length: int) -> list[str]:
    return [f"        if position < {length}:", "            tokens[:, position] = chosen"]


def _first(slot: CacheSlot, made: Mapping[str, str], like: torch.Tensor) -> str:
    """What the first step finds in a slot."""
    if slot.init.startswith("encoder:"):
        return made[slot.init.removeprefix("encoder:")]
    return f"torch.zeros({list(like.shape)}, dtype={like.dtype})"


def _forced(schedule: Decode) -> list[str]:
    rules = schedule.generation
    tokens = {place: rules.forced(place) for place in (0, rules.max_new_tokens - 1)}
    return [
        f"        if position == {place}:\n            chosen = torch.full_like(chosen, {token})"
        for place, token in tokens.items()
        if token is not None
    ]


def _row_axis(inputs: DecodeInputs) -> int:
    symbol = inputs.signatures[inputs.schedule.step].input(inputs.schedule.tokens).shape[0]
    shape = inputs.callers[0].shape
    return shape.index(symbol) if symbol in shape else 0
