"""Operators of the user's own, from a file to a bundle, and answers that a file gives."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from artifacts.bundle import Bundle
from artifacts.checks import Tolerances
from artifacts.errors import (
    BundleError,
    NumericsError,
    RunError,
    SourceError,
    TargetError,
    UnsupportedError,
    UsageError,
)
from artifacts.runtime import Session
from artifacts.samples import archive_bytes
from compiler.compile import compile_bundle
from compiler.converters import find_converter, made_by_own_converters
from compiler.key import compilation_key, ingredients
from compiler.options import CompileOptions, ModelFile
from compiler.verify import verify
from tests.support.cli import unspool
from tests.support.models import PROJECT, Array, BundleCache, floats, graph_model, normal, saved

EXAMPLE = PROJECT / "examples" / "custom_op"
CODE = str(EXAMPLE / "scaled_silu.py")


def compiled(path: Path, bundle: Path, options: CompileOptions) -> Bundle:
    return compile_bundle([ModelFile("m", path)], bundle, options).bundle


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the example's script writes. Read-only."""
    folder = tmp_path_factory.mktemp("custom_op")
    subprocess.run([sys.executable, str(EXAMPLE / "make_model.py"), str(folder)], check=True)
    return folder


def with_answers(example: Path) -> CompileOptions:
    return CompileOptions(custom_ops=(CODE,), samples=example / "samples.npz")


@pytest.fixture(scope="module")
def custom_bundle(cache: BundleCache, example: Path) -> Path:
    """The example, compiled. Read-only."""
    return cache.get("custom-op", lambda bundle: compiled(example / "model.onnx", bundle, with_answers(example)))


