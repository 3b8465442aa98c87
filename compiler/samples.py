"""Requests to hold a compilation to: given by the user, or drawn so that the source model can answer them."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import ml_dtypes
import numpy as np
import numpy.typing as npt

from artifacts.canonical import sha256_bytes
from artifacts.carriers import in_carrier
from artifacts.errors import Problem, RunError, UsageError
from artifacts.runtime.inputs import checked_inputs
from artifacts.samples import Arrays, Sample, read_arrays
from artifacts.spec import Signature, TensorSpec
from compiler.shapes import ShapeRanges, Shapes
from compiler.source_runner import SourceRunner
from passes.onnx_to_torch.input_hints import InputHint

Array = npt.NDArray[np.generic]


# Sizes to try for the symbols that are not a batch, by the kind of input they appear in; the first that the source
# accepts are used. Each is tried with its doubles in the second sample.
_SEQUENCE = (7, 12, 16, 32, 512, 75)
_SPATIAL = (64, 96, 224, 320, 32, 640)
_SIGNAL = (512, 576, 16000, 64, 7)


def draw_samples(
    signature: Signature, hints: Mapping[str, InputHint], runner: SourceRunner, ranges: ShapeRanges
) -> tuple[Sample, ...]:
    """Samples with the source's own answers: usual sizes first (all at least 2), then others, then all 1.

    torch.export is traced with the first one; the others show that nothing in the graph is tied to its sizes.
    Raises RunError if the source model runs on none of the sizes tried.
    """
    usual = _first_that_runs(signature, hints, runner, _fixed(signature, ranges.opt), number=0, batch=2)
    found = [usual]
    if signature.symbols or any(hint.counts for hint in hints.values()):
        for number, batch, given in ((1, 3, ranges.max), (2, 1, ranges.min)):
            try:
                fixed = _fixed(signature, given or ranges.opt)
                found.append(_first_that_runs(signature, hints, runner, fixed, number, batch))
            except RunError:
                # The source itself does not take these sizes; the first sample stands alone for them.
                if given:
                    raise
    return tuple(found)


def draw_at(
    signature: Signature, hints: Mapping[str, InputHint], runner: SourceRunner, sizes: Mapping[str, int]
) -> Sample:
    """A sample with these sizes of symbols, and others as `draw_samples` begins with.

    Raises RunError if the source model does not run on it.
    """
    return _first_that_runs(signature, hints, runner, sizes, number=0, batch=2)


def read_samples(path: Path, signature: Signature, runner: SourceRunner) -> tuple[Sample, ...]:
    """The user's .npz of inputs by name, answered by the source; what else is in it (outputs, say) is left aside.

    Raises UsageError with everything that does not fit the model, as a session would say it.
    """
    inputs = _inputs(path, read_arrays(path), signature)
    return (Sample(inputs, runner.run(inputs)),)


def answered_samples(path: Path, signature: Signature) -> tuple[Sample, ...] | None:
    """The user's .npz if it holds the outputs by name as well: they are the truth then, and the source is not run.

    None if it holds none of them. Raises UsageError with everything that does not fit the model, or if some outputs
    are there and others are not.
    """
    arrays = read_arrays(path)
    # An input that is also an output says nothing about what the other outputs are.
    computed = [spec for spec in signature.outputs if spec.name not in {given.name for given in signature.inputs}]
    missing = [spec.name for spec in computed if spec.name not in arrays]
    if len(missing) == len(computed):
        return None
    problems = [
        Problem("samples", f"{path}: output {name!r}", "is missing beside other outputs", "give all outputs, or none")
        for name in missing
    ]
    problems += [
        Problem("samples", f"{path}: output {spec.name!r}", f"is {found}, the model gives {spec.dtype}")
        for spec in signature.outputs
        if spec.name in arrays and (found := arrays[spec.name].dtype) != (spec.carrier or spec.dtype).numpy
    ]
    UsageError.raise_if(problems)
    inputs = _inputs(path, arrays, signature)
    return (Sample(inputs, {spec.name: arrays[spec.name] for spec in signature.outputs}),)


def _inputs(path: Path, arrays: Arrays, signature: Signature) -> Arrays:
    names = [spec.name for spec in signature.inputs]
    missing = [name for name in names if name not in arrays]
    if missing:
        hint = f"it holds {', '.join(arrays) or 'nothing'}"
        raise UsageError.of("samples", str(path), f"lacks inputs {', '.join(missing)}", hint)
    try:
        return checked_inputs(signature.inputs, {name: arrays[name] for name in names})
    except RunError as error:
        raise UsageError(*error.problems) from error


def _first_that_runs(
    signature: Signature,
    hints: Mapping[str, InputHint],
    runner: SourceRunner,
    fixed: Mapping[str, int],
    number: int,
    batch: int,
) -> Sample:
    """The first sizes that the source can run on. Those that it fails on take no longer together than an answer may."""
    failure: RunError | None = None
    began = time.monotonic()
    for sizes in _size_choices(signature, fixed, number, batch):
        shapes = {spec.name: _shape(spec, sizes) for spec in signature.inputs}
        try:
            _check_size(signature, shapes)
            inputs = {
                spec.name: _draw(spec, shapes[spec.name], hints.get(spec.name, InputHint()), number)
                for spec in signature.inputs
            }
            return Sample(inputs, runner.run(inputs))
        except RunError as error:
            if runner.is_refused:
                raise
            failure = failure or error
            if time.monotonic() - began > runner.seconds:
                break
    assert failure is not None
    problem = failure.problems[0]
    hint = "give sizes that the model accepts with --opt-shapes, or inputs with --samples"
    raise RunError.of(problem.stage, problem.subject, problem.message, hint) from failure


def _fixed(signature: Signature, given: Shapes) -> dict[str, int]:
    """The sizes of the symbols that shapes of inputs give."""
    return {
        symbol: size
        for spec in signature.inputs
        for symbol, size in zip(spec.shape, dict(given).get(spec.name, ()), strict=False)
        if isinstance(symbol, str)
    }


def _size_choices(signature: Signature, fixed: Mapping[str, int], number: int, batch: int) -> Iterator[dict[str, int]]:
    """Assignments of sizes to symbols, the likeliest first.

    First the symbols get different sizes, because equal ones hide a swapped axis and can tie two symbols in the
    export; then the states of recurrences, [layers, batch, hidden], get the batch's size, for files that name no
    sizes; then those of one kind get the same, for graphs that give one size two names. Size 1 broadcasts with
    anything and cannot be exported as a symbol, so it comes last, except in the smallest sample.
    """
    kinds: dict[str, tuple[int, ...]] = {}
    for spec in signature.inputs:
        for axis, symbol in enumerate(spec.shape):
            if isinstance(symbol, str):
                kinds.setdefault(symbol, _kind(spec, axis))
    ones = {symbol: 1 if kind else batch for symbol, kind in kinds.items()} | dict(fixed)
    if number == 2:
        # An image of one pixel or a signal of one value is no request that anybody makes.
        real = {symbol: kind[1] for symbol, kind in kinds.items() if kind in (_SPATIAL, _SIGNAL)}
        yield ones | real | dict(fixed)
    stateful = kinds | {str(spec.shape[1]): () for spec in signature.inputs if _is_state(spec)}
    for apart, chosen in ((True, kinds), (True, stateful), (False, kinds)):
        for attempt in range(max(map(len, (_SEQUENCE, _SPATIAL, _SIGNAL)))):
            sizes: dict[str, int] = {}
            for symbol, kind in chosen.items():
                before = sum(kinds[other] is kind for other in sizes) if apart else 0
                sizes[symbol] = _size(kind, attempt, before) * (2 if number == 1 else 1) if kind else batch
            yield sizes | dict(fixed)
    yield ones


def _kind(spec: TensorSpec, axis: int) -> tuple[int, ...]:
    """The sizes to try for a symbol; () for a batch."""
    if axis == 0 and spec.rank > 1:
        return ()
    if spec.rank >= 4 and axis >= 2:
        return _SPATIAL
    return _SIGNAL if spec.dtype.is_float and axis == spec.rank - 1 else _SEQUENCE


def _is_state(spec: TensorSpec) -> bool:
    return (
        spec.rank == 3
        and spec.dtype.is_float
        and isinstance(spec.shape[0], int)
        and isinstance(spec.shape[1], str)
        and isinstance(spec.shape[2], int)
    )


def _size(kind: tuple[int, ...], attempt: int, before: int) -> int:
    """The size of a symbol that comes after `before` others of its kind."""
    if kind is _SEQUENCE:
        return kind[min(attempt, len(kind) - 1)] + before
    return kind[(attempt + before) % len(kind)]


def _shape(spec: TensorSpec, sizes: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(sizes[dim] if isinstance(dim, str) else dim for dim in spec.shape)


def _check_size(signature: Signature, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raise RunError for inputs that are too large to be drawn, all of them."""
    RunError.raise_if(
        Problem("samples", f"input {spec.name!r}", f"has {count} dimensions: an array has at most {MOST_DIMENSIONS}")
        for spec in signature.inputs
        if (count := len(shapes[spec.name])) > MOST_DIMENSIONS
    )
    RunError.raise_if(
        Problem("samples", f"input {spec.name!r}", f"has {size} elements at the size {list(shape)}: too many to draw")
        for spec in signature.inputs
        if (size := math.prod(shape := shapes[spec.name])) > LARGEST_INPUT
    )


