"""What people see of a build: on a terminal what runs, below what has ended; elsewhere a line a job."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from compiler.zoo.ledger import Result, State
from compiler.zoo.work import Began, Ended, Event, Staged

_WORDS = {
    State.UP_TO_DATE: "up to date",
    State.CACHED: "cached",
    State.BUILT: "built",
    State.FAILED: "failed",
    State.SKIPPED: "skipped",
}


@dataclass(eq=False)
class Progress:
    """Shows the events of a build of `count` jobs, `expected` seconds of work for `workers` at a time."""

    count: int
    workers: int
    expected: float | None = None
    console: Console = field(default_factory=lambda: Console(stderr=True, highlight=False, markup=False))
    done: int = 0
    failed: int = 0
    began: float = field(default_factory=time.monotonic)
    running: dict[str, tuple[float, str]] = field(default_factory=dict)

    @contextmanager
    def shown(self) -> Iterator[Progress]:
        """Show while the block lasts; what runs is shown on a terminal alone."""
        if not self.console.is_terminal:
            yield self
            return
        with Live(get_renderable=self._screen, console=self.console, refresh_per_second=4, transient=True):
            yield self

    def __call__(self, event: Event | Result) -> None:
        """See `build.Watcher`."""
        match event:
            case Began():
                self.running[event.job] = (time.monotonic(), "")
            case Staged() if event.job in self.running:
                self.running[event.job] = (self.running[event.job][0], event.stage)
            case Ended():
                self.running.pop(event.job, None)
                if event.reason and not event.ending.is_good:
                    self._line(f"{event.job}: {event.ending.value} after {event.seconds:.1f} s: {event.reason}")
            case Result() if event.state is not State.SKIPPED:
                self.done += 1
                self.failed += event.state is State.FAILED
                took = f" in {event.seconds:.1f} s" if event.seconds else ""
                self._line(f"[{self.done}/{self.count}] {event.job} {_WORDS[event.state]}{took}")
            case _:
                pass

    def _line(self, text: str) -> None:
        # A file gets the line as it is; rich would fold it at eighty columns.
        if self.console.is_terminal:
            self.console.print(text, soft_wrap=True)
        else:
            print(text, file=sys.stderr, flush=True)

    def _screen(self) -> Group:
        now = time.monotonic()
        lines = [Text(f"  {job}  {now - since:5.1f} s  {stage}") for job, (since, stage) in self.running.items()]
        left = "" if self.expected is None else f", about {max(0.0, self.expected - (now - self.began)):.0f} s to go"
        failed = f", {self.failed} failed" if self.failed else ""
        head = Text(f"{self.done} of {self.count} jobs{failed}, {now - self.began:.0f} s{left}", style="bold")
        for line in lines:
            line.truncate(max(20, self.console.width - 1), overflow="ellipsis")
        return Group(head, *lines)


def word(state: State) -> str:
    """What people call a state."""
    return _WORDS[state]
