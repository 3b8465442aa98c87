"""What is counted of a module."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("jax")

import jax
import jax.numpy as jnp

from artifacts.dtype import DType
from artifacts.spec import TensorSpec
from compiler.hlo.instructions import count_instructions, instructions
from compiler.hlo.module import hlo_module


def module(outputs: int) -> bytes:
    """A sum for each output."""

    def call(inputs: Any, _weights: Any) -> tuple[jax.Array, ...]:
        (x,) = inputs
        return tuple(jnp.add(x, number) for number in range(1, outputs + 1))

    return hlo_module("sums", call, [TensorSpec(name="x", dtype=DType.FLOAT32, shape=(4,))], []).data


@pytest.mark.parametrize("outputs", [2, 6, 20])
def test_a_result_is_a_structure_however_wide(outputs: int) -> None:
    """HLO's text numbers every fifth type of a tuple in a comment."""
    found = instructions(module(outputs))
    assert all(each.opcode for each in found)
    adds = sum(each.opcode == "add" for each in found)
    others = sum(each.opcode == "broadcast" for each in found)
    assert adds == outputs
    assert count_instructions(module(outputs)) == adds + others
