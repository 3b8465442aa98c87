from __future__ import annotations

import mmap
import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from artifacts.mapped_pages import give_back_pages

PAGES = 64

pytestmark = pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="needs Linux's /proc")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "weights"
    path.write_bytes(np.arange(PAGES * mmap.PAGESIZE, dtype=np.uint8).tobytes())
    return path


def mapped(file: Path) -> npt.NDArray[np.uint8]:
    return np.asarray(np.memmap(file, dtype=np.uint8, mode="r"))


def resident(file: Path) -> int:
    """Pages of the file that are in this process's memory."""
    areas = re.split(r"(?m)^(?=[0-9a-f]+-[0-9a-f]+ )", Path("/proc/self/smaps").read_text())
    kilobytes = [re.search(r"(?m)^Rss: +(\d+)", area) for area in areas if str(file) in area]
    return sum(int(found[1]) * 1024 // mmap.PAGESIZE for found in kilobytes if found)


def test_what_was_read_leaves_memory_and_can_be_read_again(file: Path) -> None:
    whole = mapped(file)
    expected = whole.tobytes()
    assert resident(file) == PAGES
    give_back_pages(whole)
    assert resident(file) == 0
    assert whole.tobytes() == expected


def test_a_view_gives_back_its_own_pages(file: Path) -> None:
    whole = mapped(file)
    whole.sum()
    part = whole[10 * mmap.PAGESIZE + 3 : 20 * mmap.PAGESIZE].view(np.int8)[1:].reshape(2, -1)
    give_back_pages(part)
    assert resident(file) == PAGES - 10


def test_a_buffer_of_a_map_is_found(file: Path) -> None:
    with file.open("rb") as opened:
        array = np.frombuffer(mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)
    array.sum()
    give_back_pages(array)
    assert resident(file) == 0


def test_memory_that_is_no_file_keeps_its_elements(file: Path) -> None:
    """And so does a private map: what was written to it is in no file."""
    private = np.memmap(file, dtype=np.uint8, mode="c")
    private[:] = 7
    private.flags.writeable = False
    for array in (np.full(1 << 16, 7, np.uint8), private, np.zeros(0, np.uint8)):
        give_back_pages(array)
        assert (np.asarray(array) == 7).all()
