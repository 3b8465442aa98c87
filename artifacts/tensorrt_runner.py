"""Runs plans of TensorRT and of TensorRT-RTX on the GPU: one interface, two modules.

Names of the interface: the Python API references of TensorRT 10 and TensorRT-RTX 1. No GPU was there when this was
written: what is tested is everything up to the two libraries, which stand-ins take the places of.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from artifacts.cuda import Driver, Memory, driver
from artifacts.dtype import DType
from artifacts.engines.engine import Buffer
from artifacts.engines.runner import Runner
from artifacts.errors import BundleError, MissingToolError, Problem
from artifacts.manifest import Access, EngineEntry
from artifacts.plan_build import PlanBuild, Profile
from artifacts.spec import TensorSpec
from artifacts.tensorrt_said import Said

Array = npt.NDArray[Any]
Shape = tuple[int, ...]

_STAGE = "engine"

_TYPES: Mapping[str, DType] = {
    "FLOAT": DType.FLOAT32,
    "HALF": DType.FLOAT16,
    "BF16": DType.BFLOAT16,
    "FP8": DType.FLOAT8_E4M3FN,
    "INT8": DType.INT8,
    "UINT8": DType.UINT8,
    "INT32": DType.INT32,
    "INT64": DType.INT64,
    "BOOL": DType.BOOL,
}
"""Element types by their names in the enumeration DataType."""


@dataclass(frozen=True, eq=False)
class CudaBuffer:
    """A tensor in the GPU's memory."""

    memory: Memory
    dtype: DType
    shape: Shape


class TensorRtRunner(Runner[CudaBuffer]):
    """One open plan. Calls wait for each other: an execution context is for one of them at a time."""

    def __init__(self, trt: Any, said: Any, engine: Any, entry: EngineEntry, gpu: Driver) -> None:
        """`engine` is the deserialised plan, whose weights are in place. Raises BundleError if it is another one."""
        super().__init__(engine, entry, CudaBuffer)
        self.kind = entry.kind
        self._trt = trt
        self._said = said
        self._gpu = gpu
        self._stream = gpu.stream()
        self._lock = threading.Lock()
        self._context: Any = None
        BundleError.raise_if(_faults(trt, engine, entry))

    def upload(self, spec: TensorSpec, array: Array) -> CudaBuffer:
        """A copy of an array on the GPU."""
        memory = self._gpu.memory(array.nbytes)
        self._gpu.write(memory, np.ascontiguousarray(array).tobytes())
        return CudaBuffer(memory, spec.dtype, array.shape)

    def download(self, buffer: Buffer) -> Array:
        """A copy of a buffer in the host's memory, in the carrier type."""
        own = self._own(buffer)
        data = self._gpu.read(own.memory, own.memory.nbytes)
        return np.frombuffer(bytearray(data), own.dtype.numpy).reshape(own.shape)

    def run(self, inputs: Mapping[str, Buffer]) -> dict[str, Buffer]:
        """Run once; outputs are allocated on the GPU as their shapes become known."""
        with self._lock:
            if self._context is None:
                self._context = self._new_context()
            context = self._context
            self._set_inputs(context, inputs)
            outputs = [_Output(self._trt, self._gpu, context, spec) for spec in self.signature.outputs]
            self._execute(context)
            return {output.spec.name: output.buffer() for output in outputs}

    def bind(self, inputs: Mapping[str, Buffer], outputs: Mapping[str, Buffer]) -> Callable[[], None]:
        """A call that reads and writes these very buffers each time, in an execution context of its own."""
        context = self._new_context()
        self._set_inputs(context, inputs)
        for spec in self.signature.outputs:
            own = self._own(outputs[spec.name])
            found = tuple(context.get_tensor_shape(spec.name))
            if -1 not in found and found != own.shape:
                raise self._failed(f"output {spec.name!r} has the shape {own.shape}, and {found} is needed")
            context.set_tensor_address(spec.name, own.memory.address)
        held = (context, dict(inputs), dict(outputs))  # a context knows addresses only

        def call() -> None:
            with self._lock:
                self._execute(held[0])

        return call

    def close(self) -> None:
        """Let go of the plan, its contexts and their memory."""
        super().close()
        self._context = None

    def _new_context(self) -> Any:
        engine = self._live()
        self._gpu.use()
        context = engine.create_execution_context()
        if context is None:
            raise self._failed(f"has no memory to run in: {self._said.last()}")
        return context

    def _set_inputs(self, context: Any, inputs: Mapping[str, Buffer]) -> None:
        """Choose the profile that has these shapes, and say where the inputs are."""
        specs = self.signature.inputs
        missing = [spec.name for spec in specs if spec.name not in inputs]
        if missing:
            raise self._failed(f"has no input {', '.join(missing)}")
        own = {spec.name: self._own(inputs[spec.name]) for spec in specs}
        self._gpu.use()
        build = self._entry.build
        profiles = build.profiles if isinstance(build, PlanBuild) else ()
        if profiles:
            number = profile_for(profiles, {name: buffer.shape for name, buffer in own.items()})
            if number is None:
                raise self._failed(_no_profile(profiles, {name: buffer.shape for name, buffer in own.items()}))
            if context.active_optimization_profile != number:
                context.set_optimization_profile_async(number, self._stream)
        for name, buffer in own.items():
            if not context.set_input_shape(name, buffer.shape):
                raise self._failed(f"input {name!r} of shape {buffer.shape}: {self._said.last()}")
            context.set_tensor_address(name, buffer.memory.address)

    def _execute(self, context: Any) -> None:
        self._gpu.use()
        if not context.execute_async_v3(self._stream):
            raise self._failed(self._said.last())
        self._gpu.wait(self._stream)


