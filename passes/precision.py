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

    `keep` names nodes that stay as they are, each as FUNCTION/NODE.
    """

    keep: tuple[str, ...] = ()

    @property
    @abstractmethod
    def tolerance(self) -> Tolerance:
        """What its result may cost an output of floating-point numbers, unless the user says otherwise."""

    @abstractmethod
    def candidates(self, program: Program) -> tuple[str, ...]:
        """The nodes that it changes if it keeps none, each as FUNCTION/NODE, in the order of the program."""

    def loosened(self, tolerances: Tolerances) -> Tolerances:
        """What was allowed before, and what fewer bits cost."""
        return tolerances.loosened(self.tolerance)


def kept_of(keep: Collection[str], function: str) -> frozenset[str]:
    """The names of one function's nodes among those of a program."""
    prefix = f"{function}/"
    return frozenset(name.removeprefix(prefix) for name in keep if name.startswith(prefix))
