"""Ctrl-C, where a library swallows it.

Python raises KeyboardInterrupt wherever the main thread is. That may be in a callback from which no exception comes
out: of the import system, of the garbage collector, of a destructor. Then the command would go on as if nobody had
asked it to stop.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType
from typing import NoReturn


@dataclass(eq=False)
class Interrupts:
    """Whether an interrupt was asked for while it was listened to."""

    heard: bool = False

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Remember interrupts while the block lasts, but where they are ignored or another's to handle."""
        ours = threading.current_thread() is threading.main_thread()
        if not ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
            yield
            return
        signal.signal(signal.SIGINT, self._hear)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def check(self) -> None:
        """Raise KeyboardInterrupt if one was heard, and has been swallowed since."""
        if self.heard:
            raise KeyboardInterrupt

    def _hear(self, number: int, frame: FrameType | None) -> NoReturn:  # noqa: ARG002 - what a handler is given
        self.heard = True
        raise KeyboardInterrupt
