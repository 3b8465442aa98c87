"""Run the source model as it is: the answers that every compiled form is compared with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from artifacts.errors import MissingToolError, RunError
from artifacts.samples import Arrays


class SourceRunner:
    """The source in ONNX Runtime, graph optimisations off: what the file says, not what an optimiser makes of it."""

    def __init__(self, path: Path, threads: int | None = None) -> None:
        """Raises RunError if ONNX Runtime refuses the model, MissingToolError if it is not installed."""
        try:
            import onnxruntime
        except ImportError as error:
            hint = 'pip install "unspool[onnxruntime]"'
            raise MissingToolError.of("samples", "onnxruntime", "is needed to run the source model", hint) from error
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 4
        if threads is not None:
            options.intra_op_num_threads = threads
        self.path = path
        # ONNX Runtime has no common base class for its errors below RuntimeError and its own Fail family.
        self._errors: tuple[type[Exception], ...] = (
            RuntimeError,
            ValueError,
            *(getattr(onnxruntime.capi.onnxruntime_pybind11_state, name) for name in _ERRORS),
        )
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except self._errors as error:
            raise RunError.of(
                "samples", path.name, f"ONNX Runtime cannot load the source: {_first_line(error)}"
            ) from error
        self._outputs = [output.name for output in self._session.get_outputs()]

    def run(self, inputs: Arrays) -> dict[str, npt.NDArray[np.generic]]:
        """The source's outputs by name. Raises RunError if it cannot run on these inputs."""
        try:
            results = self._session.run(self._outputs, dict(inputs))
        except self._errors as error:
            shapes = ", ".join(f"{name}:{'x'.join(map(str, array.shape))}" for name, array in inputs.items())
            raise RunError.of(
                "samples", self.path.name, f"the source fails on {shapes}: {_first_line(error)}"
            ) from error
        return dict(zip(self._outputs, results, strict=True))


_ERRORS = (
    "Fail",
    "InvalidArgument",
    "NotImplemented",
    "InvalidGraph",
    "RuntimeException",
    "InvalidProtobuf",
    "NoSuchFile",
)


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]
