"""A process of its own for trials: bounded memory, an alarm for each, a line of JSON before and after each.

    python -m tests.robustness.worker FOLDER [BUNDLE...]  < lines of JSON trials

A trial that crashes or hangs takes this process with it, and is then the last one announced.
"""

from __future__ import annotations

import dataclasses
import faulthandler
import json
import os
import resource
import sys
import warnings
from pathlib import Path

MEMORY_BYTES = 4 << 30
SECONDS = 30
"""For one trial; a whole compilation of the largest base takes about three."""

ANSWER_SECONDS = 5.0
"""For the source model: well below the alarm, so that an endless one ends in an error."""


def main() -> None:
    folder, *bundles = map(Path, sys.argv[1:])
    lines = sys.stdout
    sys.stdout = sys.stderr
    import torch

    import compiler.backend
    import compiler.frontend
    import compiler.source_runner
    from tests.robustness.trial import Trial, run_trial

    torch.set_num_threads(1)
    compiler.source_runner.ANSWER_SECONDS = ANSWER_SECONDS
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter("ignore")
    scratch = folder / "scratch"
    scratch.mkdir(parents=True)
    os.chdir(folder)
    for line in sys.stdin:
        trial = Trial(**json.loads(line))
        print(json.dumps({"begun": dataclasses.asdict(trial)}), file=lines, flush=True)
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        verdict = run_trial(trial, scratch, bundles)
        faulthandler.cancel_dump_traceback_later()
        print(json.dumps(dataclasses.asdict(verdict)), file=lines, flush=True)


if __name__ == "__main__":
    faulthandler.enable()
    main()
