"""Parts that the SDK is to trace: functions of a program, traced for the CPU without their weights, and proven so."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from artifacts.checks import Tolerances, check_outputs, require_equal
from artifacts.samples import Sample
from artifacts.schedule import Decode, Schedule
from artifacts.shards import ShardIndex
from artifacts.spec import Signature, TensorSpec
from artifacts.weights import WeightStore
from compiler.hlo.hlo_engines import HloSource
from compiler.neuron.trace_job import Place, Role, TracePart
from compiler.neuron.trace_script import loaded
from compiler.torchscript.parts import Part, quiet, saved, traced
from passes.program import Function
from passes.torch_dtypes import from_numpy, to_numpy

_DRAWN = 7


def trace_part(
    function: Function, schedule: Schedule, source: HloSource, weights: WeightStore, shards: ShardIndex, root: Path
) -> TracePart:
    """A function as a part, at the sizes of its HLO; its weights stay in the shards of the bundle at `root`.

    Raises NumericsError if the part, with its weights put back as the script does that, answers otherwise than the
    function, RuntimeError for what torch.jit cannot trace.
    """
    part, signature = Part(function, weights), source.signature
    examples = [_drawn(spec) for spec in signature.inputs]
    role = _role(function.name, schedule)
    module = traced(part, examples, role)
    places = {}
    for name, ref in part.refs.items():
        location = shards.locate(ref)
        places[name] = Place(location.path, location.offset, ref)
        setattr(module, name, torch.empty(0, dtype=getattr(part, name).dtype))
    made = TracePart(
        role=role,
        path=f"engines/{function.name}.part.pt",
        data=saved(module),
        inputs=signature.inputs,
        weights=places,
        aliases=_numbered(source.aliases, signature),
    )
    _prove(made, part, examples, signature, root)
    return made


def _numbered(aliases: Mapping[str, str], signature: Signature) -> tuple[tuple[int, int], ...]:
    """The inputs that outputs are written over, and these, by number."""
    inputs, outputs = ([spec.name for spec in specs] for specs in (signature.inputs, signature.outputs))
    return tuple((inputs.index(taken), outputs.index(made)) for taken, made in aliases.items())


def _role(name: str, schedule: Schedule) -> Role:
    if not isinstance(schedule, Decode):
        return "whole"
    return "encoder" if name == schedule.encoder else "step"


def _drawn(spec: TensorSpec) -> torch.Tensor:
    """Normal numbers, or zeros of other types: tokens and places that there are."""
    shape = tuple(int(dim) for dim in spec.shape)
    drawn = np.random.default_rng(_DRAWN).standard_normal(shape) if spec.dtype.is_float else np.zeros(shape)
    return from_numpy(drawn.astype(spec.dtype.numpy), spec.dtype)


def _prove(made: TracePart, part: Part, examples: list[torch.Tensor], signature: Signature, root: Path) -> None:
    """Hold the file's bytes to the function, in the script's own way to load them."""
    with quiet(), torch.no_grad():
        answer = loaded(io.BytesIO(made.data), root, made.document())(*examples)
        expected = part(*examples)
    names = [spec.name for spec in signature.outputs]
    wanted, found = (dict(zip(names, map(to_numpy, each), strict=True)) for each in (expected, answer))
    checks = check_outputs(made.path, signature, 0, Sample({}, wanted), found, Tolerances())
    require_equal(tuple(checks), "emit", "tracing for the SDK")
