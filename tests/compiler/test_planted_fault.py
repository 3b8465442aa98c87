"""One node of BERT is off by 0.01: by a pass, by emission, in a finished bundle. Each time it is named."""

from __future__ import annotations

import shutil
import tracemalloc
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper

from artifacts.bundle import Bundle
from artifacts.checks import Tolerances
from artifacts.samples import Sample
from compiler import emit_onnx, frontend, onnx_translations
from compiler.locate import locate_in_engine
from compiler.onnx_translations.opset import op
from passes.fold_constants import FoldConstants
from passes.onnx_to_torch.source import load_source
from tests.fuzz.bundle_mutations import seal
from tests.support.cli import unspool
from tests.support.models import DATA, BundleCache, floats, graph_model, normal, saved
from tests.support.nudge import Nudge

BERT = DATA / "bert_tiny" / "model.onnx"
LAYER = "/m/bert/encoder/layer.1"
OFF = 1e-2
SOURCE = "unspool.source"


@pytest.mark.parametrize(
    ("node", "source"),
    [
        ("softmax_1", f"{LAYER}/attention/self/Softmax"),
        ("mul_4", "/m/bert/encoder/layer.0/intermediate/intermediate_act_fn/Mul_1"),
    ],
)
def test_a_pass_is_named_with_function_node_and_source_node(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, node: str, source: str
) -> None:
    monkeypatch.setattr(frontend, "CLEANUP", (FoldConstants(), Nudge("bert", node), *frontend.CLEANUP[1:]))
    found = unspool(capsys, "compile", f"bert={BERT}", "-o", tmp_path / "out", "--json")
    assert found.status == 1
    error = found.document["errors"][0]
    assert error["subject"] == "bert: output 'logits', sample 0"
    assert "after pass 'nudge'" in error["message"]
    assert error["message"].endswith(f"first moved in function 'bert' at node '{node}' (source node '{source}')")
    assert list(tmp_path.iterdir()) == []


def _tanh(self: Any) -> Any:
    return op.Add(op.Tanh(self), op.Constant(value_float=OFF))


def test_emission_is_named_with_engine_and_source_node(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    wrong = MappingProxyType({**onnx_translations.TRANSLATIONS, torch.ops.aten.tanh.default: _tanh})
    monkeypatch.setattr(emit_onnx, "TRANSLATIONS", wrong)
    found = unspool(capsys, "compile", f"bert={BERT}", "-o", tmp_path / "out", "--json")
    assert found.status == 1
    error = found.document["errors"][0]
    assert error["stage"] == "verify"
    assert "after emission" in error["message"]
    assert "first moved in engine 'engines/bert.onnx'" in error["message"]
    assert error["message"].endswith("(source node '/m/bert/pooler/activation/Tanh')")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def off_bundle(cache: BundleCache, tmp_path: Path) -> Path:
    """A finished bundle of BERT with one node that is off, and digests that agree."""
    bundle = Path(shutil.copytree(cache.compiled("bert", BERT), tmp_path / "bundle"))
    plant(bundle, f"{LAYER}/attention/self/Softmax")
    return bundle


def plant(bundle: Path, source: str) -> None:
    """Make the last node that came from a source node too high."""
    (entry,) = Bundle.open(bundle).manifest.engines.values()
    engine = bundle / entry.source
    model = onnx.load(engine, load_external_data=False)
    place, node = max(
        (place, node)
        for place, node in enumerate(model.graph.node)
        if (SOURCE, source) in [(p.key, p.value) for p in node.metadata_props]
    )
    name = node.output[0]
    node.output[0] = f"{name}_exact"
    model.graph.initializer.append(numpy_helper.from_array(np.array(OFF, np.float32), "off"))
    high = helper.make_node("Add", [f"{name}_exact", "off"], [name])
    high.metadata_props.extend(node.metadata_props)
    model.graph.node.insert(place + 1, high)
    onnx.save(model, engine)
    seal(bundle)


def test_a_finished_bundle_is_named_with_engine_and_source_node(
    capsys: pytest.CaptureFixture[str], off_bundle: Path
) -> None:
    found = unspool(capsys, "verify", off_bundle, "--against", BERT, "--json")
    assert found.status == 1
    error = found.document["errors"][0]
    assert "first moved in engine 'engines/bert.onnx'" in error["message"]
    assert error["message"].endswith(f"(source node '{LAYER}/attention/self/Softmax')")


def test_without_the_source_the_output_is_named_and_the_tolerance_that_would_do(
    capsys: pytest.CaptureFixture[str], off_bundle: Path
) -> None:
    found = unspool(capsys, "verify", off_bundle, "--json")
    assert found.status == 1
    errors = found.document["errors"]
    assert errors[0]["subject"] == "bert: output 'logits', sample 0"
    assert all(error["hint"].endswith(" would pass") for error in errors)
    wanted = max(float(error["hint"].split()[1]) for error in errors)
    for factor, status in ((1, 0), (0.5, 1)):
        bounds = ("--atol", wanted * factor, "--rtol", 0)
        assert unspool(capsys, "verify", off_bundle, *bounds).status == status


def test_the_search_keeps_one_value_at_a_time(cache: BundleCache, tmp_path: Path) -> None:
    # 48 values of 4 MB: keeping them all would take 200 MB.
    nodes = [helper.make_node(("Sin", "Tanh")[n % 2], [f"v{n}"], [f"v{n + 1}"], name=f"n{n}") for n in range(48)]
    path = saved(graph_model(nodes, [floats("v0", 1024, 1024)], [floats("v48", 1024, 1024)]), tmp_path / "chain.onnx")
    bundle = Path(shutil.copytree(cache.compiled("chain", path), tmp_path / "bundle"))
    plant(bundle, "n30")
    (engine,) = Bundle.open(bundle).manifest.engines.values()
    sample = Sample(inputs={"v0": normal(1024, 1024)}, outputs={})
    source = load_source(path)
    tracemalloc.start()
    try:
        found = locate_in_engine(source, bundle, engine, sample, Tolerances())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert found is not None
    assert found.source_node == "n30"
    assert peak < 12 * 4 << 20
