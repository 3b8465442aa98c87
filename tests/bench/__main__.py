"""Measure, print each figure as it comes, and write the report.

    python -m tests.bench [--quick]
        [--only speed overhead compile memory decoding partitions batching sharing tensorrt zoo peers]

The report is docs/performance.md, made from docs/performance.json, where a part that is not measured keeps the
figures that it has. The exit status is 0 whether or not the bounds are met: figures depend on what else
the machine does.
"""

from __future__ import annotations

import argparse
import sys

from tests.bench import page
from tests.bench.figures import Figure
from tests.bench.parts import PARTS
from tests.bench.peers.contest import Contest
from tests.bench.peers.report import section
from tests.support.models import PROJECT

_DOCUMENT = PROJECT / "docs" / "performance.json"
_PAGE = PROJECT / "docs" / "performance.md"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measure speed and memory.")
    parser.add_argument("--quick", action="store_true", help="few rounds, no BERT-base, no report: to try the bench")
    parser.add_argument("--only", nargs="+", choices=tuple(PARTS), default=tuple(PARTS), help="what to measure")
    options = parser.parse_args()
    measured = page.read_document(_DOCUMENT.read_text()) if _DOCUMENT.exists() else {}
    for name in options.only:
        conditions = page.conditions()
        figures: list[Figure] = []
        contests: list[Contest] = []
        for found in PARTS[name].measure(quick=options.quick):
            if isinstance(found, Contest):
                print(section([found]), flush=True)
                contests.append(found)
            else:
                print(page.line(found), flush=True)
                figures.append(found)
        if not options.quick and (figures or contests):
            measured[name] = page.Measured(conditions, tuple(figures), tuple(contests))
            page.write(_DOCUMENT, page.document(measured))
            page.write(_PAGE, page.page(measured))
    return 0


if __name__ == "__main__":
    sys.exit(main())
