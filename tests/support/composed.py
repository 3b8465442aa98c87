"""Decodes that are composed and opened without a bundle: the functions are emitted once, the schedules vary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from artifacts.decode_inputs import DecodeInputs
from artifacts.engines import EngineRunner, open_engine
from artifacts.manifest import Access, EngineEntry, ModelEntry
from artifacts.runtime import Session
from artifacts.schedule import Control, Decode, Generation, Partitioned
from artifacts.shards import ShardIndex
from artifacts.spec import Signature
from artifacts.weights import WeightStore
from compiler.decode_onnx import DecodeFunctions, emit_partitions, emit_whole
from compiler.emit_onnx import OnnxBody, attach_weights, emit_onnx, serialized
from compiler.targets.target import Placement
from passes.program import Program
from tests.support.bundles import ACCESS
from tests.support.decoder_programs import Form, decoder_program

EVERYTHING = 1 << 40


@dataclass(frozen=True, eq=False)
class Composed:
    """The functions of a decode with the store that holds their weights, and the encoder, if there is one."""

    functions: DecodeFunctions
    encoder: Mapping[str, tuple[OnnxBody, Signature]]
    weights: WeightStore

    @property
    def schedule(self) -> Decode:
        return self.functions.inputs.schedule

    def scheduled(self, control: Control, generation: Generation) -> Composed:
        """The same functions under another control and other rules."""
        schedule = self.schedule.model_copy(update={"control": control, "generation": generation})
        inputs = replace(self.functions.inputs, schedule=Decode.model_validate(schedule.model_dump()))
        return replace(self, functions=replace(self.functions, inputs=inputs))

    def opened(self, folder: Path, weights: Access | None = None) -> Session:
        """A session on engines that are written into the folder, their weights inside."""
        schedule = self.schedule
        if isinstance(schedule.control, Partitioned):
            steps = tuple(emit_partitions(self.functions))
            parts = {f"part-{n}": part for n, part in enumerate(steps)}
            engines = {**self.encoder, **parts}
            holders = {name: (name,) for name in self.encoder} | dict.fromkeys(
                [name for name in schedule.functions if name not in self.encoder], tuple(parts)
            )
        else:
            engines = {"decode": emit_whole(self.functions)}
            holders = dict.fromkeys(schedule.functions, ("decode",))
        runners = {name: self._runner(folder, name, *engine, weights) for name, engine in engines.items()}
        source = self.functions.inputs.source
        return Session(ModelEntry(source="0" * 64, signature=source, schedule=schedule, functions=holders), runners)

    def _runner(
        self, folder: Path, name: str, body: OnnxBody, signature: Signature, weights: Access | None
    ) -> EngineRunner:
        model, _ = attach_weights(body, Placement(folder, self.weights, ShardIndex({})), EVERYTHING)
        (folder / f"{name}.onnx").write_bytes(serialized(model))
        entry = EngineEntry(
            kind="onnxruntime", target="t", signature=signature, source=f"{name}.onnx", status="emitted", weights=ACCESS
        )
        return open_engine(folder, entry, 1, weights)


@cache
def composed(form: Form) -> Composed:
    """The decoder of `decoder_programs` in one form."""
    return composed_of(decoder_program(form))


def composed_of(program: Program) -> Composed:
    """A program of one decoder called `decoder`."""
    model = program.models["decoder"]
    assert isinstance(model.schedule, Decode)
    signatures = {name: function.signature for name, function in program.functions.items()}
    bodies = {name: emit_onnx(program.functions[name]) for name in model.schedule.functions}
    functions = DecodeFunctions.of(DecodeInputs(model.schedule, signatures, model.signature), bodies)
    apart = [name for name in (model.schedule.encoder,) if name is not None]
    encoder = {name: (emit_onnx(program.functions[name]), signatures[name]) for name in apart}
    return Composed(functions, encoder, program.weights)
