"""What the passes have in common that compute in fewer bits than the source does."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection
from dataclasses import dataclass

from artifacts.checks import Tolerances
from artifacts.tolerances import Tolerance
from passes.contract import Pass
from passes.program import Program


@dataclass(frozen=True)
class PrecisionPass(Pass):
    """A pass after which nodes compute in fewer bits.

    `keep` names nodes that stay as they are, each as FUNCTION/NODE. `at_most` is the share of an output's largest
    element that its elements may be off by, where the user says it; None leaves it at what is usual for the pass.
    """

    keep: tuple[str, ...] = ()
    at_most: float | None = None

    @property
    @abstractmethod
    def tolerance(self) -> Tolerance:
        """What its result may cost an output of floating-point numbers, unless the user says otherwise."""

    @abstractmethod
    def candidates(self, program: Program) -> tuple[str, ...]:
        """The nodes that it changes if it keeps none, each as FUNCTION/NODE, in the order of the program."""

    def layers(self, program: Program) -> tuple[tuple[str, ...], ...]:
        """The candidates in groups that are kept or changed together: each by itself, unless they share weights."""
        return tuple((place,) for place in self.candidates(program))

    def loosened(self, tolerances: Tolerances) -> Tolerances:
        """What was allowed before, and what fewer bits cost."""
        asked = None if self.at_most is None else Tolerance(atol=0.0, rtol=0.0, scale=self.at_most)
        return tolerances.loosened(asked or self.tolerance)


def kept_of(keep: Collection[str], function: str) -> frozenset[str]:
    """The names of one function's nodes among those of a program."""
    prefix = f"{function}/"
    return frozenset(name.removeprefix(prefix) for name in keep if name.startswith(prefix))
