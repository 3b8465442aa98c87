"""Hold a Program to its source models, on the samples and in the source's own inputs and outputs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch

from artifacts.carriers import widened
from artifacts.checks import OutputCheck, Tolerances, check_decoded, check_outputs
from artifacts.dtype import DType
from artifacts.samples import Arrays, Sample
from artifacts.schedule import Decode, Single
from artifacts.tolerances import compare
from passes.bisection import first_moved
from passes.decode import every_position, greedy, in_windows, positions_to_check, teacher_forced
from passes.interpreter import call, run_function
from passes.program import Function, Model, Program
from passes.torch_dtypes import from_numpy, logical_dtype, to_numpy, torch_dtype_of


def check_program(program: Program, tolerances: Tolerances, decodes: bool = True) -> tuple[OutputCheck, ...]:
    """Compare every model with its samples, in the interpreter; tokens too, where `decodes`."""
    return tuple(
        check
        for name, model in program.models.items()
        for number, sample in enumerate(model.samples)
        for check in _check_sample(program, name, model, number, sample, tolerances, decodes)
    )


def _check_sample(
    program: Program, name: str, model: Model, number: int, sample: Sample, tolerances: Tolerances, decodes: bool
) -> Iterator[OutputCheck]:
    if isinstance(model.schedule, Single):
        actual = call(program, model.schedule.function, sample.inputs)
        yield from check_outputs(name, model.signature, number, sample, actual, tolerances)
        return
    schedule = model.schedule
    tokens = np.asarray(sample.inputs[schedule.tokens], np.int64)
    expected = sample.outputs[schedule.logits]
    if schedule.state == "recompute":
        scores = every_position(program, schedule, sample.inputs, tokens)
    else:
        positions = positions_to_check(schedule, tokens.shape[1])
        scores = teacher_forced(program, schedule, sample.inputs, tokens, positions)
        expected = expected[:, list(positions)]
    dtype = model.signature.output(schedule.logits).dtype
    yield OutputCheck(name, number, schedule.logits, compare(expected, scores, tolerances.for_dtype(dtype), dtype))
    if schedule.draft is not None and schedule.draft.count < schedule.generation.max_new_tokens:
        scores = in_windows(program, schedule, schedule.draft, sample.inputs, tokens)
        expected = sample.outputs[schedule.logits][:, : scores.shape[1]]
        yield OutputCheck(name, number, schedule.logits, compare(expected, scores, tolerances.for_dtype(dtype), dtype))
    # Interpreting a decode is slow and later samples differ in sizes only; the engines decode all of them.
    if decodes and sample.decoded and number == 0:
        batch, limit = sample.decoded["tokens"].shape
        decoded = greedy(program, schedule, sample.inputs, batch, limit)
        yield from check_decoded(name, number, sample, decoded, tolerances)


def first_moved_node(before: Program, after: Program, model: str, sample: Sample, tolerances: Tolerances) -> str:
    """Name the first node whose value a pass moved, by the names that both programs share; "" if none did.

    A bisection that looks at one node at a time, so the memory is that of a run. Searched are the functions that can
    be called with the sample's own inputs and with what the encoder made of them before.
    """
    schedule = after.models[model].schedule
    given = dict(sample.inputs)
    for name in schedule.functions:
        old, new = before.functions.get(name), after.functions[name]
        if old is None or not (_fits(old, given) and _fits(new, given)):
            continue
        node = _first_difference(_Probe(before, old, given), _Probe(after, new, given), tolerances)
        if node is not None:
            source = new.sources.get(node) or old.sources.get(node)
            origin = f" (source node {source!r})" if source else ""
            return f"; first moved in function {name!r} at node {node!r}{origin}"
        if isinstance(schedule, Decode) and name == schedule.encoder:
            given |= call(before, name, given)
    return ""


def _fits(function: Function, given: Arrays) -> bool:
    """True if the arrays hold every input of the function, in a shape that it can have."""
    return all(
        spec.name in given
        and given[spec.name].ndim == spec.rank
        and all(isinstance(d, str) or d == s for d, s in zip(spec.shape, given[spec.name].shape, strict=True))
        for spec in function.signature.inputs
    )


class _Probe:
    """Values of a function's nodes on given inputs, computed anew for each that is asked for."""

    def __init__(self, program: Program, function: Function, given: Arrays) -> None:
        self.function = function
        self.weights = program.weights
        self.inputs = [_given(given[spec.name], spec.dtype) for spec in function.signature.inputs]
        self.nodes = {
            node.name: node for node in function.computations if isinstance(node.meta.get("val"), torch.Tensor)
        }

    def value(self, name: str) -> npt.NDArray[np.generic]:
        found: list[torch.Tensor] = []

        def keep(node: torch.fx.Node, value: object) -> None:
            if node.name == name and isinstance(value, torch.Tensor):
                found.append(value)

        run_function(self.function, self.weights, self.inputs, keep)
        return widened(to_numpy(found[0]), logical_dtype(found[0].dtype))


def _given(array: npt.NDArray[np.generic], dtype: DType) -> torch.Tensor:
    """An input, which an earlier function may have made in more bits than this one takes."""
    return (
        from_numpy(array, DType.of(array.dtype)).to(torch_dtype_of(dtype))
        if (array.dtype != dtype.numpy and dtype.is_float)
        else from_numpy(array, dtype)
    )


def _first_difference(before: _Probe, after: _Probe, tolerances: Tolerances) -> str | None:
    def moved(name: str) -> bool:
        # What computes in fewer bits than before is compared as the numbers that it stands for.
        one, other = before.value(name), after.value(name)
        dtype = logical_dtype(after.nodes[name].meta["val"].dtype)
        return not compare(one, other.astype(one.dtype, copy=False), tolerances.for_dtype(dtype)).passed

    def inputs_of(name: str) -> list[str]:
        return [node.name for node in after.nodes[name].all_input_nodes if node.name in shared]

    shared = [name for name in after.nodes if name in before.nodes]
    return first_moved(shared, moved, inputs_of)
