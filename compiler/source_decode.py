"""Greedy decoding with the source model itself: the tokens that every schedule has to give."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np

from artifacts.runtime.greedy import Greedy
from artifacts.samples import Arrays, Sample
from artifacts.schedule import Decode, Schedule, Single
from artifacts.spec import Dim, Signature
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


def request_sample(
    request: Arrays, runner: SourceRunner, signature: Signature, schedule: Schedule, masks: Collection[str] = ()
) -> Sample:
    """A request with what the source answers; if it decodes, the tokens that its scores are compared on are its own.

    `signature` is the source's; the request has its inputs without tokens, and without `masks` of them.
    """
    if isinstance(schedule, Single):
        return Sample(request, runner.run(request))
    spec = signature.input(schedule.tokens)
    batch = _rows(request, signature, spec.shape[0])
    start = np.full((batch, 1), schedule.generation.start, spec.dtype.numpy)
    shaped = {name: np.ones((batch, 1), signature.input(name).dtype.numpy) for name in masks}
    decoded = source_tokens(runner, schedule, {**request, **shaped, schedule.tokens: start}, batch, masks)
    tokens = np.concatenate([start, decoded["tokens"][:, :-1].astype(start.dtype)], 1)
    ones = {name: np.ones(tokens.shape, mask.dtype) for name, mask in shaped.items()}
    inputs = {**request, **ones, schedule.tokens: tokens}
    return Sample(inputs, runner.run(inputs), decoded)


def _rows(request: Arrays, signature: Signature, size: Dim) -> int:
    """How many rows a request has, if `size` is what counts them."""
    if isinstance(size, int):
        return size
    specs = (spec for spec in signature.inputs if spec.name in request and size in spec.shape)
    return next((request[spec.name].shape[spec.shape.index(size)] for spec in specs), 1)


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
