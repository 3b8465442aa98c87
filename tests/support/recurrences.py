"""Recurrent operators with every attribute that ONNX gives them, drawn at random."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from passes.dialect.activations import ACTIVATIONS

Array = npt.NDArray[Any]

GATES = {"GRU": 3, "LSTM": 4, "RNN": 1}
FUNCTIONS = {"GRU": 2, "LSTM": 3, "RNN": 1}
OUTPUTS = {"GRU": 2, "LSTM": 3, "RNN": 2}
DIRECTIONS = ("forward", "reverse", "bidirectional")


@dataclass(frozen=True, eq=False)
class Recurrent:
    """A recurrent operator: its attributes, and inputs for any time and batch."""

    op: str
    attributes: dict[str, Any]
    features: int
    hidden: int
    optional: frozenset[str]

    @property
    def directions(self) -> int:
        return 2 if self.attributes["direction"] == "bidirectional" else 1

    @property
    def outputs(self) -> int:
        return OUTPUTS[self.op]

    def inputs(self, time: int, batch: int, seed: int = 0) -> list[Array | None]:
        """Inputs in the operator's order, layout 0. Weights depend on the seed alone."""
        gates = GATES[self.op] * self.hidden
        directions = self.directions
        weights = np.random.default_rng(seed)
        data = np.random.default_rng(seed + 100 * time + batch)

        def optional(name: str, array: Array) -> Array | None:
            return array if name in self.optional else None

        found = [
            _uniform(data, time, batch, self.features),
            _uniform(weights, directions, gates, self.features),
            _uniform(weights, directions, gates, self.hidden),
            optional("b", _uniform(weights, directions, 2 * gates)),
            optional("lengths", data.integers(1, time + 1, batch).astype(np.int32)),
            optional("initial_h", _uniform(data, directions, batch, self.hidden)),
        ]
        if self.op == "LSTM":
            found.append(optional("initial_c", _uniform(data, directions, batch, self.hidden)))
            found.append(optional("p", _uniform(weights, directions, 3 * self.hidden)))
        return found


def _uniform(generator: np.random.Generator, *shape: int) -> Array:
    return generator.uniform(-1, 1, shape).astype(np.float32)


@st.composite
def recurrents(draw: st.DrawFn, op: str) -> Recurrent:
    """Any recurrence of this operator that ONNX and ONNX Runtime allow."""
    direction = draw(st.sampled_from(DIRECTIONS))
    attributes: dict[str, Any] = {"direction": direction}
    hidden = draw(st.integers(1, 5))
    attributes["hidden_size"] = hidden
    if draw(st.booleans()):
        count = FUNCTIONS[op] * (2 if direction == "bidirectional" else 1)
        names = draw(st.lists(st.sampled_from(sorted(ACTIVATIONS)), min_size=count, max_size=count))
        parameters = st.sampled_from([0.1, 0.5, 0.9])
        attributes["activations"] = names
        for attribute, position in (("activation_alpha", 0), ("activation_beta", 1)):
            takers = sum(len(ACTIVATIONS[name].defaults) > position for name in names)
            if takers:
                attributes[attribute] = [draw(parameters) for _ in range(takers)]
    if draw(st.booleans()):
        attributes["clip"] = draw(st.sampled_from([0.2, 1.0, 5.0]))
    if op == "GRU":
        attributes["linear_before_reset"] = draw(st.integers(0, 1))
    if op == "LSTM":
        attributes["input_forget"] = draw(st.integers(0, 1))
    names_of_inputs = ["b", "lengths", "initial_h", "initial_c", "p"]
    optional = draw(st.sets(st.sampled_from(names_of_inputs)))
    return Recurrent(op, attributes, draw(st.integers(1, 4)), hidden, frozenset(optional))
