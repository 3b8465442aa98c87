"""Greedy decoding with the source model itself: the tokens that every schedule has to give."""

from __future__ import annotations

import numpy as np

from artifacts.runtime.greedy import Greedy
from artifacts.samples import Arrays
from artifacts.schedule import Decode
from compiler.source_runner import SourceRunner

PROBE_TOKENS = 16
"""Tokens that a compilation generates to hold a schedule to its source; `unspool verify` generates them all."""


def source_tokens(runner: SourceRunner, schedule: Decode, inputs: Arrays, batch: int) -> Arrays:
    """`tokens` int64 [batch, n] and `lengths` int64 [batch], by calling the source once per token.

    `schedule.tokens` and `schedule.logits` are names of the source's own signature.
    """
    rows = Greedy(schedule.generation, batch)
    while not rows.finished:
        tokens = rows.fed.astype(inputs[schedule.tokens].dtype)
        rows.append(runner.run({**inputs, schedule.tokens: tokens})[schedule.logits][:, -1].astype(np.float32))
    return rows.result()
