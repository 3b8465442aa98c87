"""Engines that cannot run on this machine, as ONNX Runtime, XLA or torch runs the sources of their plans.

That is not the plan: what it shows is that what a builder was handed, or will be, computes what the source model does.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from artifacts.engines import runs_here
from artifacts.manifest import EngineEntry, Scalar, WeightAccess

HLO_SUFFIX = ".hlo.pb"
_RUNTIMES: Mapping[str, str] = MappingProxyType({".onnx": "onnxruntime", HLO_SUFFIX: "xla", ".pt": "torchscript"})
"""The kind of engine that runs a source on the CPU, by the end of the source's name."""

_SESSION: Mapping[str, Scalar] = MappingProxyType({"graph_optimization_level": "disable"})
"""What a source says, and not what an optimiser makes of it. Of float8 values ONNX Runtime 1.31 makes products of
bytes, which it cannot run, and it leaves out a Relu before a QuantizeLinear as if their codes had no sign.
"""


def can_run(entry: EngineEntry) -> bool:
    """Whether an engine itself can run here: its runtime can, and its plan is made if it takes one."""
    return runs_here(entry.kind) and (entry.build is None or entry.plan is not None)


def as_sources(engines: Mapping[str, EngineEntry]) -> dict[str, EngineEntry]:
    """The engines, each that cannot run here but has a source that can as that."""
    held = WeightAccess(default="prepacked", ways={"prepacked": "the weights: they are checked once"})
    found = dict(engines)
    for name, entry in engines.items():
        kind = next((kind for suffix, kind in _RUNTIMES.items() if entry.source.endswith(suffix)), None)
        if kind is not None and not can_run(entry):
            session = {**entry.session, **_SESSION} if kind == "onnxruntime" else {}
            found[name] = entry.model_copy(update={"kind": kind, "weights": held, "session": session})
    return found
