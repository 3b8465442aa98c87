"""The source model in ONNX Runtime, in this process. What may crash it is asked by way of source_runner.py."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from artifacts.engines.onnxruntime import array_of, lacks_numpy_type, value_of
from artifacts.errors import RunError
from artifacts.mapped_areas import pages_given_back, unwritten_areas
from artifacts.onnxruntime_module import import_onnxruntime
from passes.onnx_to_torch.raw_data import LeanMessage, lean_message

if TYPE_CHECKING:
    from artifacts.samples import Arrays

_FOLDER_ENTRY = "session.model_external_initializers_file_folder_path"


class SourceSession:
    """An open session with graph optimisations off: what the file says, not what an optimiser makes of it."""

    def __init__(self, path: Path, *, data_folder: Path | None = None) -> None:
        """Open the model at `path`; its external data lies in `data_folder`, by default beside it.

        Raises RunError if ONNX Runtime refuses the model, MissingToolError if it is not installed.
        """
        self.path = path
        self._runtime = require_onnxruntime()
        self._options = self._runtime.SessionOptions()
        self._options.graph_optimization_level = self._runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
        self._options.log_severity_level = 4
        self._folder = (data_folder or path.parent).resolve()
        self._options.add_session_config_entry(_FOLDER_ENTRY, str(self._folder))
        # ONNX Runtime has no common base class for its errors below RuntimeError and its own Fail family.
        state = self._runtime.capi.onnxruntime_pybind11_state
        self._errors: tuple[type[Exception], ...] = (
            RuntimeError,
            ValueError,
            *(getattr(state, name) for name in _ERRORS),
        )
        lean = _lean(path, self._folder)
        if b"MatMulNBits" not in lean.data:  # a product that takes 25 times as long on weights as they are
            self._options.add_session_config_entry("session.disable_prepacking", "1")
        self._message = lean.data if lean.own else None
        del lean  # it may be the whole file, which ONNX Runtime reads by itself
        self._session = self._open(self._message or str(path))
        self._areas = unwritten_areas(self._folder)
        self.output_names = [output.name for output in self._session.get_outputs()]

    @property
    def input_names(self) -> list[str]:
        """The inputs that the caller gives, in the file's order."""
        return [argument.name for argument in self._session.get_inputs()]

    def run(self, inputs: Arrays) -> dict[str, npt.NDArray[np.generic]]:
        """The source's outputs by name. Raises RunError if it cannot run on these inputs."""
        return dict(zip(self.output_names, self._run(self._session, self.output_names, inputs), strict=True))

    def value(self, name: str, inputs: Arrays) -> npt.NDArray[np.generic]:
        """A tensor from inside the main graph, by its name. Raises RunError if it is not one.

        The model is opened anew with that value as its only output: nothing is kept between calls.
        """
        import onnx

        file = self.path if self._message is None else io.BytesIO(self._message)
        model = onnx.load_model(file, load_external_data=False)
        del model.graph.output[:]
        model.graph.output.append(onnx.ValueInfoProto(name=name))
        result = self._run(self._open(model.SerializeToString()), [name], inputs)[0]
        if not isinstance(result, np.ndarray):
            raise RunError.of("verify", name, "is not a tensor")
        return result

    def _open(self, model: str | bytes) -> Any:
        try:
            return self._runtime.InferenceSession(model, self._options, providers=["CPUExecutionProvider"])
        except self._errors as error:
            message = f"ONNX Runtime cannot load the source: {_first_line(error)}"
            hint = "give an .npz with the right outputs beside the inputs (--samples): the source then need not run"
            raise RunError.of("samples", self.path.name, message, hint) from error

    def _run(self, session: Any, outputs: list[str], inputs: Arrays) -> list[Any]:
        types = {argument.name: argument.type for argument in session.get_inputs()}
        given = {name: inputs[name] for name in inputs if name in types}
        low = any(map(lacks_numpy_type, (*types.values(), *(argument.type for argument in session.get_outputs()))))
        try:
            with pages_given_back(self._areas):
                if low:
                    values = {name: value_of(np.ascontiguousarray(array), types[name]) for name, array in given.items()}
                    return [array_of(value) for value in session.run_with_ort_values(outputs, values)]
                results: list[Any] = session.run(outputs, given)
        except self._errors as error:
            message = f"the source fails on {described(inputs)}: {_first_line(error)}"
            raise RunError.of("samples", self.path.name, message) from error
        return results


def _lean(path: Path, folder: Path) -> LeanMessage:
    """The model, its weights where ONNX Runtime can map them: in its own file if external data is read from there.

    ONNX Runtime holds the weights of a message twice while it opens it, and mapped ones not at all. Raises RunError.
    """
    try:
        lean = lean_message(path)
    except OSError as error:
        message = f"ONNX Runtime cannot load the source: {error.strerror}"
        raise RunError.of("samples", path.name, message) from error
    return lean if path.resolve().parent == folder else LeanMessage(path.read_bytes())


def require_onnxruntime() -> Any:
    """The module. Raises MissingToolError if it is not installed."""
    return import_onnxruntime("samples", "is needed to run the source model")


def described(inputs: Arrays) -> str:
    """Inputs by name and shape: `x:2x16, mask:2`."""
    return ", ".join(f"{name}:{'x'.join(map(str, array.shape))}" for name, array in inputs.items())


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
