from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from artifacts.errors import UsageError
from compiler.build_log import BuildLog
from compiler.coverage_document import models_markdown
from compiler.coverage_models import OUTCOMES, Comparison, Conversion, compare_models, read_comparison
from tests.support.cli import unspool
from tests.support.models import PROJECT, floats, graph_model, perceptron, saved


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files on which the two converters end in every way that there is."""
    folder = tmp_path_factory.mktemp("exports")
    saved(perceptron(), folder / "mlp/model.onnx")
    x, y = floats("x", "n", 4), floats("y", "n", 4)
    shape = [helper.make_node("Shape", ["x"], ["size"]), helper.make_node("Expand", ["x", "size"], ["y"])]
    saved(graph_model(shape, [x], [y]), folder / "expand.onnx")
    sums = [helper.make_node("CumSum", ["x", "axis"], ["y"], name="sums")]
    saved(graph_model(sums, [x], [y], {"axis": np.array(1, np.int64)}), folder / "sums.onnx")
    saved(graph_model([helper.make_node("Mish", ["x"], ["y"], name="smooth")], [x], [y], opset=18), folder / "new.onnx")
    (folder / "torn.onnx").write_bytes(saved(perceptron(), folder / "torn.onnx").read_bytes()[:-100])
    return folder


@pytest.fixture(scope="module")
def comparison(folder: Path) -> Comparison:
    return compare_models([folder], BuildLog(quiet=True))


@pytest.mark.slow
def test_a_file_is_named_by_its_place_and_judged_by_each_converter(comparison: Comparison) -> None:
    found = {(c.model, c.converter): c.outcome for c in comparison.conversions}
    ours = {model: outcome for (model, converter), outcome in found.items() if converter == "unspool"}
    theirs = {model: outcome for (model, converter), outcome in found.items() if converter == "onnx2torch"}
    converted = dict.fromkeys(("expand.onnx", "mlp/model.onnx", "new.onnx", "sums.onnx"), "converted")
    assert ours == {**converted, "torn.onnx": "failed"}
    assert theirs == {
        "expand.onnx": "one size",
        "mlp/model.onnx": "converted",
        "new.onnx": "unsupported",
        "sums.onnx": "wrong",
        "torn.onnx": "failed",
    }
    assert comparison.count("onnx2torch", "wrong") == 1


@pytest.mark.slow
def test_what_is_not_converted_says_why_and_not_where_the_file_lies(comparison: Comparison, folder: Path) -> None:
    for found in comparison.conversions:
        assert bool(found.reasons) == (found.outcome not in {"converted", "one size"})
        assert not any(str(folder) in reason for reason in found.reasons)
    (gap,) = next(found.reasons for found in comparison.conversions if found.outcome == "unsupported")
    assert gap == "onnx2torch: Mish-18: no converter; needed by 1 node: smooth"


@pytest.mark.slow
def test_the_document_names_operators_and_no_nodes(comparison: Comparison) -> None:
    text = models_markdown(comparison)
    assert "| `new.onnx` | converted | unsupported | onnx2torch: Mish-18: no converter |" in text
    assert "| `mlp/model.onnx` | converted | converted |  |" in text
    assert "| unspool | 4 | 0 | 0 | 0 | 1 |" in text


def test_what_the_command_line_prints_can_be_read_back(
    capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path
) -> None:
    printed = unspool(capsys, "ops", "--compare", folder / "mlp/model.onnx", "--json")
    record = tmp_path / "record.json"
    record.write_text(printed.stdout)
    both = [Conversion(model="model.onnx", converter=name, outcome="converted") for name in ("unspool", "onnx2torch")]
    assert read_comparison(record).conversions == tuple(both)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"comparison": {"tools": {}}}'])
def test_what_is_no_record_is_told(tmp_path: Path, content: str) -> None:
    path = tmp_path / "record.json"
    with pytest.raises(UsageError, match="cannot be read"):
        read_comparison(path)
    path.write_text(content)
    with pytest.raises(UsageError, match="is not what `unspool ops --compare"):
        read_comparison(path)


def test_the_document_holds_the_record() -> None:
    docs = PROJECT / "docs"
    recorded = read_comparison(docs / "coverage_models.json")
    assert (docs / "coverage.md").read_text().endswith(models_markdown(recorded))
    assert all(recorded.count("unspool", outcome) == 0 for outcome in OUTCOMES if outcome != "converted")
