from __future__ import annotations

from dataclasses import fields
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from compiler.flags.compiling import CompileFlags
from compiler.zoo.spec import APART, Options, ZooSpec, parse_bytes, parse_seconds, spec_schema

SMALLEST = {"models": [{"name": "a", "path": "a.onnx"}, {"name": "b", "path": "b.onnx"}]}

LARGEST: dict[str, Any] = {
    "defaults": {
        "targets": "onnxruntime",
        "precisions": "int8",
        "options": {"eos": 2, "max-length": 75, "opt-shapes": ["ids:1x16", "ids:1x64"], "merge-casts": True},
        "target-options": {"neuronx": {"model-type": "transformer", "custom-ops": "ops.py"}},
        "tolerances": {"atol": 1e-4, "rtol": 0, "share": 0.01},
        "labels": "team-a",
        "limits": {"memory": "4GiB", "time": "20min", "retries": 1},
        "resources": {"cpus": 1, "gpus": 0.5, "neuron-cores": 2, "custom": {"big": 1}},
    },
    "models": [
        {"path": "a/*.onnx", "batches": 8, "exclude": {"target": "neuronx", "batch": 8}},
        {"name": "b", "parts": {"encoder": "e.onnx", "decoder": "d.onnx"}, "samples": "{name}.npz"},
        {"name": "c", "path": {"one": "1.onnx", "two": "2.onnx"}, "limits": {"memory": 1, "time": 0.5}},
    ],
    "thresholds": {"bytes": 0.05, "seconds": 0.5, "operators": 0, "numerics": 10},
    "store": "s3://bucket/zoo",
}

WRONG: list[dict[str, Any]] = [
    {},
    {"models": []},
    {"models": [{"name": "no/name", "path": "a"}]},
    {"models": [{"name": ".hidden", "path": "a"}]},
    {"models": [{"path": "a", "precision": "fp32"}]},
    {"models": [{"path": "a", "precisions": ["fp64"]}]},
    {"models": [{"path": "a", "batches": [0]}]},
    {"models": [{"path": "a", "options": {"max-length": 0}}]},
    {"models": [{"path": "a", "options": {"max_length": 1}}]},
    {"models": [{"path": "a", "options": {"eos": [-1]}}]},
    {"models": [{"path": "a", "options": {"schedule": "never"}}]},
    {"models": [{"path": "a", "parts": {"middle": "m"}}]},
    {"models": [{"path": "a"}], "more": 1},
    {"models": [{"path": "a", "limits": {"retries": 11}}]},
    {"models": [{"path": "a", "labels": ["a,b"]}]},
]


@pytest.fixture(scope="module")
def schema() -> jsonschema.Draft202012Validator:
    jsonschema.Draft202012Validator.check_schema(spec_schema())
    return jsonschema.Draft202012Validator(spec_schema())


@pytest.mark.parametrize("document", [SMALLEST, LARGEST])
def test_what_a_zoo_may_say_editors_take(schema: jsonschema.Draft202012Validator, document: dict[str, Any]) -> None:
    ZooSpec.model_validate(document)
    schema.validate(document)


@pytest.mark.parametrize("document", WRONG)
def test_what_a_zoo_may_not_say_editors_mark(schema: jsonschema.Draft202012Validator, document: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ZooSpec.model_validate(document)
    assert not schema.is_valid(document)


def test_every_flag_has_one_key() -> None:
    flags = {field.name for field in fields(CompileFlags)}
    assert APART.keys() <= flags
    assert set(Options.model_fields) == flags - APART.keys()
    assert {info.alias for info in Options.model_fields.values()} == {
        name.replace("_", "-") for name in flags - APART.keys()
    }
    assert all(info.description for info in Options.model_fields.values()), "what --help says, editors show"


BINARY = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40, "kiB": 2**10, "Ki": 2**10, "Gi": 2**30}
DECIMAL = {"": 1, "B": 1, "k": 10**3, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "G": 10**9}
SPACES = st.sampled_from(["", " ", "  "])


@given(st.integers(0, 10**20), st.sampled_from([*BINARY.items(), *DECIMAL.items()]), SPACES, SPACES)
def test_bytes_are_numbers_with_a_unit(number: int, unit: tuple[str, int], before: str, between: str) -> None:
    assert parse_bytes(f"{before}{number}{between}{unit[0]}") == number * unit[1]


@given(st.integers(0, 10**6), st.integers(0, 3), st.sampled_from([*BINARY.items(), *DECIMAL.items()]))
def test_bytes_may_have_decimals_and_are_cut_to_whole_ones(number: int, places: int, unit: tuple[str, int]) -> None:
    text = f"{number}.{'5' * places}" if places else str(number)
    numerator, denominator = (int(text.replace(".", "")), 10**places) if places else (number, 1)
    assert parse_bytes(f"{text}{unit[0]}") == numerator * unit[1] // denominator


@given(st.decimals(0, 10**6, places=3), st.sampled_from(["", "s", "sec", "m", "min", "h"]), SPACES)
def test_seconds_are_numbers_with_a_unit(number: Any, unit: str, between: str) -> None:
    per = {"m": 60, "min": 60, "h": 3600}.get(unit, 1)
    assert parse_seconds(f"{number}{between}{unit}") == pytest.approx(float(number * per))


@given(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.lists(st.integers()))
def test_what_is_no_text_is_left_to_others(value: object) -> None:
    assert parse_bytes(value) is value
    assert parse_seconds(value) is value


@pytest.mark.parametrize("text", ["", "GiB", "-1", "1e3", "4 GiB RAM", "4GX", "1.", ".5", "4gib", "1,5", "½GB", "inf"])
def test_other_texts_are_no_bytes_and_no_seconds(text: str) -> None:
    assert parse_bytes(text) == text
    assert parse_seconds(text) == text


@given(st.text(max_size=12))
def test_any_text_is_parsed_or_left(text: str) -> None:
    assert isinstance(parse_bytes(text), int | str)
    assert isinstance(parse_seconds(text), float | str)


def test_a_number_of_four_hundred_digits_is_bytes_too_and_no_time() -> None:
    assert parse_bytes("9" * 400) == int("9" * 400)
    with pytest.raises(ValidationError, match="finite"):
        ZooSpec.model_validate({"models": [{"path": "a", "limits": {"time": "9" * 400}}]})
