"""Which set of flags is best, by what is known of the engines that it made."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from artifacts.neuron_options import NeuronOptions
from compiler.neuron.tuning.flag_sets import changes_numerics
from compiler.neuron.tuning.work import Outcome


@dataclass(frozen=True)
class Ranked:
    """A set of flags, and what came of it on each engine; None where it was not tried."""

    options: NeuronOptions
    outcomes: Mapping[str, Outcome | None]

    @property
    def changes_numerics(self) -> bool:
        """See `changes_numerics`."""
        return changes_numerics(self.options)

    @property
    def compiled(self) -> int:
        """How many engines it made."""
        return sum(found is not None and found.end == "compiled" for found in self.outcomes.values())

    @property
    def whole(self) -> bool:
        """Whether it made all of them."""
        return self.compiled == len(self.outcomes)

    @property
    def latency_ms(self) -> float | None:
        """What one call of each engine takes on a device, None unless all were measured."""
        found = [None if each is None else each.latency_ms for each in self.outcomes.values()]
        known = [each for each in found if each is not None]
        return sum(known) if len(known) == len(found) else None

    @property
    def neff_bytes(self) -> int:
        """The size of the engines that it made."""
        return sum(found.neff_bytes or 0 for found in self.outcomes.values() if found is not None)

    @property
    def seconds(self) -> float:
        """How long its trials took."""
        return sum(found.seconds for found in self.outcomes.values() if found is not None)


def ranked(
    sets: Sequence[NeuronOptions], outcomes: Mapping[NeuronOptions, Mapping[str, Outcome | None]]
) -> list[Ranked]:
    """The sets, the best first: those that made every engine, and of these the fastest, where that was measured.

    Else the smaller engines win, and then those that were made sooner, which is little to go by.
    """

    def order(found: Ranked) -> tuple[float, ...]:
        latency = math.inf if found.latency_ms is None else found.latency_ms
        return (-found.compiled, latency, found.neff_bytes, found.seconds)

    return sorted((Ranked(each, outcomes[each]) for each in sets), key=order)
