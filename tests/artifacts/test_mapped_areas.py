from __future__ import annotations

import mmap
import time
from pathlib import Path

import numpy as np
import pytest

from artifacts.mapped_areas import give_back_pages_of, pages_given_back, unwritten_areas
from tests.artifacts.test_mapped_pages import PAGES, mapped, resident

pytestmark = pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="needs Linux's /proc")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "folder with spaces" / "weights"
    path.parent.mkdir()
    path.write_bytes(np.arange(PAGES * mmap.PAGESIZE, dtype=np.uint8).tobytes())
    return path


def test_the_pages_of_a_map_can_be_given_back_from_outside(file: Path) -> None:
    whole = mapped(file)
    expected = whole.tobytes()
    (area,) = unwritten_areas(file.parent)
    assert (area.end - area.begin, area.is_writable) == (PAGES * mmap.PAGESIZE, False)
    give_back_pages_of([area])
    assert resident(file) == 0
    assert whole.tobytes() == expected


def test_what_was_written_to_is_no_area(file: Path) -> None:
    private = np.memmap(file, dtype=np.uint8, mode="c")
    private.sum()
    assert [area.is_writable for area in unwritten_areas(file.parent)] == [True]
    private[0] = 7
    assert unwritten_areas(file.parent) == ()


def test_other_folders_have_no_part_in_it(file: Path, tmp_path: Path) -> None:
    whole = mapped(file)
    assert unwritten_areas(tmp_path / "folder") == ()
    assert len(unwritten_areas(tmp_path)) == 1
    assert whole.size


def test_pages_go_again_and_again_while_the_block_runs(file: Path) -> None:
    whole = mapped(file)
    with pages_given_back(unwritten_areas(file.parent)):
        for _ in range(2):
            whole.sum()
            until = time.monotonic() + 10
            while resident(file) and time.monotonic() < until:
                time.sleep(0.001)
            assert resident(file) == 0
    whole.sum()
    time.sleep(0.05)
    assert resident(file) == PAGES
