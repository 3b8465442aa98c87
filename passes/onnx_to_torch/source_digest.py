"""What a model's files hold, in one digest. Nothing here reads them as a model, or imports onnx."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

from artifacts.canonical import sha256_file


def source_digest(path: Path, external: Mapping[str, Path], digest_of: Callable[[Path], str] = sha256_file) -> str:
    """SHA-256 over the model file and every external file by its name in the model: its own if there is none.

    The model's own name does not count: a renamed copy is the same model. `digest_of` gives the SHA-256 of a file.
    Raises OSError.
    """
    digest = digest_of(path)
    if not external:
        return digest
    whole = hashlib.sha256(f":{digest}\n".encode())
    for name, file in sorted(external.items()):
        whole.update(f"{name}:{digest_of(file)}\n".encode())
    return whole.hexdigest()
