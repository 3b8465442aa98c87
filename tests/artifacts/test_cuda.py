from __future__ import annotations

import ctypes
from collections.abc import Iterator

import pytest

from artifacts import cuda
from artifacts.cuda import Driver, driver, gpu_capability
from artifacts.errors import MissingToolError, RunError
from tests.support.gpu_machine import Cuda


@pytest.fixture
def no_driver(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def refuse(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    cuda.driver.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(ctypes, "CDLL", refuse)
        yield
    cuda.driver.cache_clear()


@pytest.mark.usefixtures("no_driver")
def test_a_machine_without_a_driver_says_so() -> None:
    assert gpu_capability() is None
    with pytest.raises(MissingToolError, match="there is no NVIDIA driver on this machine"):
        driver()


@pytest.mark.parametrize(("version", "expected"), [((8, 9), "sm89"), ((12, 0), "sm120")])
def test_the_capability_is_that_of_the_device(version: tuple[int, int], expected: str) -> None:
    assert Driver(Cuda(version)).capability == expected


def test_a_device_that_cannot_be_used_is_an_error_in_the_drivers_words() -> None:
    library = Cuda((8, 9))
    library.refuse = {"cuInit"}
    with pytest.raises(RunError, match="cuInit: fails: out of memory"):
        Driver(library)


def test_memory_goes_to_and_fro_and_away() -> None:
    library = Cuda((8, 9))
    gpu = Driver(library)
    memory = gpu.memory(5)
    gpu.write(memory, b"12345")
    assert gpu.read(memory, 5) == b"12345"
    part = memory.of(2)
    assert gpu.read(part, 2) == b"12"
    assert len(library.held) == 1
    del memory
    assert len(library.held) == 1, "a part holds the whole"
    del part
    assert not library.held


def test_no_bytes_have_an_address_too() -> None:
    library = Cuda((8, 9))
    gpu = Driver(library)
    nothing = gpu.memory(0)
    assert nothing.address
    assert gpu.read(nothing, 0) == b""


def test_memory_that_is_not_there_is_an_error() -> None:
    library = Cuda((8, 9))
    gpu = Driver(library)
    library.refuse = {"cuMemAlloc_v2"}
    with pytest.raises(RunError, match="cuMemAlloc_v2: fails: out of memory"):
        gpu.memory(1)
