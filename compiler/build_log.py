"""What a build tells while it runs and leaves in build.json: stages and their times, numerics, notices."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from artifacts.checks import OutputCheck, Tolerances
from artifacts.report import (
    BucketChoice,
    BuildReport,
    DecodeCost,
    EngineSize,
    LayerSensitivity,
    Machine,
    Movement,
    OutputNumerics,
    StageTime,
    WeightCost,
    WeightsReport,
)
from artifacts.tolerances import Comparison
from compiler.interrupts import Interrupts

if TYPE_CHECKING:
    from compiler.provenance import SourceTensors
    from passes.pipeline import PassRun


@dataclass
class BuildLog:
    """Collects the report of one build.

    People see each stage on stderr, with a spinner on a terminal and as plain lines elsewhere; `quiet` shows
    nothing.
    """

    quiet: bool = False
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    times: list[StageTime] = field(default_factory=list)
    numerics: list[OutputNumerics] = field(default_factory=list)
    passes: list[PassRun] = field(default_factory=list)
    sources: list[SourceTensors] = field(default_factory=list)
    decode_costs: list[DecodeCost] = field(default_factory=list)
    weight_costs: list[WeightCost] = field(default_factory=list)
    movements: list[Movement] = field(default_factory=list)
    buckets: list[BucketChoice] = field(default_factory=list)
    sensitivity: list[LayerSensitivity] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    interrupts: Interrupts = field(default_factory=Interrupts)

    @contextlib.contextmanager
    def stage(self, name: str, detail: str = "") -> Iterator[Callable[[str], None]]:
        """A stage that lasts as long as the block, which may tell what it is at.

        An interrupt that something swallowed ends the build here.
        """
        self.interrupts.check()
        began = time.perf_counter()
        with contextlib.nullcontext(_silent) if self.quiet else _spinner(f"{name}: {detail}") as tell:
            yield tell
        self.interrupts.check()
        seconds = time.perf_counter() - began
        self.times.append(StageTime(name=name, seconds=seconds))
        if not self.quiet:
            print(f"{seconds:6.1f} s  {name:<8} {detail}", file=sys.stderr, flush=True)

    def record(self, checks: Sequence[OutputCheck], after: str) -> None:
        """Keep how far outputs were from the source after a step. Tokens that may differ are no figures."""
        found: dict[tuple[str, str], list[Comparison]] = {}
        for check in (check for check in checks if check.required):
            found.setdefault((check.model, check.output), []).append(check.comparison)
        self.numerics += [OutputNumerics.of(model, after, output, *each) for (model, output), each in found.items()]

    def record_pass(self, run: PassRun) -> None:
        """Keep what a pass did."""
        self.passes.append(run)
        self.notices += run.notices
        self.record(run.checks, run.step.name)

    def loosened(self, tolerances: Tolerances) -> Tolerances:
        """What the outputs are held to after the passes that ran."""
        for run in self.passes:
            tolerances = run.step.loosened(tolerances) if run.modified else tolerances
        return tolerances

    def report(
        self,
        key: str,
        external: Mapping[str, Mapping[str, Sequence[str]]],
        engines: Sequence[EngineSize],
        weights: WeightsReport,
    ) -> BuildReport:
        """The content of build.json. `external` names external files by model and role."""
        return BuildReport(
            started=self.started.isoformat(timespec="seconds"),
            seconds=(datetime.now(UTC) - self.started).total_seconds(),
            machine=this_machine(),
            key=key,
            external={model: {r: tuple(names) for r, names in roles.items()} for model, roles in external.items()},
            stages=tuple(self.times),
            numerics=tuple(self.numerics),
            engines=tuple(engines),
            weights=weights,
            sensitivity=tuple(self.sensitivity),
            decode_costs=tuple(self.decode_costs),
            weight_costs=tuple(self.weight_costs),
            movements=tuple(self.movements),
            buckets=tuple(self.buckets),
            log=tuple(f"{run.step.name}: {note}" for run in self.passes for note in run.notes),
            notices=tuple(self.notices),
        )


def this_machine() -> Machine:
    """The machine of this process."""
    return Machine(
        system=platform.system(),
        architecture=platform.machine(),
        python=platform.python_version(),
        processors=os.cpu_count() or 1,
    )


def _silent(_text: str) -> None:
    pass


@contextlib.contextmanager
def _spinner(text: str) -> Iterator[Callable[[str], None]]:
    """A spinner beside a text, on a terminal; what it is told in the block stands behind it."""
    if not sys.stderr.isatty():
        yield _silent
        return
    from rich.console import Console
    from rich.markup import escape

    with Console(stderr=True).status(escape(text)) as status:
        yield lambda more: status.update(escape(f"{text} ({more})"))
