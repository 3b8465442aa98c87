"""The command line of neuronx-cc: what every option writes, and that it means what was said."""

from __future__ import annotations

import shlex
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from artifacts.neuron_options import NeuronOptions
from compiler.neuron.settings import arguments, command_line, environment_flags
from tests.support.neuronx_cc import parsed

FURTHER = {
    "--verbose": ["info", "warning", "error", "critical", "debug"],
    "--native-int64": ["default", "enabled", "disabled"],
    "--implicit-integer-downcast": ["none", "dot,pow", "all"],
    "--distribution-strategy": ["llm-training"],
    "--enable-saturate-infinity": None,
    "--enable-fast-context-switch": None,
    "--disable-mixed-precision-accumulation": None,
}
"""Documented flags that no field sets."""


def values(field: str) -> tuple[Any, ...]:
    """What a field can be, None included where it can be that."""
    annotation = NeuronOptions.model_fields[field].annotation
    found: list[Any] = []
    for part in get_args(annotation):
        found += get_args(part) or ([None] if part is type(None) else [part])
    return tuple(found)


@st.composite
def options(draw: st.DrawFn) -> NeuronOptions:
    target = draw(st.sampled_from(values("target")))
    cast = draw(st.sampled_from(values("auto_cast")))
    flags = draw(st.lists(st.sampled_from(sorted(FURTHER)), unique=True))
    extra = []
    for flag in flags:
        takes = FURTHER[flag]
        extra.append(flag if takes is None else f"{flag}={draw(st.sampled_from(takes))}")
    return NeuronOptions(
        target=target,
        model_type=draw(st.sampled_from(values("model_type"))),
        auto_cast=cast,
        auto_cast_type=None if cast == "none" else draw(st.sampled_from(values("auto_cast_type"))),
        optlevel=draw(st.sampled_from(values("optlevel"))),
        logical_nc_config=draw(st.sampled_from(values("logical_nc_config"))) if target == "trn2" else None,
        fast_loading=draw(st.booleans()),
        extra=tuple(extra),
    )


def meant(command: list[str]) -> NeuronOptions:
    """The options that a command means, by the documented grammar."""
    found = parsed(command[1:])
    extra: dict[str, str] = {}
    for flag, takes in FURTHER.items():
        value = found[flag[2:].replace("-", "_")]
        if takes is None and value:
            extra[flag] = flag
        elif takes is not None and value not in (None, "warning" if flag == "--verbose" else None):
            extra[flag] = f"{flag}={value}"
    return NeuronOptions(
        target=found["target"],
        model_type=found["model_type"],
        auto_cast=found["auto_cast"],
        auto_cast_type=found["auto_cast_type"],
        optlevel=found["optlevel"],
        logical_nc_config=found["logical_nc_config"],
        fast_loading=found["enable_fast_loading_neuron_binaries"],
        extra=tuple(sorted(extra.values())),
    )


@given(options())
def test_the_command_means_the_options_by_the_documented_grammar(chosen: NeuronOptions) -> None:
    command = arguments(chosen, "in.hlo.pb", "out.neff")
    assert command[:3] == ["neuronx-cc", "compile", "in.hlo.pb"]
    found = parsed(command[1:])
    assert (found["model_files"], found["output"], found["framework"]) == (["in.hlo.pb"], "out.neff", "XLA")
    said = tuple(sorted(each for each in chosen.extra if each != "--verbose=warning"))  # which is the default
    assert meant(command) == chosen.model_copy(update={"extra": said})


@given(options())
def test_options_come_back_out_of_a_document(chosen: NeuronOptions) -> None:
    assert NeuronOptions.model_validate_json(chosen.model_dump_json()) == chosen


