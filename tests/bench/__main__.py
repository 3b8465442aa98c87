"""Measure, print each figure as it comes, and write the report.

    python -m tests.bench [--quick] [--only speed overhead compile memory decoding]

The report goes to build/bench.json and, when everything was measured in full, to docs/performance.md. The exit
status is 0 whether or not the bounds are met: figures depend on what else the machine does.
"""

from __future__ import annotations

import argparse
import sys

from tests.bench import compiling, decoding, page, speed
from tests.support.models import PROJECT

PARTS = {
    "speed": speed.against_source,
    "overhead": speed.session_overhead,
    "compile": compiling.compile_times,
    "memory": compiling.compile_memory,
    "decoding": decoding.schedules,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measure speed and memory.")
    parser.add_argument("--quick", action="store_true", help="few rounds and no BERT-base: to try the bench itself")
    parser.add_argument("--only", nargs="+", choices=tuple(PARTS), default=tuple(PARTS), help="what to measure")
    options = parser.parse_args()
    measured = page.conditions()
    figures = []
    for name in options.only:
        for figure in PARTS[name](quick=options.quick):
            print(page.line(figure), flush=True)
            figures.append(figure)
    written = [page.write(PROJECT / "build", page.document(figures, measured), "bench.json")]
    if not options.quick and set(options.only) == set(PARTS):
        written.append(page.write(PROJECT / "docs", page.page(figures, measured), "performance.md"))
    print("written:", ", ".join(str(path.relative_to(PROJECT)) for path in written))
    return 0


if __name__ == "__main__":
    sys.exit(main())
