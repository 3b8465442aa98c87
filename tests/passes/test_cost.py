from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import sympy
import torch
from torch.utils.flop_counter import FlopCounterMode

from artifacts.errors import PassError
from artifacts.report import Work
from artifacts.samples import read_arrays
from artifacts.weights import WeightStore
from passes.cost import bound_sizes, function_cost, is_instruction
from passes.derive_kv_cache import DeriveKvCache
from passes.dialect import GRU, LSTM, RNN, gru, lstm, rnn
from passes.fuse_attention import FuseAttention
from passes.interpreter import run_function
from passes.onnx_to_torch.convert import convert
from passes.onnx_to_torch.source import load_source
from passes.program import Function
from passes.subgraphs import is_branching
from passes.tabulate_positions import TabulatePositions
from passes.torch_dtypes import from_numpy
from tests.support.decoder_modules import converted_decoder
from tests.support.looping import LOOPS
from tests.support.models import DATA, EXPORTS
from tests.support.programs import PROGRAMS, Array, converted, normal, parsed


def counted_run(function: Function, weights: WeightStore, inputs: Mapping[str, Array]) -> tuple[int, int]:
    """Flops and instructions of a run, each as it happens: torch counts the products that reach its kernels."""
    instructions = 0

    def observe(node: torch.fx.Node, value: object) -> None:
        nonlocal instructions
        instructions += is_instruction(node, value)

    tensors = [from_numpy(inputs[spec.name], spec.dtype) for spec in function.signature.inputs]
    kernels = {
        operator.overloadpacket: _inside(kernel)
        for operator, kernel in ((GRU, gru.gru), (LSTM, lstm.lstm), (RNN, rnn.rnn))
    }
    with FlopCounterMode(display=False, custom_mapping=kernels) as counter:
        run_function(function, weights, tensors, observe)
    return int(counter.get_total_flops()), instructions


def _inside(operator: Any) -> Any:
    """Flops of a recurrence: torch looks into no operator of ours, so its kernel is run under a counter of its own."""

    def flops(*arguments: object, out_val: object, **options: object) -> int:
        del out_val
        with FlopCounterMode(display=False) as counter:
            operator._init_fn(*arguments, **options)
        return int(counter.get_total_flops())

    flops._get_raw = True  # type: ignore[attr-defined]  # torch's sign for "give me tensors, not shapes"
    return flops


def work(function: Function, inputs: Mapping[str, Array]) -> Work:
    sizes = bound_sizes(function, {name: array.shape for name, array in inputs.items()})
    return function_cost(function).at(sizes).work()


@pytest.mark.parametrize("export", EXPORTS)
def test_exports_cost_what_a_run_counts(export: str) -> None:
    source, known = load_source(DATA / f"{export}.onnx"), read_arrays((DATA / export).parent / "test_io.npz")
    inputs = {value.name or "": known[value.name or ""] for value in source.model.graph.inputs}
    found = convert(source, "main", inputs)
    larger = {name: np.concatenate([array, array, array]) for name, array in inputs.items()}
    for given in (inputs, larger):
        expected = counted_run(found.function, found.weights, given)
        assert expected[0] > 1_000_000
        assert (work(found.function, given).flops, work(found.function, given).instructions) == expected


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_cost_what_a_run_counts(name: str) -> None:
    program = PROGRAMS[name]()
    for model in program.models.values():
        function = program.functions[model.schedule.functions[0]]
        for sample in model.samples:
            flops, instructions = counted_run(function, program.weights, sample.inputs)
            found = work(function, sample.inputs)
            assert found.flops == flops, "torch too counts the dearer branch"
            # Of branches a run takes one, and what it does inside is not observed.
            branching = any(is_branching(node) for node in function.computations)
            assert found.instructions > instructions if branching else found.instructions == instructions


@pytest.mark.parametrize(
    ("nodes", "result"),
    [
        ("y = GRU <hidden_size = 5> (x, w, r)", 3),
        ("y = LSTM <hidden_size = 5> (x, w, r)", 4),
        ("y = RNN <hidden_size = 5> (x, w, r)", 1),
        ('y = GRU <hidden_size = 5, direction = "bidirectional", linear_before_reset = 1> (x, w, r)', 3),
    ],
)
def test_recurrences_cost_what_their_kernels_count(nodes: str, result: int) -> None:
    directions = 2 if "bidirectional" in nodes else 1
    weights = {"w": normal(directions, 5 * result, 6), "r": normal(directions, 5 * result, 5)}
    model = parsed(f"g (float[time, batch, 6] x) => (float[time, d, batch, 5] y) {{ {nodes} }}", **weights)
    inputs = {"x": normal(7, 3, 6)}
    found = converted(model, inputs)
    assert work(found.function, inputs).flops == 2 * directions * 7 * 3 * 5 * result * (6 + 5)
    assert work(found.function, inputs).flops == counted_run(found.function, found.weights, inputs)[0]


