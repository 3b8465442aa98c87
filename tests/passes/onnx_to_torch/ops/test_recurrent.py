from __future__ import annotations

from typing import Any

import onnx_ir as ir
import pytest

from artifacts.errors import SourceError, UnsupportedError
from passes.onnx_to_torch.importer import Importer
from tests.support.onnx_ops import Array, check_model, check_op, compare, node_model, run, sample
from tests.support.onnxruntime_models import answers
from tests.support.recurrences import DIRECTIONS, GATES, OUTPUTS, Recurrent

SINCE = {"GRU": (3, 7, 14, 22), "LSTM": (7, 14, 22), "RNN": (7, 14, 22)}
PAIRS = [(op, since) for op, versions in SINCE.items() for since in versions]
WEIGHTS = (1, 2, 3, 7)
"""Positions of inputs that files hold as initializers."""


def plain(op: str, optional: tuple[str, ...] = ("b",), **attributes: Any) -> Recurrent:
    return Recurrent(op, {"direction": "forward", "hidden_size": 4} | attributes, 3, 4, frozenset(optional))


def trimmed(inputs: list[Array | None]) -> list[Array | None]:
    return inputs[: max(i + 1 for i, array in enumerate(inputs) if array is not None)]


@pytest.mark.parametrize(("op", "since"), PAIRS)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_every_since_version_as_the_reference_has_it(op: str, since: int, direction: str) -> None:
    drawn = plain(op, ("b", "initial_h"), direction=direction)
    check_op(op, trimmed(drawn.inputs(4, 2)), since, attributes=drawn.attributes, outputs=OUTPUTS[op])


@pytest.mark.parametrize("op", GATES)
@pytest.mark.parametrize("layout", [0, 1])
def test_time_and_batch_stay_symbolic(op: str, layout: int) -> None:
    drawn = plain(op, ("b", "initial_h"))
    model = node_model(op, trimmed(drawn.inputs(4, 2)), 14, drawn.attributes, OUTPUTS[op], WEIGHTS)
    # The reference evaluator has no layout 1 for every operator, so that one compares with batch first by hand.
    if layout == 0:
        for time, batch in ((1, 1), (7, 3)):
            arrays, others = (
                [a for i, a in enumerate(drawn.inputs(*sizes)) if a is not None and i not in WEIGHTS]
                for sizes in ((4, 2), (time, batch))
            )
            check_model(model, arrays, symbolic=others)
        return
    attributes = drawn.attributes | {"layout": 1}
    x, w, r, b, _, h = drawn.inputs(4, 2)[:6]
    assert x is not None
    assert h is not None
    other_x, other_h = drawn.inputs(6, 3)[0], drawn.inputs(6, 3)[5]
    assert other_x is not None
    assert other_h is not None
    model = node_model(op, [x.swapaxes(0, 1), w, r, b, None, h.swapaxes(0, 1)], 14, attributes, 1, WEIGHTS)
    check_model(model, [x.swapaxes(0, 1), h.swapaxes(0, 1)], symbolic=[other_x.swapaxes(0, 1), other_h.swapaxes(0, 1)])


@pytest.mark.parametrize("dtype", ["float16", "float64"])
@pytest.mark.parametrize("op", GATES)
def test_element_types(op: str, dtype: str) -> None:
    inputs = [None if array is None else array.astype(dtype) for array in trimmed(plain(op).inputs(3, 2))]
    check_op(op, inputs, 14, attributes={"hidden_size": 4}, outputs=OUTPUTS[op])


@pytest.mark.parametrize("op", GATES)
def test_outputs_that_are_left_out(op: str) -> None:
    inputs = trimmed(plain(op).inputs(3, 2))
    model = node_model(op, inputs, 14, {"hidden_size": 4}, 2)
    model.graph.node[0].output[0] = ""
    del model.graph.output[0]
    arrays = [array for array in inputs if array is not None]
    check_model(model, arrays)


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"direction": "sideways"}, "direction 'sideways'"),
        ({"activations": ["Sigmoid", "Gelu"]}, "activation Gelu"),
        ({"activations": ["Sigmoid"]}, "1 activations, where forward takes 2"),
        ({"activations": ["Sigmoid", "Tanh"], "direction": "bidirectional"}, "2 activations, where bidirectional"),
        ({"activations": ["Sigmoid", "ScaledTanh"]}, "activation_alpha has no value for ScaledTanh"),
    ],
)
def test_what_is_refused(attributes: dict[str, Any], message: str) -> None:
    drawn = plain("GRU", **attributes)
    inputs = trimmed(drawn.inputs(3, 2))
    model = node_model("GRU", inputs, 14, drawn.attributes, 2)
    with pytest.raises(UnsupportedError, match=message):
        run(Importer(ir.from_proto(model)), [array for array in inputs if array is not None])


def test_activations_go_by_any_case_and_take_parameters_in_order() -> None:
    attributes: dict[str, Any] = {
        "activations": ["hardsigmoid", "LEAKYRELU"],
        "activation_alpha": [0.3, 0.2],
        "activation_beta": [0.4],
    }
    drawn = plain("GRU", **attributes)
    inputs = trimmed(drawn.inputs(3, 2))
    model = node_model("GRU", inputs, 14, drawn.attributes, 2)
    arrays = [array for array in inputs if array is not None]
    compare(run(Importer(ir.from_proto(model)), arrays), answers(model, arrays), 2e-5)


def test_a_wrong_rank_names_the_node() -> None:
    drawn = plain("LSTM")
    inputs = trimmed(drawn.inputs(3, 2))
    inputs[0] = sample((3, 2, 3, 1))
    model = node_model("LSTM", inputs, 14, drawn.attributes, 1)
    with pytest.raises(SourceError, match=r"LSTM-14 on .*x has rank 4"):
        run(Importer(ir.from_proto(model)), [array for array in inputs if array is not None])
