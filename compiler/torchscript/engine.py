"""The one engine of a model in TorchScript: its file's bytes and what it takes and gives."""

from __future__ import annotations

import io

import torch

from artifacts.decode_inputs import DecodeInputs
from artifacts.dtype import DType
from artifacts.names import free_name
from artifacts.samples import Arrays
from artifacts.schedule import Single
from artifacts.spec import Signature, TensorSpec
from compiler.torchscript.loop import whole
from compiler.torchscript.parts import Part, quiet, traced
from passes.program import Function, Program
from passes.torch_dtypes import from_numpy


def torchscript_engine(program: Program, model: str) -> tuple[bytes, Signature, str]:
    """The model's file, its signature, and the shapes that it takes, as text."""
    found = program.models[model]
    given = found.samples[0].inputs
    if isinstance(found.schedule, Single):
        function = program.functions[found.schedule.function]
        module = traced(Part(function, program.weights), _tensors(function.signature.inputs, given))
        specs = _at(function.signature.inputs, given)
        signature = Signature(inputs=specs, outputs=found.signature.outputs)
        return _saved(module), signature, _told(specs)
    schedule = found.schedule
    signatures = {name: program.functions[name].signature for name in schedule.functions}
    inputs = DecodeInputs(schedule, signatures, found.signature)
    specs = _at(inputs.callers, given)
    tensors = dict(zip((spec.name for spec in specs), _tensors(specs, given), strict=True))
    encoder = None
    if schedule.encoder is not None:
        part, wanted = Part(program.functions[schedule.encoder], program.weights), signatures[schedule.encoder]
        encoder = traced(part, [tensors[spec.name] for spec in wanted.inputs])
        with torch.no_grad():
            made = part(*(tensors[spec.name] for spec in wanted.inputs))
        tensors |= {spec.name: tensor for spec, tensor in zip(wanted.outputs, made, strict=True)}
    step = program.functions[schedule.step]
    length, rows = _length(step, schedule.tokens, schedule.generation.max_new_tokens), _rows(inputs, given)
    tensors[schedule.tokens] = torch.zeros((rows, length), dtype=torch.int64)
    tensors[schedule.position or ""] = torch.zeros((), dtype=torch.int64)
    stepped = traced(Part(step, program.weights), [tensors[spec.name] for spec in step.signature.inputs])
    module = whole(inputs, encoder, stepped, length)
    taken = {spec.name for spec in specs}
    shapes: dict[str, tuple[int | str, ...]] = {"tokens": (rows, "generated"), "lengths": (rows,)}
    outputs = tuple(TensorSpec(name=free_name(n, taken), dtype=DType.INT64, shape=shape) for n, shape in shapes.items())
    return _saved(module), Signature(inputs=specs, outputs=outputs), _told(specs)


def _at(specs: tuple[TensorSpec, ...], given: Arrays) -> tuple[TensorSpec, ...]:
    return tuple(spec.model_copy(update={"shape": given[spec.name].shape}) for spec in specs)


def _tensors(specs: tuple[TensorSpec, ...], given: Arrays) -> list[torch.Tensor]:
    return [from_numpy(given[spec.name], spec.dtype) for spec in specs]


def _told(specs: tuple[TensorSpec, ...]) -> str:
    return ", ".join(f"{spec.name} {'x'.join(map(str, spec.shape))}" for spec in specs)


def _length(step: Function, tokens: str, limit: int) -> int:
    size = step.signature.input(tokens).shape[1]
    return size if isinstance(size, int) else limit


def _rows(inputs: DecodeInputs, given: Arrays) -> int:
    rows = inputs.rows
    return rows if isinstance(rows, int) else int(given[rows.name].shape[rows.axis])


def _saved(module: torch.jit.ScriptModule) -> bytes:
    """The file's bytes, the same for the same module: without what says where and when it was written."""
    buffer = io.BytesIO()
    with quiet():
        torch.jit.save(module, buffer)
    return buffer.getvalue()
