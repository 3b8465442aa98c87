"""The source model in a process of its own: `python -m compiler.source_child PARENT MODEL.onnx DATA_FOLDER`.

Started by source_runner.py, which sends requests on standard input and reads answers from standard output.
"""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from artifacts.errors import RunError, UnspoolError
from compiler.child_process import end_with_parent
from compiler.frames import read_frame, write_frame
from compiler.source_session import SourceSession, described

LARGEST_ANSWER = 4 << 30
"""Bytes: a larger one would need several times as much in whoever compares it."""


def main(arguments: Sequence[str]) -> None:
    """Open the model, then answer until nobody asks any more."""
    parent, path, folder = arguments
    end_with_parent(int(parent))
    _bound_memory()
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print is no answer
    try:
        session = SourceSession(Path(path), data_folder=Path(folder))
    except UnspoolError as error:
        write_frame(answers, _failure(error), {})
        return
    write_frame(answers, {"inputs": session.input_names}, {})
    while (request := read_frame(sys.stdin.buffer)) is not None:
        words, inputs = request
        try:
            write_frame(answers, {}, _answer(session, words, inputs))
        except UnspoolError as error:
            write_frame(answers, _failure(error), {})


def _answer(session: SourceSession, words: Mapping[str, Any], inputs: Mapping[str, Any]) -> dict[str, Any]:
    name = words.get("value")
    try:
        answer = session.run(inputs) if name is None else {name: session.value(name, inputs)}
    except MemoryError as error:
        message = f"the source needs more memory than there is on {described(inputs)}"
        raise RunError.of("samples", session.path.name, message) from error
    for output, array in answer.items():
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "biufc":
            raise RunError.of("samples", output, "is not a tensor of numbers")
    size = sum(array.nbytes for array in answer.values())
    if size > LARGEST_ANSWER:
        message = f"the source's outputs on {described(inputs)} take {size} bytes, more than {LARGEST_ANSWER}"
        raise RunError.of("samples", session.path.name, message)
    return answer


def _failure(error: UnspoolError) -> dict[str, Any]:
    return {"error": type(error).__name__, "problems": [asdict(problem) for problem in error.problems]}


def _bound_memory() -> None:
    """Refuse allocations beyond what the machine has, and be the first to go if it runs out all the same."""
    installed = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    if most == resource.RLIM_INFINITY or installed < most:
        resource.setrlimit(resource.RLIMIT_DATA, (installed, most))
    score = Path("/proc/self/oom_score_adj")
    if score.exists():
        score.write_text("1000")


if __name__ == "__main__":
    main(sys.argv[1:])
