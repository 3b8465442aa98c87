"""A few words and some arrays through a pipe: a line of JSON, then the arrays' bytes one after the other."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import IO, TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from artifacts.samples import Array, Arrays


def write_frame(file: IO[bytes], words: Mapping[str, Any], arrays: Arrays) -> None:
    """Write one frame. Arrays are of numbers or booleans; raises OSError."""
    held = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    entries = [[name, array.dtype.str, array.shape] for name, array in held.items()]
    file.write(json.dumps([words, entries]).encode() + b"\n")
    for array in held.values():
        file.write(array.reshape(-1).view(np.uint8).data)
    file.flush()


def read_frame(file: IO[bytes]) -> tuple[dict[str, Any], dict[str, Array]] | None:
    """The next frame, its arrays writeable; None at the end of the file, and if the frame is cut off."""
    line = file.readline()
    if not line.endswith(b"\n"):
        return None
    words, entries = json.loads(line)
    arrays: dict[str, Array] = {}
    for name, code, shape in entries:
        array = np.empty(shape, np.dtype(code))
        if _fill(file, array) < math.prod(shape) * array.itemsize:
            return None
        arrays[name] = array
    return words, arrays


def _fill(file: IO[bytes], array: Array) -> int:
    """Read an array's bytes in place; how many there were."""
    view = array.reshape(-1).view(np.uint8).data
    done = 0
    while done < len(view) and (count := file.readinto(view[done:])):  # type: ignore[attr-defined]
        done += count
    return done
