from __future__ import annotations

import numpy as np
import onnx.parser
import onnx_ir as ir
import pytest

from artifacts.errors import UnsupportedError
from passes.onnx_to_torch.importer import Importer
from tests.support.onnx_ops import Array, check_model, compare, export, run, sample

ALL = [11, 13, 16, 19, 21, 23, 24, 25]


def model_of(body: str, inputs: str, outputs: str, since: int = 21) -> onnx.ModelProto:
    return onnx.parser.parse_model(f"""
        <ir_version: 11, opset_import: ["": {since}]>
        graph ({inputs}) => ({outputs}) {{ {body} }}
    """)


IF = """
    y = If (condition) <
        then_branch = then () => (float[m] t) { t = Add(x, x) },
        else_branch = otherwise () => (float[m] e) { e = Neg(x) }
    >
"""


@pytest.mark.parametrize("since", [1, *ALL])
@pytest.mark.parametrize("value", [0, 1])
def test_a_known_condition_chooses(since: int, value: int) -> None:
    body = f"condition = Constant<value = bool {{{value}}}>() {IF}"
    if since == 1:
        body = body.replace("Add(x, x)", "Abs(x)").replace("Neg(x)", "Exp(x)")
    data = sample((3,))
    then, otherwise = (data + data, -data) if since > 1 else (np.abs(data), np.exp(data))
    check_model(model_of(body, "float[n] x", "float[m] y", since), [data], expected=[then if value else otherwise])


def test_a_condition_that_holds_for_all_sizes_chooses() -> None:
    """What tracing leaves of `if x.dim() == 2` and the like."""
    body = f"""
        rank = Constant<value = int64 {{2}}>()
        shape = Shape(x)
        dims = Size(shape)
        condition = Equal(dims, rank)
        {IF}
    """
    check_model(model_of(body, "float[n, m] x", "float[k] y"), [sample((2, 3))], symbolic=[sample((4, 5))])


@pytest.mark.parametrize(
    ("inputs", "condition"),
    [
        ("float[n] x, bool given", "condition = Identity(given)"),
        ("float[n] x, bool given", "six = Constant<value = int64 {6}>() n = Size(x) condition = Greater(n, six)"),
    ],
)
def test_a_condition_on_data_or_on_sizes_is_refused(inputs: str, condition: str) -> None:
    importer = Importer(ir.from_proto(model_of(condition + IF, inputs, "float[m] y")))
    arrays = [sample((4,)), np.array(True)]
    with pytest.raises(UnsupportedError, match="condition depends on sizes or on data"):
        export(importer, arrays, [sample((9,)), np.array(True)])


def loop(count: str = "", condition: str = "", keep: str = "going", extra: str = "") -> str:
    """Doubles `x` and collects it, each time plus the number of the iteration."""
    return f"""
        three = Constant<value = int64 {{3}}>()
        none = Constant<value = int64 {{0}}>()
        true = Constant<value = bool {{1}}>()
        false = Constant<value = bool {{0}}>()
        last, all = Loop ({count}, {condition}, x) <
            body = step (int64 i, bool going, float[n] carried) => (bool keep, float[n] doubled, float[n] seen) {{
                {extra}
                keep = Identity({keep})
                number = Cast<to = 1>(i)
                doubled = Add(carried, carried)
                seen = Add(carried, number)
            }}
        >
    """


OUTPUTS = "float[n] last, float[m, n] all"


def expected_of(data: Array, steps: int) -> list[Array]:
    rows = [data * 2**step + np.float32(step) for step in range(steps)]
    return [data * 2**steps, np.stack(rows) if rows else np.zeros((0, *data.shape), np.float32)]


@pytest.mark.parametrize("since", ALL)
@pytest.mark.parametrize("condition", ["", "true"])
def test_a_known_number_of_iterations_is_unrolled(since: int, condition: str) -> None:
    model = model_of(loop("three", condition), "float[2] x", OUTPUTS, since)
    data = sample((2,))
    check_model(model, [data], expected=expected_of(data, 3))


def test_unrolled_iterations_follow_the_size() -> None:
    model = model_of(loop("three", "true"), "float[n] x", OUTPUTS)
    check_model(model, [sample((3,))], symbolic=[sample((5,))])


