"""Inf1, whose SDK is not here: the HLO is proven, and a script has torch-neuron trace what the bundle carries."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

pytest.importorskip("jax")

import torch

from artifacts.bundle import Bundle
from artifacts.errors import TargetError, UsageError
from artifacts.traced import read_traced
from compiler.compile import compile_bundle
from compiler.generation import TokenFlags
from compiler.neuron.inf1_settings import Inf1Options
from compiler.neuron.tracing import Tracing
from compiler.options import CacheMode, CompileOptions, ModelFile, ScheduleName
from compiler.torchscript.parts import quiet
from tests.compiler.neuron.conftest import tracer_double  # noqa: F401 - a fixture
from tests.support.cli import unspool
from tests.support.models import BundleCache, floats, graph_model, normal, saved, source_outputs, toy_decoder
from tests.support.neuron_tracers import InstallTracer

TOY = CompileOptions(
    target="neuron",
    schedule=ScheduleName.LOOP,
    cache=CacheMode.PADDED,
    tokens=TokenFlags(start=0, eos=(2, 9), pad=0, max_new_tokens=6),
    opt_shapes=(("x", (5, 4)),),
    tracing=Tracing(inf1=Inf1Options(pipeline_cores=4, minimum_segment=3, fallback=False)),
)


@pytest.fixture(scope="module")
def perceptron(cache: BundleCache, perceptron_file: Path) -> Path:
    options = CompileOptions(target="neuron", opt_shapes=(("x", (4, 16)),))
    model = ModelFile("perceptron", perceptron_file)
    return cache.get("perceptron-neuron", lambda path: compile_bundle([model], path, options))


@pytest.fixture(scope="module")
def toy(cache: BundleCache, tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = ModelFile("toy", saved(toy_decoder(), tmp_path_factory.mktemp("toy") / "toy.onnx"))
    return cache.get("toy-neuron", lambda path: compile_bundle([model], path, TOY))


def run_script(script: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(script), *arguments], capture_output=True, text=True, check=False)


def test_a_module_is_proven_and_its_script_is_in_the_bundle(perceptron: Path) -> None:
    manifest = Bundle.open(perceptron).manifest
    (engine,) = manifest.engines.values()
    assert (engine.kind, engine.status, engine.plan) == ("neuron", "hlo-verified", None)
    (need,) = engine.needs
    assert need.what.startswith("torch-neuron 1.13, from the package index that AWS names")
    assert need.command == ("python BUNDLE/engines/perceptron.trace.py --output perceptron.neuron.pt")
    assert {"engines/perceptron.trace.py", "engines/perceptron.part.pt"} <= set(manifest.files)


def test_weights_are_in_the_bundle_once(perceptron: Path) -> None:
    bundle = Bundle.open(perceptron)
    part = (perceptron / "engines" / "perceptron.part.pt").read_bytes()
    for ref in bundle.manifest.engines["perceptron"].bindings.values():
        assert bundle.weights().raw(ref)[:64].tobytes() not in part


def test_it_is_the_same_every_time_and_everywhere(perceptron: Path, perceptron_file: Path, tmp_path: Path) -> None:
    options = CompileOptions(target="neuron", opt_shapes=(("x", (4, 16)),))
    compile_bundle([ModelFile("perceptron", perceptron_file)], tmp_path / "elsewhere" / "b", options)
    again = (tmp_path / "elsewhere" / "b" / "manifest.json").read_bytes()
    assert again == (perceptron / "manifest.json").read_bytes()


def test_the_script_is_of_an_old_python_and_needs_nothing_of_ours(perceptron: Path) -> None:
    tree = ast.parse((perceptron / "engines" / "perceptron.trace.py").read_text(), feature_version=(3, 8))
    imported = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported == {
        *("__future__", "argparse", "collections.abc", "importlib", "json", "pathlib", "sys", "torch", "typing")
    }


def test_the_script_traces_what_the_bundle_carries(
    perceptron: Path,
    perceptron_file: Path,
    tracer_double: InstallTracer,  # noqa: F811
    tmp_path: Path,
) -> None:
    traces = tracer_double("torch-neuron")
    output = tmp_path / "perceptron.neuron.pt"
    done = run_script(perceptron / "engines" / "perceptron.trace.py", "--output", str(output), "--timeout", "60")
    assert done.returncode == 0, done.stderr
    seen: dict[str, Any] = json.loads((traces / "0.json").read_text())
    assert seen == {
        "inputs": [[[4, 16], "torch.float32"]],
        "keywords": {
            "compiler_args": [],
            "compiler_timeout": 60,
            "compiler_workdir": None,
            "minimum_segment_size": 2,
            "single_fusion_ratio_threshold": 0.6,
            "fallback": True,
            "dynamic_batch_size": False,
            "separate_weights": False,
        },
    }
    (embedded,) = read_traced(output)
    assert "FIXTURE" in embedded.neff.header.build
    x = normal(4, 16, seed=3)
    with quiet():
        (answer,) = torch.jit.load(str(output))(torch.from_numpy(x))  # type: ignore[no-untyped-call]
    np.testing.assert_allclose(answer.detach().numpy(), source_outputs(perceptron_file, {"x": x})["y"], rtol=1e-4)


@pytest.mark.slow  # ten seconds: a decoder is lowered, and its parts are traced in processes of their own
def test_encoder_and_step_are_traced_apart_as_the_options_say(
    toy: Path,
    tracer_double: InstallTracer,  # noqa: F811
    tmp_path: Path,
) -> None:
    assert {engine.status for engine in Bundle.open(toy).manifest.engines.values()} == {"hlo-verified"}
    traces = tracer_double("torch-neuron")
    for name in ("toy.encoder", "toy.step"):
        script = toy / "engines" / f"{name}.trace.py"
        done = run_script(script, "--output", str(tmp_path / f"{name}.pt"), "--workdir", str(tmp_path / "work"))
        assert done.returncode == 0, done.stderr
    encoder, step = (json.loads((traces / f"{number}.json").read_text()) for number in range(2))
    assert encoder["inputs"] == [[[5, 4], "torch.float32"]]
    assert step["inputs"][0] == [[5, 6], "torch.int64"]
    assert step["keywords"]["compiler_args"] == ["--neuroncore-pipeline-cores", "4"]
    assert (step["keywords"]["minimum_segment_size"], step["keywords"]["fallback"]) == (3, False)
    assert step["keywords"]["compiler_workdir"] == str(tmp_path / "work" / "step")


def test_the_script_analyzes(perceptron: Path, tracer_double: InstallTracer) -> None:  # noqa: F811
    tracer_double("torch-neuron")
    done = run_script(perceptron / "engines" / "perceptron.trace.py", "--analyze")
    assert done.returncode == 0, done.stderr
    assert "FIXTURE of an analysis: " in done.stdout
    assert "aten::" in done.stdout


def test_the_script_says_what_it_wants(perceptron: Path) -> None:
    done = run_script(perceptron / "engines" / "perceptron.trace.py")
    assert done.returncode == 2
    assert "--output FILE.pt is needed, or --analyze" in done.stderr


def test_what_would_be_left_to_the_host_is_an_error_if_nothing_may_be(tmp_path: Path) -> None:
    nodes = [helper.make_node("Round", ["x"], ["y"], name="rounded")]
    model = ModelFile("m", saved(graph_model(nodes, [floats("x", 2, 4)], [floats("y", 2, 4)]), tmp_path / "m.onnx"))
    options = CompileOptions(target="neuron", tracing=Tracing(inf1=Inf1Options(fallback=False)))
    with pytest.raises(TargetError) as caught:
        compile_bundle([model], tmp_path / "b", options)
    (problem,) = caught.value.problems
    assert (problem.stage, problem.subject) == ("preflight", "engine m")
    assert "rounded" in problem.message


def test_the_command_line_has_its_options(
    perceptron_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [
        "--inf1-pipeline-cores",
        "2",
        "--inf1-dynamic-batch",
        "--inf1-fusion-ratio",
        "1",
        "--inf1-separate-weights",
    ]
    call = ["compile", f"p={perceptron_file}", "--opt-shapes", "x:4x16", *flags, "-o", tmp_path / "b", "--json"]
    refused = unspool(capsys, *call, "--target", "neuronx")
    (error,) = refused.document["errors"]
    assert (refused.status, error["subject"]) == (2, "the --inf1 options")
    assert unspool(capsys, *call, "--target", "neuron").status == 0
    script = (tmp_path / "b" / "engines" / "p.trace.py").read_text()
    assert '"compiler_args": ["--neuroncore-pipeline-cores", "2"], "dynamic_batch_size": true' in script
    assert '"separate_weights": true, "single_fusion_ratio_threshold": 1.0' in script


@pytest.mark.parametrize("target", ["neuron", "onnxruntime"])
def test_a_tracer_is_for_its_targets(target: str, perceptron_file: Path, tmp_path: Path) -> None:
    options = CompileOptions(target=target, tracing=Tracing(tracer="torch-neuronx"))
    with pytest.raises(UsageError, match=f"traces nothing for target {target}"):
        compile_bundle([ModelFile("p", perceptron_file)], tmp_path / "b", options)
