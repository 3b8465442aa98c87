"""Runs bundles: `from artifacts.runtime import Session`."""

from artifacts.runtime.session import Session

__all__ = ["Session"]
