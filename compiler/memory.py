"""How the process of one compilation uses memory."""

from __future__ import annotations

import ctypes
import os

LARGE_BLOCK_BYTES = 2 << 20
"""Blocks from this size on go back to the system when they are freed: weights do, most activations do not."""

_M_MMAP_THRESHOLD = -3  # mallopt(3)
_VARIABLE = "MALLOC_MMAP_THRESHOLD_"


def return_freed_weights() -> None:
    """Have glibc give large blocks back as soon as they are freed; nothing under another C library.

    By itself it raises its threshold to the largest block that was freed, up to 32 MB, and keeps what is smaller.
    Then what opening the source once took, twice the weights, stays with the process until its end, where the
    engines that are verified need as much again. For a process that compiles and ends: the setting is the
    process's, and a server would pay for it in page faults. The user's own setting has precedence.
    """
    if _VARIABLE in os.environ:
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, LARGE_BLOCK_BYTES)
