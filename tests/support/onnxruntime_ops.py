"""One-node models of com.microsoft: the importer against ONNX Runtime, which defines these operators."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import onnx
import onnx.helper
import onnx_ir as ir

from passes.onnx_to_torch.importer import Importer
from tests.support.onnx_ops import Array, Arrays, compare, export, node_model, run
from tests.support.onnxruntime_models import answers

DOMAIN = "com.microsoft"


def check_contrib(
    op_type: str,
    inputs: Arrays,
    *,
    outputs: int = 1,
    named: Collection[int] | None = None,
    constants: Collection[int] = (),
    symbolic: Arrays | None = None,
    tolerance: float | None = 2e-5,
    domain: str = DOMAIN,
    **attributes: Any,
) -> None:
    """Check that a node gives ONNX Runtime's values, dtypes and shapes.

    `named` are the positions of the outputs that the node has, if some before the last are left out; the rest is
    as in `check_op`.
    """
    model = contrib_model(op_type, inputs, attributes, outputs, constants, domain, named)
    arrays = present(inputs, constants)
    wanted = answers(model, arrays)
    importer = Importer(ir.from_proto(model))
    compare(run(importer, arrays), wanted, tolerance)
    if symbolic is not None:
        others = present(symbolic, constants)
        exported = export(importer, arrays, others).module()
        compare(run(exported, arrays), wanted, tolerance)
        compare(run(exported, others), answers(model, others), tolerance)


def contrib_model(
    op_type: str,
    inputs: Arrays,
    attributes: Mapping[str, Any],
    outputs: int = 1,
    constants: Collection[int] = (),
    domain: str = DOMAIN,
    named: Collection[int] | None = None,
) -> onnx.ModelProto:
    """A model of one node beside operator set 20; `named` as in `check_contrib`."""
    model = node_model(op_type, inputs, 20, attributes, outputs, constants)
    model.ir_version = 10
    model.graph.node[0].domain = domain
    if domain:
        model.opset_import.append(onnx.helper.make_opsetid(domain, 1))
    for value in model.graph.input:
        value.type.tensor_type.ClearField("shape")
    if named is not None:
        kept = [output for i, output in enumerate(model.graph.output) if i in named]
        model.graph.node[0].output[:] = [f"y{i}" if i in named else "" for i in range(outputs)]
        del model.graph.output[:]
        model.graph.output.extend(kept)
    return model


def present(inputs: Arrays, constants: Collection[int] = ()) -> list[Array]:
    """The inputs that a model of one node is given: none that is left out, or a constant."""
    return [array for i, array in enumerate(inputs) if array is not None and i not in constants]
