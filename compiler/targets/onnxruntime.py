"""ONNX Runtime on a CPU: the default target, which runs anywhere.

An engine is an ONNX graph whose initializers lie, by offset, in the bundle's shards, so that every engine of a
bundle maps the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar

from artifacts.decode_inputs import DecodeInputs
from artifacts.manifest import Access, Scalar, WeightAccess
from artifacts.schedule import Host, Partitioned, Single, Unrolled
from artifacts.spec import Signature
from compiler.options import Precision, ScheduleName
from compiler.targets.target import Availability, BuiltEngine, ModelEngines, Pair, Placement

if TYPE_CHECKING:
    import onnx_ir as ir

    from artifacts.weights import WeightRef
    from compiler.emit_onnx import OnnxBody
    from passes.program import Function, Program


INLINE_BYTES = 512
"""Weights up to this size stay inside the graph: naming one in a graph, a manifest and a shard takes about as much."""

WAYS: Mapping[Access, str] = MappingProxyType(
    {
        "prepacked": "the weights of products and of convolutions: each opening has a packed copy",
        "mapped": "weights that ONNX Runtime folds, fuses or reorders when it opens the engine",
        "cached": "small weights that ONNX Runtime unpacks from the graph",
    }
)
"""How an engine can take its weights, and what two openings do not share then."""

_PACKED_ONLY = frozenset({"MatMulNBits"})
"""Products that take 25 times as long where their weights are not packed, and then round otherwise."""

UNROLLED_SESSION: Mapping[str, Scalar] = MappingProxyType({"enable_mem_reuse": False})
"""Planning memory reuse is quadratic in the number of nodes: minutes for an unrolled decoder, for nothing."""

PARTITION_SESSION: Mapping[str, Scalar] = MappingProxyType({**UNROLLED_SESSION, "graph_optimization_level": "basic"})
"""The fusions of the higher levels are looked for in every position, and bring a step nothing: 25 positions of a
4-layer decoder open in 0.64 s instead of 0.89 s and run as fast. An encoder keeps them, so only partitions do without;
those whose steps quantise have them too: products become products of bytes by such a fusion.
"""


@dataclass(frozen=True)
class OnnxRuntimeTarget:
    """Engines of the kind `onnxruntime`."""

    name: ClassVar[str] = "onnxruntime"
    kind: ClassVar[str] = "onnxruntime"
    summary: ClassVar[str] = "ONNX Runtime on a CPU; runs anywhere"
    decodes: ClassVar[tuple[Pair, ...]] = (
        ("cached", ScheduleName.ENGINE_LOOP),
        ("cached", ScheduleName.LOOP),
        ("cached", ScheduleName.UNROLLED),
        ("cached", ScheduleName.PARTITIONED),
        ("recompute", ScheduleName.ENGINE_LOOP),
        ("recompute", ScheduleName.LOOP),
        ("recompute", ScheduleName.UNROLLED),
        ("recompute", ScheduleName.PARTITIONED),
        ("padded", ScheduleName.LOOP),
        ("padded", ScheduleName.ENGINE_LOOP),
        ("padded", ScheduleName.UNROLLED),
        ("padded", ScheduleName.PARTITIONED),
    )
    precisions: ClassVar[tuple[Precision, ...]] = (
        Precision.FP32,
        Precision.FP16,
        Precision.INT8,
        Precision.INT8_WEIGHT,
        Precision.INT4_WEIGHT,
    )
    fusions: ClassVar[tuple[str, ...]] = (
        "fuse-hard-swish",
        "fold-scales",
        "move-nan-guards",
        "turn-memory",
        "fuse-attention",
        "pack-projections",
    )
    late_fusions: ClassVar[tuple[str, ...]] = ("two-stage-head",)

    def availability(self) -> Availability:
        """Usable where the onnxruntime package is installed."""
        try:
            return Availability(True, metadata.version("onnxruntime"))
        except metadata.PackageNotFoundError:
            return Availability(False, hint='pip install "unspool[onnxruntime]"')

    def tools(self) -> Mapping[str, str]:
        """The packages whose version decides what is in an engine."""
        return {name: metadata.version(name) for name in ("onnx-ir", "onnxruntime", "onnxscript", "torch")}

    def stored(self, refs: Sequence[WeightRef]) -> list[WeightRef]:
        """All but the small ones, which ONNX Runtime wants inside the graph: shapes, axes, scalars."""
        return [ref for ref in refs if ref.nbytes > INLINE_BYTES]

    def build(self, program: Program, model: str, placement: Placement) -> ModelEngines:
        """Emit functions as ONNX, or the decode that they make if engines loop. Raises TargetError."""
        from compiler.decode_onnx import DecodeFunctions, emit_partitions, emit_whole

        schedule = program.models[model].schedule
        bodies = {name: _body(program.functions[name], placement) for name in schedule.functions}
        signatures = {name: program.functions[name].signature for name in bodies}
        if isinstance(schedule, Single) or isinstance(schedule.control, Host):
            engines = {name: _engine(body, signatures[name], placement) for name, body in bodies.items()}
            return ModelEngines(engines, {name: (name,) for name in engines})
        inputs = DecodeInputs(schedule, signatures, program.models[model].signature)
        if not isinstance(schedule.control, Partitioned):
            body, signature = emit_whole(DecodeFunctions.of(inputs, bodies))
            unrolled = isinstance(schedule.control, Unrolled)
            engine = _engine(body, signature, placement, UNROLLED_SESSION if unrolled else {})
            return ModelEngines({f"{model}.decode": engine}, dict.fromkeys(bodies, (f"{model}.decode",)))
        engines = {}
        if schedule.encoder is not None:
            encoder = bodies.pop(schedule.encoder)
            engines[schedule.encoder] = _engine(encoder, signatures[schedule.encoder], placement)
        quantizes = any(node.op_type == "QuantizeLinear" for body in bodies.values() for node in body.model.graph)
        holders: dict[str, tuple[str, ...]] = {name: (name,) for name in engines}
        parts = emit_partitions(DecodeFunctions.of(inputs, bodies))
        names: dict[bytes, str] = {}
        partitions: tuple[str, ...] = ()
        for end, (body, signature) in zip(schedule.control.boundaries, parts, strict=True):
            engine = _engine(body, signature, placement, UNROLLED_SESSION if quantizes else PARTITION_SESSION)
            # Positions that compute the same as earlier ones are that engine, called again.
            name = names.setdefault(engine.source, f"{model}.until-{end}")
            engines.setdefault(name, engine)
            partitions += (name,)
        if schedule.first is not None:
            holders[schedule.first] = partitions[:1]
        choice = {} if schedule.choice is None else {schedule.choice: partitions}
        return ModelEngines(engines, {**holders, **choice, schedule.step: partitions})


def _body(function: Function, placement: Placement) -> OnnxBody:
    """The function in ONNX. Translating takes seconds, and it is the same under every schedule."""
    from compiler.emit_onnx import emit_onnx

    if function not in placement.lowered:
        placement.lowered[function] = emit_onnx(function, placement.translations)
    kept: OnnxBody = placement.lowered[function]
    return kept.copy()


def _engine(
    body: OnnxBody, signature: Signature, placement: Placement, session: Mapping[str, Scalar] = MappingProxyType({})
) -> BuiltEngine:
    from compiler.emit_onnx import attach_weights, serialized

    model, external = attach_weights(body, placement, INLINE_BYTES)
    return BuiltEngine(
        source=serialized(model),
        suffix=".onnx",
        signature=signature,
        status="emitted",
        bindings=external,
        session=session,
        runs_on=("cpu",),
        weights=_access(model),
    )


def _access(model: ir.Model) -> WeightAccess:
    import onnx_ir as ir

    graphs = (model.graph, *(function.graph for function in model.functions.values()))
    nodes = (node for graph in graphs for node in ir.traversal.RecursiveGraphIterator(graph))
    packed_only = any(node.op_type in _PACKED_ONLY for node in nodes)
    ways = {way: text for way, text in WAYS.items() if not (packed_only and way == "mapped")}
    return WeightAccess(default="prepacked", ways=ways)


TARGET = OnnxRuntimeTarget()
