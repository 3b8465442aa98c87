"""HLO for AWS Neuron, whose SDK is not here: the very bytes that its compiler is handed are run by XLA on the CPU."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from onnx import helper

pytest.importorskip("jax")

from artifacts.bundle import Bundle
from artifacts.errors import NumericsError, TargetError, UnsupportedError
from artifacts.neuron_options import NeuronOptions
from artifacts.neuron_serving import NeuronServing
from artifacts.samples import read_arrays
from compiler.compile import compile_bundle
from compiler.generation import TokenFlags
from compiler.hlo import hlo_engines
from compiler.options import CacheMode, CompileOptions, ModelFile, ScheduleName
from tests.support.cli import unspool, unspool_process
from tests.support.models import (
    BundleCache,
    floats,
    forced_toy,
    graph_model,
    normal,
    saved,
    toy_decoder,
)
from tests.support.neuron_models import MODELS, engines_of

OPTIONS = CompileOptions(target="neuronx", opt_shapes=(("x", (4, 16)),))


TEN_SECONDS = pytest.mark.slow  # a decode is lowered, and XLA compiles it twice; the gate has a loop and partitions


@pytest.fixture(scope="module")
def perceptron(cache: BundleCache, perceptron_file: Path) -> Path:
    model = ModelFile("perceptron", perceptron_file)
    return cache.get("perceptron-neuronx", lambda path: compile_bundle([model], path, OPTIONS))


def test_a_module_is_proven_and_nothing_pretends_to_be_compiled(perceptron: Path) -> None:
    manifest = Bundle.open(perceptron).manifest
    (engine,) = manifest.engines.values()
    assert (engine.kind, engine.status, engine.plan, engine.weights.default) == (
        "neuronx",
        "hlo-verified",
        None,
        "separate",
    )
    assert "`neuronx-cc compile BUNDLE/engines/perceptron.hlo.pb --framework XLA" in engine.needs[0].what
    assert engine.needs[0].command == "unspool emit --from BUNDLE --target neuronx -o BUNDLE2"
    assert engine.build == NeuronOptions()
    assert not any(path.endswith(".neff") for path in manifest.files)
    assert manifest.numerics.verdicts["perceptron"][-1].compared == "engine sources"
    assert manifest.settings == {"NEURON_RT_MULTI_INSTANCE_SHARED_WEIGHTS": "1"}


def test_other_settings_need_no_other_engines(
    perceptron: Path, perceptron_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = Path(shutil.copytree(perceptron, tmp_path / "b"))
    engine = bundle / "engines/perceptron.hlo.pb"
    before = engine.stat().st_ino
    command = ["compile", perceptron_file, "--target", "neuronx", "--opt-shapes", "x:4x16", "-o", bundle]
    found = unspool(capsys, *command, "--instances", 2, "--visible-cores", "0,2", "--loading", "lazy", "--json")
    assert found.document["result"] == "settings changed"
    manifest = Bundle.open(bundle).manifest
    assert manifest.serving == NeuronServing(instances=2, visible_cores=(0, 2), loading="lazy")
    assert manifest.settings == {"NEURON_RT_MULTI_INSTANCE_SHARED_WEIGHTS": "0"}
    assert engine.stat().st_ino == before
    again = unspool(capsys, *command, "--instances", 2, "--visible-cores", "0,2", "--loading", "lazy", "--json")
    assert again.document["result"] == "up to date"
    shown = unspool(capsys, "inspect", bundle).stdout
    assert "NEURON_RT_VISIBLE_CORES, instance 1" in shown
    wrong = unspool(capsys, *command, "--num-cores", 2, "--visible-cores", "0,2", "--json")
    assert (wrong.status, wrong.error["subject"]) == (2, "--num-cores, --visible-cores")


def test_weights_are_parameters_that_the_manifest_names(perceptron: Path) -> None:
    manifest = Bundle.open(perceptron).manifest
    (engine,) = manifest.engines.values()
    assert sorted(engine.bindings) == ["1", "2", "3"]
    data = (perceptron / engine.source).read_bytes()
    for ref in engine.bindings.values():
        assert Bundle.open(perceptron).weights().raw(ref)[:64].tobytes() not in data
    report = Bundle.open(perceptron).report()
    assert report is not None
    assert report.engines[0].instructions == data.count(b"jit(perceptron)/")


def test_it_takes_one_shape_and_says_so(perceptron: Path) -> None:
    bundle = Bundle.open(perceptron)
    (engine,) = bundle.manifest.engines.values()
    assert engine.signature.input("x").shape == (4, 16)
    assert bundle.manifest.models["perceptron"].signature.input("x").shape == (4, 16)
    report = bundle.report()
    assert report is not None
    assert "perceptron: takes x 4x16 and no other shapes; choose them with --opt-shapes" in report.notices


def test_it_is_the_same_every_time_and_everywhere(perceptron: Path, perceptron_file: Path, tmp_path: Path) -> None:
    compile_bundle([ModelFile("perceptron", perceptron_file)], tmp_path / "elsewhere" / "b", OPTIONS)
    again = (tmp_path / "elsewhere" / "b" / "manifest.json").read_bytes()
    assert again == (perceptron / "manifest.json").read_bytes()


def test_a_verification_asks_the_module(perceptron: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = unspool(capsys, "verify", perceptron, "--json")
    assert (found.status, found.document["sources"]) == (0, ["perceptron"])


@pytest.mark.parametrize(
    ("schedule", "cache_mode", "engines"),
    [
        (ScheduleName.LOOP, CacheMode.ON, {"toy.encoder", "toy.step"}),
        pytest.param(ScheduleName.UNROLLED, CacheMode.ON, {"toy.decode"}, marks=TEN_SECONDS),
        (ScheduleName.PARTITIONED, CacheMode.ON, {"toy.encoder", "toy.until-2", "toy.until-5", "toy.until-6"}),
        pytest.param(ScheduleName.LOOP, CacheMode.PADDED, {"toy.encoder", "toy.step"}, marks=TEN_SECONDS),
        pytest.param(
            ScheduleName.PARTITIONED,
            CacheMode.PADDED,
            {"toy.encoder", "toy.until-2", "toy.until-5", "toy.until-6"},
            marks=TEN_SECONDS,
        ),
        pytest.param(ScheduleName.UNROLLED, CacheMode.PADDED, {"toy.decode"}, marks=TEN_SECONDS),
    ],
)
def test_every_decode_gives_the_tokens_of_the_source(
    schedule: ScheduleName, cache_mode: CacheMode, engines: set[str], tmp_path: Path
) -> None:
    options = CompileOptions(
        target="neuronx",
        schedule=schedule,
        cache=cache_mode,
        partitions=(2, 5, 6) if schedule is ScheduleName.PARTITIONED else (),
        tokens=TokenFlags(start=0, eos=(2, 9), pad=0, max_new_tokens=6),
        opt_shapes=(("x", (5, 4)),),
    )
    model = ModelFile("toy", saved(toy_decoder(), tmp_path / "toy.onnx"))
    manifest = compile_bundle([model], tmp_path / "b", options).bundle.manifest
    assert set(manifest.engines) == engines
    assert {engine.status for engine in manifest.engines.values()} == {"hlo-verified"}


@pytest.mark.parametrize("length", [1, 3])
def test_a_first_token_is_forced_and_others_are_never_chosen(length: int, tmp_path: Path) -> None:
    """The compilation compares tokens with the source's, which are chosen by the same settings."""
    model = ModelFile("toy", forced_toy(tmp_path, length))
    options = CompileOptions(target="neuronx", schedule=ScheduleName.UNROLLED, opt_shapes=(("x", (5, 4)),))
    bundle = compile_bundle([model], tmp_path / "b", options).bundle
    (decoded,) = {sample.decoded for sample in bundle.manifest.models["toy"].samples[:1]}
    assert decoded is not None
    assert set(read_arrays(bundle.path_of(decoded))["tokens"][:, 0].tolist()) == {7}


