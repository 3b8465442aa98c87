"""That the weights of an engine are its parameters, and nothing of them is in the module: proven with other weights.

A module that was traced with a weight as a constant answers the same whatever it is given. So each is run by XLA on
the CPU with weights of other values, and held to what the program computes with these in torch.
"""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from artifacts.checks import OutputCheck, Tolerances, check_decoded, check_outputs
from artifacts.engines.xla import xla_runner
from artifacts.manifest import EngineEntry, ModelEntry, WeightAccess
from artifacts.runtime import Session
from artifacts.samples import Sample
from artifacts.schedule import Decode
from artifacts.tolerances import TOLERANCES
from artifacts.weights import WeightStore
from compiler.hlo.hlo_engines import HloSources
from passes.decode import greedy
from passes.graph_builder import values_of
from passes.interpreter import call
from passes.program import Program
from passes.torch_dtypes import from_numpy, logical_dtype, to_numpy

_FACTOR = 0.875
"""Other weights are the first ones times this: of the same kind, so that a network still answers with numbers."""

_SMALL_BYTES = 512
"""Weights up to this size stay as they are: among them are exponents and what keeps a divisor from zero."""


def check_second_weights(program: Program, model: str, sources: HloSources) -> tuple[OutputCheck, ...]:
    """Compare a model's modules with its program, both with other weights, on its first sample.

    A decode is compared in its tokens. Those of a program that computes in 16 bits need not be equal: two libraries
    round sums of another order, and that turns near ties.
    """
    tolerances = _tolerances(program)
    other = replace(program, weights=_others(program))
    found, sample = other.models[model], other.models[model].samples[0]
    schedule = found.schedule
    entry = ModelEntry(source="0" * 64, signature=found.signature, schedule=schedule, functions=dict(sources.functions))
    runners = {
        name: xla_runner(source.data, _entry(name, sources), other.weights) for name, source in sources.engines.items()
    }
    given = {spec.name: sample.inputs[spec.name] for spec in found.signature.inputs if spec.name in sample.inputs}
    with Session(entry, runners) as session:
        answer = session.run({spec.name: given[spec.name] for spec in session.signature.inputs})
    if not isinstance(schedule, Decode):
        expected = call(other, schedule.function, sample.inputs)
        wanted = Sample(sample.inputs, {name: expected[name] for name in answer})
        return tuple(check_outputs(model, found.signature, 0, wanted, answer, tolerances))
    batch, limit = next(iter(answer.values())).shape[0], schedule.generation.max_new_tokens
    decoded = greedy(other, schedule, sample.inputs, batch, limit)
    return tuple(check_decoded(model, 0, Sample(sample.inputs, {}, decoded), answer, tolerances))


def _entry(name: str, sources: HloSources) -> EngineEntry:
    source = sources.engines[name]
    return EngineEntry(
        kind="xla",
        target="neuronx",
        signature=source.signature,
        source=f"{name}.hlo.pb",
        status="emitted",
        bindings=dict(source.bindings),
        aliases=dict(source.aliases),
        weights=WeightAccess(default="separate", ways={"separate": "nothing: it is opened once"}),
    )


def _tolerances(program: Program) -> Tolerances:
    """As much as the coarsest type that a program computes in allows."""
    found = {
        value.dtype
        for function in program.functions.values()
        for node in function.computations
        for value in values_of(node)
    }
    low = [logical_dtype(dtype) for dtype in (torch.float16, torch.bfloat16) if dtype in found]
    return reduce(lambda held, dtype: held.loosened(TOLERANCES[dtype]), low, Tolerances())


def _others(program: Program) -> WeightStore:
    """The program's store with other floating-point numbers under the same names."""
    refs = {ref.digest: ref for function in program.functions.values() for ref in function.weights.values()}
    blobs: dict[str, Any] = dict(program.weights.blobs)
    for digest, ref in refs.items():
        if ref.dtype.is_float and blobs[digest].nbytes > _SMALL_BYTES:
            values = from_numpy(blobs[digest].view(ref.dtype.numpy), ref.dtype)
            blobs[digest] = np.ascontiguousarray(to_numpy(values * _FACTOR)).view(np.uint8)
    return replace(program.weights, blobs=MappingProxyType(blobs))
