"""What every registered pass promises, on every program of tests/support: see passes/contract.py."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from functools import cache
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter

from artifacts.checks import Tolerances
from passes.contract import FunctionPass, Pass, PassResult
from passes.program import Program
from passes.registry import all_passes
from passes.text import fingerprint, program_text
from passes.verification import check_program
from tests.support.decoder_programs import Form, decoder_program
from tests.support.programs import PROGRAMS

PASSES = all_passes()

OPTIONS: Mapping[str, Mapping[str, Any]] = {"quantize-weights": {"block": 16, "least": 16}}
"""Options to try a pass with, by its name, where its fields have no defaults or defaults for larger programs."""

each_pass = pytest.mark.parametrize("name", PASSES)
DECODERS: Mapping[str, Form] = {"decoder": "cached", "recomputing decoder": "recompute", "whole decoder": "whole"}
each_program = pytest.mark.parametrize("program_name", [*PROGRAMS, *DECODERS])


@cache
def program_called(name: str) -> Program:
    return decoder_program(DECODERS[name]) if name in DECODERS else PROGRAMS[name]()


def made(name: str) -> Pass:
    return PASSES[name](**OPTIONS.get(name, {}))


@cache
def result_of(name: str, program_name: str) -> PassResult:
    return made(name)(program_called(program_name))


def test_the_passes_of_this_package_are_found() -> None:
    assert {"fold-constants", "eliminate-dead-code", "eliminate-common-subexpressions"} <= set(PASSES)


@each_pass
def test_a_pass_is_a_frozen_dataclass_of_one_stem(name: str) -> None:
    kind = PASSES[name]
    assert dataclasses.is_dataclass(kind)
    assert kind.__dataclass_params__.frozen  # type: ignore[attr-defined]  # dataclasses do not tell mypy of it
    assert kind.__dataclass_fields__.keys() >= kind.__annotations__.keys() - {"name"}
    assert kind.__module__ == f"passes.{name.replace('-', '_')}"
    assert kind.__name__ == name.title().replace("-", "")


@each_pass
def test_the_options_are_the_fields_as_json(name: str) -> None:
    step = made(name)
    assert list(step.options) == [field.name for field in dataclasses.fields(step)]
    again = TypeAdapter(PASSES[name]).validate_json(json.dumps(step.options))
    assert again == step


@each_pass
@each_program
def test_the_input_is_left_as_it_was(name: str, program_name: str) -> None:
    program = program_called(program_name)
    before, nodes, store = program_text(program), node_identities(program), program.weights
    digests = set(store)

    made(name)(program)

    assert program_text(program) == before
    assert node_identities(program) == nodes
    assert program.weights is store
    assert set(store) == digests


@each_pass
@each_program
def test_modified_is_whether_the_fingerprint_changed(name: str, program_name: str) -> None:
    program, result = program_called(program_name), result_of(name, program_name)
    assert result.modified == (fingerprint(result.program) != fingerprint(program))
    assert result.modified or program_text(result.program) == program_text(program)


@each_pass
@each_program
def test_a_second_run_changes_nothing(name: str, program_name: str) -> None:
    again = made(name)(result_of(name, program_name).program)
    assert not again.modified
    assert not again.notes


@each_pass
@each_program
def test_bodies_hold_no_data_and_the_store_holds_every_weight(name: str, program_name: str) -> None:
    program = result_of(name, program_name).program
    for function in program.functions.values():
        assert function.weights.keys() == {node.name for node in function.weight_nodes}
        for ref in function.weights.values():
            assert program.weights.array(ref).shape == ref.shape
        held = [*function.body.state_dict.values(), *function.body.constants.values()]
        assert all(isinstance(tensor, torch._subclasses.FakeTensor) for tensor in held)


@each_pass
@each_program
def test_the_result_keeps_signatures_and_answers_as_the_source_does(name: str, program_name: str) -> None:
    program, result = program_called(program_name), result_of(name, program_name)
    assert model_signatures(result.program) == model_signatures(program)
    if isinstance(made(name), FunctionPass):
        assert signatures(result.program) == signatures(program)
    checks = check_program(result.program, made(name).loosened(Tolerances()))
    assert checks
    assert [check for check in checks if not check.passed] == []


@each_pass
@each_program
def test_sources_name_only_nodes_that_exist(name: str, program_name: str) -> None:
    for function in result_of(name, program_name).program.functions.values():
        assert function.sources.keys() <= {node.name for node in function.graph.nodes}


def test_a_pass_of_another_name_than_its_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PASSES["fold-constants"], "name", "fold")
    with pytest.raises(ValueError, match="'fold'"):
        all_passes.__wrapped__()


def node_identities(program: Program) -> Mapping[str, list[tuple[int, str]]]:
    """Which node objects a program has, and what each says."""
    return {
        name: [(id(node), node.format_node() or "") for node in function.graph.nodes]
        for name, function in program.functions.items()
    }


def model_signatures(program: Program) -> Mapping[str, str]:
    return {name: str(model.signature) for name, model in program.models.items()}


def signatures(program: Program) -> Mapping[str, str]:
    return {name: str(function.signature) for name, function in program.functions.items()}
