"""Decoding by engines of several positions each, until every row has ended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from artifacts.decode_inputs import DecodeInputs
from artifacts.dtype import DType
from artifacts.engines import Buffer, EngineRunner
from artifacts.errors import BundleError, Problem
from artifacts.runtime.answer import Answer
from artifacts.runtime.feed import STAGE, Feed, Held, Request
from artifacts.runtime.live_rows import rows_to_keep
from artifacts.schedule import Decode
from artifacts.spec import Signature, TensorSpec

Array = npt.NDArray[Any]


class PartitionDecoder:
    """Runs a `Decode(control=partitioned)` schedule.

    A partition takes the fixed inputs that its steps take, then the state: the step's tokens, which rows have
    ended (bool [batch, 1]), and the slots. It gives the tokens that it generated, int64 [batch, n], then the state
    that the next one takes, in the same order, and last, if a function chooses, how often that computed all scores,
    int64 [].
    """

    def __init__(
        self,
        schedule: Decode,
        encoder: EngineRunner | None,
        partitions: Sequence[EngineRunner],
        source: Signature,
    ) -> None:
        """`source` is the source model's signature. Raises BundleError if the engines do not fit the schedule."""
        self._schedule = schedule
        self._partitions = tuple(partitions)
        BundleError.raise_if(self._problems())
        ends = {schedule.step: partitions[-1]} | ({} if schedule.first is None else {schedule.first: partitions[0]})
        signatures = {name: self._without_ended(runner.signature) for name, runner in ends.items()}
        if schedule.encoder is not None and encoder is not None:
            signatures[schedule.encoder] = encoder.signature
        self._feed = Feed(DecodeInputs(schedule, signatures, source), encoder)
        self.signature = self._feed.signature

    def run(self, arrays: Mapping[str, Array]) -> Answer:
        """Decode from checked inputs; stop at the first boundary at which every row has ended.

        At a boundary rows that have ended are dropped, if that pays.
        """
        request = self._feed.request(arrays)
        rules = self._schedule.generation
        tokens = np.full((request.batch, rules.max_new_tokens), rules.pad, np.int64)
        rows: npt.NDArray[np.int64] = np.arange(request.batch)
        state: list[Held] = []
        calls = done = 0
        full_products = None if self._schedule.choice is None else 0
        for runner in self._partitions:
            inputs = self._feed.fixed(runner, request)
            state = state or self._start(runner, inputs, request)
            for name, held in zip(self._carried(runner.signature), state, strict=True):
                inputs[name] = held.on(runner, runner.signature.input(name))
            generated, *handed = runner.run(inputs).values()
            begin, done = done, done + generated.shape[1]
            tokens[rows, begin:done] = runner.download(generated)
            calls += 1
            if full_products is not None:
                full_products += int(runner.download(handed.pop()))
            state = [Held(runner, buffer) for buffer in handed]
            going = ~runner.download(handed[1])[:, 0]
            if not going.any():
                break
            kept = rows_to_keep(going) if self._feed.drops else None
            if kept is not None:
                rows, request = rows[kept], self._feed.kept(request, kept)
                state = self._kept(runner, state, kept)
        lengths = self._lengths(tokens[:, :done])
        encoder = {} if self._schedule.encoder is None else {self._schedule.encoder: 1}
        outputs = {"tokens": tokens[:, : lengths.max(initial=0)], "lengths": lengths}
        return Answer(outputs, {**encoder, self._schedule.step: calls}, full_products)

    def _kept(self, runner: EngineRunner, state: Sequence[Held], kept: npt.NDArray[np.int64]) -> list[Held]:
        """These rows of what a partition handed on: tokens, ended, slots."""
        axes = (0, 0, *(slot.batch_axis for slot in self._schedule.slots))
        specs = runner.signature.outputs[1 : 1 + len(axes)]
        return [held.in_order(kept, axis, spec) for held, axis, spec in zip(state, axes, specs, strict=True)]

    def _carried(self, signature: Signature) -> list[str]:
        """Names of the inputs that are the state: tokens, ended, slots."""
        names = [spec.name for spec in signature.inputs]
        return names[names.index(self._schedule.tokens) :]

    def _without_ended(self, signature: Signature) -> Signature:
        ended = self._carried(signature)[1]
        return Signature(
            inputs=tuple(spec for spec in signature.inputs if spec.name != ended), outputs=signature.outputs
        )

    def _start(self, runner: EngineRunner, fixed: Mapping[str, Buffer], request: Request) -> list[Held]:
        """The state that position 0 finds."""
        rules = self._schedule.generation
        tokens, ended, *_ = (runner.signature.input(name) for name in self._carried(runner.signature))
        fed = np.full((request.batch, _length(tokens)), rules.pad, (tokens.carrier or tokens.dtype).numpy)
        fed[:, 0] = rules.start
        slots = self._feed.first_slots(runner, fixed, request)
        going = np.zeros((request.batch, 1), np.bool_)
        return [Held(runner, runner.upload(tokens, fed)), Held(runner, runner.upload(ended, going)), *slots.values()]

    def _lengths(self, tokens: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Tokens of each row, its end token counted: all of them if it has none."""
        is_end = np.isin(tokens, self._schedule.generation.eos)
        lengths: npt.NDArray[np.int64] = np.where(is_end.any(axis=1), is_end.argmax(axis=1) + 1, tokens.shape[1])
        return lengths

    def _problems(self) -> Iterator[Problem]:
        """Each partition must take what the one before gives."""
        slots = len(self._schedule.slots)
        counted = 0 if self._schedule.choice is None else 1
        for number, runner in enumerate(self._partitions):
            signature = runner.signature
            subject = f"partition {number}"
            if self._schedule.tokens not in (spec.name for spec in signature.inputs):
                yield Problem(STAGE, subject, f"does not take {self._schedule.tokens}, which the step takes")
                continue
            carried = [signature.input(name) for name in self._carried(signature)]
            fewest = 2 if number == 0 and self._schedule.first is not None else 2 + slots
            if len(carried) < fewest or carried[1].dtype != DType.BOOL or _length(carried[0]) < 1:
                yield Problem(STAGE, subject, f"takes {signature}, not tokens of a fixed length, ended and slots")
            if len(signature.outputs) != 3 + slots + counted or signature.outputs[2].dtype != DType.BOOL:
                yield Problem(STAGE, subject, f"gives {signature}, not generated tokens, tokens, ended and slots")


def _length(tokens: TensorSpec) -> int:
    """The fixed number of tokens that a partition takes; 0 if it is not fixed."""
    size = tokens.shape[-1] if tokens.rank == 2 else 0
    return size if isinstance(size, int) else 0