_ITERATIONS = (3, 5, 1)
"""How often a loop runs in each sample: a loop that does not run at all says nothing about its body."""

_LEVELS = 8
"""Levels between 0 and 1 of a drawn image. None of them is 0, which a model may divide by."""

MOST_DIMENSIONS = 64
"""numpy's bound."""

LARGEST_INPUT = 1 << 28
"""Elements of one drawn input: 2 GiB while it is drawn."""


def _draw(spec: TensorSpec, shape: tuple[int, ...], hint: InputHint, number: int) -> Array:
    seed = int(sha256_bytes(f"{spec.name}:{number}".encode())[:8], 16)
    random = np.random.default_rng(seed)
    if spec.dtype.is_float:
        values = random.standard_normal(shape)
        if spec.rank >= 4:  # An image has levels, as one of real pixels does, and is several times smaller on disk.
            values = (np.floor(values * _LEVELS) + 0.5) / _LEVELS
        if spec.dtype.is_native:
            return values.astype(spec.dtype.numpy)
        return in_carrier(np.asarray(values, getattr(ml_dtypes, spec.dtype.value)), spec.dtype)
    if hint.counts:
        return np.full(shape, _ITERATIONS[number], spec.dtype.numpy)
    if hint.equals and not shape:
        return np.asarray(hint.equals[0], spec.dtype.numpy)
    # An integer input that indexes no table is a mask or a flag: zeros and ones, and never a row of zeros alone.
    drawn = np.asarray(random.integers(0, hint.table or 2, shape))
    if hint.table is None and drawn.ndim:
        drawn[..., :1] = 1
    return drawn.astype(spec.dtype.numpy)
