"""Load models for a compilation: a file as it is, parts as the one graph that they make together."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, MutableMapping
from dataclasses import replace
from pathlib import Path

import onnx_ir as ir

from artifacts.errors import ModelFormatError
from artifacts.freed_memory import give_back
from artifacts.spec import Signature
from compiler.options import ModelFile
from compiler.parts.compose import compose, refer_from, without_cache
from compiler.parts.folder import Role
from compiler.parts.joins import STAGE, Joins, plan_joins
from compiler.parts.reading import ReadModel, read_model
from passes.onnx_to_torch.convert import source_signature
from passes.onnx_to_torch.source import LARGEST_MESSAGE, Source, SourceMessage, load_message, read_source


@contextlib.contextmanager
def loaded_sources(read: MutableMapping[str, ReadModel]) -> Iterator[dict[str, Source]]:
    """The sources of models by name; what was read is taken out as it is used up, and what is done with may be.

    The files of composed models are there while the block lasts. Raises ModelFormatError or SourceError.
    """
    with tempfile.TemporaryDirectory(prefix="unspool-") as scratch:
        sources = {name: _loaded(read.pop(name), Path(scratch) / str(number)) for number, name in enumerate([*read])}
        give_back()
        yield sources


@contextlib.contextmanager
def opened_source(model: ModelFile) -> Iterator[Source]:
    """The source of one model, read and loaded."""
    with loaded_sources({model.name: read_model(model)}) as sources:
        yield sources[model.name]


def joins_of(read: ReadModel) -> tuple[Joins, Signature]:
    """How the parts of a model are joined, and the decoder's signature as its file has it.

    Uses up the messages of encoder and decoder. Raises SourceError with everything that cannot be joined.
    """
    encoder, decoder = (load_message(read.messages[role]) for role in (Role.ENCODER, Role.DECODER))
    whole = source_signature(decoder)
    return _plan(encoder, decoder), whole


def _plan(encoder: Source, decoder: Source) -> Joins:
    without_cache(decoder.model)
    return plan_joins(source_signature(encoder), source_signature(decoder), decoder.path.name)


def _loaded(read: ReadModel, folder: Path) -> Source:
    if read.model.parts is None:
        return load_message(read.messages[Role.DECODER])
    messages = [read.messages[role] for role in (Role.ENCODER, Role.DECODER)]
    files = [file.resolve() for message in messages for file in message.files.values()]
    base = Path(os.path.commonpath([file.parent for file in files]))
    encoder, decoder = (_by_reference(message, base) for message in messages)
    joins = _plan(encoder, decoder)
    path = folder / decoder.path.name
    folder.mkdir()
    _write(compose(encoder.model, decoder.model, joins), path)
    return replace(load_message(read_source(path, data_folder=base)), digest=read.digest, files=read.files)


def _by_reference(message: SourceMessage, base: Path) -> Source:
    source = load_message(message)
    refer_from(source.model, base)
    return source


def _write(model: ir.Model, path: Path) -> None:
    proto = ir.to_proto(model)
    size = proto.ByteSize()
    if size > LARGEST_MESSAGE:
        message = f"the parts hold {size} bytes of weights that are not raw data: they cannot be referred to"
        raise ModelFormatError.of(STAGE, path.name, message, "save their weights as external data")
    path.write_bytes(proto.SerializeToString(deterministic=True))
