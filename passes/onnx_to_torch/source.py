"""Read an ONNX model: the file, its external data, and whether its graph hangs together.

Nothing outside the model's own folder is ever opened, and nothing in a model is run. Reading needs the package onnx
alone: an up-to-date compilation ends there, and does not pay for the import of onnx_ir.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import google.protobuf.message
import onnx
import onnx.defs

from artifacts.errors import ModelFormatError, Problem, UnsupportedError
from passes.onnx_to_torch.call_problems import call_problems
from passes.onnx_to_torch.external_data import resolve_external
from passes.onnx_to_torch.graph_problems import STAGE, graph_problems, graphs_and_nodes, node_label
from passes.onnx_to_torch.raw_data import lean_message
from passes.onnx_to_torch.registry import normal_domain
from passes.onnx_to_torch.source_digest import source_digest
from passes.onnx_to_torch.tensor_problems import external_location, lies_in, tensor_problems, tensors_of

if TYPE_CHECKING:
    import onnx_ir as ir


@dataclass(frozen=True, eq=False)
class SourceMessage:
    """A model file that was read and checked: its message, a digest of it with its external data, the files read.

    External data is located from `data_folder`. `external` holds every external file that the model names, by the
    name that it has for it. The initializers in `own` are in the message as external data in the model's own file.
    """

    path: Path
    data_folder: Path
    proto: onnx.ModelProto
    digest: str
    external: Mapping[str, Path]
    own: frozenset[str]

    @property
    def files(self) -> Mapping[str, Path]:
        """The model file, by its own name, and every external one."""
        return {self.path.name: self.path, **self.external}


@dataclass(frozen=True, eq=False)
class Source:
    """A model as it was loaded: the graph, its large weights still in the model's file or in external ones."""

    path: Path
    data_folder: Path
    model: ir.Model
    digest: str
    files: Mapping[str, Path]


def read_source(path: Path, *, data_folder: Path | None = None) -> SourceMessage:
    """Read and check a model, whose external data has to lie in `data_folder`: its own folder if none is given.

    Raises ModelFormatError or UnsupportedError with everything that is wrong.
    """
    proto, own = _parse(path)
    UnsupportedError.raise_if(_unsupported(path, proto))
    folder = (data_folder or path.parent).resolve()
    ModelFormatError.raise_if(
        [
            *graph_problems(path.name, proto),
            *call_problems(path.name, proto),
            *tensor_problems(path, folder, proto, own),
        ]
    )
    others = (tensor for tensor in tensors_of(proto) if not lies_in(tensor, path, own))
    external = {name: folder / name for tensor in others if (name := external_location(tensor)) is not None}
    return SourceMessage(path, folder, proto, source_digest(path, external), external, own)


def external_names(path: Path) -> tuple[str, ...]:
    """The names of the external files that a model refers to, which need not be there, sorted.

    Raises ModelFormatError if it is no model, or if a name leads out of the model's folder.
    """
    proto, own = _parse(path)
    others = (tensor for tensor in tensors_of(proto) if not lies_in(tensor, path, own))
    names = sorted({name for tensor in others if (name := external_location(tensor)) is not None})
    folder = path.parent.resolve()
    hint = "keep a model and its data in one folder"
    ModelFormatError.raise_if(
        Problem(STAGE, str(path), f"names external data outside of its folder: {name!r}", hint)
        for name in names
        if resolve_external(folder, name) is None
    )
    return tuple(names)


def load_message(message: SourceMessage) -> Source:
    """The model of a message, which is used up: its large weights are taken out. Raises ModelFormatError."""
    import onnx_ir as ir

    from passes.onnx_to_torch.initializers import model_without_proto

    path = message.path
    try:
        model = model_without_proto(message.proto)
    except (ir.serde.SerdeError, ValueError, TypeError, KeyError, NotImplementedError) as error:
        reason = str(_cause(error)).strip().split("\n")[0]
        raise ModelFormatError.of(STAGE, str(path), f"not a valid ONNX graph: {reason}") from error
    for graph in (model.graph, *(function.graph for function in model.functions.values())):
        ir.external_data.set_base_dir(graph, message.data_folder)
    for name in message.own:
        weight = model.graph.initializers[name].const_value
        assert isinstance(weight, ir.ExternalTensor)
        weight.base_dir = path.resolve().parent
    return Source(path, message.data_folder, model, message.digest, message.files)


def load_source(path: Path) -> Source:
    """Read, check and load a model. Raises ModelFormatError or UnsupportedError."""
    return load_message(read_source(path))


