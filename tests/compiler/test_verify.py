from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from artifacts.checks import Tolerances
from artifacts.errors import BundleError, UsageError
from artifacts.samples import archive_bytes, read_arrays
from compiler.verify import Verified, verify
from tests.fuzz.bundle_mutations import seal
from tests.support.models import normal, perceptron, saved, scale_weights, toy_decoder

DEFAULT = Tolerances()


def check(
    bundle: Path,
    against: Path | None = None,
    inputs: Path | None = None,
    model: str | None = None,
    tolerances: Tolerances = DEFAULT,
) -> Verified:
    found = verify(bundle, against, inputs, model, tolerances)
    assert found.checks
    return found


def passed(found: Verified) -> bool:
    return all(check.comparison.passed for check in found.checks)


def test_a_bundle_agrees_with_its_own_samples_and_with_its_source(
    perceptron_bundle: Path, perceptron_file: Path
) -> None:
    own = check(perceptron_bundle)
    assert passed(own)
    assert [(c.model, c.sample, c.output) for c in own.checks] == [("perceptron", n, "y") for n in range(3)]
    assert passed(check(perceptron_bundle, perceptron_file))
    assert own.where == ""


def test_inputs_of_the_user(perceptron_bundle: Path, perceptron_file: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "in.npz", x=normal(50, 16, seed=7))
    found = check(perceptron_bundle, perceptron_file, tmp_path / "in.npz")
    assert passed(found)
    assert [c.comparison.size for c in found.checks] == [50 * 8]


def test_wrong_weights_are_noticed(perceptron_copy: Path, perceptron_file: Path) -> None:
    scale_weights(perceptron_copy, 1.01)
    assert not passed(check(perceptron_copy))
    found = check(perceptron_copy, perceptron_file)
    assert not passed(found)
    assert "engine" in found.where
    assert "MatMul" in found.where


def test_tolerances_decide(perceptron_copy: Path) -> None:
    scale_weights(perceptron_copy, 1.01)
    assert passed(check(perceptron_copy, tolerances=Tolerances.of(1.0, 0.1)))
    assert not passed(check(perceptron_copy, tolerances=Tolerances.of(1e-4, None)))
    assert not passed(check(perceptron_copy, tolerances=Tolerances.of(None, 1e-4)))


def test_another_model_of_the_same_signature_differs(perceptron_bundle: Path, tmp_path: Path) -> None:
    other = saved(perceptron(seed=8), tmp_path / "other.onnx")
    found = check(perceptron_bundle, other)
    assert not passed(found)
    assert all(c.comparison.mismatched for c in found.checks)


def test_a_model_of_another_signature_is_a_wrong_call(perceptron_bundle: Path, toy_file: Path) -> None:
    with pytest.raises(UsageError) as caught:
        verify(perceptron_bundle, toy_file, None, None, DEFAULT)
    inputs, outputs = caught.value.problems
    assert "inputs x, tokens" in inputs.message
    assert "the bundle's: x" in inputs.hint
    assert "outputs logits" in outputs.message
    assert "the bundle's: y" in outputs.hint


def test_a_changed_file_is_noticed_before_anything_runs(perceptron_copy: Path) -> None:
    (shard,) = (perceptron_copy / "weights").iterdir()
    shard.write_bytes(shard.read_bytes()[:-4] + b"\0\0\0\0")
    with pytest.raises(BundleError, match="was changed"):
        verify(perceptron_copy, None, None, None, DEFAULT)


def test_a_decoding_model_is_decoded(toy_bundle: Path, toy_file: Path) -> None:
    for against in (None, toy_file):
        found = check(toy_bundle, against)
        assert passed(found)
        assert {c.output for c in found.checks} == {"tokens", "lengths"}, "an engine that loops shows no scores"


def test_tokens_of_another_decoder_differ(toy_bundle: Path, tmp_path: Path) -> None:
    model = toy_decoder()
    head = next(tensor for tensor in model.graph.initializer if tensor.name == "head")
    head.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(head), "head"))
    found = check(toy_bundle, saved(model, tmp_path / "other.onnx"))
    assert "tokens" in {c.output for c in found.checks if not c.comparison.passed}


def test_every_model_is_checked_and_one_can_be_chosen(pair_bundle: Path) -> None:
    assert {c.model for c in check(pair_bundle).checks} == {"one", "two"}
    assert {c.model for c in check(pair_bundle, model="two").checks} == {"two"}


def test_a_source_needs_to_know_which_model(pair_bundle: Path, tmp_path: Path) -> None:
    two = saved(perceptron(1), tmp_path / "two.onnx")
    with pytest.raises(UsageError, match="--model"):
        verify(pair_bundle, two, None, None, DEFAULT)
    assert passed(check(pair_bundle, two, model="two"))
    assert not passed(check(pair_bundle, two, model="one"))


def test_a_model_that_is_not_there_is_answered_with_those_that_are(pair_bundle: Path) -> None:
    with pytest.raises(UsageError) as caught:
        verify(pair_bundle, None, None, "three", DEFAULT)
    (problem,) = caught.value.problems
    assert "'three'" in problem.message
    assert problem.hint == "its models: one, two"


def test_weights_beside_the_source_are_found(perceptron_bundle: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(perceptron(), path, save_as_external_data=True, location="model.data", size_threshold=0)
    assert passed(check(perceptron_bundle, path))


@pytest.mark.parametrize(
    ("put", "at", "message"),
    [
        ("outputs", "inputs", "lacks tokens, x"),
        ("inputs", "outputs", "lacks logits"),
        ("inputs", "decoded", "lacks lengths"),
        ("lengths", "decoded", "int64 tokens"),
    ],
)
def test_samples_that_are_not_the_models_are_one_clear_error(
    toy_bundle: Path, tmp_path: Path, put: str, at: str, message: str
) -> None:
    """Under digests that agree: who made the bundle was wrong."""
    bundle = Path(shutil.copytree(toy_bundle, tmp_path / "copy"))
    there = bundle / "samples" / f"toy-0.{at}.npz"
    if put == "lengths":
        there.write_bytes(archive_bytes({**read_arrays(there), "lengths": np.zeros((2, 2), np.int64)}))
    else:
        there.write_bytes((bundle / "samples" / f"toy-0.{put}.npz").read_bytes())
    seal(bundle)
    with pytest.raises(BundleError, match=message) as caught:
        verify(bundle, None, None, None, DEFAULT)
    assert caught.value.problems[0].subject == f"samples/toy-0.{at}.npz"
