"""The one engine of a model in TorchScript: its parts, and what it takes and gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from artifacts.decode_inputs import DecodeInputs, SizeSource
from artifacts.dtype import DType
from artifacts.names import free_name
from artifacts.neuron_options import NeuronOptions
from artifacts.samples import Arrays
from artifacts.schedule import CacheSlot, Single
from artifacts.spec import Signature, TensorSpec
from compiler.first_slots import first_shape
from compiler.neuron.trace_job import Role, TraceJob, TracePart, keywords_of
from compiler.neuron.tracing import TracerName, Tracing
from compiler.torchscript.loop import loop_source, whole
from compiler.torchscript.parts import Part, saved, traced
from passes.program import Program
from passes.torch_dtypes import from_numpy, torch_dtype_of


@dataclass(frozen=True, eq=False)
class ScriptEngine:
    """A model in parts: each by its role, traced for the CPU, with what it takes; a loop around them, or none.

    `shapes` tells the shapes that it takes.
    """

    parts: Mapping[Role, torch.jit.ScriptModule]
    inputs: Mapping[Role, Sequence[TensorSpec]]
    loop: str | None
    signature: Signature
    shapes: str

    def data(self) -> bytes:
        """The model's file."""
        return saved(self.parts["whole"] if self.loop is None else whole(self.loop, self.parts))

    def job(self, tracer: TracerName, tracing: Tracing, neuron: NeuronOptions) -> TraceJob:
        """What the SDK is to trace in place of the CPU, with the same loop around it."""
        parts = [
            TracePart(role, f"engines/{role}.part.pt", saved(module), self.inputs[role], {})
            for role, module in self.parts.items()
        ]
        return TraceJob(tracer, keywords_of(tracer, tracing, neuron), parts, self.loop)


def torchscript_engine(program: Program, model: str) -> ScriptEngine:
    """The model's parts at the shapes of its first sample."""
    found = program.models[model]
    given = found.samples[0].inputs
    if isinstance(found.schedule, Single):
        function = program.functions[found.schedule.function]
        module = traced(Part(function, program.weights), _tensors(function.signature.inputs, given))
        specs = _at(function.signature.inputs, given)
        signature = Signature(inputs=specs, outputs=found.signature.outputs)
        return ScriptEngine({"whole": module}, {"whole": specs}, None, signature, _told(specs))
    schedule = found.schedule
    signatures = {name: program.functions[name].signature for name in schedule.functions}
    inputs = DecodeInputs(schedule, signatures, found.signature)
    specs = _at(inputs.callers, given)
    tensors = dict(zip((spec.name for spec in specs), _tensors(specs, given), strict=True))
    parts, takes = dict[Role, torch.jit.ScriptModule](), dict[Role, Sequence[TensorSpec]]()

    def add(role: Role, name: str) -> Part:
        part, wanted = Part(program.functions[name], program.weights), signatures[name].inputs
        parts[role] = traced(part, [tensors[spec.name] for spec in wanted], role)
        takes[role] = [spec.model_copy(update={"shape": tuple(tensors[spec.name].shape)}) for spec in wanted]
        return part

    if schedule.encoder is not None:
        encoder, signature = add("encoder", schedule.encoder), signatures[schedule.encoder]
        with torch.no_grad():
            made = encoder(*(tensors[spec.name] for spec in signature.inputs))
        tensors |= {spec.name: tensor for spec, tensor in zip(signature.outputs, made, strict=True)}
    rows = _size(inputs.rows, tensors)
    tensors[schedule.tokens] = torch.zeros((rows, len(inputs.first_tokens)), dtype=torch.int64)
    tensors[schedule.position or ""] = torch.zeros((), dtype=torch.int64)
    tensors |= {slot.input: _first(inputs, slot, tensors) for slot in schedule.slots}
    add("step", schedule.step)
    taken = {spec.name for spec in specs}
    shapes: dict[str, tuple[int | str, ...]] = {"tokens": (rows, "generated"), "lengths": (rows,)}
    outputs = tuple(TensorSpec(name=free_name(n, taken), dtype=DType.INT64, shape=shape) for n, shape in shapes.items())
    return ScriptEngine(
        parts, takes, loop_source(inputs, tensors), Signature(inputs=specs, outputs=outputs), _told(specs)
    )


def _at(specs: tuple[TensorSpec, ...], given: Arrays) -> tuple[TensorSpec, ...]:
    return tuple(spec.model_copy(update={"shape": given[spec.name].shape}) for spec in specs)


def _tensors(specs: tuple[TensorSpec, ...], given: Arrays) -> list[torch.Tensor]:
    return [from_numpy(given[spec.name], spec.dtype) for spec in specs]


def _told(specs: tuple[TensorSpec, ...]) -> str:
    return ", ".join(f"{spec.name} {'x'.join(map(str, spec.shape))}" for spec in specs)


def _first(inputs: DecodeInputs, slot: CacheSlot, tensors: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """What the first step finds in a slot."""
    if slot.init.startswith("encoder:"):
        return tensors[slot.init.removeprefix("encoder:")]
    shape = [_size(size, tensors) for size in first_shape(inputs, slot)]
    return torch.zeros(shape, dtype=torch_dtype_of(inputs.signatures[inputs.steps[0]].input(slot.input).dtype))


def _size(size: int | SizeSource, tensors: Mapping[str, torch.Tensor]) -> int:
    return int(tensors[size.name].shape[size.axis]) if isinstance(size, SizeSource) else size