@pytest.mark.parametrize(
    ("chosen", "written"),
    [
        ({}, "--target inf2 --model-type generic --auto-cast none --optlevel 2"),
        ({"target": "trn1n"}, "--target trn1n --model-type generic --auto-cast none --optlevel 2"),
        ({"model_type": "unet-inference"}, "--target inf2 --model-type unet-inference --auto-cast none --optlevel 2"),
        ({"auto_cast": "all"}, "--target inf2 --model-type generic --auto-cast all --optlevel 2"),
        (
            {"auto_cast": "matmult", "auto_cast_type": "tf32"},
            "--target inf2 --model-type generic --auto-cast matmult --auto-cast-type tf32 --optlevel 2",
        ),
        ({"optlevel": 3}, "--target inf2 --model-type generic --auto-cast none --optlevel 3"),
        (
            {"target": "trn2", "logical_nc_config": 2},
            "--target trn2 --model-type generic --auto-cast none --optlevel 2 --logical-nc-config 2",
        ),
        (
            {"fast_loading": True, "extra": ("--enable-saturate-infinity",)},
            "--target inf2 --model-type generic --auto-cast none --optlevel 2 --enable-fast-loading-neuron-binaries "
            "--enable-saturate-infinity",
        ),
    ],
)
def test_what_an_option_writes(chosen: dict[str, Any], written: str) -> None:
    expected = f"neuronx-cc compile model.hlo.pb --framework XLA {written} --output model.neff"
    assert shlex.join(arguments(NeuronOptions(**chosen))) == expected


@pytest.mark.parametrize(
    ("argument", "why"),
    [
        ("--output=other.neff", "--output is not left to those"),
        ("--outp=other.neff", "--output is not left to those"),
        ("--target=trn1", "--target is not left to those"),
        ("--auto-cast=all", "--auto-cast is not left to those"),
        ("--auto-cast-type=bf16", "--auto-cast-type is not left to those"),
        ("--auto", "--auto-cast is not left to those"),
        ("--framework=XLA", "--framework is not left to those"),
        ("--logfile=log", "--logfile is not left to those"),
        ("--opt=1", "--optlevel is not left to those"),
        ("-O1", "is no further argument"),
        ("-lnc=1", "is no further argument"),
        ("--", "is no further argument"),
        ("", "is no further argument"),
        ("model.hlo.pb", "is no further argument"),
        ("@file", "is no further argument"),
        ("--dump=/etc/passwd", "without a path"),
        ("--dump=..\\x", "without a path"),
        ("--verbose=info\n", "is no further argument"),
        ("--verbose info", "is no further argument"),
    ],
)
def test_further_arguments_may_not_undo_what_is_set(argument: str, why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        NeuronOptions(extra=(argument,))


@pytest.mark.parametrize(
    ("chosen", "why"),
    [
        ({"extra": ("--verbose=info", "--verbose=debug")}, "given more than once: --verbose"),
        ({"auto_cast_type": "bf16"}, "nothing that is cast"),
        ({"logical_nc_config": 1}, "inf2 has no logical cores"),
        ({"target": "inf1"}, "target"),
        ({"optlevel": 0}, "optlevel"),
        ({"level": 2}, "level"),
    ],
)
def test_options_that_contradict_each_other_or_are_none_are_refused(chosen: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        NeuronOptions(**chosen)


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("compile m --framework XLA --target inf2", "required: --output"),
        ("compile m --framework XLA --output o", "required: --target"),
        ("compile --framework XLA --target inf2 --output o", "required: model_files"),
        ("compile m --framework TENSORFLOW --target inf2 --output o", "argument --framework: invalid choice"),
        ("compile m --framework XLA --target inf1 --output o", "argument --target: invalid choice"),
        ("compile m --framework XLA --target trn2 --optlevel 4 --output o", "argument --optlevel"),
        ("compile m --framework XLA --target inf2 --logical-nc-config 1 --output o", "NCC_EARG001"),
        ("compile m n --framework XLA --target inf2 --output o", "NCC_EARG002.*: n"),
        ("compile m --framework XLA --target inf2 --outp o", "required: --output"),
        ("run m --framework XLA --target inf2 --output o", "argument command: invalid choice"),
    ],
)
def test_the_grammar_that_commands_are_held_to_refuses_the_rest(command: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parsed(shlex.split(command))


def test_the_flags_of_the_environment_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NEURON_CC_FLAGS", raising=False)
    assert environment_flags() == ""
    assert command_line(NeuronOptions()) == shlex.join(arguments(NeuronOptions()))
    monkeypatch.setenv("NEURON_CC_FLAGS", "-O1 --x='a b'")
    assert environment_flags() == "-O1 --x='a b'"
    assigned, *command = shlex.split(command_line(NeuronOptions()))
    assert assigned == "NEURON_CC_FLAGS=-O1 --x='a b'"
    assert command == arguments(NeuronOptions())
