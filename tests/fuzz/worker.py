"""A process of its own for trials: bounded memory, an alarm for each, a line of JSON before and after each.

    python -m tests.fuzz.worker FOLDER BUNDLE...  < lines of JSON trials

A trial that crashes or hangs takes this process with it, and is then the last one announced.
"""

from __future__ import annotations

import dataclasses
import faulthandler
import functools
import json
import os
import resource
import sys
import warnings
from pathlib import Path
from typing import Any

from tests.fuzz.nursery import Nursery

MEMORY_BYTES = 6 << 30
SECONDS = 90
"""For one trial; a whole compilation takes about two, and may get a tenth of a processor."""

ANSWER_SECONDS = 20.0
"""For the source model: well below the alarm, so that an endless one ends in an error."""


def main() -> None:
    folder, *bundles = map(Path, sys.argv[1:])
    folder.mkdir(parents=True)
    lines, sys.stdout = sys.stdout, sys.stderr
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    nursery = Nursery()
    import torch

    import compiler.backend
    import compiler.frontend
    import compiler.source_runner
    from tests.fuzz.trial import Trial, run_trial

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    compiler.source_runner.ANSWER_SECONDS = ANSWER_SECONDS
    compiler.source_runner.subprocess = nursery.subprocess  # type: ignore[attr-defined,assignment]  # as much as it uses
    _keep_registry()
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = os.sep  # as the console script does
    os.chdir(folder)
    for line in sys.stdin:
        trial = Trial(**json.loads(line))
        print(json.dumps({"begun": dataclasses.asdict(trial)}), file=lines, flush=True)
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        verdict = run_trial(trial, folder, bundles)
        faulthandler.cancel_dump_traceback_later()
        print(json.dumps(dataclasses.asdict(verdict)), file=lines, flush=True)


def _keep_registry() -> None:
    """Let torch.onnx read its 500 translations once, and not for each model: a second of each compilation."""
    from torch.onnx._internal.exporter._registration import ONNXRegistry

    make = functools.cache(ONNXRegistry.from_torchlib)

    def copied(*arguments: Any, **options: Any) -> ONNXRegistry:
        kept, copy = make(*arguments, **options), ONNXRegistry()
        copy._opset_version = kept._opset_version
        copy.functions = {target: list(known) for target, known in kept.functions.items()}
        return copy

    ONNXRegistry.from_torchlib = staticmethod(copied)  # type: ignore[method-assign]


if __name__ == "__main__":
    faulthandler.enable()
    main()
