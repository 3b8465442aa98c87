"""Runs bundles: `from artifacts.runtime import Session`."""

from artifacts.runtime.answer import Answer
from artifacts.runtime.session import Session

__all__ = ["Answer", "Session"]
