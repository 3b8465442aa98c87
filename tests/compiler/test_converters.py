"""onnx2torch as a second opinion, from a file to a bundle."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto, helper

from artifacts.bundle import Bundle
from artifacts.checks import Tolerances
from artifacts.errors import (
    BundleError,
    MissingToolError,
    NumericsError,
    Problem,
    SourceError,
    UnsupportedError,
)
from compiler.compile import compile_bundle
from compiler.converters import find_converter, made_by_own_converters, onnx2torch
from compiler.converters.onnx2torch import Onnx2TorchConverter
from compiler.converters.program_file import load_program, save_program
from compiler.converters.recorder import Recorder
from compiler.generation import TokenFlags
from compiler.key import compilation_key, ingredients
from compiler.node_origins import SOURCE_PROPERTY
from compiler.options import CompileOptions, ConverterName, ModelFile, ScheduleName
from compiler.verify import verify
from passes.onnx_to_torch.convert import Converted
from passes.onnx_to_torch.source import load_source
from tests.support.cli import unspool
from tests.support.light_networks import light_network
from tests.support.models import (
    DATA,
    PROJECT,
    Array,
    BundleCache,
    floats,
    graph_model,
    ints,
    normal,
    perceptron,
    saved,
    scale_weights,
)

SECOND = CompileOptions(converter=ConverterName.ONNX2TORCH)


def compiled(path: Path, bundle: Path, options: CompileOptions) -> Bundle:
    return compile_bundle([ModelFile("m", path)], bundle, options).bundle


def second_opinion(model: ModelProto, folder: Path, **inputs: Array) -> Converted:
    source = load_source(saved(model, folder / "model.onnx"))
    converter = find_converter(SECOND)
    return converter.convert(source, "m", inputs)


def refusals(model: ModelProto | Path, folder: Path) -> tuple[Problem, ...]:
    path = model if isinstance(model, Path) else saved(model, folder / "model.onnx")
    with pytest.raises(UnsupportedError) as caught:
        compiled(path, folder / "bundle", SECOND)
    assert not (folder / "bundle").exists()
    return caught.value.problems


def sized(x: str = "n") -> ModelProto:
    """y = reshape(x, shape(x)[0], -1): what onnx2torch does only by reading sizes out of tensors."""
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Slice", ["shape", "zero", "one", "zero"], ["rows"], name="rows_of"),
        helper.make_node("Concat", ["rows", "rest"], ["wanted"], axis=0),
        helper.make_node("Reshape", ["x", "wanted"], ["flat"]),
        helper.make_node("Relu", ["flat"], ["y"], name="the_relu"),
    ]
    weights: Mapping[str, Array] = {"zero": np.array([0]), "one": np.array([1]), "rest": np.array([-1])}
    return graph_model(nodes, [floats("x", x, 3, 4)], [floats("y", x, 12)], weights)


@pytest.fixture(scope="module")
def second_bundle(cache: BundleCache, perceptron_file: Path) -> Path:
    """The perceptron as onnx2torch converts it. Read-only."""
    return cache.get("onnx2torch", lambda bundle: compiled(perceptron_file, bundle, SECOND))


class TestOnnx2Torch:
    def test_a_model_is_converted_symbolically_and_verified(self, second_bundle: Path) -> None:
        manifest = Bundle.open(second_bundle).manifest
        (engine,) = manifest.engines.values()
        assert engine.status == "verified"
        assert str(manifest.models["m"].signature) == "(x: float32[batch, 16]) -> (y: float32[batch, 8])"
        assert len(manifest.models["m"].samples) == 3

    def test_nodes_of_the_engine_name_the_source_nodes(self, second_bundle: Path) -> None:
        (engine,) = Bundle.open(second_bundle).manifest.engines.values()
        nodes = onnx.load(second_bundle / engine.source, load_external_data=False).graph.node
        found = {entry.value for node in nodes for entry in node.metadata_props if entry.key == SOURCE_PROPERTY}
        assert found == {"MatMul:product", "Add:sum", "Relu:hidden", "MatMul:y"}

    def test_the_manifest_and_the_key_name_it(self, perceptron_file: Path, second_bundle: Path) -> None:
        tools = Bundle.open(second_bundle).manifest.tools
        assert tools["onnx2torch"] == metadata.version("onnx2torch")
        assert not made_by_own_converters(tools)
        assert compile_bundle([ModelFile("m", perceptron_file)], second_bundle, SECOND).up_to_date
        with pytest.raises(BundleError, match="other inputs or options"):
            compiled(perceptron_file, second_bundle, CompileOptions())
        keys = {
            compilation_key(ingredients([], {}, SECOND, {}, Onnx2TorchConverter(v).tools()))
            for v in ("1.5.15", "1.5.16")
        }
        assert len(keys) == 2

    def test_only_the_engine_of_its_bundle_is_searched_and_that_is_said(
        self, perceptron_file: Path, second_bundle: Path, tmp_path: Path
    ) -> None:
        bundle = Path(shutil.copytree(second_bundle, tmp_path / "copy"))
        scale_weights(bundle, 1.01)
        found = verify(bundle, perceptron_file, None, None, Tolerances())
        assert "first moved in engine 'engines/m.onnx'" in found.where
        assert "(source node 'MatMul:product'); the source was not converted again" in found.where

    def test_nothing_of_it_is_imported_here(self, second_bundle: Path) -> None:
        assert second_bundle.exists()
        assert not {"onnx2torch", "torchvision"} & set(sys.modules)

    def test_what_reads_sizes_is_recorded_for_those_sizes(self, tmp_path: Path) -> None:
        done = compile_bundle([ModelFile("m", saved(sized(), tmp_path / "m.onnx"))], tmp_path / "bundle", SECOND)
        model = done.bundle.manifest.models["m"]
        assert str(model.signature) == "(x: float32[2, 3, 4]) -> (y: float32[2, 12])"
        assert len(model.samples) == 1
        assert any("these sizes only" in notice and "--opt-shapes" in notice for notice in done.report.notices)
        found = verify(done.bundle.root, tmp_path / "m.onnx", None, None, Tolerances())  # draws those sizes
        assert all(check.comparison.passed for check in found.checks)

    @pytest.mark.slow
    def test_the_sizes_can_be_chosen_and_all_samples_hold(self, tmp_path: Path) -> None:
        options = replace(SECOND, opt_shapes=(("x", (5, 3, 4)),))
        bundle = compiled(saved(sized(), tmp_path / "m.onnx"), tmp_path / "bundle", options)
        assert bundle.manifest.models["m"].signature.inputs[0].shape == (5, 3, 4)
        assert len(bundle.manifest.models["m"].samples) == 3

    @pytest.mark.slow
    def test_a_fixed_program_cannot_decode(self, toy_file: Path, tmp_path: Path) -> None:
        with pytest.raises(SourceError, match=r"fixed to one number of tokens") as caught:
            compiled(toy_file, tmp_path / "bundle", replace(SECOND, tokens=TokenFlags(1, (3, 4), 0, 9)))
        assert "--schedule single" in caught.value.problems[0].hint

    @pytest.mark.slow
    def test_ties_survive_although_it_makes_a_buffer_of_every_use(self, tmp_path: Path) -> None:
        nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("MatMul", ["h", "w"], ["y"])]
        model = graph_model(nodes, [floats("x", "n", 8)], [floats("y", "n", 8)], {"w": normal(8, 8)})
        converted = second_opinion(model, tmp_path, x=normal(2, 8))
        assert len({ref.digest for ref in converted.function.weights.values()}) == 1

    @pytest.mark.slow
    def test_an_ocr_model_is_converted(self, tmp_path: Path) -> None:
        options = replace(SECOND, schedule=ScheduleName.SINGLE)
        bundle = compiled(DATA / "ocr_conformer" / "model.onnx", tmp_path / "bundle", options)
        (engine,) = bundle.manifest.engines.values()
        assert engine.status == "verified"

    @pytest.mark.slow
    def test_the_command_line(self, capsys: pytest.CaptureFixture[str], perceptron_file: Path, tmp_path: Path) -> None:
        output = tmp_path / "m.pt2"
        done = unspool(capsys, "convert", perceptron_file, "-o", output, "--converter", "onnx2torch", "--json")
        assert done.status == 0, done.stderr
        assert done.document["max_abs"] < 1e-5
        (y,) = torch.export.load(output).module()(torch.ones(3, 16))
        assert y.shape == (3, 8)


class TestGapsOfOnnx2Torch:
    def test_every_gap_of_bert_is_told_at_once(self, tmp_path: Path) -> None:
        found = {p.subject: p.message for p in refusals(DATA / "bert_tiny" / "model_dynamo.onnx", tmp_path)}
        assert {name.removeprefix("onnx2torch: ") for name in found} >= {"Gelu-20", "Reshape-19", "Shape-19", "Cast-19"}
        assert found["onnx2torch: Reshape-19"].startswith("no converter (it has 5, 13, 14); needed by 8 nodes: ")
        assert found["onnx2torch: Gelu-20"].startswith("no converter; needed by 2 nodes: ")

    def test_gaps_of_every_kind_are_told_at_once(self, tmp_path: Path) -> None:
        """A domain of one's own, what needs torchvision, and weights that are not initializers."""
        nodes = [
            helper.make_node(
                "RoiAlign", ["x", "boxes", "of"], ["parts"], name="align", output_height=3, output_width=3
            ),
            helper.make_node("Identity", ["kernel"], ["same"]),
            helper.make_node("Conv", ["parts", "same"], ["one"], name="first"),
            helper.make_node("Conv", ["parts", "same"], ["two"], name="second"),
            helper.make_node("Mix", ["one", "two"], ["y"], domain="com.example"),
        ]
        inputs = [floats("x", 1, 2, 8, 8), floats("boxes", 3, 4), ints("of", 3)]
        model = graph_model(nodes, inputs, [floats("y", 3, 1, 1, 1)], {"kernel": normal(1, 2, 3, 3)})
        model.opset_import.append(helper.make_opsetid("com.example", 2))
        given = {"x": normal(1, 2, 8, 8), "boxes": normal(3, 4), "of": np.zeros(3, np.int64)}
        with pytest.raises(UnsupportedError) as caught:
            second_opinion(model, tmp_path, **given)
        found = {p.subject.removeprefix("onnx2torch: "): p.message for p in caught.value.problems}
        assert found == {
            "RoiAlign-16": "calls torchvision, which is stood in for; needed by 1 node: align",
            "Conv-11": "refused with KeyError: 'same'; needed by 2 nodes: first, second",
            "com.example.Mix-2": "no converter; needed by 1 node: Mix:y",
        }

    @pytest.mark.slow
    def test_every_gap_of_a_light_network_is_told_at_once(self, tmp_path: Path) -> None:
        found = {p.subject: p.message for p in refusals(light_network("squeezenet"), tmp_path)}
        assert found["onnx2torch: Conv-1"] == "refused with KeyError: 'conv1_w_0'; needed by 26 nodes: n0, n3, n5, ..."
        assert found["onnx2torch: Dropout-7"].startswith("no converter (it has 10, 12, 13)")


