from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx.parser
import onnx_ir as ir
import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifacts.errors import SourceError, UnsupportedError
from passes.onnx_to_torch.importer import Importer
from tests.support.branching import REQUESTS, branching_inputs, branching_model
from tests.support.looping import LOOPS
from tests.support.onnx_ops import FEW, Array, check_model, compare, export, run, sample
from tests.support.onnxruntime_models import answers

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


def exported_answers(
    model: onnx.ModelProto, arrays: Sequence[Array], others: Sequence[Array], *requests: Sequence[Array]
) -> None:
    """Export with what differs between `arrays` and `others` dynamic, and compare with ONNX Runtime on requests."""
    program = export(Importer(ir.from_proto(model)), arrays, others).module(check_guards=False)
    for request in requests:
        compare(run(program, request), answers(model, request))


def test_a_condition_on_data_takes_its_branch_at_run_time() -> None:
    model = model_of("condition = Identity(given)" + IF, "float[n] x, bool given", "float[m] y")
    arrays, others = ([sample((size,)), np.array(True)] for size in (4, 9))
    requests = [[sample((size,)), np.array(value)] for size in (4, 1, 9) for value in (True, False)]
    exported_answers(model, arrays, others, *requests)


def test_a_condition_of_one_element_may_have_a_rank() -> None:
    model = model_of("condition = Identity(given)" + IF, "float[n] x, bool[1] given", "float[m] y")
    arrays, others = ([sample((size,)), np.array([True])] for size in (4, 9))
    exported_answers(model, arrays, others, arrays, [sample((3,)), np.array([False])])


@pytest.mark.parametrize("size", [4, 9])
def test_a_condition_on_sizes_takes_its_branch_at_run_time(size: int) -> None:
    body = "six = Constant<value = int64 {6}>() n = Size(x) condition = Greater(n, six)" + IF
    model = model_of(body, "float[n] x", "float[m] y")
    exported_answers(model, [sample((size,))], [sample((5,))], *[[sample((n,))] for n in (2, 6, 7, 12)])


def test_branches_see_the_graph_around_them() -> None:
    arrays, others = ([*branching_inputs(rows, True, True).values()] for rows in (4, 6))
    requests = [[*branching_inputs(*request).values()] for request in REQUESTS]
    exported_answers(branching_model(), arrays, others, *requests)


LAST_IS_ONE = """
    one = Constant<value = int64 {1}>()
    last_axis = Constant<value = int64 {2}>()
    shape = Shape(narrow)
    last = Gather(shape, last_axis)
    condition = Equal(last, one)
"""

SQUEEZE = f"""
    axes = Constant<value = int64[1] {{2}}>()
    narrow = AveragePool<kernel_shape = [3], strides = [3]>(x)
    {LAST_IS_ONE}
    squeezed = If (condition) <
        then_branch = then () => (float[a, b] t) {{ t = Squeeze(narrow, axes) }},
        else_branch = otherwise () => (float[a, b, c] e) {{ e = Identity(narrow) }}
    >
"""
"""What torch.onnx writes for a squeeze: an axis of size 1 goes, any other stays."""


def test_of_unlike_branches_the_samples_one_is_followed_and_required() -> None:
    model = model_of(SQUEEZE + "y = Neg(squeezed)", "float[n, 2, m] x", "float[a, b] y")
    program = export(Importer(ir.from_proto(model)), [sample((2, 2, 4))], [sample((3, 2, 5))])
    module = program.module(check_guards=False)
    for shape in ((2, 2, 4), (5, 2, 3), (1, 2, 5)):
        compare(run(module, [sample(shape)]), answers(model, [sample(shape)]))
    with pytest.raises(RuntimeError, match="does not hold"):
        run(module, [sample((2, 2, 6))])


def test_inside_a_branch_that_the_sample_does_not_take_the_other_way_is_found() -> None:
    """As in silero_vad, whose branch for another sampling rate cannot take the sample's sizes at all.

    Gemm takes the squeezed tensor only; the sample's own sizes lead to the other one.
    """
    body = f"""
        y = If (given) <
            then_branch = yes () => (float[a, b, c] p) {{ p = Identity(x) }},
            else_branch = no () => (float[a, b, c] q) {{
                {SQUEEZE}
                weight = Constant<value = float[2, 2] {{1, 2, 3, 4}}>()
                product = Gemm(squeezed, weight)
                q = Unsqueeze(product, axes)
            }}
        >
    """
    model = model_of(body, "float[n, 2, m] x, bool given", "float[a, b, c] y")
    arrays, others = ([sample((n, 2, size)), np.array(True)] for n, size in ((2, 9), (4, 12)))
    module = export(Importer(ir.from_proto(model)), arrays, others).module(check_guards=False)
    for size, value in ((9, True), (4, True), (4, False), (5, False)):
        request = [sample((3, 2, size)), np.array(value)]
        compare(run(module, request), answers(model, request))
    with pytest.raises(RuntimeError, match="does not hold"):
        run(module, [sample((2, 2, 9)), np.array(False)])


