from __future__ import annotations

from typing import Any

import numpy as np
import onnx.helper
import onnx_ir as ir
import pytest
import torch
from onnx.reference import ReferenceEvaluator

from artifacts.errors import UnsupportedError
from passes.onnx_to_torch.importer import Importer
from passes.onnx_to_torch.values import Known, Text

WORDS = [["Monday", "tuesday x", "", "a.b.c"], ["monday", " two  spaces ", "x@y.org", "é"]]


def check(op_type: str, *inputs: list[Any], opset: int = 20, outputs: int = 1, **attributes: Any) -> None:
    """Compare a node on strings with the reference evaluator."""
    arrays = [np.array(given, object) for given in inputs]
    model = _model(op_type, arrays, opset, outputs, attributes)
    results = ReferenceEvaluator(model).run(None, {f"x{i}": array for i, array in enumerate(arrays)})
    assert isinstance(results, list)
    for got, want in zip(Importer(ir.from_proto(model)).run([Text(array) for array in arrays]), results, strict=True):
        assert isinstance(got, Text | Known)
        assert got.array.shape == np.asarray(want).shape
        assert got.array.tolist() == np.asarray(want).tolist()


def _model(op_type: str, arrays: list[Any], opset: int, outputs: int, attributes: dict[str, Any]) -> onnx.ModelProto:
    names, results = [f"x{i}" for i in range(len(arrays))], [f"y{i}" for i in range(outputs)]
    node = onnx.helper.make_node(op_type, names, results, **attributes)
    declared = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.STRING, array.shape)
        for name, array in zip(names, arrays, strict=True)
    ]
    empty = [onnx.helper.make_empty_tensor_value_info(name) for name in results]
    graph = onnx.helper.make_graph([node], op_type, declared, empty)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])


def test_strings_are_joined_and_compared() -> None:
    check("StringConcat", WORDS, WORDS)
    check("StringConcat", WORDS, ["!"])
    check("Equal", WORDS, WORDS)
    check("Equal", WORDS, ["", "monday", "", "é"])


@pytest.mark.parametrize("attributes", [{}, {"delimiter": "."}, {"delimiter": " ", "maxsplit": 1}, {"maxsplit": 1}])
def test_strings_are_split(attributes: dict[str, Any]) -> None:
    check("StringSplit", WORDS, outputs=2, **attributes)


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"stopwords": ["monday"]}, ["tuesday x", "", "a.b.c"]),
        ({"stopwords": ["monday"], "is_case_sensitive": 1}, ["Monday", "tuesday x", "", "a.b.c"]),
        ({"stopwords": ["A.B.C"], "case_change_action": "UPPER"}, ["MONDAY", "TUESDAY X", ""]),
        ({"case_change_action": "LOWER", "locale": "en_US"}, ["monday", "tuesday x", "", "a.b.c"]),
        ({"stopwords": WORDS[0]}, [""]),
    ],
)
def test_strings_are_normalized(attributes: dict[str, Any], expected: list[str]) -> None:
    # By the specification: the evaluator also takes accents and empty strings away.
    for shape in ((4,), (1, 4)):
        data = np.array(WORDS[0], object).reshape(shape)
        found = run("StringNormalizer", [data], 10, attributes)
        assert found.array.reshape(-1).tolist() == expected
        assert found.array.shape == (*shape[:-1], len(expected))


def test_other_languages_than_english_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="locale 'tr_TR'"):
        run("StringNormalizer", [np.array(WORDS[0], object)], 10, {"locale": "tr_TR"})


def test_patterns_match_whole_strings() -> None:
    check("RegexFullMatch", WORDS, pattern=r"[a-z]+@\w+\.(org|com)")
    with pytest.raises(UnsupportedError, match="syntax of RE2"):
        run("RegexFullMatch", [np.array(WORDS, object)], 20, {"pattern": "[[:alpha:]]+"})
    with pytest.raises(UnsupportedError, match="unterminated"):
        run("RegexFullMatch", [np.array(WORDS, object)], 20, {"pattern": "[a"})


def test_labels_of_strings() -> None:
    labels = np.array(["b", "c", "?"], object)
    model = node_of_ml("LabelEncoder", labels, 1, classes_strings=["a", "b", "c"], default_int64=-5)
    (found,) = Importer(ir.from_proto(model)).run([Text(labels)])
    assert isinstance(found, torch.Tensor)
    assert found.tolist() == [1, 2, -5]
    for since in (2, 4):
        model = node_of_ml("LabelEncoder", labels, since, keys_strings=["b", "c"], values_strings=["x", "y"])
        (found,) = Importer(ir.from_proto(model)).run([Text(labels)])
        assert isinstance(found, Text)
        assert found.array.tolist() == ["x", "y", "_Unused"]


def node_of_ml(op_type: str, data: Any, opset: int, **attributes: Any) -> onnx.ModelProto:
    model = _model(op_type, [data], 20, 1, attributes)
    model.graph.node[0].domain = "ai.onnx.ml"
    model.opset_import.append(onnx.helper.make_opsetid("ai.onnx.ml", opset))
    return model


def test_other_operators_refuse_strings() -> None:
    with pytest.raises(UnsupportedError, match="strings"):
        run("Transpose", [np.array(WORDS, object)], 20, {})


def run(op_type: str, arrays: list[Any], opset: int, attributes: dict[str, Any]) -> Text:
    """The one output of a node, which has to be strings."""
    importer = Importer(ir.from_proto(_model(op_type, arrays, opset, 1, attributes)))
    (result,) = importer.run([Text(array) for array in arrays])
    assert isinstance(result, Text)
    return result
