"""The process of one contestant.

    python -m tests.bench.peers.child CONTESTANT MODEL FOLDER

Reads orders, decodes, and answers. Everything that libraries print goes to the standard error.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from importlib import metadata
from pathlib import Path

from tests.bench.peers.contestants import Opener, contestant_named
from tests.bench.peers.models import model_named, texts
from tests.bench.peers.protocol import Answer, Greeting, Order


def main(name: str, model_name: str, folder: str) -> int:
    with os.fdopen(os.dup(sys.stdout.fileno()), "w") as answers:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        contestant, model = contestant_named(name), model_named(model_name)
        opener: Opener = importlib.import_module(f"tests.bench.peers.{contestant.module}").opened
        decode = opener(Path(folder), model, contestant.form)
        print(Greeting({name: metadata.version(name) for name in contestant.packages}).line(), file=answers, flush=True)
        for line in sys.stdin:
            order = Order.of(line)
            given = texts(model, order.rows)
            began = time.process_time()
            tokens = decode(given, order.tokens)
            seconds = time.process_time() - began
            print(Answer(seconds, tuple(map(tuple, tokens))).line(), file=answers, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
