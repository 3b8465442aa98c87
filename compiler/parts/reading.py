"""Read the files of a model, whether one or several."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from compiler.options import ModelFile
from compiler.parts.digests import digest_of_parts
from compiler.parts.folder import Role, paths_by_role
from passes.onnx_to_torch.source import SourceMessage, read_source


@dataclass(frozen=True, eq=False)
class ReadModel:
    """The files of a model by their roles, read and checked."""

    model: ModelFile
    messages: Mapping[Role, SourceMessage]

    @property
    def digest(self) -> str:
        """One digest of all the files."""
        return digest_of_parts({role: message.digest for role, message in self.messages.items()})

    @property
    def files(self) -> Mapping[str, Path]:
        """Every file that was read, by role and name."""
        return {f"{role}/{name}": path for role, read in self.messages.items() for name, path in read.files.items()}

    @property
    def external(self) -> Mapping[str, tuple[str, ...]]:
        """The names of external files that each part has, by role."""
        return {role: tuple(sorted(read.external)) for role, read in self.messages.items()}


def read_model(model: ModelFile) -> ReadModel:
    """Read and check. Raises ModelFormatError or UnsupportedError with everything that is wrong with a file."""
    return ReadModel(model, {role: read_source(path) for role, path in paths_by_role(model).items()})
