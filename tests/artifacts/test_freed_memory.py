from __future__ import annotations

import ctypes

import pytest

from artifacts.freed_memory import give_back


class _Library:
    def __init__(self, *, has_trim: bool) -> None:
        self.kept: list[int] = []
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


def test_it_can_be_called_here() -> None:
    give_back()
