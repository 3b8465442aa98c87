"""How a vendor's tool ended, in words."""

from __future__ import annotations

import signal

from compiler.neuron.bounded_run import Ended
from compiler.neuron.said import complaint

_LONGEST_TOLD = 100


def ending(program: str, ended: Ended, timeout: float, *, smaller: str, lighter: str) -> tuple[str, str] | None:
    """What went wrong and what may help, unless the program says that it succeeded.

    `smaller` is what takes less time, `lighter` what takes less memory.
    """
    if ended.status == 0:
        return None
    found = complaint(ended.said)
    if ended.status is None:
        message = f"{program} did not end within {timeout:g} seconds; its last words: {last_words(ended)}"
        return message, f"give it more time, or {smaller}"
    number = -ended.status if ended.status < 0 else ended.status - 128  # as a shell tells of a signal
    if number == signal.SIGKILL:
        message = f"{program} was killed (SIGKILL), most likely because memory ran out"
        return message, f"give it more memory, {lighter}"
    if ended.status < 0:
        return f"{program} crashed ({_signal(number)}): {found.words}", ""
    return f"{program} ended with status {ended.status}: {found.words}", found.explanation


def last_words(ended: Ended) -> str:
    """The last line that it wrote."""
    lines = [line.strip() for line in ended.said.splitlines() if line.strip()]
    return shown(lines[-1]) if lines else "it said nothing"


def shown(line: str) -> str:
    """A line as it may be told."""
    text = "".join(c for c in line if c.isprintable())
    return text if len(text) <= _LONGEST_TOLD else f"{text[:_LONGEST_TOLD]}..."


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