def test_two_sizes_that_a_branch_shows_to_be_one_are_given_to_it_once() -> None:
    """As in silero_vad without its outer If: only inside do the sound and the state turn out to be of one batch."""
    body = """
        y = If (given) <
            then_branch = yes () => (float[a, b] p) { p = Concat<axis = 1>(x, state) },
            else_branch = no () => (float[a, b] q) { q = Concat<axis = 1>(state, x) }
        >
    """
    model = model_of(body, "float[n, 3] x, float[m, 2] state, bool given", "float[a, b] y")
    arrays, others = ([sample((n, 3)), sample((n, 2)), np.array(True)] for n in (2, 4))
    requests = [[sample((n, 3)), sample((n, 2)), np.array(value)] for n in (2, 1, 5) for value in (True, False)]
    exported_answers(model, arrays, others, *requests)


def test_unlike_branches_of_a_condition_on_data_are_refused() -> None:
    body = "condition = Identity(given)" + IF.replace("e = Neg(x)", "e = Unsqueeze(x, axis)")
    model = model_of("axis = Constant<value = int64[1] {0}>()" + body, "float[n] x, bool given", "float[m] y")
    arrays = [sample((4,)), np.array(True)]
    with pytest.raises(UnsupportedError, match="branches' results differ in type or rank"):
        export(Importer(ir.from_proto(model)), arrays, [sample((9,)), np.array(True)])


def test_a_branch_that_fails_names_its_node() -> None:
    body = "condition = Identity(given)" + IF.replace(
        "e = Neg(x)", "five = Constant<value = float[5] {1,1,1,1,1}>() e = Add(x, five)"
    )
    model = model_of(body, "float[4] x, bool given", "float[m] y")
    arrays = [sample((4,)), np.array(True)]
    with pytest.raises(SourceError, match="Add:e"):
        export(Importer(ir.from_proto(model)), arrays, arrays)


def test_what_holds_for_the_sample_alone_decides_nothing() -> None:
    """torch notices on its way that the pooled size is 1; at other sizes it is not."""
    body = f"""
        pooled = AveragePool<kernel_shape = [3], strides = [3]>(x)
        kernel = Constant<value = float[2, 2, 1] {{1, 2, 3, 4}}>()
        narrow = Conv(pooled, kernel)
        {LAST_IS_ONE}
        y = If (condition) <
            then_branch = then () => (float[a, b, c] t) {{ t = Neg(narrow) }},
            else_branch = otherwise () => (float[a, b, c] e) {{ e = Exp(narrow) }}
        >
    """
    model = model_of(body, "float[n, 2, m] x", "float[a, b, c] y")
    for size in (4, 7):
        exported_answers(
            model, [sample((2, 2, size))], [sample((3, 2, 9))], *[[sample((2, 2, n))] for n in (3, 5, 6, 11)]
        )


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


@pytest.mark.parametrize("since", ALL)
@pytest.mark.parametrize("condition", ["", "true", "small"])
def test_a_number_of_iterations_that_is_a_size(since: int, condition: str) -> None:
    extra = "limit = Constant<value = float {50}>() largest = ReduceMax<keepdims = 0>(x) small = Less(largest, limit)"
    body = f"count = Size(x) {extra if condition == 'small' else ''}" + loop("count", condition)
    requests = [[sample((size,))] for size in (3, 1, 5)]
    exported_answers(model_of(body, "float[n] x", OUTPUTS, since), requests[0], [sample((4,))], *requests)


@pytest.mark.parametrize("name", LOOPS)
def test_loops_that_only_the_request_counts(name: str) -> None:
    case = LOOPS[name]
    requests = [[*request.values()] for request in case.requests]
    others = [*case.request(7, 9).values()]
    exported_answers(case.model, requests[0], others, *requests)
    for request in (request for request in case.requests if request.get("count", 1)):
        arrays = [*request.values()]
        compare(run(Importer(ir.from_proto(case.model)), arrays), answers(case.model, arrays))


