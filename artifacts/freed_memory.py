"""Memory that nothing needs any more, and that Python, the C library and the system keep for later."""

from __future__ import annotations

import ctypes
import gc
import os
from pathlib import Path

from artifacts.mapped_areas import give_back_pages_of, unwritten_areas

LARGE_BYTES = 1 << 20
"""Memory from this size on is the system's again as soon as it is freed, once `keep_no_large_memory` was called."""

_M_MMAP_THRESHOLD = -3


def keep_no_large_memory() -> None:
    """Have the C library (glibc can be asked) map large memory by itself, and unmap it when it is freed.

    By default it puts ever larger pieces between small ones once a large one was freed, and the holes that they leave
    are no use to the next weights.
    """
    option = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if option is not None:
        option(_M_MMAP_THRESHOLD, LARGE_BYTES)


def give_back() -> None:
    """Give freed memory back to the system, and what can be read from files again.

    Graphs and programs of torch are parts of cycles, so these are looked for first. The C library (glibc can be
    asked) keeps the pieces that large values were made of. Pages of mapped weights, and of libraries, stay as long as
    nothing else needs the room.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is not None:
        trim(0)
    give_back_pages_of([area for area in unwritten_areas(Path("/")) if not area.is_writable])
