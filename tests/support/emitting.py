"""A small model on its way to an engine: converted, emitted and run, with no compilation around it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnxruntime
from onnx import ModelProto

from artifacts.shards import write_shards
from artifacts.weights import WeightRef
from compiler.emit_onnx import attach_weights, emit_onnx, serialized
from compiler.targets.target import Placement
from passes.onnx_to_torch.convert import Converted, convert
from passes.onnx_to_torch.source import load_source
from tests.support.models import Array, saved


@dataclass(frozen=True)
class Emitted:
    """An engine on disk: its bytes, and the weights that it refers to by offset."""

    root: Path
    data: bytes
    external: Mapping[str, WeightRef]

    @property
    def model(self) -> ModelProto:
        """The engine as a message; weights outside it are not loaded."""
        model: ModelProto = ModelProto.FromString(self.data)
        return model

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """What ONNX Runtime makes of it, without the weights it would find anywhere else."""
        path = self.root / "engine.onnx"
        path.write_bytes(self.data)
        onnx.checker.check_model(path, full_check=True)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, session.run(names, dict(inputs)), strict=True))


def converted(model: ModelProto, folder: Path, inputs: Mapping[str, Array]) -> Converted:
    """The model as a function called `main`, traced with these inputs."""
    return convert(load_source(saved(model, folder / "source.onnx")), "main", inputs)


def emitted(found: Converted, root: Path, inline_bytes: int = 0) -> Emitted:
    """A function as an engine in the folder `root`."""
    root.mkdir(parents=True, exist_ok=True)
    refs = tuple(found.function.weights.values())
    shards = write_shards(found.weights, refs, root)
    placement = Placement(root, found.weights, shards)
    engine, external = attach_weights(emit_onnx(found.function), placement, inline_bytes)
    return Emitted(root, serialized(engine), external)
