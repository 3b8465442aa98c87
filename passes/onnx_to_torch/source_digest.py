"""What a model's files hold, in one digest. Nothing here reads them as a model, or imports onnx."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from artifacts.canonical import sha256_file


def source_digest(path: Path, external: Mapping[str, Path]) -> str:
    """SHA-256 over the model file and every external file by its name in the model: its own if there is none.

    The model's own name does not count: a renamed copy is the same model. Raises OSError.
    """
    digest = sha256_file(path)
    if not external:
        return digest
    whole = hashlib.sha256(f":{digest}\n".encode())
    for name, file in sorted(external.items()):
        whole.update(f"{name}:{sha256_file(file)}\n".encode())
    return whole.hexdigest()
