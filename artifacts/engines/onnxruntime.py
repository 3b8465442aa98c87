"""Engines that ONNX Runtime runs on the CPU: `engines/NAME.onnx`, weights mapped from the bundle's shards.

Kernels of products and convolutions pack the weights that they find there into copies of their own, unless the engine
is opened `mapped`; opened `cached` they map packed ones (`artifacts/prepacked.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from artifacts.dtype import DType
from artifacts.engines.engine import Buffer
from artifacts.engines.runner import Runner
from artifacts.errors import BundleError, Problem
from artifacts.manifest import Access, EngineEntry
from artifacts.onnxruntime_module import import_onnxruntime
from artifacts.spec import TensorSpec

Array = npt.NDArray[Any]

_STAGE = "engine"

_FOLDER_ENTRY = "session.model_external_initializers_file_folder_path"

_ARENA = "enable_cpu_mem_arena"
_NO_PACKING = "session.disable_prepacking"

_VALUES: Mapping[str, type] = {
    "intra_op_num_threads": int,
    "inter_op_num_threads": int,
    "enable_mem_reuse": bool,
    "enable_mem_pattern": bool,
    _ARENA: bool,
}

_CHOICES: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "graph_optimization_level": {
        "disable": ("GraphOptimizationLevel", "ORT_DISABLE_ALL"),
        "basic": ("GraphOptimizationLevel", "ORT_ENABLE_BASIC"),
        "extended": ("GraphOptimizationLevel", "ORT_ENABLE_EXTENDED"),
        "layout": ("GraphOptimizationLevel", "ORT_ENABLE_LAYOUT"),
        "all": ("GraphOptimizationLevel", "ORT_ENABLE_ALL"),
    },
    "execution_mode": {
        "sequential": ("ExecutionMode", "ORT_SEQUENTIAL"),
        "parallel": ("ExecutionMode", "ORT_PARALLEL"),
    },
}

# Others can name a library to load or a file to write, which a bundle must not do to its host.
_CONFIG_ENTRIES = frozenset(
    {
        "mlas.disable_kleidiai",
        "mlas.enable_gemm_fastmath_arm64_bfloat16",
        "optimization.disable_specified_optimizers",
        "optimization.enable_gelu_approximation",
        _NO_PACKING,
        "session.disable_quant_qdq",
        "session.dynamic_block_base",
        "session.enable_quant_qdq_cleanup",
        "session.force_spinning_stop",
        "session.inter_op.allow_spinning",
        "session.intra_op.allow_spinning",
        "session.qdq_matmulnbits_accuracy_level",
        "session.qdqisint8allowed",
        "session.set_denormal_as_zero",
        "session.use_device_allocator_for_initializers",
    }
)

_ONNX_TYPES: Mapping[str, tuple[DType, int]] = {
    "tensor(bfloat16)": (DType.BFLOAT16, 16),
    "tensor(float8e4m3fn)": (DType.FLOAT8_E4M3FN, 17),
    "tensor(float8e4m3fnuz)": (DType.FLOAT8_E4M3FNUZ, 18),
    "tensor(float8e5m2)": (DType.FLOAT8_E5M2, 19),
    "tensor(float8e5m2fnuz)": (DType.FLOAT8_E5M2FNUZ, 20),
}
"""Element types that numpy lacks, as ONNX Runtime prints them, with their number in ONNX's TensorProto."""