@st.composite
def drawn_loops(draw: st.DrawFn) -> onnx.ModelProto:
    """A loop that carries matrices, of which some grow along an axis, some change, and some stay as they are.

    It collects one of those that do not grow and the number, and ends early, if it has a say in it, at an input.
    """
    kinds = draw(st.lists(st.sampled_from(["rows", "columns", "turned", "same"]), min_size=1, max_size=3))
    steps = {
        "rows": "b{0} = Concat<axis = 0>(a{0}, {1})",
        "columns": "b{0} = Concat<axis = 1>(a{0}, {1})",
        "turned": "b{0} = Mul(a{0}, factor)",
        "same": "b{0} = Identity(a{0})",
    }
    operand = {"rows": "row", "columns": "column"}
    lines = [steps[kind].format(i, operand.get(kind, "")) for i, kind in enumerate(kinds)]
    still = [i for i, kind in enumerate(kinds) if kind in ("turned", "same")]
    collected = f"row_out = Add(b{draw(st.sampled_from(still))}, factor)" if still else "row_out = Identity(factor)"
    rank = 2 if still else 0
    condition = draw(st.sampled_from(["", "true", "first"]))
    keep = "Less(i, last)" if condition == "first" else "Identity(going)"
    carried = ", ".join(f"float[n, m] a{i}" for i in range(len(kinds)))
    results = ", ".join(f"float[p{i}, q{i}] b{i}" for i in range(len(kinds)))
    outputs = ", ".join(f"y{i}" for i in range(len(kinds)))
    shape = {0: "float", 2: "float[n, m]"}[rank]
    body = f"""
        true = Constant<value = bool {{1}}>()
        zero = Constant<value = int64[1] {{0}}>()
        one = Constant<value = int64[1] {{1}}>()
        first = Identity(given)
        row = ReduceSum<keepdims = 1>(x, zero)
        column = ReduceSum<keepdims = 1>(x, one)
        {outputs}, all, numbers = Loop (count, {condition}, {", ".join("x" for _ in kinds)}) <
            body = step (int64 i, bool going, {carried}) => (bool keep, {results}, {shape} row_out, int64 number) {{
                keep = {keep}
                float_i = Cast<to = 1>(i)
                half = Constant<value = float {{0.5}}>()
                factor = Sub(float_i, half)
                {" ".join(lines)}
                {collected}
                number = Identity(i)
            }}
        >
    """
    declared = ", ".join(f"float[u{i}, v{i}] y{i}" for i in range(len(kinds)))
    more = {0: "float[k] all", 2: "float[k, n, m] all"}[rank]
    inputs = "float[n, m] x, int64 count, int64 last, bool given"
    return model_of(body, inputs, f"{declared}, {more}, int64[k] numbers")


@FEW
@given(drawn_loops())
def test_drawn_loops(model: onnx.ModelProto) -> None:
    def request(rows: int, columns: int, count: int, last: int, begins: bool = True) -> list[Array]:
        return [sample((rows, columns)), np.array(count), np.array(last), np.array(begins)]

    requests = [request(4, 3, 3, 5), request(2, 5, 6, 2), request(1, 1, 4, 0), request(3, 3, 2, 2, begins=False)]
    exported_answers(model, requests[0], request(5, 2, 9, 9), *requests)


def test_a_sequence_that_grows_in_a_loop_is_refused_unless_the_number_of_iterations_is_known() -> None:
    body = """
        none = SequenceEmpty()
        three = Constant<value = int64 {3}>()
        items = Loop (COUNT, , none) <
            body = step (int64 i, bool going, seq(float[n]) before) => (bool keep, seq(float[n]) after) {
                keep = Identity(going)
                after = SequenceInsert(before, x)
            }
        >
        y = ConcatFromSequence<axis = 0>(items)
    """
    arrays = [sample((3,)), np.array(3)]
    known = model_of(body.replace("COUNT", "three"), "float[n] x, int64 count", "float[m] y")
    exported_answers(known, arrays, [sample((4,)), np.array(3)], arrays)
    unknown = model_of(body.replace("COUNT", "count"), "float[n] x, int64 count", "float[m] y")
    with pytest.raises(UnsupportedError, match="a sequence among what it carries"):
        export(Importer(ir.from_proto(unknown)), arrays, arrays)


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


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("backward", [0, 1])
@pytest.mark.parametrize("out_axis", [0, 1, -1])
def test_scan_over_a_size_that_is_not_fixed(axis: int, backward: int, out_axis: int) -> None:
    options = (
        f", scan_input_axes = [{axis}], scan_input_directions = [{backward}]"
        f", scan_output_axes = [{out_axis}], scan_output_directions = [{1 - backward}]"
    )
    model = model_of(SCAN % options, "float[k] start, float[n, m] rows", "float[k] final, float[p, q] sums")

    def request(length: int, width: int) -> list[Array]:
        return [sample((width,)), sample((width, length) if axis else (length, width), seed=1)]

    exported_answers(model, request(4, 3), request(6, 5), request(4, 3), request(7, 2), request(1, 1))
