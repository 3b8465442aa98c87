"""How far a long job over a store is."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int, int], None]
"""Called after each file with the bytes of those that are done, and of all."""