@pytest.mark.parametrize(
    ("nodes", "shape", "weight", "flops"),
    [
        ("y = Conv <group = 2, strides = [2, 1]> (x, w)", (3, 4, 9, 8), (6, 2, 3, 2), 2 * (3 * 6 * 4 * 7) * 2 * 3 * 2),
        ("y = ConvTranspose <group = 2> (x, w)", (3, 4, 5, 6), (4, 3, 3, 2), 2 * (3 * 4 * 5 * 6) * 3 * 3 * 2),
        ('y = Einsum <equation = "bijk,kl->bil"> (x, w)', (3, 4, 5, 6), (6, 7), 2 * 3 * 4 * 5 * 6 * 7),
        ("y = MatMul (x, w)", (3, 4, 5, 6), (6, 7), 2 * 3 * 4 * 5 * 6 * 7),
    ],
)
def test_products_by_hand(nodes: str, shape: tuple[int, ...], weight: tuple[int, ...], flops: int) -> None:
    dims = ", ".join(["batch", *map(str, shape[1:])])
    out = "a, b, c" if "Einsum" in nodes else "a, b, c, d"
    model = parsed(f"g (float[{dims}] x) => (float[{out}] y) {{ {nodes} }}", w=normal(*weight))
    inputs = {"x": normal(*shape)}
    found = converted(model, inputs)
    assert work(found.function, inputs).flops == flops


def test_attention_over_a_cache_costs_both_products_with_every_key() -> None:
    derived = TabulatePositions()(DeriveKvCache()(converted_decoder("attention")).program).program
    apart, fused = (function_cost(p.functions["decoder"]) for p in (derived, FuseAttention()(derived).program))
    assert fused.flops == apart.flops
    assert fused.instructions < apart.instructions


def test_a_loop_costs_its_body_as_often_as_it_runs() -> None:
    """One product of [n, 3] with [3, 3] in each of n iterations, where sizes tell how many there are."""
    text = (
        LOOPS["counted"]
        .text.replace("int64 count) =>", "int64 other) =>")
        .replace(
            "last, all", "first = Constant <value_int = 0> () shape = Shape (x) count = Gather (shape, first) last, all"
        )
    )
    inputs = {"x": normal(4, 3), "other": np.array(3)}
    function = converted(parsed(text), inputs).function
    assert work(function, {"x": normal(5, 3)}).flops == 2 * 5 * (5 * 3 * 3)
    assert work(function, {"x": normal(5, 3)}).weight_bytes == 4 * 3 * 3


def test_what_a_loop_costs_is_not_known_if_the_data_tells_how_often_it_runs() -> None:
    case = LOOPS["counted"]
    function = converted(case.model, case.requests[0]).function
    with pytest.raises(PassError, match="iterations of unspool_loop: is not known"):
        work(function, case.requests[0])


def test_the_expression_is_over_the_sizes_that_are_open() -> None:
    """softmax(x x^T) of x [batch, t, 6]: a product of 2 * 6 for each of t * t pairs, and as many elements twice."""
    text = """g (float[batch, t, 6] x) => (float[batch, t, t] y) {
        turned = Transpose <perm = [0, 2, 1]> (x)
        scores = MatMul (x, turned)
        y = Softmax (scores)
    }"""
    function = converted(parsed(text), {"x": normal(2, 3, 6)}).function
    batch, time = bound_sizes(function, {"x": (2, 3, 6)})
    cost = function_cost(function)
    assert sympy.expand(cost.flops - 12 * batch * time**2) == 0
    assert sympy.expand(cost.elements - batch * time**2) == 0, "a transpose computes nothing"
    assert cost.instructions == 3
    assert cost.at({batch: 4}).flops == 48 * time**2
    with pytest.raises(PassError, match="is not known"):
        cost.at({batch: 4}).work()


def test_a_table_is_read_by_the_row_and_other_weights_whole() -> None:
    text = """g (int64[n] ids) => (float[n, 3] y) {
        rows = Gather (table, ids)
        y = MatMul (rows, w)
    }"""
    inputs = {"ids": np.array([1, 5])}
    function = converted(parsed(text, table=normal(100, 4), w=normal(4, 3)), inputs).function
    assert work(function, inputs).weight_bytes == 4 * (2 * 4 + 4 * 3)
