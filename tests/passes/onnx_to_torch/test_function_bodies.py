"""Operators by the body that their schema gives, as if they had no converter."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx.defs
import onnx_ir as ir
import pytest
import torch

from artifacts.errors import UnsupportedError
from passes.onnx_to_torch.convert import convert
from passes.onnx_to_torch.function_bodies import has_function
from passes.onnx_to_torch.importer import Importer
from passes.onnx_to_torch.registry import Registry, builtin, schema_of
from passes.program import Program
from tests.support.onnx_ops import compare, node_model, reference, run, sample
from tests.support.programs import Array, parsed, source_of


def without(name: str) -> Registry:
    """Unspool's converters, those of one operator left out."""
    own = builtin()
    kept = {key: converter for key, converter in own.converters.items() if key[1] != name}
    known = {key: converter for key, converter in own.known_converters.items() if key[1] != name}
    return Registry(kept, known)


X = sample((3, 4))

CASES: list[tuple[str, int, list[Array | None], dict[str, Any]]] = [
    ("Elu", 22, [X], {}),
    ("Elu", 6, [X], {"alpha": 0.25}),
    ("Celu", 12, [X], {"alpha": 0.5}),
    ("Selu", 22, [X], {}),
    ("ThresholdedRelu", 22, [X], {}),
    ("ThresholdedRelu", 22, [X], {"alpha": 0.25}),
    ("HardSigmoid", 22, [X], {"beta": 0.25}),
    ("Shrink", 9, [X], {"lambd": 1.5, "bias": 0.5}),
    ("PRelu", 16, [X, sample((4,), seed=1)], {}),
    ("Softsign", 22, [X], {}),
    ("Mish", 22, [X], {}),
    ("HardSwish", 22, [X], {}),
    ("Gelu", 20, [X], {}),
    ("Gelu", 20, [X], {"approximate": "tanh"}),
    ("Clip", 13, [X, np.array(-1, np.float32), np.array(1, np.float32)], {}),
    ("Clip", 13, [X, None, np.array(1, np.float32)], {}),
    ("Clip", 13, [X], {}),
    ("LogSoftmax", 13, [X], {"axis": 0}),
    ("Softmax", 13, [X], {}),
    ("LayerNormalization", 17, [X, sample((4,), seed=1), sample((4,), seed=2)], {}),
    ("LayerNormalization", 17, [X, sample((3, 4), seed=1)], {"axis": 0, "epsilon": 0.1}),
    ("GroupNormalization", 21, [sample((2, 6, 3)), sample((6,), seed=1), sample((6,), seed=2)], {"num_groups": 2}),
    ("MeanVarianceNormalization", 13, [sample((2, 3, 2, 2))], {}),
    ("ReduceLogSumExp", 18, [X], {}),
    ("GreaterOrEqual", 16, [X, sample((4,), seed=1)], {}),
    ("SoftmaxCrossEntropyLoss", 13, [X, np.array([0, 3, 1])], {"reduction": "sum"}),
    ("Elu", 22, [X.astype(np.float16)], {}),
    ("LayerNormalization", 17, [X.astype(np.float16), sample((4,), np.float16, seed=1)], {}),
]


@pytest.mark.parametrize(("name", "opset", "inputs", "attributes"), CASES)
def test_a_body_gives_what_the_operator_is(
    name: str, opset: int, inputs: list[Array | None], attributes: dict[str, Any]
) -> None:
    model = node_model(name, inputs, opset, attributes)
    assert has_function(schema_of("", name, opset))
    importer = Importer(ir.from_proto(model), without(name))
    arrays = [array for array in inputs if array is not None]
    half = any(array.dtype == np.float16 for array in arrays)
    compare(run(importer, arrays), reference(model, arrays), 1e-2 if half else None)


def test_attributes_of_the_node_may_be_those_of_an_enclosing_function() -> None:
    text = """
    <ir_version: 10, opset_import: ["": 20, "mine": 1]>
    g (float[n] x) => (float[n] y, float[n] z) { y = mine.f <slope = 0.25> (x) z = mine.f (x) }
    <domain: "mine", opset_import: ["": 20]>
    f <slope: float = 2.0> (a) => (b) { b = Celu <alpha: float = @slope> (a) }
    """
    importer = Importer(ir.from_proto(parsed(text)), without("Celu"))
    x = np.array([-2.0, 1.0], np.float32)
    results = run(importer, [x])
    expected = [np.where(x < 0, alpha * (np.exp(x / alpha) - 1), x).astype(np.float32) for alpha in (0.25, 2.0)]
    compare(results, expected)


def test_a_body_converts_with_sizes_still_symbolic_and_names_its_inner_nodes() -> None:
    model = parsed("g (float[n] x) => (float[n] y) { [act] y = Elu <alpha = 0.5> (x) }")
    result = convert(source_of(model), "main", {"x": sample((3,))}, without("Elu"))
    assert str(result.function.signature) == "(x: float32[n]) -> (y: float32[n])"
    Program({"main": result.function}, {}, result.weights)
    assert set(result.function.sources.values()) >= {"act > Exp:ExpX", "act > Where:Y"}


def test_an_operator_with_neither_converter_nor_body_is_named() -> None:
    model = parsed("g (float[n] x) => (float[n] y) { [sine] y = Sin (x) }")
    with pytest.raises(UnsupportedError, match="sine: no converter for Sin-7"):
        run(Importer(ir.from_proto(model), without("Sin")), [sample((3,))])


def test_schemas_without_bodies_have_none() -> None:
    assert not has_function(None)
    assert not has_function(onnx.defs.get_schema("Sin", 20))


def test_bodies_leave_the_shared_schema_as_it_is() -> None:
    schema = onnx.defs.get_schema("Elu", 22)
    before = schema.function_body.SerializeToString()
    model = node_model("Elu", [X], 22)
    for _ in range(2):
        (result,) = run(Importer(ir.from_proto(model), without("Elu")), [X])
        assert np.array_equal(result, torch.nn.functional.elu(torch.from_numpy(X)).numpy())
    assert schema.function_body.SerializeToString() == before
