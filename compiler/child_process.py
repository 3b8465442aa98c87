"""Modules of Unspool's own that run in a process of their own, because what they call may crash, hang or collide."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path

import compiler


def command_of(module: str, *arguments: str) -> list[str]:
    """The command that runs a module with this interpreter."""
    # -P: the folder that this was called from is no place to import from.
    return [sys.executable, "-P", "-m", module, *arguments]


def environment() -> dict[str, str]:
    """This process's environment, in which the module is found."""
    own = str(Path(compiler.__path__[0]).parent)
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (own, os.environ.get("PYTHONPATH"))))}


def end_with_parent(parent: int) -> None:
    """Have the kernel end this process with its parent, however that ends, where it can (Linux)."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None) if os.name == "posix" else None
    if prctl is not None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it has ended already
        os._exit(1)


_PR_SET_PDEATHSIG = 1
