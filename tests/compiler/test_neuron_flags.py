"""What commands say of AWS Neuron's compiler: the fields that flags set, and what is refused before any work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from artifacts.errors import UsageError
from artifacts.neuron_options import NeuronOptions
from compiler.emit import Anew
from compiler.key import compilation_key, ingredients
from compiler.neuron_flags import FLAGS, neuron_options, reached, unknown_to, written
from compiler.options import CompileOptions
from compiler.targets import find_target
from tests.support.cli import unspool

ALL = (
    *("--neuron-target", "trn2", "--model-type", "transformer", "--auto-cast", "matmult", "--auto-cast-type", "fp16"),
    *("--optlevel", "3", "--logical-nc-config", "2", "--fast-loading", "--neuronx-cc-arg=--enable-saturate-infinity"),
    *("--compiler-timeout", "60"),
)


def test_every_field_has_a_flag() -> None:
    assert set(FLAGS) == set(NeuronOptions.model_fields)


def test_what_is_said_stands_over_what_was() -> None:
    base = NeuronOptions(target="trn2", auto_cast="all", auto_cast_type="fp16", logical_nc_config=2, optlevel=1)
    assert neuron_options({}, base) == base
    assert neuron_options({"optlevel": 3, "extra": ("--verbose=info",)}, base) == base.model_copy(
        update={"optlevel": 3, "extra": ("--verbose=info",)}
    )
    assert neuron_options({"auto_cast": "none"}, base).auto_cast_type is None
    assert neuron_options({"auto_cast": "matmult"}, base).auto_cast_type == "fp16"
    assert neuron_options({"target": "trn1"}, base).logical_nc_config is None
    assert neuron_options({"target": "trn2"}, base).logical_nc_config == 2


@pytest.mark.parametrize(
    ("options", "is_reached"),
    [
        (NeuronOptions(), False),  # no flag takes the recorded further argument back
        (NeuronOptions(extra=("--verbose=info",)), True),
        (NeuronOptions(fast_loading=True, extra=("--verbose=debug",)), True),
        (NeuronOptions(target="trn2", auto_cast="all", extra=("--verbose=info",)), False),  # nor the type and the cores
        (NeuronOptions(target="trn2", auto_cast="none", logical_nc_config=1, extra=("--verbose=info",)), True),
    ],
)
def test_flags_that_are_written_make_the_options_where_any_can(
    options: NeuronOptions, is_reached: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    base = NeuronOptions(
        target="trn2",
        auto_cast="all",
        auto_cast_type="fp16",
        logical_nc_config=2,
        fast_loading=True,
        extra=("--verbose=info",),
    )
    given: list[Anew] = []
    monkeypatch.setattr("compiler.emit.emit_bundle", lambda *_, anew, **__: given.append(anew))
    unspool(capsys, "emit", "--from", "a", "--target", "neuronx", "-o", "b", *written(options, base))
    assert reached(options, base) == is_reached
    assert (neuron_options(given[0].neuron, base) == options) == is_reached


@pytest.mark.parametrize(
    ("said", "flags"),
    [
        (
            {"auto_cast_type": "bf16", "logical_nc_config": 1, "extra": ("-O1", "--output=x")},
            ["--auto-cast-type", "--logical-nc-config", "--neuronx-cc-arg", "--neuronx-cc-arg"],
        ),
        ({"optlevel": 7}, ["--optlevel"]),
        ({"extra": ("--verbose=info", "--verbose=debug")}, ["--neuronx-cc-arg"]),
    ],
)
def test_contradictions_are_told_at_once_by_their_flags(said: dict[str, Any], flags: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        neuron_options(said)
    assert [problem.subject for problem in caught.value.problems] == flags
    assert caught.value.exit_code == 2


def test_a_flag_means_nothing_to_another_target_even_if_it_says_the_default() -> None:
    said = NeuronOptions(optlevel=2, fast_loading=False).model_fields_set
    problems = unknown_to(said, 60.0, find_target("onnxruntime"))
    assert [problem.subject for problem in problems] == ["--optlevel", "--fast-loading", "--compiler-timeout"]
    assert {problem.hint for problem in problems} == {"leave it out, or give --target neuronx"}
    assert not unknown_to(said, 60.0, find_target("neuronx"))


def test_a_call_with_such_flags_does_no_work(
    capsys: pytest.CaptureFixture[str], perceptron_file: Path, tmp_path: Path
) -> None:
    found = unspool(capsys, "compile", perceptron_file, "-o", tmp_path / "b", *ALL, "--json")
    assert found.status == 2
    subjects = [error["subject"] for error in found.document["errors"]]
    assert subjects == [*FLAGS.values(), "--compiler-timeout"]
    assert not (tmp_path / "b").exists()


def test_two_ways_to_say_the_same_have_one_key_and_others_another() -> None:
    def key(neuron: NeuronOptions) -> str:
        return compilation_key(ingredients([], {}, CompileOptions(target="neuronx", neuron=neuron), {}, {}))

    assert key(NeuronOptions()) == key(NeuronOptions(optlevel=2))
    different = {key(NeuronOptions()), key(NeuronOptions(optlevel=3)), key(NeuronOptions(extra=("--verbose=info",)))}
    assert len(different) == 3
