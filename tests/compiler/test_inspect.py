from __future__ import annotations

import json
from pathlib import Path

import pytest
from onnx import helper

from artifacts.bundle import Bundle
from artifacts.errors import BundleError, ModelFormatError, UsageError
from artifacts.report import BuildReport, DerivedWeights, WeightsReport
from compiler.inspect import inspect
from compiler.sections import Section
from tests.support.models import floats, graph_model, saved


def text(sections: list[Section]) -> str:
    """All cells, a row a line; every row is as wide as its table."""
    for section in sections:
        assert all(len(row) == len(section.columns) for row in section.rows)
    return "\n".join(" ".join(row) for section in sections for row in [[section.title], *section.rows])


def test_a_bundle(perceptron_bundle: Path) -> None:
    document, sections = inspect(perceptron_bundle)
    manifest = Bundle.open(perceptron_bundle).manifest
    assert document["kind"] == "bundle"
    assert {**document["manifest"], "digest": manifest.digest} == json.loads(manifest.to_bytes())
    assert document["digest"] == manifest.digest
    assert document["bytes"] == sum(path.stat().st_size for path in perceptron_bundle.glob("*/*"))
    shown = text(sections)
    for part in ("Model perceptron", "input x float32[batch, 16]", "output y float32[batch, 8]", "single", "verified"):
        assert part in shown
    assert manifest.weights.shards[0].path in shown
    json.dumps(document, allow_nan=False)


def test_a_bundle_says_where_its_weights_come_from(perceptron_bundle: Path) -> None:
    document, sections = inspect(perceptron_bundle)
    (table,) = [section for section in sections if section.title == "Where the weights come from"]
    assert [row[2] for row in table.rows[:3]] == ["0.00 MB"] * 3
    assert document["report"]["weights"]["derived"] == []


def test_derived_weights_are_shown_with_their_pass_and_some_names(perceptron_copy: Path) -> None:
    path = perceptron_copy / "build.json"
    report = BuildReport.model_validate_json(path.read_bytes())
    made = DerivedWeights(reason="pack-projections", tensors=5, bytes=2_500_000, names=("q", "k"))
    copy = DerivedWeights(reason="permute", tensors=1, bytes=1_000_000, names=("turn",))
    weights = WeightsReport(
        source_bytes=8_000_000,
        unique_bytes=4_000_000,
        merged=3,
        derived_bytes=2_500_000,
        derived=(made,),
        computed_at_open=(copy,),
    )
    path.write_bytes(report.model_copy(update={"weights": weights}).to_bytes())
    shown = text(inspect(perceptron_copy)[1])
    assert "in the source files  8.00 MB" in shown
    assert "of them the source's  1.50 MB" in shown
    assert "of them made by pack-projections 5 2.50 MB q, k and 3 more" in shown
    assert "computed when an engine opens: permute 1 1.00 MB turn" in shown


def test_a_decoding_bundle_says_how_it_decodes(toy_bundle: Path) -> None:
    document, sections = inspect(toy_bundle)
    shown = text(sections)
    assert "tokens -> logits" in shown
    assert "start 1, end [3, 4], pad 0" in shown
    assert "at most 9" in shown
    assert document["manifest"]["models"]["toy"]["schedule"]["generation"]["max_new_tokens"] == 9


def test_a_decoding_bundle_says_what_its_forms_cost(toy_bundle: Path) -> None:
    """One product a row of tokens, [5] with [5, 11]: nine rows in each of nine steps, or one row more each step.

    As the graph stands, every step computes the encoder's product [4] with [4, 11] again.
    """
    document, sections = inspect(toy_bundle)
    whole = [cost for cost in document["report"]["decode_costs"] if cost["encoder"]["instructions"] == 0]
    assert {cost["state"]: cost["steps"]["flops"] for cost in whole} == {
        "padded": 9 * (9 * 2 * 5 * 11 + 2 * 4 * 11),
        "recompute": 45 * 2 * 5 * 11 + 9 * 2 * 4 * 11,
    }
    (table,) = [section for section in sections if section.title == "Decode costs"]
    assert [row[:3] for row in table.rows[:2]] == [["toy", "padded", "9"], ["toy", "exact length", "9"]]


def test_a_bundle_says_what_its_functions_move(toy_bundle: Path) -> None:
    document, sections = inspect(toy_bundle)
    moved = document["report"]["movements"]
    assert {(item["function"], item["after"]) for item in moved} == {
        ("toy", "convert"),
        *((function, after) for function in ("toy.encoder", "toy.step") for after in ("fusions", "passes")),
    }
    (table,) = [section for section in sections if section.title == "Moved in one call"]
    assert [row[:2] for row in table.rows] == [[item["function"], item["after"]] for item in moved]
    by_function = {(item["function"], item["after"]): item for item in moved}
    for function in ("toy.encoder", "toy.step"):
        for figure in ("operators", "bytes"):
            assert by_function[function, "passes"][figure] <= by_function[function, "fusions"][figure]


def test_a_bundle_without_its_report(perceptron_copy: Path) -> None:
    (perceptron_copy / "build.json").unlink()
    document, sections = inspect(perceptron_copy)
    assert document["report"] is None
    assert "Numerics" not in text(sections)


def test_a_bundle_that_was_changed_is_refused(perceptron_copy: Path) -> None:
    (perceptron_copy / "extra").write_text("extra")
    with pytest.raises(BundleError, match="extra"):
        inspect(perceptron_copy)


def test_a_shard(perceptron_bundle: Path) -> None:
    (shard,) = (perceptron_bundle / "weights").iterdir()
    document, sections = inspect(shard)
    assert document["kind"] == "weights"
    assert sorted((tuple(t["shape"]), t["dtype"], t["nbytes"]) for t in document["tensors"]) == [
        ((16, 32), "float32", 2048),
        ((32, 8), "float32", 1024),
    ]
    assert "2 tensors" in text(sections)
    assert "16x32" in text(sections)


def test_a_file_of_weights_that_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(b"\xff" * 20)
    with pytest.raises(BundleError, match=r"w\.safetensors"):
        inspect(tmp_path / "w.safetensors")


def test_a_model(perceptron_file: Path) -> None:
    document, sections = inspect(perceptron_file)
    assert document["kind"] == "onnx"
    assert document["operators"] == {"MatMul": 2, "Add": 1, "Relu": 1}
    assert document["weights_bytes"] == 4 * (16 * 32 + 32 + 32 * 8)
    assert document["opsets"] == {"ai.onnx": 17}
    assert document["gaps"] == []
    assert len(document["digest"]) == 64
    shown = text(sections)
    assert "input x float32[batch, 16]" in shown
    assert "Not convertible" not in shown


def test_a_model_with_gaps_lists_them(tmp_path: Path) -> None:
    nodes = [helper.make_node("Frobnicate", ["x"], ["y"], domain="nowhere")]
    model = graph_model(nodes, [floats("x", 2)], [floats("y", 2)])
    model.opset_import.append(helper.make_opsetid("nowhere", 1))
    document, sections = inspect(saved(model, tmp_path / "model.onnx"))
    (gap,) = document["gaps"]
    assert "Frobnicate" in gap["subject"]
    assert "Not convertible" in text(sections)


def test_a_file_that_is_nothing_we_know(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("notes")
    with pytest.raises(ModelFormatError, match=r"notes\.txt"):
        inspect(tmp_path / "notes.txt")


def test_a_folder_that_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"manifest\.json"):
        inspect(tmp_path)


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        inspect(tmp_path / "nothing")
