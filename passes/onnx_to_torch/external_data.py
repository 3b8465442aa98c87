"""Where the bytes of a model's tensors may lie, if not in the model's file. Nothing here imports onnx."""

from __future__ import annotations

from pathlib import Path


def resolve_external(folder: Path, location: str) -> Path | None:
    """The file that an external-data location names, or None if it is not inside `folder`, links followed."""
    if not location or "\\" in location or "\0" in location or Path(location).is_absolute():
        return None
    try:
        file = (folder / location).resolve()
    except (OSError, RuntimeError):  # links that lead in a circle
        return None
    return file if file.is_relative_to(folder) and file != folder else None
