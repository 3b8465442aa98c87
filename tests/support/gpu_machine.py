"""Stand-ins of NVIDIA's driver and of TensorRT, so that what calls them can be tested where there is neither.

The driver's memory is the host's. The builder's "plan" is the ONNX that it was handed, under a name of its own that no
real runtime opens, and the runtime answers with ONNX Runtime.
"""

from __future__ import annotations

import ctypes
import enum
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx.external_data_helper import load_external_data_for_model

from artifacts import cuda
from artifacts.host_cache import CACHE_VARIABLE
from compiler.targets import tensorrt as target

STAND_IN = b"stand-in of a plan\n"


class Cuda:
    """libcuda, as ctypes calls it. `refuse` makes the functions of that name fail."""

    def __init__(self, capability: tuple[int, int]) -> None:
        self.capability = capability
        self.held: dict[int, Any] = {}
        self.refuse: set[str] = set()

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("cu") and name in self.refuse:
            return lambda *_: 2
        return super().__getattribute__(name)

    def cuInit(self, _flags: int) -> int:  # noqa: N802 - the driver's name
        return 0

    def cuDeviceGet(self, device: Any, _ordinal: int) -> int:  # noqa: N802
        device._obj.value = 0
        return 0

    def cuDeviceGetAttribute(self, value: Any, attribute: int, _device: Any) -> int:  # noqa: N802
        value._obj.value = self.capability[attribute - 75]
        return 0

    def cuDevicePrimaryCtxRetain(self, context: Any, _device: Any) -> int:  # noqa: N802
        context._obj.value = 1
        return 0

    def cuCtxSetCurrent(self, _context: Any) -> int:  # noqa: N802
        return 0

    def cuStreamCreate(self, stream: Any, _flags: int) -> int:  # noqa: N802
        stream._obj.value = 7
        return 0

    def cuStreamSynchronize(self, _stream: Any) -> int:  # noqa: N802
        return 0

    def cuMemAlloc_v2(self, address: Any, size: Any) -> int:  # noqa: N802
        block = ctypes.create_string_buffer(size.value)
        address._obj.value = ctypes.addressof(block)
        self.held[ctypes.addressof(block)] = block
        return 0

    def cuMemFree_v2(self, address: Any) -> int:  # noqa: N802
        del self.held[address.value]
        return 0

    def cuMemcpyHtoD_v2(self, address: Any, data: bytes, size: Any) -> int:  # noqa: N802
        ctypes.memmove(address.value, data, size.value)
        return 0

    def cuMemcpyDtoH_v2(self, data: Any, address: Any, size: Any) -> int:  # noqa: N802
        ctypes.memmove(data, address.value, size.value)
        return 0

    def cuGetErrorString(self, _status: int, text: Any) -> int:  # noqa: N802
        text._obj.value = b"out of memory"
        return 0


class TensorIOMode(enum.Enum):
    """Of a tensor."""

    INPUT = 1
    OUTPUT = 2


class DataType(enum.Enum):
    """Of an element."""

    FLOAT = onnx.TensorProto.FLOAT
    INT64 = onnx.TensorProto.INT64
    BOOL = onnx.TensorProto.BOOL


class ILogger:
    """Base of loggers."""

    ERROR, INTERNAL_ERROR = "error", "internal error"

    def log(self, severity: str, message: str) -> None:
        """Of the subclass."""
        raise NotImplementedError


class _Base:
    """Base of what is subclassed in Python."""


class Engine:
    """A plan that was opened. Outputs named in `seen_late` have no shape before they are computed."""

    def __init__(self, model: bytes, seen_late: frozenset[str]) -> None:
        proto = onnx.ModelProto.FromString(model)
        self.seen_late = seen_late
        self.session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        self.outputs = [value.name for value in proto.graph.output]
        self.tensors = [
            *((value, TensorIOMode.INPUT) for value in proto.graph.input),
            *((value, TensorIOMode.OUTPUT) for value in proto.graph.output),
        ]
        self.weights = [tensor.name for tensor in proto.graph.initializer]
        self.num_io_tensors = len(self.tensors)

    def get_tensor_name(self, number: int) -> str:
        return str(self.tensors[number][0].name)

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return next(mode for value, mode in self.tensors if value.name == name)

    def get_tensor_dtype(self, name: str) -> DataType:
        return DataType(next(v.type.tensor_type.elem_type for v, _ in self.tensors if v.name == name))

    def create_execution_context(self) -> Context:
        return Context(self)

    def create_engine_inspector(self) -> Engine:
        return self

    def get_engine_information(self, _format: Any) -> str:
        return '{"Layers": []}'


