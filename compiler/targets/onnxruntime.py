"""ONNX Runtime on a CPU: the default target, which runs anywhere.

An engine is an ONNX graph whose initializers lie, by offset, in the bundle's shards, so that every engine of a
bundle maps the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, ClassVar

from compiler.options import Precision, ScheduleName
from compiler.targets.target import Availability, BuiltEngine, Pair, Placement

if TYPE_CHECKING:
    from artifacts.weights import WeightRef
    from passes.program import Function


INLINE_BYTES = 256
"""Weights up to this size stay inside the graph."""


@dataclass(frozen=True)
class OnnxRuntimeTarget:
    """Engines of the kind `onnxruntime`."""

    name: ClassVar[str] = "onnxruntime"
    kind: ClassVar[str] = "onnxruntime"
    summary: ClassVar[str] = "ONNX Runtime on a CPU; runs anywhere"
    decodes: ClassVar[tuple[Pair, ...]] = (("recompute", ScheduleName.LOOP),)
    precisions: ClassVar[tuple[Precision, ...]] = (Precision.FP32,)

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

    def build(self, function: Function, placement: Placement) -> BuiltEngine:
        """Emit the function as ONNX. Raises TargetError if torch.onnx cannot express it."""
        from compiler.emit_onnx import attach_weights, emit_onnx, serialized

        body = emit_onnx(function)
        model, external = attach_weights(body, placement, INLINE_BYTES)
        return BuiltEngine(
            source=serialized(model),
            suffix=".onnx",
            status="emitted",
            bindings=external,
            runs_on=("cpu",),
        )


TARGET = OnnxRuntimeTarget()
