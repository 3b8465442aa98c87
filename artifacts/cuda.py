"""The part of NVIDIA's driver that it takes to run a plan, through ctypes: a host installs no package for it.

Functions and constants: CUDA Driver API reference (cuda.h of CUDA 12). Every function that is called here gives 0 if it
succeeded.
"""

from __future__ import annotations

import ctypes
import weakref
from dataclasses import dataclass
from functools import cache
from typing import Any

from artifacts.errors import MissingToolError, RunError

_STAGE = "gpu"
_LIBRARY = "libcuda.so.1"
_MAJOR, _MINOR = 75, 76
"""CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR."""


class Driver:
    """The driver and its first device, whose primary context other libraries of the process use as well."""

    def __init__(self, library: Any) -> None:
        """`library` is libcuda as ctypes loads it. Raises RunError if there is no device that it can use."""
        self._library = library
        self._call("cuInit", 0)
        self._device = ctypes.c_int()
        self._call("cuDeviceGet", ctypes.byref(self._device), 0)
        self._context: ctypes.c_void_p | None = None

    @property
    def capability(self) -> str:
        """The compute capability of the device, sm89 for 8.9."""
        found = []
        for attribute in (_MAJOR, _MINOR):
            value = ctypes.c_int()
            self._call("cuDeviceGetAttribute", ctypes.byref(value), attribute, self._device)
            found.append(value.value)
        return f"sm{found[0]}{found[1]}"

    def use(self) -> None:
        """Make the device's primary context that of this thread."""
        if self._context is None:
            context = ctypes.c_void_p()
            self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), self._device)
            self._context = context
        self._call("cuCtxSetCurrent", self._context)

    def stream(self) -> int:
        """A new stream. It lives as long as the process."""
        self.use()
        found = ctypes.c_void_p()
        self._call("cuStreamCreate", ctypes.byref(found), 1)  # CU_STREAM_NON_BLOCKING
        return int(found.value or 0)

    def wait(self, stream: int) -> None:
        """Wait until all work of a stream is done."""
        self._call("cuStreamSynchronize", ctypes.c_void_p(stream))

    def memory(self, nbytes: int) -> Memory:
        """Memory of the device, which goes with the object."""
        self.use()
        address = ctypes.c_uint64()
        # Nothing has an address of its own only if it has a byte.
        self._call("cuMemAlloc_v2", ctypes.byref(address), ctypes.c_size_t(max(nbytes, 1)))
        found = Memory(int(address.value), nbytes)
        weakref.finalize(found, self._free, found.address)
        return found

    def write(self, memory: Memory, data: bytes | memoryview) -> None:
        """Copy bytes of the host to the device, as many as there are."""
        self.use()
        held = bytes(data)
        self._call("cuMemcpyHtoD_v2", ctypes.c_uint64(memory.address), held, ctypes.c_size_t(len(held)))

    def read(self, memory: Memory, nbytes: int) -> bytes:
        """Copy bytes of the device to the host."""
        self.use()
        held = ctypes.create_string_buffer(nbytes)
        self._call("cuMemcpyDtoH_v2", held, ctypes.c_uint64(memory.address), ctypes.c_size_t(nbytes))
        return held.raw

    def _free(self, address: int) -> None:
        self._library.cuMemFree_v2(ctypes.c_uint64(address))

    def _call(self, name: str, *arguments: Any) -> None:
        status = getattr(self._library, name)(*arguments)
        if status != 0:
            raise RunError.of(_STAGE, name, f"fails: {self._text_of(status)}", "does nvidia-smi show the GPU?")

    def _text_of(self, status: int) -> str:
        text = ctypes.c_char_p()
        known = self._library.cuGetErrorString(status, ctypes.byref(text)) == 0
        return text.value.decode() if known and text.value else f"error {status}"


@dataclass(frozen=True, eq=False)
class Memory:
    """Bytes at an address of the device; `whole` is the memory that they are a part of, if they are one."""

    address: int
    nbytes: int
    whole: Memory | None = None

    def of(self, nbytes: int) -> Memory:
        """The first bytes of it."""
        return Memory(self.address, nbytes, self)


@cache
def driver() -> Driver:
    """The driver of this machine. Raises MissingToolError without one, RunError if it has no GPU."""
    try:
        library = ctypes.CDLL(_LIBRARY)
    except OSError as error:
        hint = "run this on a machine with an NVIDIA GPU and its driver"
        raise MissingToolError.of(_STAGE, _LIBRARY, "there is no NVIDIA driver on this machine", hint) from error
    return Driver(library)


def gpu_capability() -> str | None:
    """The compute capability of this machine's first GPU; None if there is none that can be used."""
    try:
        return driver().capability
    except (MissingToolError, RunError):
        return None