class _Output:
    """An output of one call: a buffer of the shape that follows from the inputs, or of the one that is seen."""

    def __init__(self, trt: Any, gpu: Driver, context: Any, spec: TensorSpec) -> None:
        self.spec = spec
        self._shape = tuple(context.get_tensor_shape(spec.name))
        self._allocator: Any = None
        if -1 in self._shape:
            self._allocator = _allocator(trt, gpu)
            context.set_output_allocator(spec.name, self._allocator)
        else:
            self._memory = gpu.memory(_nbytes(spec, self._shape))
            context.set_tensor_address(spec.name, self._memory.address)

    def buffer(self) -> CudaBuffer:
        """What it became."""
        if self._allocator is None:
            return CudaBuffer(self._memory, self.spec.dtype, self._shape)
        shape = tuple(self._allocator.shape)
        memory = self._allocator.memory
        # More may have been asked for than is used: the size of a buffer is that of its shape.
        return CudaBuffer(memory.of(_nbytes(self.spec, shape)), self.spec.dtype, shape)


def _allocator(trt: Any, gpu: Driver) -> Any:
    class Allocator(trt.IOutputAllocator):  # type: ignore[misc] # the module is not known before it is imported
        def __init__(self) -> None:
            trt.IOutputAllocator.__init__(self)
            self.memory = gpu.memory(0)
            self.shape: Sequence[int] = ()

        def reallocate_output_async(self, _name: str, _memory: int, size: int, _alignment: int, _stream: int) -> int:
            self.memory = gpu.memory(size)
            return self.memory.address

        def notify_shape(self, _name: str, shape: Sequence[int]) -> None:
            self.shape = tuple(shape)

    return Allocator()


def _nbytes(spec: TensorSpec, shape: Shape) -> int:
    count = 1
    for size in shape:
        count *= size
    return count * spec.dtype.numpy.itemsize


def profile_for(profiles: Sequence[Profile], shapes: Mapping[str, Shape]) -> int | None:
    """The first profile that has these shapes, by number; None if none has."""
    for number, profile in enumerate(profiles):
        if all(
            len(shapes[name]) == len(sizes.most)
            and all(a <= b <= c for a, b, c in zip(sizes.least, shapes[name], sizes.most, strict=True))
            for name, sizes in profile.items()
        ):
            return number
    return None


def _no_profile(profiles: Sequence[Profile], shapes: Mapping[str, Shape]) -> str:
    given = ", ".join(f"{name} {shapes[name]}" for name in profiles[0])
    ranges = "; ".join(
        ", ".join(f"{name} from {sizes.least} to {sizes.most}" for name, sizes in profile.items())
        for profile in profiles
    )
    return f"was not built for {given}; it takes {ranges}"