class TestWrongResultsOfOnnx2Torch:
    def cumulative(self, **attributes: Any) -> ModelProto:
        nodes = [
            helper.make_node("CumSum", ["x", "axis"], ["sums"], name="the_sum", **attributes),
            helper.make_node("Relu", ["sums"], ["y"]),
        ]
        return graph_model(nodes, [floats("x", 2, 5)], [floats("y", 2, 5)], {"axis": np.array(1)})

    def split(self, *outputs: str) -> ModelProto:
        nodes = [helper.make_node("Split", ["x"], ["a", "b"], axis=1)]
        return graph_model(nodes, [floats("x", 2, 4)], [floats(name, 2, 2) for name in outputs], opset=11)

    def test_a_wrong_default_is_found_and_the_node_named(self, tmp_path: Path) -> None:
        """CumSum sums from the end unless told not to."""
        with pytest.raises(NumericsError, match=r"after conversion.*source node 'the_sum'"):
            compiled(saved(self.cumulative(), tmp_path / "m.onnx"), tmp_path / "bundle", SECOND)
        assert not (tmp_path / "bundle").exists()

    @pytest.mark.slow
    def test_with_the_attribute_it_is_right_and_writes_to_nothing(self, tmp_path: Path) -> None:
        model = self.cumulative(reverse=0, exclusive=1)
        compiled(saved(model, tmp_path / "m.onnx"), tmp_path / "bundle", SECOND)
        function = second_opinion(model, tmp_path, x=normal(2, 5)).function
        targets: Sequence[Any] = [node.target for node in function.computations]
        assert not any(target._schema.is_mutable for target in targets if isinstance(target, torch._ops.OpOverload))

    def test_an_output_too_many_is_found(self, tmp_path: Path) -> None:
        """A graph that gives Split's second output only gets both."""
        with pytest.raises(SourceError, match="has 2 outputs, the model has 1"):
            compiled(saved(self.split("b"), tmp_path / "m.onnx"), tmp_path / "bundle", SECOND)

    @pytest.mark.slow
    def test_outputs_in_another_order_are_found(self, tmp_path: Path) -> None:
        with pytest.raises(NumericsError, match="output 'b'"):
            compiled(saved(self.split("b", "a"), tmp_path / "m.onnx"), tmp_path / "bundle", SECOND)

    def test_a_value_that_is_read_from_an_input_is_not_made_a_constant(self, tmp_path: Path) -> None:
        nodes = [helper.make_node("Range", ["zero", "n", "one"], ["y"])]
        weights: Mapping[str, Array] = {"zero": np.array(0), "one": np.array(1)}
        model = graph_model(nodes, [ints("n")], [ints("y", "count")], weights)
        with pytest.raises(SourceError, match="reads the contents of an input"):
            second_opinion(model, tmp_path, n=np.array(7))


