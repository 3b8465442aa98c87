from __future__ import annotations

import weakref

import numpy as np
import pytest
import torch

from artifacts.errors import PassError
from passes.interpreter import call, run_function
from tests.support.programs import PROGRAMS, bare, normal, parsed


def test_inputs_go_by_name_and_extra_ones_are_left_out() -> None:
    program = PROGRAMS["attention"]()
    sample = program.models["main"].samples[1]
    given = {"extra": np.zeros(3), **dict(reversed([*sample.inputs.items()]))}
    logits = call(program, "main", given)["logits"]
    np.testing.assert_allclose(logits.astype(float), sample.outputs["logits"], rtol=1e-4, atol=1e-4)


def test_an_observer_sees_every_node_in_order() -> None:
    program = PROGRAMS["tied_perceptron"]()
    seen: list[str] = []
    call(program, "main", program.models["main"].samples[0].inputs, lambda node, _: seen.append(node.name))
    assert seen == [node.name for node in program.functions["main"].graph.nodes]


def test_values_are_dropped_after_their_last_use() -> None:
    chain = " ".join(f"h{i + 1} = Relu (h{i})" for i in range(8))
    program = bare(parsed(f"g (float[n] h0) => (float[n] h8) {{ {chain} }}"), {"h0": normal(3)})
    made: list[weakref.ref[torch.Tensor]] = []
    alive: list[int] = []

    def observe(node: torch.fx.Node, value: object) -> None:
        if node.op == "call_function" and isinstance(value, torch.Tensor):
            made.append(weakref.ref(value))
            alive.append(sum(reference() is not None for reference in made))

    call(program, "main", {"h0": normal(5)}, observe)
    assert len(alive) == 8
    assert max(alive) <= 2


def test_outputs_may_be_inputs_weights_and_one_value_twice() -> None:
    program = PROGRAMS["constant_outputs"]()
    x = normal(5)
    outputs = call(program, "main", {"x": x, "unused": x})
    assert np.array_equal(outputs["same"], x)
    assert np.array_equal(outputs["weight"], normal(3))
    assert np.array_equal(outputs["made"], [1.0, 2.0])
    assert np.array_equal(outputs["a"], np.maximum(x, 0))
    assert np.array_equal(outputs["b"], outputs["a"])


@pytest.mark.parametrize("count", [1, 3])
def test_the_number_of_inputs_has_to_be_right(count: int) -> None:
    program = PROGRAMS["constant_outputs"]()
    with pytest.raises(ValueError, match="zip"):
        run_function(program.functions["main"], program.weights, [torch.zeros(3)] * count)


def test_a_node_that_fails_is_named() -> None:
    program = PROGRAMS["tied_perceptron"]()
    with pytest.raises(PassError, match="node 'matmul'"):
        call(program, "main", {"x": normal(3, 23)})
