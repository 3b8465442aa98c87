"""Read an ONNX model: the file, its external data, and whether its graph hangs together.

Nothing outside the model's own folder is ever opened, and nothing in a model is run.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import google.protobuf.message
import onnx
import onnx.defs
import onnx_ir as ir

from artifacts.canonical import sha256_file
from artifacts.errors import ModelFormatError, Problem, UnsupportedError
from passes.onnx_to_torch.registry import normal_domain

STAGE = "load"


@dataclass(frozen=True, eq=False)
class Source:
    """A model as it was read: the graph, weights still where they are, a digest of both, and the files read."""

    path: Path
    model: ir.Model
    digest: str
    files: Mapping[str, Path]


def load_source(path: Path) -> Source:
    """Read and check a model. Raises ModelFormatError or UnsupportedError with everything that is wrong."""
    proto = _parse(path)
    _check_opsets(path, proto)
    folder = path.parent.resolve()
    problems = [*_graph_problems(path, proto), *_external_problems(path, folder, proto)]
    ModelFormatError.raise_if(problems)
    try:
        model = ir.from_proto(proto)
    except (ValueError, TypeError, KeyError, NotImplementedError) as error:
        raise ModelFormatError.of(STAGE, str(path), f"not a valid ONNX graph: {error}") from error
    ir.external_data.set_base_dir(model.graph, folder)
    files = _files(path, folder, proto)
    return Source(path, model, _digest(files, path), files)


def _parse(path: Path) -> onnx.ModelProto:
    try:
        proto = onnx.load_model(path, load_external_data=False)
    except FileNotFoundError as error:
        raise ModelFormatError.of(STAGE, str(path), "no such file") from error
    except OSError as error:
        raise ModelFormatError.of(STAGE, str(path), f"cannot be read: {error.strerror}") from error
    except (google.protobuf.message.DecodeError, ValueError, RuntimeError) as error:
        hint = "is it an ONNX file, and is it whole?"
        raise ModelFormatError.of(STAGE, str(path), "not an ONNX model, or truncated", hint) from error
    if not proto.HasField("graph") or not proto.opset_import:
        raise ModelFormatError.of(STAGE, str(path), "holds no ONNX graph", "is it an ONNX file, and is it whole?")
    return proto


def _check_opsets(path: Path, proto: onnx.ModelProto) -> None:
    newest = onnx.defs.onnx_opset_version()
    for entry in proto.opset_import:
        if normal_domain(entry.domain) == "" and entry.version > newest:
            raise UnsupportedError.of(
                STAGE,
                str(path),
                f"opset {entry.version} is newer than {newest}, the newest that the installed onnx defines",
                "export the model with an older opset, or install a newer onnx",
            )


def _graph_problems(path: Path, proto: onnx.ModelProto) -> Iterator[Problem]:
    """Names used before they are made (a cycle shows as that too), and names made twice."""
    yield from _walk_graph(path, proto.graph, frozenset())
    for function in proto.functions:
        yield from _walk_nodes(path, function.node, set(function.input), [o for o in function.output], function.name)


def _walk_graph(path: Path, graph: onnx.GraphProto, outer: frozenset[str]) -> Iterator[Problem]:
    made = {i.name for i in graph.input} | {t.name for t in graph.initializer}
    made |= {t.values.name for t in graph.sparse_initializer}
    yield from _walk_nodes(path, graph.node, made | outer, [o.name for o in graph.output], graph.name, outer)


def _walk_nodes(
    path: Path,
    nodes: list[onnx.NodeProto],
    visible: set[str] | frozenset[str],
    outputs: list[str],
    where: str,
    outer: frozenset[str] = frozenset(),
) -> Iterator[Problem]:
    names = set(visible)
    later = {output for node in nodes for output in node.output if output}
    for node in nodes:
        subject = f"{path.name}: node {node.name or node.op_type!r}"
        for name in node.input:
            if name and name not in names:
                reason = (
                    "is used before it is computed (a cycle, or nodes out of order)"
                    if name in later
                    else "is not defined"
                )
                yield Problem(STAGE, subject, f"input {name!r} {reason}")
        for attribute in node.attribute:
            for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from _walk_graph(path, graph, frozenset(names))
        for name in node.output:
            if name and name in names and name not in outer:
                yield Problem(STAGE, subject, f"output {name!r} is already the name of another value")
            names.add(name)
    for name in outputs:
        if name not in names:
            yield Problem(STAGE, f"{path.name}: graph {where!r}", f"output {name!r} is not defined")


def _external_problems(path: Path, folder: Path, proto: onnx.ModelProto) -> Iterator[Problem]:
    for tensor in _external_tensors(proto):
        subject = f"{path.name}: tensor {tensor.name!r}"
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location = entries.get("location", "")
        file = resolve_external(folder, location)
        if file is None:
            yield Problem(STAGE, subject, f"external data {location!r} leaves the model's folder", "refused")
        elif not file.is_file():
            yield Problem(STAGE, subject, f"external data file {location!r} is missing")
        else:
            yield from _extent_problems(subject, tensor, entries, location, file.stat().st_size)


def _extent_problems(
    subject: str, tensor: onnx.TensorProto, entries: dict[str, str], location: str, size: int
) -> Iterator[Problem]:
    try:
        offset = int(entries.get("offset", 0))
        length = int(entries.get("length", size - offset))
    except ValueError:
        yield Problem(STAGE, subject, f"external data {location!r} has an offset or length that is no number")
        return
    elements = 1
    for dim in tensor.dims:
        elements *= dim
    bits = ir.DataType(tensor.data_type).bitwidth
    if min(offset, length, *tensor.dims, 0) < 0 or offset + length > size:
        yield Problem(STAGE, subject, f"bytes {offset}..{offset + length} lie outside {location!r} ({size} bytes)")
    elif length != (elements * bits + 7) // 8:
        yield Problem(
            STAGE,
            subject,
            f"external data holds {length} bytes, its shape needs {(elements * bits + 7) // 8}",
        )


def resolve_external(folder: Path, location: str) -> Path | None:
    """The file that an external-data location names, or None if it is not inside `folder`, links followed."""
    if not location or "\\" in location or os.path.isabs(location):
        return None
    file = (folder / location).resolve()
    return file if file.is_relative_to(folder) and file != folder else None


def _external_tensors(proto: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    pending = [proto.graph]
    nodes = [node for function in proto.functions for node in function.node]
    while pending or nodes:
        if pending:
            graph = pending.pop()
            yield from (t for t in graph.initializer if t.data_location == onnx.TensorProto.EXTERNAL)
            nodes.extend(graph.node)
            continue
        for attribute in nodes.pop().attribute:
            tensors = (*([attribute.t] if attribute.HasField("t") else []), *attribute.tensors)
            yield from (t for t in tensors if t.data_location == onnx.TensorProto.EXTERNAL)
            pending.extend((*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs))


def source_files(source: Source) -> tuple[Path, ...]:
    """The model file and every external file that it names, sorted by name."""
    return tuple(file for _, file in sorted(source.files.items()))


def _digest(files: Mapping[str, Path], path: Path) -> str:
    """SHA-256 over the model file and, in the order of their names, every external file that it names."""
    if len(files) == 1:
        return sha256_file(path)
    whole = hashlib.sha256()
    for name, file in sorted(files.items()):
        # The model's own name does not count: a renamed copy is the same model.
        whole.update(f"{'' if file == path else name}:{sha256_file(file)}\n".encode())
    return whole.hexdigest()


def _files(path: Path, folder: Path, proto: onnx.ModelProto) -> dict[str, Path]:
    files = {path.name: path}
    for tensor in _external_tensors(proto):
        location = next(entry.value for entry in tensor.external_data if entry.key == "location")
        files[location] = folder / location
    return files