def test_a_weight_that_was_baked_in_is_found(
    perceptron_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its module answers rightly with the weights that it was made with, and with no others."""
    import jax.numpy as jnp

    whole: Callable[..., dict[str, Any]] = hlo_engines._Weights.of
    first = normal(16, 32, seed=0)

    def baked(self: Any, function: Any, arrays: Any) -> dict[str, Any]:
        return {
            name: jnp.asarray(first) if array.shape == first.shape else array
            for name, array in whole(self, function, arrays).items()
        }

    monkeypatch.setattr(hlo_engines._Weights, "of", baked)
    with pytest.raises(NumericsError, match="after lowering, with other weights"):
        compile_bundle([ModelFile("perceptron", perceptron_file)], tmp_path / "b", OPTIONS)
    assert not (tmp_path / "b").exists()


def test_what_has_no_lowering_is_told_with_its_node(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Det", ["x"], ["d"], name="determinant"),
        helper.make_node("Relu", ["d"], ["y"]),
    ]
    model = saved(graph_model(nodes, [floats("x", "n", 4, 4)], [floats("y", "n")]), tmp_path / "det.onnx")
    with pytest.raises(UnsupportedError) as caught:
        compile_bundle([ModelFile("m", model)], tmp_path / "b", CompileOptions(target="neuronx"))
    assert "source node 'determinant'" in caught.value.problems[0].subject
    assert "has no lowering to HLO" in caught.value.problems[0].message


def test_more_than_it_proves_is_not_to_be_had(perceptron_file: Path, tmp_path: Path) -> None:
    options = CompileOptions(target="neuronx", opt_shapes=(("x", (4, 16)),), require="built")
    with pytest.raises(TargetError, match="is hlo-verified, and built is required"):
        compile_bundle([ModelFile("perceptron", perceptron_file)], tmp_path / "b", options)


@pytest.mark.slow  # minutes each: real models are converted, lowered, and compiled by XLA, and that twice
@pytest.mark.parametrize("name", MODELS)
def test_a_real_model_is_proven_and_the_same_in_another_process(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On the samples and with other weights, with the source's tokens, and with nothing that is refused."""
    assert unspool(capsys, *MODELS[name].arguments(tmp_path / "one")).status == 0
    assert unspool_process(*MODELS[name].arguments(tmp_path / "other")).status == 0
    assert engines_of(tmp_path / "one") == engines_of(tmp_path / "other")
    bundle = Bundle.open(tmp_path / "one")
    assert {engine.status for engine in bundle.manifest.engines.values()} == {"hlo-verified"}
    report = bundle.report()
    assert report is not None
    assert all(size.instructions for size in report.engines)
    shown = unspool(capsys, "inspect", tmp_path / "one").stdout
    assert all(str(size.instructions) in shown for size in report.engines)
    assert not [notice for notice in report.notices if "NCC_" in notice]
