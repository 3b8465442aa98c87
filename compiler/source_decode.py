"""Greedy decoding with the source model itself: the tokens that every schedule has to give."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np

from artifacts.runtime.greedy import Greedy
from artifacts.samples import Arrays, Sample
from artifacts.schedule import Decode
from compiler.source_runner import SourceRunner

PROBE_TOKENS = 16
"""Tokens that a compilation generates to hold a schedule to its source; `unspool verify` generates them all."""


def decoded_sample(sample: Sample, runner: SourceRunner, schedule: Decode, masks: Collection[str] = ()) -> Sample:
    """The sample with the tokens that the source decodes; `masks` are inputs like its tokens, which become ones."""
    if masks:
        ones = {name: np.ones_like(sample.inputs[name]) for name in masks}
        inputs = {**sample.inputs, **ones}
        sample = Sample(inputs, runner.run(inputs))
    batch = sample.inputs[schedule.tokens].shape[0]
    return replace(sample, decoded=source_tokens(runner, schedule, sample.inputs, batch, masks))


def source_tokens(
    runner: SourceRunner, schedule: Decode, inputs: Arrays, batch: int, masks: Collection[str] = ()
) -> Arrays:
    """`tokens` int64 [batch, n] and `lengths` int64 [batch], by calling the source once per token.

    `schedule.tokens` and `schedule.logits` are names of the source's own signature, and so are `masks`, which are
    ones [batch, t] beside tokens [batch, t].
    """
    rows = Greedy(schedule.generation, batch)
    while not rows.finished:
        tokens = rows.fed.astype(inputs[schedule.tokens].dtype)
        ones = {name: np.ones(tokens.shape, inputs[name].dtype) for name in masks}
        given = {**inputs, **ones, schedule.tokens: tokens}
        rows.append(runner.run(given)[schedule.logits][:, -1].astype(np.float32))
    return rows.result()
