"""Targets whose engines the SDK traces, with doubles of it: what is traced, and that no fixture lands in a bundle."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch

import compiler.neuron.trace
from artifacts.bundle import Bundle
from artifacts.errors import TargetError
from compiler.compile import compile_bundle
from compiler.generation import TokenFlags
from compiler.neuron.trace import Traced
from compiler.neuron.tracing import TracerName, Tracing
from compiler.options import CacheMode, CompileOptions, Existing, ModelFile, ScheduleName
from compiler.torchscript.parts import quiet
from tests.support.cli import unspool
from tests.support.models import normal, saved, toy_decoder, toy_decoding
from tests.support.neuron_tracers import InstallTracer

PERCEPTRON = CompileOptions(opt_shapes=(("x", (4, 16)),))
TOY = CompileOptions(
    schedule=ScheduleName.LOOP,
    tokens=TokenFlags(start=0, eos=(2, 9), pad=0, max_new_tokens=6),
    opt_shapes=(("x", (5, 4)),),
)
FAKE = b"FIXTURE"


@dataclass
class Seen:
    """What doubles traced, by engine: kept out of the bundle, which gets FAKE."""

    models: dict[str, bytes] = field(default_factory=dict)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    """Look at what is traced, and go on as if it had been a model."""
    found, whole = Seen(), compiler.neuron.trace.trace

    def trace(tracer: Any, name: str, *given: Any, **more: Any) -> Traced:
        with monkeypatch.context() as patch:
            patch.setattr(compiler.neuron.trace, "_FIXTURE", "not in any fixture")
            found.models[name] = whole(tracer, name, *given, **more).data
        return Traced(FAKE, ())

    monkeypatch.setattr(compiler.neuron.trace, "trace", trace)
    return found


@pytest.fixture
def toy(tmp_path: Path) -> ModelFile:
    return ModelFile("toy", saved(toy_decoder(), tmp_path / "toy.onnx"))


def test_without_the_sdk_it_is_one_error_before_any_work(
    tracer_double: InstallTracer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tracer_double("torch-neuronx", "placeholder", "1.0")
    call = ("compile", tmp_path / "not-read.onnx", "--target", "torchscript", "--neuron-tracer", "torch-neuronx")
    found = unspool(capsys, *call, "-o", tmp_path / "b", "--json")
    (error,) = found.document["errors"]
    assert (found.status, error["stage"], error["subject"]) == (1, "target", "--neuron-tracer torch-neuronx")
    assert "1.0 is PyPI's placeholder" in error["message"]
    assert "needs torch-neuronx 1.13 to 2.9" in error["hint"]


@pytest.mark.slow  # ten seconds each: a model is converted, lowered, and traced in a process of its own
@pytest.mark.parametrize(
    ("target", "tracer"),
    [
        ("torchscript", "torch-neuron"),
        ("neuronx", "torch-neuronx"),
        ("neuron", "torch-neuron"),
    ],
)
def test_a_doubles_output_never_lands_in_a_bundle(
    target: str, tracer: TracerName, tracer_double: InstallTracer, perceptron_file: Path, tmp_path: Path
) -> None:
    if target != "torchscript":
        pytest.importorskip("jax")
    tracer_double(tracer)
    options = replace(PERCEPTRON, target=target, tracing=Tracing(tracer=tracer))
    with pytest.raises(TargetError, match="is a fixture, and no model"):
        compile_bundle([ModelFile("perceptron", perceptron_file)], tmp_path / "b", options)
    assert not (tmp_path / "b").exists()


@pytest.mark.slow  # ten seconds: a decoder is converted, and traced in a process of its own
def test_parts_that_the_sdk_traces_have_the_same_loop_around_them(
    tracer_double: InstallTracer, seen: Seen, toy: ModelFile, tmp_path: Path
) -> None:
    traces = tracer_double("torch-neuronx")
    options = replace(
        TOY,
        target="torchscript",
        schedule=ScheduleName.ENGINE_LOOP,
        cache=CacheMode.PADDED,
        tracing=Tracing(tracer="torch-neuronx"),
    )
    manifest = compile_bundle([toy], tmp_path / "b", options).bundle.manifest
    (engine,) = manifest.engines.values()
    assert (engine.kind, engine.target, engine.status) == ("neuronx", "torchscript", "built")
    assert (engine.source, engine.plan) == ("engines/toy.decode.pt", "engines/toy.decode.neuron.pt")
    assert engine.needs[0].what == "an AWS instance with Neuron cores (Inf2, Trn1 or Trn2)"
    assert manifest.numerics.verdicts["toy"][-1].compared == "engine sources"
    assert len(list(traces.iterdir())) == 2, "the encoder and the step"
    with quiet():
        model = torch.jit.load(io.BytesIO(seen.models["toy.decode"]))  # type: ignore[no-untyped-call]
    x = normal(5, 4, seed=1)
    tokens, lengths = model(torch.from_numpy(x))
    found = [row[:count] for row, count in zip(tokens.tolist(), lengths.tolist(), strict=True)]
    assert found == toy_decoding(x, 0, (2, 9), 6)


@pytest.mark.slow  # fifteen seconds: a decoder is lowered, and traced in processes of their own
def test_a_step_that_writes_over_its_cache_says_so(
    tracer_double: InstallTracer, seen: Seen, toy: ModelFile, tmp_path: Path
) -> None:
    pytest.importorskip("jax")
    traces = tracer_double("torch-neuronx")
    options = replace(TOY, target="neuronx", tracing=Tracing(tracer="torch-neuronx"))
    bundle = compile_bundle([toy], tmp_path / "b", options).bundle
    engine = bundle.manifest.engines["toy.step"]
    assert set(seen.models) == {"toy.encoder", "toy.step"}
    assert (engine.kind, engine.status, engine.weights.default) == ("neuronx", "built", "embedded")
    assert engine.plan is not None
    assert bundle.path_of(engine.plan).read_bytes() == FAKE
    step = json.loads((traces / "1.json").read_text())
    inputs, outputs = ([spec.name for spec in specs] for specs in (engine.signature.inputs, engine.signature.outputs))
    assert engine.aliases
    assert step["keywords"]["input_output_aliases"] == [
        [inputs.index(taken), outputs.index(made)] for taken, made in engine.aliases.items()
    ]
    assert step["keywords"]["inline_weights_to_neff"] is False


def test_a_decode_of_many_functions_is_not_traced(tracer_double: InstallTracer, toy: ModelFile, tmp_path: Path) -> None:
    pytest.importorskip("jax")
    tracer_double("torch-neuronx")
    options = replace(TOY, target="neuronx", schedule=ScheduleName.UNROLLED, tracing=Tracing(tracer="torch-neuronx"))
    with pytest.raises(TargetError, match="traces functions, and this is a decode of many") as caught:
        compile_bundle([toy], tmp_path / "b", options)
    assert caught.value.problems[0].hint == "choose --schedule loop, which has encoder and step apart"


@pytest.mark.slow  # ten seconds: a model is compiled twice, and traced in a process of its own
def test_another_sdk_is_another_bundle(
    tracer_double: InstallTracer, seen: Seen, perceptron_file: Path, tmp_path: Path
) -> None:
    tracer_double("torch-neuron")
    models = [ModelFile("perceptron", perceptron_file)]
    options = replace(PERCEPTRON, target="torchscript", tracing=Tracing(tracer="torch-neuron"))
    compile_bundle(models, tmp_path / "b", options)
    assert compile_bundle(models, tmp_path / "b", options).up_to_date
    assert Bundle.open(tmp_path / "b").manifest.tools["torch-neuron"].startswith("1.13.1")
    assert not compile_bundle(
        models, tmp_path / "b", replace(options, tracing=Tracing()), existing=Existing.REMAKE
    ).up_to_date
    assert "torch-neuron" not in Bundle.open(tmp_path / "b").manifest.tools
