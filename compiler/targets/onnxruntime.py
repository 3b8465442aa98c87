"""ONNX Runtime on a CPU: the default target, which runs anywhere.

An engine is an ONNX graph whose initializers lie, by offset, in the bundle's shards, so that every engine of a
bundle maps the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, ClassVar

from artifacts.manifest import Scalar
from artifacts.schedule import Host, Single, Unrolled
from artifacts.spec import Signature
from compiler.options import Precision, ScheduleName
from compiler.targets.target import Availability, BuiltEngine, ModelEngines, Pair, Placement

if TYPE_CHECKING:
    from artifacts.weights import WeightRef
    from compiler.emit_onnx import OnnxBody
    from passes.program import Program


INLINE_BYTES = 256
"""Weights up to this size stay inside the graph."""


@dataclass(frozen=True)
class OnnxRuntimeTarget:
    """Engines of the kind `onnxruntime`."""

    name: ClassVar[str] = "onnxruntime"
    kind: ClassVar[str] = "onnxruntime"
    summary: ClassVar[str] = "ONNX Runtime on a CPU; runs anywhere"
    decodes: ClassVar[tuple[Pair, ...]] = (
        ("recompute", ScheduleName.LOOP),
        ("recompute", ScheduleName.ENGINE_LOOP),
        ("recompute", ScheduleName.UNROLLED),
        ("padded", ScheduleName.LOOP),
    )
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

    def build(self, program: Program, model: str, placement: Placement) -> ModelEngines:
        """Emit a function as ONNX, or the whole decode if the engine loops. Raises TargetError."""
        from compiler.decode_onnx import emit_decode
        from compiler.emit_onnx import emit_onnx

        schedule = program.models[model].schedule
        bodies = {name: emit_onnx(program.functions[name], placement.translations) for name in schedule.functions}
        if isinstance(schedule, Single) or isinstance(schedule.control, Host):
            engines = {
                name: _engine(body, program.functions[name].signature, placement) for name, body in bodies.items()
            }
            return ModelEngines(engines, {name: name for name in engines})
        step = program.functions[schedule.step]
        body, signature = emit_decode(bodies[schedule.step], step.signature, schedule)
        # Planning memory reuse is quadratic in the number of nodes: minutes for an unrolled decoder, for nothing.
        session = {"enable_mem_reuse": not isinstance(schedule.control, Unrolled)}
        engine = _engine(body, signature, placement, session)
        return ModelEngines({f"{model}.decode": engine}, {schedule.step: f"{model}.decode"})


def _engine(
    body: OnnxBody, signature: Signature, placement: Placement, session: Mapping[str, Scalar] | None = None
) -> BuiltEngine:
    from compiler.emit_onnx import attach_weights, serialized

    model, external = attach_weights(body, placement, INLINE_BYTES)
    return BuiltEngine(
        source=serialized(model),
        suffix=".onnx",
        signature=signature,
        status="emitted",
        bindings=external,
        session=session or {},
        runs_on=("cpu",),
    )


TARGET = OnnxRuntimeTarget()