@pytest.mark.parametrize(("count", "condition"), [("none", "true"), ("three", "false"), ("none", "")])
def test_no_iteration(count: str, condition: str) -> None:
    body = loop(count, condition).replace("float[n] seen", "float[2] seen")
    data = sample((2,))
    check_model(model_of(body, "float[2] x", OUTPUTS), [data], expected=expected_of(data, 0))


def test_no_iteration_of_unknown_shape_is_refused() -> None:
    model = model_of(loop("none", "true"), "float[n] x", OUTPUTS)
    with pytest.raises(UnsupportedError, match="no iteration"):
        run(Importer(ir.from_proto(model)), [sample((2,))])


def test_the_body_may_end_the_loop() -> None:
    extra = "two = Constant<value = int64 {2}>() more = Less(i, two)"
    data = sample((2,))
    for count in ("", "three"):
        model = model_of(loop(count, "true", keep="more", extra=extra), "float[2] x", OUTPUTS)
        check_model(model, [data], expected=expected_of(data, 3))


def test_without_a_condition_the_bodys_is_ignored() -> None:
    extra = "no = Constant<value = bool {0}>()"
    data = sample((2,))
    model = model_of(loop("three", "", keep="no", extra=extra), "float[2] x", OUTPUTS)
    check_model(model, [data], expected=expected_of(data, 3))


def test_an_endless_loop_is_refused() -> None:
    model = model_of(loop("", "true"), "float[2] x", OUTPUTS)
    with pytest.raises(UnsupportedError, match="more than 1024"):
        run(Importer(ir.from_proto(model)), [np.zeros(2, np.float32)])


def test_a_number_of_iterations_that_is_a_size_is_refused() -> None:
    body = "count = Size(x)" + loop("count", "true")
    importer = Importer(ir.from_proto(model_of(body, "float[n] x", OUTPUTS)))
    with pytest.raises(UnsupportedError, match="number of iterations"):
        export(importer, [sample((3,))], [sample((4,))])


SCAN = """
    final, sums = Scan (start, rows) <
        num_scan_inputs = 1 %s,
        body = step (float[k] total, float[k] row) => (float[k] next, float[k] seen) {
            next = Add(total, row)
            seen = Identity(next)
        }
    >
"""


@pytest.mark.parametrize("since", [9, *ALL])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("backward", [0, 1])
@pytest.mark.parametrize("out_axis", [0, 1])
def test_scan(since: int, axis: int, backward: int, out_axis: int) -> None:
    options = (
        f", scan_input_axes = [{axis}], scan_input_directions = [{backward}]"
        f", scan_output_axes = [{out_axis}], scan_output_directions = [{backward}]"
    )
    model = model_of(SCAN % options, "float[4] start, float[n, m] rows", "float[k] final, float[p, q] sums", since)
    start, rows = sample((4,)), sample((4, 4), seed=1)
    ordered = np.moveaxis(rows, axis, 0)[:: -1 if backward else 1]
    sums = start + np.cumsum(ordered, 0)
    collected = np.moveaxis(sums[:: -1 if backward else 1], 0, out_axis)
    check_model(model, [start, rows], expected=[sums[-1], collected])


def test_scan_of_version_8_has_a_batch() -> None:
    model = model_of(
        SCAN.replace("(start, rows)", '("", start, rows)') % ", directions = [1]",
        "float[b, k] start, float[b, n, k] rows",
        "float[b, k] final, float[b, n, k] sums",
        8,
    )
    start, rows = sample((2, 3)), sample((2, 4, 3), seed=1)
    sums = start[:, None] + np.cumsum(rows[:, ::-1], 1)
    check_model(model, [start, rows], expected=[sums[:, -1], sums])


def test_scan_over_a_size_that_is_not_fixed_is_refused() -> None:
    model = model_of(SCAN % "", "float[k] start, float[n, k] rows", "float[k] final, float[n, k] sums")
    importer = Importer(ir.from_proto(model))
    arrays = [sample((3,)), sample((4, 3))]
    with pytest.raises(UnsupportedError, match="not fixed"):
        export(importer, arrays, [sample((3,)), sample((6, 3))])
    compare(run(importer, arrays)[:1], [arrays[0] + arrays[1].sum(0)])
