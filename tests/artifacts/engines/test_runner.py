"""What every runner refuses in the same words, on one that adds two arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from artifacts.dtype import DType
from artifacts.engines.engine import Buffer, EngineRunner
from artifacts.engines.runner import Array, ValueBuffer, ValueRunner
from artifacts.errors import RunError
from artifacts.manifest import EngineEntry, WeightAccess
from artifacts.spec import Signature, TensorSpec


class ArrayBuffer(ValueBuffer):
    """An array."""


class Adder(ValueRunner[ArrayBuffer]):
    """Its engine is a function of numpy's."""

    kind = "adder"

    def __init__(self, entry: EngineEntry) -> None:
        super().__init__(np.add, entry, ArrayBuffer)

    def upload(self, spec: TensorSpec, array: Array) -> ArrayBuffer:
        return ArrayBuffer(array, spec.dtype)

    def download(self, buffer: Buffer) -> Array:
        array: Array = self._own(buffer).value
        return array

    def _results(self, given: Sequence[Any]) -> Sequence[Any]:
        return [self._live()(*given)]


def spec(name: str) -> TensorSpec:
    return TensorSpec(name=name, dtype=DType.FLOAT32, shape=(2,))


@pytest.fixture
def adder() -> Adder:
    entry = EngineEntry(
        kind="adder",
        target="adder",
        signature=Signature(inputs=(spec("a"), spec("b")), outputs=(spec("sum"),)),
        source="engines/adder.txt",
        status="emitted",
        weights=WeightAccess(default="embedded", ways={"embedded": "nothing"}),
    )
    return Adder(entry)


ONES = np.ones(2, np.float32)


def test_it_runs_from_arrays_to_arrays_in_the_order_of_the_signature(adder: Adder) -> None:
    runner: EngineRunner = adder
    assert runner.call({"b": ONES, "a": 2 * ONES})["sum"].tolist() == [3, 3]
    zeros = runner.alloc(spec("a"), (2,))
    assert zeros.shape == (2,)
    assert runner.run({"a": zeros, "b": zeros})["sum"].dtype == DType.FLOAT32


def test_what_it_cannot_take_is_named(adder: Adder) -> None:
    own = adder.upload(spec("a"), ONES)
    foreign = ValueBuffer(ONES, DType.FLOAT32)
    for inputs, message in (
        ({"a": own}, "has no input 'b'"),
        ({"a": own, "b": foreign}, "cannot use a ValueBuffer of another engine"),
        ({"a": own, "b": adder.upload(spec("b"), np.ones(3, np.float32))}, r"takes 'b' of shape \(2,\), not \(3,\)"),
    ):
        with pytest.raises(RunError, match=message) as error:
            adder.run(inputs)
        assert error.value.problems[0].subject == "engines/adder.txt"
    with pytest.raises(RunError, match="writes into none of the 2 buffers"):
        adder.bind({"a": own}, {"sum": own})


def test_a_closed_one_says_so(adder: Adder) -> None:
    adder.close()
    with pytest.raises(RunError, match="the engine is closed"):
        adder.call({"a": ONES, "b": ONES})
