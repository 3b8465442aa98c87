"""The engines of a model's schedule as ONNX: what ONNX Runtime runs, and what TensorRT's builders are handed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import onnx_ir as ir

from artifacts.decode_inputs import DecodeInputs
from artifacts.dtype import DType
from artifacts.schedule import Host, Partitioned, Single, Unrolled
from artifacts.spec import Signature
from artifacts.weights import WeightRef
from compiler.decode_onnx import DecodeFunctions, emit_partitions, emit_whole
from compiler.emit_onnx import OnnxBody, attach_weights, emit_onnx, serialized
from compiler.targets.target import Placement
from passes.program import Function, Program

Form = Literal["function", "loop", "unrolled", "partition"]
"""What an engine holds: one function, a whole decode with a loop in it or unrolled, or some positions of one."""


@dataclass(frozen=True, eq=False)
class OnnxSource:
    """One engine in ONNX: its bytes, and the graph that they are of; `bindings` are the weights held by offset."""

    form: Form
    signature: Signature
    data: bytes
    model: ir.Model
    bindings: Mapping[str, WeightRef]

    def nodes(self) -> Iterator[ir.Node]:
        """Every node, those of local functions, loops and branches too."""
        graphs: tuple[ir.Graph | ir.Function, ...] = (self.model.graph, *self.model.functions.values())
        for graph in graphs:
            yield from ir.traversal.RecursiveGraphIterator(graph)

    def dtypes(self) -> frozenset[DType]:
        """The element types of what the nodes make."""
        made = {value.dtype for node in self.nodes() for value in node.outputs} - {None, ir.DataType.UNDEFINED}
        names = {dtype.numpy().name for dtype in made if dtype is not None}
        return frozenset(dtype for dtype in DType if dtype.value in names)


@dataclass(frozen=True, eq=False)
class ModelSources:
    """The engines of one model by name, and which of them hold each function of its schedule, in calling order."""

    engines: Mapping[str, OnnxSource]
    functions: Mapping[str, tuple[str, ...]]


def model_sources(
    program: Program, model: str, placement: Placement, *, inline_bytes: int, in_place: bool = False
) -> ModelSources:
    """The engines that a model's schedule needs, in ONNX.

    Weights of up to `inline_bytes` are inside the graphs. With `in_place` products read weights that are stored turned
    by an operator of ONNX Runtime's. Raises TargetError.
    """
    schedule = program.models[model].schedule
    bodies = {name: _body(program.functions[name], placement, in_place) for name in schedule.functions}
    signatures = {name: program.functions[name].signature for name in bodies}

    def source(body: OnnxBody, signature: Signature, form: Form) -> OnnxSource:
        whole, external = attach_weights(body, placement, inline_bytes)
        return OnnxSource(form, signature, serialized(whole), whole, external)

    if isinstance(schedule, Single) or isinstance(schedule.control, Host):
        engines = {name: source(body, signatures[name], "function") for name, body in bodies.items()}
        return ModelSources(engines, {name: (name,) for name in engines})
    inputs = DecodeInputs(schedule, signatures, program.models[model].signature)
    if not isinstance(schedule.control, Partitioned):
        form: Form = "unrolled" if isinstance(schedule.control, Unrolled) else "loop"
        name = f"{model}.decode"
        body, signature = emit_whole(DecodeFunctions.of(inputs, bodies))
        return ModelSources({name: source(body, signature, form)}, dict.fromkeys(bodies, (name,)))
    engines = {}
    if (encoder := schedule.encoder) is not None:
        engines[encoder] = source(bodies.pop(encoder), signatures[encoder], "function")
    holders: dict[str, tuple[str, ...]] = {name: (name,) for name in engines}
    names: dict[bytes, str] = {}
    partitions: tuple[str, ...] = ()
    parts = emit_partitions(DecodeFunctions.of(inputs, bodies))
    for end, (body, signature) in zip(schedule.control.boundaries, parts, strict=True):
        part = source(body, signature, "partition")
        if part.data not in names:
            names[part.data] = f"{model}.until-{end}"
            engines[names[part.data]] = part
        # Positions that compute the same as earlier ones are that engine, called again.
        partitions += (names[part.data],)
    if schedule.first is not None:
        holders[schedule.first] = partitions[:1]
    choice = {} if schedule.choice is None else {schedule.choice: partitions}
    return ModelSources(engines, {**holders, **choice, schedule.step: partitions})


def _body(function: Function, placement: Placement, in_place: bool) -> OnnxBody:
    """The function in ONNX. Translating takes seconds, and it is the same under every schedule."""
    if function not in placement.lowered:
        placement.lowered[function] = emit_onnx(
            function, placement.translations, in_place=in_place, translated=placement.translated
        )
    kept: OnnxBody = placement.lowered[function]
    return kept.copy()
