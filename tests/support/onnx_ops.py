"""One-node models: the importer against ONNX's own reference evaluator."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeAlias

import ml_dtypes
import numpy as np
import numpy.typing as npt
import onnx
import onnx.helper
import onnx.numpy_helper
import onnx_ir as ir
import torch
from hypothesis import settings
from onnx.reference import ReferenceEvaluator

from artifacts.dtype import DType
from passes.onnx_to_torch.importer import Importer
from passes.torch_dtypes import from_numpy, logical_dtype, to_numpy

FEW = settings(max_examples=12, deadline=None, derandomize=True)
"""For tests that draw shapes and attributes: the first examples of every run are the same."""

Array: TypeAlias = npt.NDArray[Any]
Arrays: TypeAlias = Sequence[Array | None]

TOLERANCES = {"float16": 2e-3, "bfloat16": 2e-2, "float32": 1e-5, "float64": 1e-9}
"""Relative and absolute tolerance by element type; integers and booleans must be equal."""


def check_op(
    op_type: str,
    inputs: Arrays,
    opset: int,
    *,
    attributes: Mapping[str, Any] | None = None,
    outputs: int = 1,
    constants: Collection[int] = (),
    symbolic: Arrays | None = None,
    expected: Sequence[Array] | None = None,
    tolerance: float | None = None,
    domain: str = "",
) -> None:
    """Check that a node gives the reference's values, dtypes and shapes.

    Args:
        op_type: the operator.
        inputs: its inputs in order; None leaves an optional one out.
        opset: version of `domain` that the model imports.
        attributes: the node's attributes.
        outputs: how many outputs the node declares.
        constants: positions of inputs that are initializers rather than graph inputs.
        symbolic: the same inputs at another size, not together with `expected`. The node is exported with
            every dimension that differs dynamic, and the exported program must be right on these too.
            `constants` are not replaced.
        expected: what `inputs` give, where the reference evaluator is silent or wrong about this version.
        tolerance: relative and absolute, in place of the one of the element type.
        domain: the operator's domain.
    """
    model = node_model(op_type, inputs, opset, attributes, outputs, constants, domain)
    others = None if symbolic is None else _graph_inputs(symbolic, constants)
    check_model(model, _graph_inputs(inputs, constants), symbolic=others, expected=expected, tolerance=tolerance)


def check_model(
    model: onnx.ModelProto,
    arrays: Sequence[Array],
    *,
    symbolic: Sequence[Array] | None = None,
    expected: Sequence[Array] | None = None,
    tolerance: float | None = None,
) -> None:
    """The same for a model of any size; `arrays` are its graph inputs in order."""
    importer = Importer(ir.from_proto(model))
    wanted = expected or reference(model, arrays)
    compare(run(importer, arrays), wanted, tolerance)
    if symbolic is not None:
        exported = export(importer, arrays, symbolic).module()
        compare(run(exported, arrays), wanted, tolerance)
        compare(run(exported, symbolic), reference(model, symbolic), tolerance)


def export(importer: Importer, arrays: Sequence[Array], others: Sequence[Array]) -> torch.export.ExportedProgram:
    """The importer as an exported program, every dimension in which `others` differ from `arrays` dynamic."""
    dynamic = tuple(_dynamic_dims(*pair) for pair in zip(arrays, others, strict=True))
    with torch.no_grad():
        return torch.export.export(
            importer, tuple(map(as_tensor, arrays)), dynamic_shapes={"inputs": dynamic}, strict=False
        )


def run_op(
    op_type: str,
    inputs: Arrays,
    opset: int,
    *,
    attributes: Mapping[str, Any] | None = None,
    outputs: int = 1,
    constants: Collection[int] = (),
    domain: str = "",
) -> list[Array]:
    """What the importer makes of one node, for tests that bring their own expectation."""
    model = node_model(op_type, inputs, opset, attributes, outputs, constants, domain)
    return run(Importer(ir.from_proto(model)), _graph_inputs(inputs, constants))


def sample(
    shape: Sequence[int], dtype: npt.DTypeLike = "float32", *, seed: int = 0, low: float = -4, high: float = 4
) -> Array:
    """Random elements, uniform in low..high as far as the element type has that; booleans are fair coins."""
    generator, kind = np.random.default_rng(seed), np.dtype(dtype)
    if kind == np.bool_:
        return np.asarray(generator.integers(0, 2, shape), bool)
    if kind.kind not in "iu":
        return np.asarray(generator.uniform(low, high, shape), kind)
    limits = np.iinfo(kind)
    return np.asarray(generator.integers(max(int(low), limits.min), min(int(high), limits.max), shape, kind, True))


def node_model(
    op_type: str,
    inputs: Arrays,
    opset: int,
    attributes: Mapping[str, Any] | None = None,
    outputs: int = 1,
    constants: Collection[int] = (),
    domain: str = "",
) -> onnx.ModelProto:
    """A model of one node. Inputs are named x0, x1, ... and outputs y0, y1, ..."""
    names = ["" if array is None else f"x{i}" for i, array in enumerate(inputs)]
    results = [f"y{i}" for i in range(outputs)]
    node = onnx.helper.make_node(op_type, names, results, domain=domain, **(attributes or {}))
    present = [(f"x{i}", i, array) for i, array in enumerate(inputs) if array is not None]
    graph = onnx.helper.make_graph(
        [node],
        op_type,
        [
            onnx.helper.make_tensor_value_info(name, ir.DataType.from_numpy(array.dtype).value, array.shape)
            for name, i, array in present
            if i not in constants
        ],
        [onnx.helper.make_empty_tensor_value_info(name) for name in results],
        [onnx.numpy_helper.from_array(array, name) for name, i, array in present if i in constants],
    )
    imports = [onnx.helper.make_opsetid(domain, opset)]
    if domain:  # a function body of another domain is written in ONNX's own operators
        imports.append(onnx.helper.make_opsetid("", 25))
    return onnx.helper.make_model(graph, opset_imports=imports)


def reference(model: onnx.ModelProto, arrays: Sequence[Array]) -> list[Array]:
    """What ONNX's reference evaluator computes."""
    names = [value.name for value in model.graph.input]
    with np.errstate(all="ignore"):
        results = ReferenceEvaluator(model).run(None, dict(zip(names, arrays, strict=True)))
    assert isinstance(results, list)
    return [np.asarray(result) for result in results]


