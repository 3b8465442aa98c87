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
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from artifacts.canonical import sha256_bytes
from artifacts.errors import MissingToolError, Problem, RunError
from artifacts.samples import Arrays, archive_bytes
from compiler.child_process import command_of, environment
from compiler.frames import read_frame, write_frame
from compiler.source_session import described, require_onnxruntime

Answers = MutableMapping[str, dict[str, npt.NDArray[np.generic]]]
"""Outputs by name, by the digest of the inputs that they answer."""

ANSWER_SECONDS = 900.0
"""How long the source may take to open, and for each answer."""


class SourceRunner:
    """The source in ONNX Runtime, graph optimisations off: what the file says, not what an optimiser makes of it."""

    def __init__(
        self,
        path: Path,
        *,
        data_folder: Path | None = None,
        seconds: float | None = None,
        answers: Answers | None = None,
    ) -> None:
        """The model at `path`, opened when it is first asked; its external data lies in `data_folder`, or beside it.

        `seconds` bounds the time to open it and to give each answer. What is in `answers`, by the digest of its inputs,
        is not asked again, and new ones go there: they are those of a model with the same bytes. Raises
        MissingToolError if ONNX Runtime is not installed.
        """
        require_onnxruntime()
        self.path = path
        self.seconds = ANSWER_SECONDS if seconds is None else seconds
        self._folder = data_folder or path.parent.resolve()
        self._answers = answers
        self._process: subprocess.Popen[bytes] | None = None
        self._ended: RunError | None = None
        self.is_refused = False
        """Whether the model could not be opened: then it does not hang on its inputs."""

    def opened(self) -> SourceRunner:
        """The same, its model opened. Raises RunError if ONNX Runtime refuses it."""
        self._open()
        return self

    @property
    def input_names(self) -> list[str]:
        """The inputs that the caller gives, in the file's order. Raises RunError if the model cannot be opened."""
        if self._ended is not None:
            raise self._ended
        self._open()
        return self._input_names

    def run(self, inputs: Arrays) -> dict[str, npt.NDArray[np.generic]]:
        """The source's outputs by name.

        Raises RunError if ONNX Runtime refuses the model, crashes on it, or cannot run it on these inputs.
        """
        if self._answers is None:
            return self._ask({}, inputs)
        key = sha256_bytes(archive_bytes(inputs))
        if key not in self._answers:
            self._answers[key] = self._ask({}, inputs)
        return dict(self._answers[key])

    def value(self, name: str, inputs: Arrays) -> npt.NDArray[np.generic]:
        """A tensor from inside the main graph, by its name. Raises RunError if it is not one.

        The model is opened anew with that value as its only output: nothing is kept between calls.
        """
        return self._ask({"value": name}, inputs)[name]

    def close(self) -> None:
        """End its process; it cannot run any more."""
        if self._process is not None:
            self._end()

    def _open(self) -> subprocess.Popen[bytes]:
        """Its process, which has opened the model."""
        if self._process is None:
            self._process = subprocess.Popen(
                command_of("compiler.source_child", str(os.getpid()), str(self.path), str(self._folder)),
                env=environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            self._end = weakref.finalize(self, _end, self._process)
            try:
                self._input_names: list[str] = self._receive(self._process, "cannot be opened")[0]["inputs"]
            except RunError as error:
                self.is_refused, self._ended = True, error
                raise
        return self._process

    def _ask(self, words: Mapping[str, Any], inputs: Arrays) -> dict[str, npt.NDArray[np.generic]]:
        if self._ended is not None:
            raise self._ended
        process = self._open()
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended, and the answer says how
            write_frame(process.stdin, words, inputs)
        return self._receive(process, f"fails on {described(inputs)}")[1]

    def _receive(
        self, process: subprocess.Popen[bytes], fault: str
    ) -> tuple[dict[str, Any], dict[str, npt.NDArray[np.generic]]]:
        """The next answer. Raises the error that it is; RunError if there is none within the time."""
        assert process.stdout is not None
        watch = threading.Timer(self.seconds, process.kill)
        watch.start()
        try:
            frame = read_frame(process.stdout)
        finally:
            late = not watch.is_alive()
            watch.cancel()
        if frame is None:
            self._end()
            self._ended = RunError.of("samples", self.path.name, f"the source {fault}: {self._reason(process, late)}")
            raise self._ended
        words, arrays = frame
        if "error" in words:
            kind = MissingToolError if words["error"] == MissingToolError.__name__ else RunError
            raise kind(*(Problem(**problem) for problem in words["problems"]))
        return words, arrays

    def _reason(self, process: subprocess.Popen[bytes], late: bool) -> str:
        """Why there was no answer."""
        if late:
            return f"no answer within {self.seconds:g} seconds; does it have a loop without end?"
        status = process.returncode
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