class TestCustomOps:
    def test_a_model_with_an_operator_of_ones_own_compiles_and_runs(self, example: Path, custom_bundle: Path) -> None:
        weight = onnx.numpy_helper.to_array(onnx.load(example / "model.onnx").graph.initializer[0])
        x = normal(5, 8, seed=3)
        product = (x @ weight).astype(np.float64)
        with Session.open(custom_bundle) as session:
            found = session.run({"x": x})["y"]
        np.testing.assert_allclose(found, product / (1 + np.exp(-1.702 * product)), rtol=1e-4, atol=1e-5)

    def test_the_bundle_needs_the_code_no_more(self, custom_bundle: Path) -> None:
        (engine,) = Bundle.open(custom_bundle).manifest.engines.values()
        assert {node.domain for node in onnx.load(custom_bundle / engine.source).graph.node} == {""}

    def test_the_digest_of_the_code_is_in_the_manifest(self, custom_bundle: Path) -> None:
        digest = hashlib.sha256(Path(CODE).read_bytes()).hexdigest()
        tools = Bundle.open(custom_bundle).manifest.tools
        assert tools["custom-ops scaled_silu.py"] == f"sha256:{digest}"
        assert not made_by_own_converters(tools)
        assert str(PROJECT) not in (custom_bundle / "manifest.json").read_text()

    def test_code_counts_by_content_and_not_by_path(self, tmp_path: Path) -> None:
        copy = tmp_path / "ops.py"
        copy.write_text(Path(CODE).read_text())
        moved = tmp_path / "elsewhere" / "ops.py"
        moved.parent.mkdir()
        moved.write_text(Path(CODE).read_text())

        def key(code: Path) -> str:
            options = CompileOptions(custom_ops=(str(code),))
            return compilation_key(ingredients([], {}, options, {}, find_converter(options).tools()))

        assert key(copy) == key(moved)
        moved.write_text(Path(CODE).read_text() + "\n")
        assert key(copy) != key(moved)
        assert key(copy) != compilation_key(ingredients([], {}, CompileOptions(), {}, {}))

    def test_changed_code_makes_a_bundle_out_of_date(self, example: Path, tmp_path: Path) -> None:
        code = tmp_path / "ops.py"
        code.write_text(Path(CODE).read_text())
        options = CompileOptions(custom_ops=(str(code),), samples=example / "samples.npz")
        compiled(example / "model.onnx", tmp_path / "bundle", options)
        again = compile_bundle([ModelFile("m", example / "model.onnx")], tmp_path / "bundle", options)
        assert again.up_to_date
        code.write_text(Path(CODE).read_text() + "\n# changed")
        with pytest.raises(BundleError, match="other inputs or options"):
            compiled(example / "model.onnx", tmp_path / "bundle", options)

    def test_the_next_compilation_knows_nothing_of_it(self, example: Path, custom_bundle: Path, tmp_path: Path) -> None:
        assert custom_bundle.exists()
        with pytest.raises(UnsupportedError, match=r"com\.example\.ScaledSilu-1"):
            compiled(example / "model.onnx", tmp_path / "bundle", CompileOptions(samples=example / "samples.npz"))

    def test_without_answers_the_error_says_how_to_give_them(self, example: Path, tmp_path: Path) -> None:
        with pytest.raises(RunError, match="ScaledSilu") as caught:
            compiled(example / "model.onnx", tmp_path / "bundle", CompileOptions(custom_ops=(CODE,)))
        assert "--samples" in caught.value.problems[0].hint
        assert "outputs" in caught.value.problems[0].hint

    def test_wrong_code_is_found_by_the_answers(self, example: Path, tmp_path: Path) -> None:
        code = tmp_path / "ops.py"
        code.write_text(Path(CODE).read_text().replace("torch.sigmoid", "torch.tanh"))
        options = CompileOptions(custom_ops=(str(code),), samples=example / "samples.npz")
        with pytest.raises(NumericsError, match="after conversion") as caught:
            compiled(example / "model.onnx", tmp_path / "bundle", options)
        assert "output 'y'" in caught.value.problems[0].subject

    def test_a_converter_that_fails_is_named_with_its_node(self, example: Path, tmp_path: Path) -> None:
        code = tmp_path / "ops.py"
        code.write_text(Path(CODE).read_text().replace("return x", "return x.no_such_method() + x"))
        options = CompileOptions(custom_ops=(str(code),), samples=example / "samples.npz")
        with pytest.raises(SourceError, match=r"ScaledSilu:y: ScaledSilu-1 on .*no_such_method"):
            compiled(example / "model.onnx", tmp_path / "bundle", options)

    def test_a_bundle_is_verified_against_answers_from_a_file(self, example: Path, custom_bundle: Path) -> None:
        source, answers = example / "model.onnx", example / "samples.npz"
        assert all(c.comparison.passed for c in verify(custom_bundle, source, answers, None, Tolerances()).checks)
        with pytest.raises(RunError, match="ScaledSilu"):
            verify(custom_bundle, source, None, None, Tolerances())

    def test_wrong_answers_from_a_file_are_told_without_running_the_source(
        self, example: Path, custom_bundle: Path, tmp_path: Path
    ) -> None:
        arrays = dict(np.load(example / "samples.npz"))
        np.savez(tmp_path / "wrong.npz", x=arrays["x"], y=arrays["y"] + 1)
        found = verify(custom_bundle, example / "model.onnx", tmp_path / "wrong.npz", None, Tolerances())
        assert not any(check.comparison.passed for check in found.checks)
        assert "not converted again" in found.where
        assert "first moved" not in found.where

    def test_the_command_line(self, capsys: pytest.CaptureFixture[str], example: Path, tmp_path: Path) -> None:
        model, samples, bundle = example / "model.onnx", example / "samples.npz", tmp_path / "bundle"
        flags = ("--custom-ops", CODE, "--samples", samples)
        done = unspool(capsys, "compile", model, "-o", bundle, *flags, "--depfile", tmp_path / "d", "--json")
        assert done.status == 0, done.stderr
        assert CODE in (tmp_path / "d").read_text()
        done = unspool(capsys, "convert", model, "-o", tmp_path / "m.pt2", *flags, "--json")
        assert done.document["max_abs"] < 1e-5
        listed = unspool(capsys, "ops", "--custom-ops", CODE, "--json").document["operators"]
        assert listed["com.example.ScaledSilu"] == [1]
        done = unspool(capsys, "compile", model, "-o", bundle, "--custom-ops", "no_such_module", "--json")
        assert (done.status, done.error["stage"], done.error["subject"]) == (2, "custom-ops", "no_such_module")
        done = unspool(
            capsys, "compile", model, "-o", bundle, "--custom-ops", CODE, "--converter", "onnx2torch", "--json"
        )
        assert (done.status, done.error["subject"]) == (2, "--custom-ops")


