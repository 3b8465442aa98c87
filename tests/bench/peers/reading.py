"""The floor: nothing but reading. As many bytes for every token as a step's weights have, one row or many.

A dot product of a buffer with itself reads as fast as anything that was tried with one thread. The buffer is as large
as the weights are, so that those of a small model come from the processor's cache here too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.bench.peers.contestants import Decode
from tests.bench.peers.models import FLOAT, PeerModel


def opened(folder: Path, model: PeerModel, form: str) -> Decode:
    weights = np.ones(model.step_bytes("float32") // FLOAT, form)

    def decode(given: npt.NDArray[Any], count: int) -> list[list[int]]:
        for _ in range(count):
            weights.dot(weights)
        return []

    return decode
