from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from artifacts.bundle import Bundle
from artifacts.dtype import DType
from artifacts.errors import BundleError, RunError
from artifacts.runtime import Session
from artifacts.schedule import Single
from artifacts.spec import Signature
from tests.support import bundles
from tests.support.bundles import Graph, Model, spec
from tests.support.decoders import greedy

ROOT = Path(__file__).parents[3]

X = np.arange(8, dtype=np.float32).reshape(2, 4) / 8


@pytest.mark.parametrize(("name", "model"), [("one", bundles.linear(seed=1)), ("two", bundles.linear(2, seed=2))])
def test_a_model_of_several_runs_by_name(linear_bundle: Bundle, name: str, model: Model) -> None:
    weights = model.functions["main"].weights
    with Session.open(linear_bundle.root, name, threads=1) as session:
        outputs = session.run({"x": X})
        assert session.signature == model.signature
    assert list(outputs) == ["y"]
    np.testing.assert_allclose(outputs["y"], X @ weights["w"] + weights["b"], rtol=1e-5, atol=1e-6)


def test_the_only_model_needs_no_name(tmp_path: Path) -> None:
    bundles.write(tmp_path / "b", {"m": bundles.linear()})
    with Session.open(tmp_path / "b") as session:
        assert session.run({"x": X})["y"].shape == (2, 3)


@pytest.mark.parametrize(("model", "message"), [(None, "several models"), ("three", "no model 'three'")])
def test_a_model_that_is_not_named_or_not_there(linear_bundle: Bundle, model: str | None, message: str) -> None:
    with pytest.raises(RunError, match=message) as caught:
        Session.open(linear_bundle.root, model)
    assert caught.value.problems[0].hint == "name one of: one, two"


def test_inputs_are_checked_before_anything_runs(linear_bundle: Bundle) -> None:
    with Session.open(linear_bundle.root, "one") as session, pytest.raises(RunError) as caught:
        session.run({"x": np.zeros((2, 5), np.int64), "z": X})
    assert [problem.subject for problem in caught.value.problems] == ["z", "x", "x"]


def test_a_damaged_bundle_does_not_open_unless_told_to(bundle_copy: Path) -> None:
    sample = bundle_copy / "samples" / "inputs.npz"
    sample.write_bytes(sample.read_bytes()[::-1])
    with pytest.raises(BundleError, match="was changed"):
        Session.open(bundle_copy, "one")
    with Session.open(bundle_copy, "one", verify=False) as session:
        assert session.run({"x": X})["y"].shape == (2, 3)


def test_a_closed_session_does_not_run(linear_bundle: Bundle) -> None:
    with Session.open(linear_bundle.root, "one") as session:
        pass
    with pytest.raises(RunError, match="closed"):
        session.run({"x": X})
    session.close()


def test_engines_are_closed_when_opening_fails(tmp_path: Path) -> None:
    """The step's options are refused after the encoder was opened; the error that counts is the one raised."""
    good = bundles.linear().functions["main"]
    model = Model(
        Single(function="main"), good.signature, {"main": Graph(good.nodes, good.signature, good.weights, {"no": 1})}
    )
    bundle = bundles.write(tmp_path / "b", {"m": model})
    with pytest.raises(BundleError, match="unknown option no = 1"):
        Session.of(bundle)


UNUSED = spec("unused", DType.FLOAT32, "batch")


def test_an_input_that_the_engine_leaves_out_is_still_the_callers_to_give(tmp_path: Path) -> None:
    model = bundles.linear()
    source = Signature(inputs=(UNUSED, *model.signature.inputs), outputs=model.signature.outputs)
    bundles.write(tmp_path / "b", {"m": Model(model.schedule, source, model.functions)})
    with Session.open(tmp_path / "b") as session:
        assert session.signature == source
        assert session.run({"x": X, "unused": np.zeros(2, np.float32)})["y"].shape == (2, 3)
        with pytest.raises(RunError, match="unused: is missing"):
            session.run({"x": X})


def test_an_engine_that_wants_more_than_the_source_has_is_a_bundle_error(tmp_path: Path) -> None:
    model = bundles.linear()
    source = Signature(inputs=(UNUSED,), outputs=model.signature.outputs)
    bundles.write(tmp_path / "b", {"m": Model(model.schedule, source, model.functions)})
    with pytest.raises(BundleError, match="x: is an input of the engine and not of the source model"):
        Session.open(tmp_path / "b")


def test_inputs_of_a_narrower_type_are_widened(tmp_path: Path) -> None:
    signature = Signature(inputs=(spec("ids", DType.INT64, "n"),), outputs=(spec("next", DType.INT64, "n"),))
    nodes = [helper.make_node("Constant", [], ["one"], value_int=1), helper.make_node("Add", ["ids", "one"], ["next"])]
    bundles.write(tmp_path / "b", {"m": bundles.single(Graph(nodes, signature))})
    with Session.open(tmp_path / "b") as session:
        found = session.run({"ids": np.array([1, 2], np.int32)})["next"]
    assert found.tolist() == [2, 3]
    assert found.dtype == np.int64


def test_a_staging_folder_can_be_run_before_it_is_committed(tmp_path: Path) -> None:
    from artifacts.bundle_writer import write_bundle

    with write_bundle(tmp_path / "b") as writer:
        manifest = bundles.fill(writer, {"m": bundles.linear()})
        with Session.of(Bundle(writer.root, manifest)) as session:
            assert session.run({"x": X})["y"].shape == (2, 3)


BARE_HOST = """
import sys
from importlib.abc import MetaPathFinder

ABSENT = {"torch", "onnx", "onnx_ir", "onnxscript", "ml_dtypes", "safetensors", "compiler", "passes"}

class Absent(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ABSENT:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent())
import numpy
from artifacts.runtime import Session

x = numpy.load(sys.argv[2])
with Session.open(sys.argv[1], sys.argv[3]) as session:
    numpy.savez(sys.argv[4], **session.run({"x": x}))
"""


@pytest.mark.parametrize("form", ["padded", "growing"])
def test_a_host_with_neither_torch_nor_onnx_serves(decoder_bundle: Bundle, tmp_path: Path, form: str) -> None:
    x = np.random.default_rng(3).normal(size=(4, 4)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    command = [sys.executable, "-c", BARE_HOST, str(decoder_bundle.root), "x.npy", form, "out.npz"]
    subprocess.run(command, check=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)})
    tokens, lengths = greedy(x)
    with np.load(tmp_path / "out.npz") as found:
        np.testing.assert_array_equal(found["tokens"], tokens)
        np.testing.assert_array_equal(found["lengths"], lengths)
