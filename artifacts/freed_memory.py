"""Memory that was freed, and that the C library keeps for later."""

from __future__ import annotations

import ctypes
import os


def give_back() -> None:
    """Give freed memory back to the system, where the C library can be asked to (glibc).

    It keeps the pieces that a large message was made of, which are as much as the weights of a model.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim is not None:
        trim(0)
