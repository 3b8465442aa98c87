"""What the libraries of the TensorRT family say is wrong.

Their own logger prints to standard output, where a caller may have a document.
"""

from __future__ import annotations

from functools import cache
from typing import Any


class Said:
    """The errors that were said, in order."""

    errors: list[str]

    def last(self) -> str:
        """The last of them, in one line."""
        return self.errors[-1].strip().split("\n")[0] if self.errors else "it does not say why"

    @staticmethod
    def of(trt: Any) -> Any:
        """The logger of a module, with nothing said yet. A module uses the first one that it is given, ever."""
        logger = _logger(trt)
        logger.errors.clear()
        return logger


@cache
def _logger(trt: Any) -> Any:
    class Logger(Said, trt.ILogger):  # type: ignore[misc] # the module is not known before it is imported
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors = []

        def log(self, severity: Any, message: str) -> None:
            if severity in {trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR}:
                self.errors.append(message)

    return Logger()