OPAQUE = """
import torch
from passes.onnx_to_torch.registry import Registry

OPERATORS = Registry()

@torch.library.custom_op("unspool_test_{name}::scaled_silu", mutates_args=())
def scaled_silu(x: torch.Tensor, alpha: float) -> torch.Tensor:
    return x * torch.sigmoid(alpha * x)

@scaled_silu.register_fake
def _(x, alpha):
    return torch.empty_like(x)

@OPERATORS.op("ScaledSilu", 1, domain="com.example")
def convert(call, x):
    return torch.ops.unspool_test_{name}.scaled_silu(x, call.attr_float("alpha", 1.0))
"""
TRANSLATION = """
@OPERATORS.translation(torch.ops.unspool_test_{name}.scaled_silu.default)
def translate(x, alpha):
    from onnxscript import opset21 as onnx
    return onnx.Mul(x, onnx.Sigmoid(onnx.Mul(x, alpha)))
"""


class TestTorchOperatorsOfOnesOwn:
    def options(self, tmp_path: Path, example: Path, text: str, name: str) -> CompileOptions:
        code = tmp_path / "ops.py"
        code.write_text(text.format(name=name))
        return CompileOptions(custom_ops=(str(code),), samples=example / "samples.npz")

    def test_one_with_a_translation_becomes_onnx(self, example: Path, tmp_path: Path) -> None:
        options = self.options(tmp_path, example, OPAQUE + TRANSLATION, "translated")
        bundle = compiled(example / "model.onnx", tmp_path / "bundle", options)
        (engine,) = bundle.manifest.engines.values()
        assert engine.status == "verified"
        kinds = [node.op_type for node in onnx.load(bundle.root / engine.source).graph.node]
        assert kinds == ["MatMul", "Mul", "Sigmoid", "Mul"]

    def test_one_without_is_an_error_that_names_it(self, example: Path, tmp_path: Path) -> None:
        options = self.options(tmp_path, example, OPAQUE, "untranslated")
        with pytest.raises(TargetError, match=r"unspool_test_untranslated\.scaled_silu"):
            compiled(example / "model.onnx", tmp_path / "bundle", options)


class TestAnswersFromAFile:
    def npz(self, tmp_path: Path, **arrays: Array) -> CompileOptions:
        (tmp_path / "in.npz").write_bytes(archive_bytes(arrays))
        return CompileOptions(samples=tmp_path / "in.npz")

    def two_outputs(self, tmp_path: Path) -> Path:
        nodes = [helper.make_node("Relu", ["x"], ["a"]), helper.make_node("Neg", ["x"], ["b"])]
        outputs = [floats("a", "n"), floats("b", "n"), floats("x", "n")]
        return saved(graph_model(nodes, [floats("x", "n")], outputs), tmp_path / "two.onnx")

    def test_they_are_taken_for_the_truth(self, tmp_path: Path) -> None:
        x = normal(4)
        options = self.npz(tmp_path, x=x, a=np.maximum(x, 0), b=-x)
        compiled(self.two_outputs(tmp_path), tmp_path / "right", options)
        options = self.npz(tmp_path, x=x, a=np.maximum(x, 0), b=x)
        with pytest.raises(NumericsError, match="output 'b'"):
            compiled(self.two_outputs(tmp_path), tmp_path / "wrong", options)

    def test_an_input_that_is_an_output_too_is_no_answer(self, tmp_path: Path) -> None:
        compiled(self.two_outputs(tmp_path), tmp_path / "bundle", self.npz(tmp_path, x=normal(4)))

    def test_some_answers_are_not_enough(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"output 'b': is missing beside other outputs"):
            compiled(self.two_outputs(tmp_path), tmp_path / "bundle", self.npz(tmp_path, x=normal(4), a=normal(4)))

    def test_answers_of_another_type_are_refused(self, tmp_path: Path) -> None:
        x = normal(4)
        options = self.npz(tmp_path, x=x, a=np.maximum(x, 0).astype(np.float64), b=-x)
        with pytest.raises(UsageError, match=r"output 'a': is float64, the model gives float32"):
            compiled(self.two_outputs(tmp_path), tmp_path / "bundle", options)