class TestTheProcessOfOnnx2Torch:
    def test_it_is_not_installed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def missing(name: str) -> str:
            raise metadata.PackageNotFoundError(name)

        monkeypatch.setattr(metadata, "version", missing)
        with pytest.raises(MissingToolError, match="is not installed") as caught:
            find_converter(SECOND)
        assert "--no-deps" in caught.value.problems[0].hint

    def test_the_hint_names_the_version_of_the_lock(self) -> None:
        requirement = onnx2torch.INSTALL.split()[-1]
        assert requirement in (PROJECT / "requirements.lock").read_text().splitlines()

    def test_a_process_that_dies_is_an_error(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "executable", "/bin/false")
        with pytest.raises(SourceError, match="ended with status 1"):
            second_opinion(perceptron(), tmp_path, x=normal(2, 16))

    def test_its_operators_are_listed(self, capsys: pytest.CaptureFixture[str]) -> None:
        document = unspool(capsys, "ops", "--converter", "onnx2torch", "--json").document
        assert document["operators"]["Reshape"] == [5, 13, 14]
        assert 19 in document["missing"]["Reshape"]
        assert not {"RoiAlign", "NonMaxSuppression"} & set(document["operators"])
        assert "Loop" in document["missing"]


class Twice(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + x


def test_a_program_file_with_anything_pickled_is_not_loaded(tmp_path: Path) -> None:
    program = torch.export.export(Twice(), (torch.ones(3),))
    torch.export.save(program, tmp_path / "with_inputs.pt2")
    with pytest.raises(SourceError, match="pickled"):
        load_program(tmp_path / "with_inputs.pt2")
    save_program(program, tmp_path / "without.pt2")
    (result,) = torch.utils._pytree.tree_leaves(load_program(tmp_path / "without.pt2").module()(torch.ones(3)))
    assert result.tolist() == [2, 2, 2]


def test_a_recording_computes_what_was_computed() -> None:
    x, weight = torch.arange(6.0).reshape(2, 3), torch.ones(3)
    label = "first"
    recorder = Recorder([x], lambda: {"key": label})
    with torch.no_grad(), recorder:
        rows = torch.chunk(x, 2)
        total = (rows[0] * weight).sum().item()  # read: a constant of the recording
        label = "second"
        y = rows[1] + total
    module = recorder.module([y, x])
    found, same = module(torch.zeros(2, 3))
    assert found.tolist() == [[3, 3, 3]]
    assert same.tolist() == torch.zeros(2, 3).tolist()
    labels = {node.meta["key"] for node in module.graph.nodes if node.target is torch.ops.aten.add.Tensor}
    assert labels == {"second"}