def open_plan(
    module: Callable[[], Any], package: str, root: Path, entry: EngineEntry, weights: Access
) -> TensorRtRunner:
    """Open the plan of an engine of the bundle at `root`, with the module of its runtime, which `package` brings.

    Raises MissingToolError without the package, a driver or a GPU, BundleError if the plan cannot be opened.
    """
    if entry.plan is None:
        hint = "; ".join(need.command for need in entry.needs)
        raise BundleError.of(_STAGE, entry.source, "has no plan yet", hint)
    try:
        trt = module()
    except ImportError as error:
        raise MissingToolError.of(_STAGE, package, "is not installed", f"pip install {package}") from error
    gpu = driver()
    gpu.use()
    said = Said.of(trt)
    engine = trt.Runtime(said).deserialize_cuda_engine((root / entry.plan).read_bytes())
    if engine is None:
        hint = "was it built by the version of the runtime that is here, and for this GPU? see unspool inspect"
        raise BundleError.of(_STAGE, entry.plan, f"cannot be opened: {said.last()}", hint)
    if weights in {"refit", "stripped"}:
        _refit(trt, said, engine, entry, root)
    return TensorRtRunner(trt, said, engine, entry, gpu)


def _refit(trt: Any, said: Any, engine: Any, entry: EngineEntry, root: Path) -> None:
    """Put the weights of the shards into a plan. Raises BundleError with all that found no place.

    A runtime may leave one out without a word, so what has no place is looked for on both sides.
    """
    refitter = trt.Refitter(engine, said)
    parser = trt.OnnxParserRefitter(refitter, said)
    source = (root / entry.source).read_bytes()
    # Weights are looked for beside the path; nothing is read from it.
    if not parser.refit_from_bytes(source, str(root / "engine.onnx")):
        errors = [parser.get_error(number).desc().strip() for number in range(parser.num_errors)]
        BundleError.raise_if(Problem(_STAGE, str(entry.plan), f"cannot take its weights: {text}") for text in errors)
        raise BundleError.of(_STAGE, str(entry.plan), f"cannot take its weights: {said.last()}")
    missing = sorted(refitter.get_missing_weights())
    if missing:
        raise BundleError.of(_STAGE, str(entry.plan), f"misses the weights {', '.join(missing)}", _BUILD_AGAIN)
    if not refitter.refit_cuda_engine():
        raise BundleError.of(_STAGE, str(entry.plan), f"cannot take its weights: {said.last()}", _BUILD_AGAIN)
    silent = sorted(set(entry.bindings) - set(refitter.get_all_weights()))
    if silent:
        message = f"has no place for the weights {', '.join(silent)}, and may compute without them"
        raise BundleError.of(_STAGE, str(entry.plan), message, _BUILD_AGAIN)


_BUILD_AGAIN = "build it again with --weights embedded"


def _faults(trt: Any, engine: Any, entry: EngineEntry) -> list[Problem]:
    """Where a plan's own inputs and outputs are not the manifest's."""
    problems = []
    modes = {trt.TensorIOMode.INPUT: "inputs", trt.TensorIOMode.OUTPUT: "outputs"}
    found: dict[str, dict[str, str]] = {"inputs": {}, "outputs": {}}
    for number in range(engine.num_io_tensors):
        name = engine.get_tensor_name(number)
        found[modes[engine.get_tensor_mode(name)]][name] = str(engine.get_tensor_dtype(name)).rpartition(".")[2]
    for side, specs in (("inputs", entry.signature.inputs), ("outputs", entry.signature.outputs)):
        wanted = {spec.name: spec.dtype for spec in specs}
        if wanted.keys() != found[side].keys():
            message = f"has the {side} {sorted(found[side])}, the manifest says {sorted(wanted)}"
            problems.append(Problem(_STAGE, str(entry.plan), message))
            continue
        problems += [
            Problem(_STAGE, str(entry.plan), f"{name!r} is {found[side][name]}, the manifest says {dtype}")
            for name, dtype in wanted.items()
            if _TYPES.get(found[side][name]) != dtype
        ]
    return problems
