"""Run the source model as it is: the answers that every compiled form is compared with.

It runs in a process of its own. ONNX Runtime takes models for well meant: one with an empty trip count crashes it,
one with a loop of 2^62 iterations never ends, one of a few bytes asks for all memory. Then that process ends, and
the compilation ends with an error.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from artifacts.errors import MissingToolError, Problem, RunError
from artifacts.samples import Arrays
from compiler.child_process import command_of, environment
from compiler.frames import read_frame, write_frame
from compiler.source_session import described, require_onnxruntime

ANSWER_SECONDS = 900.0
"""How long the source may take to open, and for each answer."""


class SourceRunner:
    """The source in ONNX Runtime, graph optimisations off: what the file says, not what an optimiser makes of it."""

    def __init__(self, path: Path, *, data_folder: Path | None = None, seconds: float | None = None) -> None:
        """Open the model at `path`; its external data lies in `data_folder`, by default beside it.

        `seconds` bounds the time to open it and to give each answer. Raises RunError if ONNX Runtime refuses the
        model, or crashes on it, MissingToolError if it is not installed.
        """
        require_onnxruntime()
        self.path = path
        self.seconds = ANSWER_SECONDS if seconds is None else seconds
        folder = data_folder or path.parent.resolve()
        self._process = subprocess.Popen(
            command_of("compiler.source_child", str(os.getpid()), str(path), str(folder)),
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._ended: RunError | None = None
        self._end = weakref.finalize(self, _end, self._process)
        self.input_names: list[str] = self._receive("cannot be opened")[0]["inputs"]

    def run(self, inputs: Arrays) -> dict[str, npt.NDArray[np.generic]]:
        """The source's outputs by name. Raises RunError if it cannot run on these inputs."""
        return self._ask({}, inputs)

    def value(self, name: str, inputs: Arrays) -> npt.NDArray[np.generic]:
        """A tensor from inside the main graph, by its name. Raises RunError if it is not one.

        The model is opened anew with that value as its only output: nothing is kept between calls.
        """
        return self._ask({"value": name}, inputs)[name]

    def close(self) -> None:
        """End its process; it cannot run any more."""
        self._end()

    def _ask(self, words: Mapping[str, Any], inputs: Arrays) -> dict[str, npt.NDArray[np.generic]]:
        assert self._process.stdin is not None
        if self._ended is not None:
            raise self._ended
        with contextlib.suppress(BrokenPipeError):  # it has ended, and the answer says how
            write_frame(self._process.stdin, words, inputs)
        return self._receive(f"fails on {described(inputs)}")[1]

    def _receive(self, fault: str) -> tuple[dict[str, Any], dict[str, npt.NDArray[np.generic]]]:
        """The next answer. Raises the error that it is; RunError if there is none within the time."""
        assert self._process.stdout is not None
        watch = threading.Timer(self.seconds, self._process.kill)
        watch.start()
        try:
            frame = read_frame(self._process.stdout)
        finally:
            late = not watch.is_alive()
            watch.cancel()
        if frame is None:
            self._end()
            self._ended = RunError.of("samples", self.path.name, f"the source {fault}: {self._reason(late)}")
            raise self._ended
        words, arrays = frame
        if "error" in words:
            kind = MissingToolError if words["error"] == MissingToolError.__name__ else RunError
            raise kind(*(Problem(**problem) for problem in words["problems"]))
        return words, arrays

    def _reason(self, late: bool) -> str:
        """Why there was no answer."""
        if late:
            return f"no answer within {self.seconds:g} seconds; does it have a loop without end?"
        status = self._process.returncode
        if status == -signal.SIGKILL:
            return "ONNX Runtime was killed; was it out of memory?"
        return f"ONNX Runtime crashed ({signal.Signals(-status).name if status < 0 else f'status {status}'})"


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
    process.wait()
