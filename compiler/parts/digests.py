"""One digest of all the files of a model.

Where an earlier compilation has said which external files a model has, its digest needs no parsing: a model that has
others by now is another file, with another digest. So an up-to-date compilation does not import onnx.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from artifacts.canonical import canonical_json, sha256_bytes, sha256_file
from compiler.options import ModelFile
from compiler.parts.folder import Role, paths_by_role
from passes.onnx_to_torch.external_data import resolve_external
from passes.onnx_to_torch.source_digest import source_digest


def digest_of_parts(digests: Mapping[Role, str]) -> str:
    """The digest of a model in one file; of several parts one that says what they are, and not where they lie."""
    if set(digests) == {Role.DECODER}:
        return digests[Role.DECODER]
    return sha256_bytes(canonical_json({str(role): digest for role, digest in digests.items()}))


def listed_files(model: ModelFile, external: Mapping[str, Sequence[str]]) -> Mapping[Role, Mapping[str, Path]] | None:
    """The external files of each part, whose names are listed by role; None if they cannot be a model's.

    The list comes from a bundle and is not to be trusted: only regular files in the part's own folder count.
    """
    paths = paths_by_role(model)
    if set(external) != set(paths) or not all(path.is_file() for path in paths.values()):
        return None
    found: dict[Role, Mapping[str, Path]] = {}
    for role, path in paths.items():
        folder = path.parent.resolve()
        files = [resolve_external(folder, name) for name in external[role]]
        if not all(file is not None and file.is_file() for file in files):
            return None
        found[role] = {name: folder / name for name in external[role]}
    return found


def listed_digest(
    model: ModelFile,
    external: Mapping[Role, Mapping[str, Path]],
    digest_of: Callable[[Path], str] = sha256_file,
) -> str:
    """The digest of a model and the external files of each part; `digest_of` gives that of a file. Raises OSError."""
    return digest_of_parts(
        {role: source_digest(path, external[role], digest_of) for role, path in paths_by_role(model).items()}
    )
