"""A measured figure, and the bound that the project holds it to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """`value` in `unit`: of what, and at most what (None: for information).

    `detail` says what the value was computed from, as people read it.
    """

    what: str
    value: float
    unit: str
    bound: float | None = None
    detail: str = ""

    @property
    def verdict(self) -> str:
        """`met`, `missed`, or nothing for a figure without a bound."""
        if self.bound is None:
            return ""
        return "met" if self.value <= self.bound else "missed"

    def shown(self, number: float | None) -> str:
        """A number as this figure's tables print it; nothing for None."""
        if number is None:
            return ""
        return f"{number:.3f} {self.unit}" if self.unit == "x" else f"{number:.3g} {self.unit}"