def run(module: torch.nn.Module, arrays: Sequence[Array]) -> list[Array]:
    """A module's outputs on arrays, as arrays."""
    with torch.no_grad():
        return [as_array(result) for result in module(*map(as_tensor, arrays))]


def compare(actual: Sequence[Array], expected: Sequence[Array], tolerance: float | None = None) -> None:
    """Assert that values, dtypes and shapes agree."""
    assert len(actual) == len(expected)
    for i, (got, want) in enumerate(zip(actual, expected, strict=True)):
        assert got.dtype == want.dtype, f"output {i} is {got.dtype}, expected {want.dtype}"
        assert got.shape == want.shape, f"output {i} has shape {got.shape}, expected {want.shape}"
        allowed = TOLERANCES.get(got.dtype.name, 0.0) if tolerance is None else tolerance
        if got.dtype.kind in "f" or hasattr(ml_dtypes, got.dtype.name):
            # In float64, because numpy finds NaN unequal to itself in the types of ml_dtypes.
            wide, wanted = got.astype(np.float64), want.astype(np.float64)
            np.testing.assert_allclose(wide, wanted, allowed, allowed, err_msg=f"output {i}")
        elif allowed and got.dtype.kind in "iu":
            np.testing.assert_allclose(got, want, allowed, allowed, err_msg=f"output {i}")
        else:
            np.testing.assert_array_equal(got, want, err_msg=f"output {i}")


def as_tensor(array: Array) -> torch.Tensor:
    """A tensor of the array's element type, ml_dtypes included, over memory of its own."""
    return from_numpy(np.array(array, order="C"), DType.of(array.dtype))


def as_array(tensor: torch.Tensor) -> Array:
    """An array of the tensor's element type, ml_dtypes included."""
    logical = logical_dtype(tensor.dtype)
    array = to_numpy(tensor)
    return array if logical.is_native else array.view(getattr(ml_dtypes, logical))


def _graph_inputs(inputs: Arrays, constants: Collection[int]) -> list[Array]:
    return [array for i, array in enumerate(inputs) if array is not None and i not in constants]


def _dynamic_dims(one: Array, other: Array) -> dict[int, Any]:
    pairs = enumerate(zip(one.shape, other.shape, strict=True))
    return {axis: torch.export.Dim.AUTO for axis, (a, b) in pairs if a != b}
