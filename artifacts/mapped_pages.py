"""Pages of mapped files: they count as a process's memory from when they are looked at until they are given back."""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np
import numpy.typing as npt


def give_back_pages(array: npt.NDArray[Any]) -> None:
    """Give the pages of an array back if it views a file that is mapped to be read; else nothing happens.

    The elements stay what they are: the system maps a page again when it is looked at, from its cache of the file as
    a rule. So weights that are used one after the other need no more memory than the largest of them.
    """
    owner: object = array
    while isinstance(owner, np.ndarray):
        owner = owner.base
    if isinstance(owner, memoryview):
        owner = owner.obj
    if not isinstance(owner, mmap.mmap) or not hasattr(mmap, "MADV_DONTNEED") or not array.nbytes:
        return
    whole = np.frombuffer(owner, np.uint8)
    if whole.flags.writeable:  # what was written to a private map would be lost
        return
    begin = array.ctypes.data - whole.ctypes.data
    page = begin // mmap.PAGESIZE * mmap.PAGESIZE
    owner.madvise(mmap.MADV_DONTNEED, page, begin + array.nbytes - page)
