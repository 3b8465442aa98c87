"""What each way to decode costs, as a function of how many tokens come out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field, ValidationError

from artifacts.errors import UsageError
from artifacts.noun import Noun

Cost = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class StepCost(Noun):
    """What calls and steps of one form cost, in one unit, milliseconds for instance.

    `call` is for each call of an engine; the step at position t, from 0, costs `step` + t * `growth`.
    """

    call: Cost = 0.0
    step: Cost
    growth: Cost = 0.0

    def until(self, position: int) -> float:
        """All steps before a position."""
        return float(self.step * position + self.growth * position * (position - 1) / 2)

    def every(self, limit: int) -> npt.NDArray[np.float64]:
        """`until` of 0 to `limit`, float64 [limit + 1]."""
        positions = np.arange(limit + 1)
        found: npt.NDArray[np.float64] = self.step * positions + self.growth * positions * (positions - 1) / 2
        return found


class Costs(Noun):
    """What a decode is made of, on one target. A form that is None is one that the target cannot do.

    `loop`: the host calls an engine for every step. `engine_loop`: one call for all, with a loop inside. `partition`:
    one call for the steps up to a boundary, and for all of them if there is one boundary only.
    """

    encoder: Cost = 0.0
    loop: StepCost | None = None
    engine_loop: StepCost | None = None
    partition: StepCost | None = None


def read_costs(path: Path) -> Costs:
    """Read costs from JSON. Raises UsageError naming the file and every fault."""
    try:
        document = json.loads(path.read_text("utf-8"))
        return Costs.model_validate(document)
    except OSError as error:
        raise UsageError.of("costs", str(path), f"cannot be read: {error.strerror}") from error
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        hint = 'write {"encoder": 5, "partition": {"call": 2, "step": 0.5, "growth": 0.01}} with numbers of your own'
        raise UsageError.of("costs", str(path), faults, hint) from error
    except (ValueError, RecursionError) as error:
        raise UsageError.of("costs", str(path), f"is not JSON: {error}") from error