@dataclass(frozen=True, eq=False)
class OrtBuffer:
    """A tensor that ONNX Runtime owns, or an array whose memory it shares."""

    value: Any
    dtype: DType

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the dimensions."""
        return tuple(self.value.shape())


@dataclass(frozen=True, eq=False)
class _BoundCall:
    """A binding knows addresses only, so the buffers have to live as long as the call does."""

    run: Callable[[Any], None]
    binding: Any
    buffers: tuple[Buffer, ...]

    def __call__(self) -> None:
        self.run(self.binding)


class OnnxRuntimeRunner(Runner[OrtBuffer]):
    """An open `InferenceSession`. Safe to use from several threads, as the session is."""

    kind = "onnxruntime"

    def __init__(self, session: Any, entry: EngineEntry) -> None:
        super().__init__(session, entry, OrtBuffer)
        self._outputs = [spec.name for spec in entry.signature.outputs]
        self._declared: dict[str, str] = {arg.name: arg.type for arg in (*session.get_inputs(), *session.get_outputs())}
        self._has_numpy_types = not any(map(lacks_numpy_type, self._declared.values()))
        self._failures = _failures()

    def upload(self, spec: TensorSpec, array: Array) -> OrtBuffer:
        """A buffer that shares the memory of a C-contiguous array."""
        return OrtBuffer(value_of(array, self._declared.get(spec.name, "")), spec.dtype)

    def download(self, buffer: Buffer) -> Array:
        """The buffer's memory as an array; a copy where numpy lacks the type."""
        return array_of(self._own(buffer).value)

    def run(self, inputs: Mapping[str, Buffer]) -> dict[str, Buffer]:
        """Run once; ONNX Runtime allocates the outputs."""
        binding = self._binding(inputs)
        for name in self._outputs:
            binding.bind_output(name, "cpu")
        self._run(binding)
        values = binding.get_outputs()
        specs = self.signature.outputs
        return {spec.name: OrtBuffer(value, spec.dtype) for spec, value in zip(specs, values, strict=True)}

    def bind(self, inputs: Mapping[str, Buffer], outputs: Mapping[str, Buffer]) -> Callable[[], None]:
        """A call that reads and writes these very buffers each time."""
        binding = self._binding(inputs)
        for name in self._outputs:
            binding.bind_ortvalue_output(name, self._own(outputs[name]).value)
        return _BoundCall(self._run, binding, (*inputs.values(), *outputs.values()))

    def call(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run once from arrays to arrays."""
        if self._has_numpy_types:
            try:
                arrays = self._live().run(self._outputs, inputs)
            except self._failures as error:
                raise self._failed(f"ONNX Runtime: {error}") from error
            return dict(zip(self._outputs, arrays, strict=True))
        return super().call(inputs)

    def _binding(self, inputs: Mapping[str, Buffer]) -> Any:
        binding = self._live().io_binding()
        try:
            for name, buffer in inputs.items():
                binding.bind_ortvalue_input(name, self._own(buffer).value)
        except self._failures as error:
            raise self._failed(f"ONNX Runtime: {error}") from error
        return binding

    def _run(self, binding: Any) -> None:
        try:
            self._live().run_with_iobinding(binding)
        except self._failures as error:
            raise self._failed(f"ONNX Runtime: {error}") from error


def runs_here() -> bool:
    """Wherever it is installed. If it is not, opening an engine says so."""
    return True


def open_engine(root: Path, entry: EngineEntry, threads: int | None, weights: Access) -> OnnxRuntimeRunner:
    """Open the engine of a bundle at `root`. See `engine.Opener`."""
    onnxruntime = import_onnxruntime(_STAGE)

    def options() -> Any:
        found = _session_options(onnxruntime, entry, threads)
        # Engines lie in a folder beside the weights; external data is looked up from the bundle's own folder.
        found.add_session_config_entry(_FOLDER_ENTRY, str(root))
        return found

    def opened(path: Path, settings: Any) -> Any:
        try:
            # Its fallback tries the same again, and prints to standard output, where a caller may have a document.
            return onnxruntime.InferenceSession(
                str(path), settings, providers=["CPUExecutionProvider"], enable_fallback=0
            )
        except _failures() as error:
            raise BundleError.of(_STAGE, entry.source, f"ONNX Runtime cannot open it: {error}") from error

    if weights == "cached":
        from artifacts.prepacked import prepacked_engine

        path = prepacked_engine(root, entry, options, opened)
        settings = _session_options(onnxruntime, entry, threads)
        settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL  # it is optimised
    else:
        path, settings = root / entry.source, options()
        if weights == "mapped":
            settings.add_session_config_entry(_NO_PACKING, "1")
    if weights != "prepacked" and _ARENA not in entry.session:
        # An arena keeps the most that a call ever took, in every process, and was seen to make nothing faster.
        settings.enable_cpu_mem_arena = False
    session = opened(path, settings)
    BundleError.raise_if(_signature_problems(session, entry))
    return OnnxRuntimeRunner(session, entry)


def _session_options(onnxruntime: Any, entry: EngineEntry, threads: int | None) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors; they are raised as well
    problems = []
    for name, value in entry.session.items():
        if name in _VALUES and type(value) is _VALUES[name]:
            setattr(options, name, value)
        elif name in _CHOICES and value in _CHOICES[name]:
            enum, member = _CHOICES[name][str(value)]
            setattr(options, name, getattr(getattr(onnxruntime, enum), member))
        elif name in _CONFIG_ENTRIES and isinstance(value, str):
            options.add_session_config_entry(name, value)
        else:
            problems.append(Problem(_STAGE, entry.source, f"has the unknown option {name} = {value!r}"))
    BundleError.raise_if(problems)
    if threads is not None:
        options.intra_op_num_threads = threads
    return options


def _signature_problems(session: Any, entry: EngineEntry) -> list[Problem]:
    """Where the engine's own inputs and outputs are not the manifest's."""
    problems = []
    for side, specs, args in (
        ("inputs", entry.signature.inputs, session.get_inputs()),
        ("outputs", entry.signature.outputs, session.get_outputs()),
    ):
        names, found = {spec.name for spec in specs}, {arg.name for arg in args}
        if names != found:
            message = f"has the {side} {sorted(found)}, the manifest says {sorted(names)}"
            problems.append(Problem(_STAGE, entry.source, message))
    return problems


def lacks_numpy_type(declared: str) -> bool:
    """Whether ONNX Runtime's name of a type is one that numpy lacks: its arrays travel in a carrier type."""
    return declared in _ONNX_TYPES


def value_of(array: Array, declared: str) -> Any:
    """An OrtValue of the declared type that shares the memory of a C-contiguous array."""
    from onnxruntime import OrtValue

    if lacks_numpy_type(declared):
        return OrtValue.ortvalue_from_numpy_with_onnx_type(array, _ONNX_TYPES[declared][1])
    return OrtValue.ortvalue_from_numpy(array)


def array_of(value: Any) -> Array:
    """An OrtValue's memory as an array; a copy where numpy lacks the type."""
    import ctypes

    if not lacks_numpy_type(value.data_type()):
        array: Array = value.numpy()
        return array
    shape = tuple(value.shape())
    count = value.tensor_size_in_bytes()
    data = ctypes.string_at(value.data_ptr(), count) if count else b""
    return np.frombuffer(data, _ONNX_TYPES[value.data_type()][0].numpy).reshape(shape)


def _failures() -> tuple[type[Exception], ...]:
    """What ONNX Runtime raises. Its own errors have no common base but Exception."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    own = [kind for kind in vars(state).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    return (*own, RuntimeError, ValueError)
