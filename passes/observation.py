"""Run a program on requests, and let a pass see the values that its nodes take."""

from __future__ import annotations

import numpy as np

from artifacts.decode_inputs import DecodeInputs, SizeSource
from artifacts.samples import Arrays
from artifacts.schedule import Decode, Single
from passes.decode import Watch, every_position, greedy, positions_to_check, teacher_forced
from passes.interpreter import call
from passes.program import Model, Program


def watch_samples(program: Program, watch: Watch) -> None:
    """Answer the samples of every model: given tokens at the positions that are checked, and what is decoded."""
    for model in program.models.values():
        for number, sample in enumerate(model.samples):
            if isinstance(model.schedule, Single):
                call(program, model.schedule.function, sample.inputs, watch(model.schedule.function))
                continue
            _watch_given_tokens(program, model.schedule, sample.inputs, watch)
            if sample.decoded and number == 0:
                batch, limit = sample.decoded["tokens"].shape
                greedy(program, model.schedule, sample.inputs, batch, limit, watch)


def watch_calibration(program: Program, watch: Watch) -> None:
    """Answer the calibration requests of every model, or its samples' inputs if it has none.

    Tokens are those that the program decodes, not those of a sample: a step sees what it will see when it serves.
    """
    for model in program.models.values():
        for inputs in model.calibration or tuple(sample.inputs for sample in model.samples):
            if isinstance(model.schedule, Single):
                call(program, model.schedule.function, inputs, watch(model.schedule.function))
            else:
                limit = model.schedule.generation.max_new_tokens
                greedy(program, model.schedule, inputs, _rows(program, model, inputs), limit, watch)


def _watch_given_tokens(program: Program, schedule: Decode, inputs: Arrays, watch: Watch) -> None:
    tokens = np.asarray(inputs[schedule.tokens], np.int64)
    if schedule.state == "recompute":
        every_position(program, schedule, inputs, tokens, watch)
    else:
        teacher_forced(program, schedule, inputs, tokens, positions_to_check(schedule, tokens.shape[1]), watch)


def _rows(program: Program, model: Model, inputs: Arrays) -> int:
    """The number of rows that a request decodes."""
    assert isinstance(model.schedule, Decode)
    signatures = {name: program.functions[name].signature for name in model.schedule.functions}
    rows = DecodeInputs(model.schedule, signatures, model.signature).rows
    return int(inputs[rows.name].shape[rows.axis]) if isinstance(rows, SizeSource) else rows
