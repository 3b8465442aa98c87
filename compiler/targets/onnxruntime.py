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

from artifacts.manifest import Access, Scalar, WeightAccess
from compiler.options import Precision, ScheduleName
from compiler.targets.target import (
    Availability,
    BuiltEngine,
    Made,
    ModelEngines,
    Pair,
    Placement,
)
from passes.codes import CodesName

if TYPE_CHECKING:
    from artifacts.weights import WeightRef
    from compiler.onnx_engines import Form, OnnxSource
    from passes.program import Program


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

_SESSIONS: Mapping[Form, Mapping[str, Scalar]] = MappingProxyType(
    {"function": {}, "loop": {}, "unrolled": UNROLLED_SESSION, "partition": PARTITION_SESSION}
)


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
    codes: ClassVar[CodesName] = "uint8"
    row_scales: ClassVar[bool] = True
    capabilities: ClassVar[tuple[str, ...]] = ()
    default_capabilities: ClassVar[tuple[str, ...]] = ()
    builder_options: ClassVar[tuple[str, ...]] = ()
    neuron_options: ClassVar[tuple[str, ...]] = ()
    static_shapes: ClassVar[bool] = False
    neuron_cores: ClassVar[bool] = False
    fusions: ClassVar[tuple[str, ...]] = (
        "fuse-hard-swish",
        "fold-scales",
        "move-nan-guards",
        "turn-memory",
        "fuse-attention",
        "pack-projections",
    )
    late_fusions: ClassVar[tuple[str, ...]] = ("two-stage-head", "quantize-draft")

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
        from compiler.onnx_engines import model_sources

        found = model_sources(program, model, placement, inline_bytes=INLINE_BYTES, in_place=True)
        return ModelEngines({name: _engine(source) for name, source in found.engines.items()}, found.functions)


def _engine(source: OnnxSource) -> BuiltEngine:
    operators = {node.op_type for node in source.nodes()}
    quantizes = source.form == "partition" and "QuantizeLinear" in operators
    ways = {way: text for way, text in WAYS.items() if way != "mapped" or not operators & _PACKED_ONLY}
    return BuiltEngine(
        source=source.data,
        suffix=".onnx",
        signature=source.signature,
        made=Made("emitted", WeightAccess(default="prepacked", ways=ways), runs_on=("cpu",)),
        bindings=source.bindings,
        session=_SESSIONS["unrolled" if quantizes else source.form],
    )


TARGET = OnnxRuntimeTarget()
