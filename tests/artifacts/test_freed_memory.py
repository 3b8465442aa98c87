from __future__ import annotations

import ctypes
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
