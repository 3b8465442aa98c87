"""Read the files of a model, whether one or several. An up-to-date compilation ends here, without onnx_ir."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from artifacts.canonical import canonical_json, sha256_bytes
from compiler.options import ModelFile
from compiler.parts.folder import Role
from passes.onnx_to_torch.source import SourceMessage, read_source


@dataclass(frozen=True, eq=False)
class ReadModel:
    """The files of a model by their roles, read and checked. A model in one file is a decoder to nobody's encoder."""

    model: ModelFile
    messages: Mapping[Role, SourceMessage]

    @property
    def digest(self) -> str:
        """The file's digest; of several files one that says what they are, and nothing of where they lie."""
        if self.model.parts is None:
            return self.messages[Role.DECODER].digest
        return sha256_bytes(canonical_json({role: message.digest for role, message in self.messages.items()}))

    @property
    def files(self) -> Mapping[str, Path]:
        """Every file that was read, by role and name."""
        return {f"{role}/{name}": path for role, read in self.messages.items() for name, path in read.files.items()}


def read_model(model: ModelFile) -> ReadModel:
    """Read and check. Raises ModelFormatError or UnsupportedError with everything that is wrong with a file."""
    paths = {Role.DECODER: model.path}
    if model.parts is not None:
        paths[Role.ENCODER] = model.parts.encoder
        if model.parts.decoder_with_past is not None:
            paths[Role.DECODER_WITH_PAST] = model.parts.decoder_with_past
    return ReadModel(model, {role: read_source(path) for role, path in paths.items()})
