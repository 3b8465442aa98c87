from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from artifacts.freed_memory import give_back
from tests.artifacts.test_mapped_pages import mapped


class _Library:
    def __init__(self, *, has_trim: bool) -> None:
        self.kept: list[int] = []
        self.madvise = lambda *_: 0
        if has_trim:
            self.malloc_trim = self.kept.append


@pytest.mark.parametrize("has_trim", [True, False])
def test_the_c_library_is_asked_to_keep_nothing_if_it_can_be_asked(
    has_trim: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = _Library(has_trim=has_trim)
    monkeypatch.setattr(ctypes, "CDLL", lambda _: library)
    give_back()
    assert library.kept == ([0] if has_trim else [])


def test_mapped_files_leave_memory_and_keep_what_they_hold(tmp_path: Path) -> None:
    file = tmp_path / "weights"
    file.write_bytes(bytes(range(256)) * 4096)
    array = mapped(file)
    expected = array.tobytes()
    private = np.memmap(file, dtype=np.uint8, mode="c")
    private[::4096] = 7
    give_back()
    assert array.tobytes() == expected
    assert (private[::4096] == 7).all()


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="needs glibc")
def test_large_memory_is_the_systems_again_however_much_was_freed_before() -> None:
    """glibc raises its bound to the size of what was freed; in a process of its own, which this setting lasts for."""
    script = """
import ctypes
from artifacts.freed_memory import LARGE_BYTES, keep_no_large_memory
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
keep_no_large_memory()
libc.free(libc.malloc(16 * LARGE_BYTES))
address = libc.malloc(2 * LARGE_BYTES)
maps = [line.split()[0].split("-") for line in open("/proc/self/maps") if "[heap]" in line]
print(any(int(begin, 16) <= address < int(end, 16) for begin, end in maps))
"""
    assert (
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "False\n"
    )