def source_files(source: Source | SourceMessage) -> tuple[Path, ...]:
    """The model file and every external file that it names, sorted by name."""
    return tuple(file for _, file in sorted(source.files.items()))


def _parse(path: Path) -> tuple[onnx.ModelProto, frozenset[str]]:
    """The message of a file, and which of its initializers refer to their place in that file."""
    hint = "is it an ONNX file, and is it whole?"
    _check_file(path)
    try:
        lean = lean_message(path)
        proto = onnx.load_model_from_string(lean.data, format="protobuf")
    except OSError as error:
        raise ModelFormatError.of(STAGE, str(path), f"cannot be read: {error.strerror}") from error
    except (google.protobuf.message.DecodeError, ValueError, RuntimeError) as error:
        raise ModelFormatError.of(STAGE, str(path), "not an ONNX model, or truncated", hint) from error
    if not proto.HasField("graph") or not proto.opset_import:
        raise ModelFormatError.of(STAGE, str(path), "holds no ONNX graph", hint)
    if not _is_text(proto):
        raise ModelFormatError.of(STAGE, str(path), "holds names that are not UTF-8, or have a NUL in them", hint)
    return proto, lean.own


def _check_file(path: Path) -> None:
    """Raise ModelFormatError for what is not to be read at all: a pipe would never end, nor would a device."""
    try:
        status = path.stat()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        missing = isinstance(error, FileNotFoundError)
        message = "no such file" if missing else f"cannot be read: {getattr(error, 'strerror', None) or error}"
        raise ModelFormatError.of(STAGE, str(path), message) from error
    if not stat.S_ISREG(status.st_mode):
        kind = "is a folder" if stat.S_ISDIR(status.st_mode) else "is not a regular file"
        raise ModelFormatError.of(STAGE, str(path), kind, "name the .onnx file")
    if status.st_size > LARGEST_MESSAGE:
        message = f"has {status.st_size} bytes: an ONNX file is one protobuf message, which holds at most 2 GiB"
        raise ModelFormatError.of(STAGE, str(path), message, "save the weights as external data, in a file beside it")


LARGEST_MESSAGE = (1 << 31) - 1
"""Bytes: the format's own bound."""


def _is_text(message: google.protobuf.message.Message) -> bool:
    """True if every name in a message is text: protobuf hands out what is not as bytes, without a word.

    A NUL is none either: files and the names inside an .npz end at it.
    """
    if isinstance(message, onnx.TensorProto):  # ListFields would make a copy of its data
        return isinstance(message.name, str) and "\0" not in message.name and all(map(_is_text, message.external_data))
    for field, value in message.ListFields():
        values = value if hasattr(value, "append") or hasattr(value, "add") else [value]
        if field.type == field.TYPE_STRING and any(isinstance(item, bytes) or "\0" in item for item in values):
            return False
        if field.type == field.TYPE_MESSAGE and not all(_is_text(item) for item in values):
            return False
    return True


def _unsupported(path: Path, proto: onnx.ModelProto) -> Iterator[Problem]:
    """Valid, but newer than the installed onnx, so that it would be misread; or of a kind that is not read at all."""
    older = "export the model with an older version, or install a newer onnx"
    if proto.ir_version > onnx.IR_VERSION:
        message = f"format version {proto.ir_version} is newer than {onnx.IR_VERSION}, the newest that is known here"
        yield Problem(STAGE, str(path), message, older)
    newest = onnx.defs.onnx_opset_version()
    for entry in [*proto.opset_import, *(entry for function in proto.functions for entry in function.opset_import)]:
        if normal_domain(entry.domain) == "" and entry.version > newest:
            message = f"opset {entry.version} is newer than {newest}, the newest that the installed onnx defines"
            yield Problem(STAGE, str(path), message, older)
    graphs, nodes = graphs_and_nodes(proto)
    sparse = [f"tensor {tensor.values.name!r}" for graph in graphs for tensor in graph.sparse_initializer]
    sparse += [
        f"node {node_label(node)!r}: attribute {attribute.name!r}"
        for node in nodes
        for attribute in node.attribute
        if attribute.HasField("sparse_tensor") or attribute.sparse_tensors
    ]
    for subject in sparse:
        yield Problem(STAGE, f"{path.name}: {subject}", "is sparse", "export the model with dense weights")


def _cause(error: BaseException) -> BaseException:
    return error if error.__cause__ is None else _cause(error.__cause__)
