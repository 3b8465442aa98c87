from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import pytest

from artifacts.schedule import Single
from passes.program import Program
from tests.support.decoder_programs import decoder_program
from tests.support.programs import PROGRAMS


def test_a_function_knows_its_inputs_weights_computations_and_results() -> None:
    function = PROGRAMS["constant_outputs"]().functions["main"]
    assert [node.name for node in function.placeholders] == [
        *(node.name for node in function.weight_nodes),
        *(node.name for node in function.input_nodes),
    ]
    assert len(function.input_nodes) == len(function.signature.inputs) == 2
    assert [str(node.target) for node in function.computations] == ["aten.relu.default"]
    x, (weight, made) = function.input_nodes[0], function.weight_nodes
    (relu,) = function.computations
    assert function.results == (x, weight, made, relu, relu)


def test_merging_keeps_equal_weights_once() -> None:
    program = PROGRAMS["two_models"]()
    refs = [ref for function in program.functions.values() for ref in function.weights.values()]
    assert len(refs) == 4
    assert len(program.weights) == len({ref.digest for ref in refs}) == 3


def test_merging_refuses_names_that_are_in_both() -> None:
    program = PROGRAMS["two_models"]()
    with pytest.raises(ValueError, match="'large', 'small'"):
        program.merged(program)


def test_a_schedule_calls_only_functions_that_are_there() -> None:
    program = decoder_program("first")
    functions = {name: function for name, function in program.functions.items() if name != "first"}
    with pytest.raises(ValueError, match=r"the schedule of 'decoder' calls \['first'\]"):
        Program(functions, program.models, program.weights)


def test_a_function_goes_by_its_own_name() -> None:
    function = PROGRAMS["attention"]().functions["main"]
    with pytest.raises(ValueError, match=r"\['other'\]"):
        Program({"other": function}, {}, PROGRAMS["attention"]().weights)


def test_replacing_functions_leaves_the_rest_and_the_original() -> None:
    program = PROGRAMS["two_models"]()
    changed = replace(program.functions["small"], time=frozenset({"batch"}))
    after = program.with_functions({"small": changed})
    assert after.functions["small"] is changed
    assert after.functions["large"] is program.functions["large"]
    assert after.weights is program.weights
    assert program.functions["small"] is not changed


def test_a_program_cannot_be_changed() -> None:
    program = PROGRAMS["two_models"]()
    with pytest.raises(FrozenInstanceError):
        program.weights = program.weights  # type: ignore[misc]
    with pytest.raises(TypeError):
        program.functions["small"] = program.functions["large"]  # type: ignore[index]
    with pytest.raises(TypeError):
        program.models["small"] = replace(program.models["small"], schedule=Single(function="large"))  # type: ignore[index]