class Context:
    """An execution context."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.active_optimization_profile = 0
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.addresses: dict[str, int] = {}
        self.allocators: dict[str, Any] = {}

    def set_optimization_profile_async(self, number: int, _stream: int) -> bool:
        self.active_optimization_profile = number
        return True

    def set_input_shape(self, name: str, shape: Sequence[int]) -> bool:
        self.shapes[name] = tuple(shape)
        return True

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def set_output_allocator(self, name: str, allocator: Any) -> bool:
        self.allocators[name] = allocator
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        shape = self._answers()[name].shape
        return tuple(-1 for _ in shape) if name in self.engine.seen_late else shape

    def execute_async_v3(self, _stream: int) -> bool:
        for name, array in self._answers().items():
            data = np.ascontiguousarray(array).tobytes()
            if name in self.allocators:
                address = self.allocators[name].reallocate_output_async(name, 0, len(data) + 64, 256, 7)
                self.allocators[name].notify_shape(name, array.shape)
            else:
                address = self.addresses[name]
            ctypes.memmove(address, data, len(data))
        return True

    def _answers(self) -> dict[str, Any]:
        given = dict[str, Any]()
        for arg in self.engine.session.get_inputs():
            dtype = {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(bool)": np.bool_}[arg.type]
            count = int(np.prod(self.shapes[arg.name])) * np.dtype(dtype).itemsize
            data = ctypes.string_at(self.addresses[arg.name], count)
            given[arg.name] = np.frombuffer(data, dtype).reshape(self.shapes[arg.name])
        return dict(zip(self.engine.outputs, self.engine.session.run(self.engine.outputs, given), strict=True))


def tensorrt_module(seen_late: frozenset[str] = frozenset(), hidden: frozenset[str] = frozenset()) -> ModuleType:
    """A module with the names that are used of TensorRT's. `hidden` weights have no place in its plans."""

    class Times:
        def __init__(self, times: bytes) -> None:
            self.times = times

        def serialize(self) -> bytes:
            return self.times + b" and a build's"

    class Config:
        def __init__(self) -> None:
            self.flags: list[str] = []
            self.profiles: list[Any] = []
            self.times = b""

        def create_timing_cache(self, data: bytes) -> bytes | None:
            return None if data.startswith(b"damaged") else data or b"none"

        def set_timing_cache(self, cache: bytes, _ignore_mismatch: bool) -> bool:
            self.times = cache
            return True

        def get_timing_cache(self) -> Times:
            return Times(self.times)

        def set_flag(self, flag: str) -> None:
            self.flags.append(flag)

        def clear_flag(self, _flag: str) -> None:
            pass

        def add_optimization_profile(self, profile: Any) -> int:
            self.profiles.append(profile)
            return len(self.profiles) - 1

    class Profile:
        def set_shape(self, *_shapes: Any) -> None:
            pass

    class Builder:
        def __init__(self, logger: ILogger) -> None:
            self.logger = logger

        def create_network(self, _flags: int) -> dict[str, bytes]:
            return {}

        def create_builder_config(self) -> Config:
            return Config()

        def create_optimization_profile(self) -> Profile:
            return Profile()

        def build_serialized_network(self, network: dict[str, bytes], _config: Config) -> bytes:
            return STAND_IN + network["model"]

    class OnnxParser:
        num_errors = 0

        def __init__(self, network: dict[str, bytes], _logger: ILogger) -> None:
            self.network = network

        def parse(self, data: bytes, path: str) -> bool:
            model = onnx.ModelProto.FromString(data)
            load_external_data_for_model(model, str(Path(path).parent))
            self.network["model"] = model.SerializeToString()
            return True

    class Runtime:
        def __init__(self, logger: ILogger) -> None:
            self.logger = logger

        def deserialize_cuda_engine(self, plan: bytes) -> Engine | None:
            if not plan.startswith(STAND_IN):
                self.logger.log(ILogger.ERROR, "no plan of this version")
                return None
            return Engine(plan.removeprefix(STAND_IN), seen_late)

    class Refitter:
        def __init__(self, engine: Engine, _logger: ILogger) -> None:
            self.engine = engine

        def get_missing_weights(self) -> list[str]:
            return []

        def get_all_weights(self) -> list[str]:
            return [name for name in self.engine.weights if name not in hidden]

        def refit_cuda_engine(self) -> bool:
            return True

    class OnnxParserRefitter:
        num_errors = 0

        def __init__(self, refitter: Refitter, _logger: ILogger) -> None:
            pass

        def refit_from_bytes(self, _data: bytes, _path: str) -> bool:
            return True

    module = ModuleType("tensorrt")
    module.__spec__ = ModuleSpec("tensorrt", None)
    for kind in (ILogger, TensorIOMode, DataType, Builder, OnnxParser, Runtime, Refitter, OnnxParserRefitter):
        setattr(module, kind.__name__, kind)
    for name in ("IOutputAllocator", "IProgressMonitor"):
        setattr(module, name, _Base)
    flags = ("STRONGLY_TYPED", "TF32", "REFIT", "STRIP_PLAN", "REFIT_IDENTICAL", "VERSION_COMPATIBLE")
    members: dict[str, Any] = {name: number for number, name in enumerate(flags)}
    module.NetworkDefinitionCreationFlag = module.BuilderFlag = type("Flag", (), members)  # type: ignore[attr-defined]
    module.ProfilingVerbosity = type("Verbosity", (), {"DETAILED": 1})  # type: ignore[attr-defined]
    module.LayerInformationFormat = type("Format", (), {"JSON": 1})  # type: ignore[attr-defined]
    module.HardwareCompatibilityLevel = type("Level", (), {"AMPERE_PLUS": 1})  # type: ignore[attr-defined]
    return module


@contextmanager
def gpu_machine(
    monkeypatch: pytest.MonkeyPatch, module: ModuleType | None = None, capability: tuple[int, int] = (8, 9)
) -> Iterator[Cuda]:
    """A machine with a GPU and TensorRT, for as long as the block; its caches go with it."""
    library, load = Cuda(capability), ctypes.CDLL
    with monkeypatch.context() as patch, TemporaryDirectory() as caches:
        patch.setenv(CACHE_VARIABLE, caches)
        patch.setattr(ctypes, "CDLL", lambda name, *a, **k: library if name == "libcuda.so.1" else load(name, *a, **k))
        patch.setitem(sys.modules, "tensorrt", module or tensorrt_module())
        patch.setattr(target, "_version", lambda: "0.0.stand-in")
        cuda.driver.cache_clear()
        yield library
    cuda.driver.cache_clear()
