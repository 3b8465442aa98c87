"""Small programs on which each pass shows one of its rules; tests/golden holds what the pass makes of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import ml_dtypes
import numpy as np
import torch

from artifacts.schedule import Engine, Unrolled
from passes.bound_cache import BoundCache
from passes.contract import Pass
from passes.deduplicate_weights import DeduplicateWeights
from passes.derive_kv_cache import DeriveKvCache
from passes.eliminate_common_subexpressions import EliminateCommonSubexpressions
from passes.eliminate_copies import EliminateCopies
from passes.eliminate_dead_code import EliminateDeadCode
from passes.fold_constants import FoldConstants
from passes.fold_scales import FoldScales
from passes.fuse_attention import FuseAttention
from passes.fuse_hard_swish import FuseHardSwish
from passes.lower_precision import LowerPrecision
from passes.move_nan_guards import MoveNanGuards
from passes.pack_projections import PackProjections
from passes.program import Program
from passes.quantize_draft import QuantizeDraft
from passes.quantize_static import QuantizeStatic
from passes.quantize_weights import QuantizeWeights
from passes.split_encoder_decoder import SplitEncoderDecoder
from passes.tabulate_positions import TabulatePositions
from passes.turn_memory import TurnMemory
from passes.two_stage_head import TwoStageHead
from passes.unroll_depthwise import UnrollDepthwise
from tests.support.copy_cases import COPIES
from tests.support.decoder_modules import converted_decoder
from tests.support.decoder_programs import controlled, decoder_program
from tests.support.depthwise_cases import DEPTHWISE
from tests.support.programs import Array, bare, normal, parsed, program_of, traced, without_output

FOLD = FoldConstants(limit=16)
"""With a limit that four float32 reach, so that the weights of the cases can be small."""


@dataclass(frozen=True)
class Case:
    """A pass, and a program to apply it to."""

    step: Pass
    program: Callable[[], Program]


def _of(text: str, **weights: Array) -> Callable[[], Program]:
    """A model that takes x float32 [n, 4], or more of them; n is 3 in the sample."""
    model = parsed(text, **weights)
    return lambda: bare(model, {value.name: normal(3, 4, seed=i) for i, value in enumerate(model.graph.input)})


SQUARE = normal(4, 4)

_PRODUCT = _of("g (float[n, 4] x) => (float[n, 4] y) { y = MatMul (x, w) }", w=SQUARE)


def _two_functions() -> Program:
    text = "g (float[n, 4] x) => (float[n, 4] y) { t = Mul (w, w) y = MatMul (x, t) }"
    x = {"x": normal(3, 4)}
    return bare(parsed(text, w=SQUARE), x, "one").merged(bare(parsed(text, w=SQUARE), x, "other"))


def _unequal_ones(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return torch.full((2,), 1), torch.full((2,), 1.0), torch.full((2,), True), x + 1, x + 1.0


def _random_draws(x: torch.Tensor) -> torch.Tensor:
    return torch.rand_like(x) + torch.rand_like(x) + x.relu() + x.relu()


_FOLD = {
    "nothing_to_do": _PRODUCT,
    "computation_on_a_weight": _of(
        "g (float[n, 4] x) => (float[n, 4] y) { t = Mul (w, w) u = Sqrt (t) y = MatMul (x, u) }", w=SQUARE
    ),
    "weight_with_two_users_stays": _of(
        "g (float[n, 4] x) => (float[n, 4] y) { t = Mul (w, w) z = MatMul (x, w) y = MatMul (z, t) }", w=SQUARE
    ),
    "content_of_two_initializers_stays": _of(
        "g (float[n, 4] x) => (float[n, 4] y) { t = Mul (v, v) z = MatMul (x, w) y = MatMul (z, t) }",
        v=SQUARE,
        w=SQUARE,
    ),
    "content_of_two_functions_stays": _two_functions,
    "weight_that_lost_a_user_goes_next": _of(
        """g (float[n, 4] x) => (float[n, 4] y) {
            t = Mul (w, w)
            least = ReduceMin <keepdims = 0> (w)
            z = MatMul (x, t)
            y = Add (z, least)
        }""",
        w=SQUARE,
    ),
    "transposes_stay": _of(
        "g (float[n, 4] x) => (float[n, 2] y) { t = Transpose <perm = [1, 0]> (w) y = MatMul (x, t) }", w=normal(2, 4)
    ),
    "views_are_references": _of(
        """g (float[n, 4] x) => (float[n, 4] y, float[n, 4] z) {
            square = Constant <value_ints = [4, 4]> ()
            axis = Constant <value_ints = [0]> ()
            flat = Constant <value_ints = [-1]> ()
            a = Reshape (w, square)
            y = MatMul (x, a)
            b = Unsqueeze (b1, axis)
            c = Reshape (b, flat)
            z = Add (y, c)
        }""",
        w=normal(16),
        b1=normal(4),
    ),
    "large_fills_stay": _of(
        """g (float[n, 4] x) => (float[n, 4] y) {
            shape = Constant <value_ints = [5, 4, 4]> ()
            large = ConstantOfShape <value = float[1] {0.5}> (shape)
            row = Constant <value_ints = [4]> ()
            small = ConstantOfShape <value = float[1] {0.25}> (row)
            a = ReduceSum <keepdims = 0> (large)
            b = Mul (x, small)
            y = Add (b, a)
        }"""
    ),
    "widening_casts_stay": _of(
        """g (float[n, 4] x) => (float[n, 4] y) {
            wide = Cast <to = 1> (half)
            z = MatMul (x, wide)
            narrow = Cast <to = 1> (double)
            y = MatMul (z, narrow)
        }""",
        half=SQUARE.astype(ml_dtypes.bfloat16),
        double=normal(4, 4, seed=1).astype(np.float64),
    ),
    "sizes_of_the_input_stay": _of(
        """g (float[n, 4] x) => (float[n] y) {
            n = Shape <start = 0, end = 1> (x)
            y = ConstantOfShape <value = float[1] {0.5}> (n)
        }"""
    ),
    "random_values_stay": lambda: traced(lambda x: x + torch.rand(4), torch.ones(3, 4)),
}

_DEAD_BRANCH = "g (float[n, 4] x) => (float[n, 4] y, float[n, 4] z) { y = Relu (x) a = MatMul (x, w) z = Tanh (a) }"

_DEAD = {
    "nothing_to_do": _PRODUCT,
    "branch_and_its_weight": lambda: without_output(_of(_DEAD_BRANCH, w=SQUARE)(), "z"),
    "weight_that_is_an_output_stays": lambda: without_output(
        _of("g (float[n, 4] x) => (float[4, 4] y, float[n, 4] z) { y = Identity (w) z = MatMul (x, w) }", w=SQUARE)(),
        "z",
    ),
    "unused_input_stays": lambda: without_output(
        _of(
            "g (float[n, 4] x, float[n, 4] other) => (float[n, 4] y, float[n, 4] z) { y = Relu (x) z = Tanh (other) }"
        )(),
        "z",
    ),
    "random_values_without_users_go": lambda: without_output(
        traced(lambda x: (x + 1, torch.rand_like(x)), torch.ones(3, 4)), "y1"
    ),
}

_COMMON = {
    "nothing_to_do": _PRODUCT,
    "chains_of_equal_computations": _of(
        """g (float[n, 4] x) => (float[n, 4] y) {
            a1 = Relu (x)
            a2 = Relu (x)
            b1 = Tanh (a1)
            b2 = Tanh (a2)
            other = Sigmoid (a2)
            c = Mul (b1, b2)
            y = Add (c, other)
        }"""
    ),
    "weights_of_equal_content": _of(
        """g (float[n, 4] x) => (float[n, 4] y) {
            a = MatMul (x, w1)
            t = Transpose <perm = [1, 0]> (w2)
            y = MatMul (a, t)
        }""",
        w1=SQUARE,
        w2=SQUARE,
    ),
    "one_content_in_two_shapes_stays_two": _of(
        "g (float[n, 4] x) => (float[n, 4] y) { a = Add (x, row) y = Add (a, vector) }",
        row=normal(1, 4),
        vector=normal(4),
    ),
    "two_types_of_one_content_stay_two": _of(
        "g (float[n, 4] x) => (float[n, 4] y) { a = Add (x, zeros) i = Cast <to = 1> (integers) y = Add (a, i) }",
        zeros=np.zeros(4, np.float32),
        integers=np.zeros(4, np.uint32),
    ),
    "unequal_ones_stay": lambda: traced(_unequal_ones, torch.ones(2)),
    "zero_and_minus_zero_stay": lambda: traced(
        lambda x: x / torch.full((2,), 0.0) + x / torch.full((2,), -0.0), torch.ones(2)
    ),
    "random_draws_stay": lambda: traced(_random_draws, torch.ones(2)),
}

_SPLIT = {
    "nothing_to_do": _PRODUCT,
    "encoder_of_one_product": lambda: decoder_program("whole"),
    "step_that_is_apart_stays": lambda: decoder_program("recompute"),
    "cross_attention_and_first_state": lambda: converted_decoder("gru"),
}

_CACHE = {
    "nothing_to_do": _PRODUCT,
    "keys_that_are_values_too": lambda: decoder_program("recompute"),
    "step_with_a_cache_stays": lambda: decoder_program("cached"),
    "state_of_a_recurrence": lambda: SplitEncoderDecoder()(converted_decoder("gru")).program,
    "later_tokens_are_seen": lambda: converted_decoder("mean of all"),
}

_TABLES = {
    "nothing_to_do": _PRODUCT,
    "causal_mask_and_position": lambda: DeriveKvCache()(decoder_program("recompute")).program,
    "bias_by_distance": lambda: DeriveKvCache()(converted_decoder("relative")).program,
    "step_that_recomputes_stays": lambda: decoder_program("recompute"),
}

_BOUND = {
    "nothing_to_do": _PRODUCT,
    "rows_that_are_not_there_yet": lambda: (
        TabulatePositions()(DeriveKvCache()(converted_decoder("relative")).program).program
    ),
    "state_of_a_recurrence_stays": lambda: _of_a_recurrence(),  # noqa: PLW0108 - it is made below
    "step_that_recomputes_stays": lambda: decoder_program("recompute"),
}

_ATTENTION = {
    "nothing_to_do": _PRODUCT,
    "heads_that_are_kept": lambda: TabulatePositions()(DeriveKvCache()(converted_decoder("attention")).program).program,
    "keys_without_heads_stay": lambda: DeriveKvCache()(decoder_program("recompute")).program,
}


def _in_an_engine() -> Program:
    return controlled(_of_a_recurrence(), Engine())


def _of_a_recurrence() -> Program:
    return DeriveKvCache()(SplitEncoderDecoder()(converted_decoder("gru")).program).program


def _whole_in_an_engine() -> Program:
    return controlled(_split_attention(), Engine())


def _recurrence_in_an_engine() -> Program:
    return controlled(SplitEncoderDecoder()(converted_decoder("gru")).program, Engine())


def _with_a_window() -> Program:
    return DeriveKvCache(draft=2, least_bytes=0)(_whole_in_an_engine()).program


_DRAFTED = {
    "nothing_to_do": _PRODUCT,
    "step_that_has_a_draft_of_its_own": _with_a_window,
    "step_without_a_window_stays": _in_an_engine,
}

_HEAD = {
    "nothing_to_do": _PRODUCT,
    "hidden_state_and_choice": _in_an_engine,
    "suppressed_tokens_have_a_bias": lambda: controlled(_in_an_engine(), Unrolled(), suppressed=(3, 4)),
    "host_that_chooses_stays": _of_a_recurrence,
}

WIDE = normal(16, 4)


_TIED = """
g (float[n, 16] x) => (float[n, 4] y, float[3, 16] rows) {
    ids = Constant <value_ints = [1, 0, 1]> ()
    rows = Gather (w, ids)
    wt = Transpose <perm = [1, 0]> (w)
    y = MatMul (x, wt)
}
"""

_WEIGHTS = {
    "nothing_to_do": _PRODUCT,
    "matrix_of_a_product": lambda: bare(
        parsed("g (float[n, 16] x) => (float[n, 4] y) { y = MatMul (x, w) }", w=WIDE), {"x": normal(3, 16)}
    ),
    "matrix_of_a_product_and_a_look_up": lambda: bare(parsed(_TIED, w=normal(4, 16)), {"x": normal(3, 16)}),
}


def _split_attention() -> Program:
    return SplitEncoderDecoder()(converted_decoder("attention")).program


_MEMORY = {
    "nothing_to_do": _PRODUCT,
    "keys_of_cross_attention": lambda: DeriveKvCache()(_split_attention()).program,
    "step_without_a_cache_stays": _split_attention,
    "keys_that_are_values_too_stay": lambda: decoder_program("recompute"),
}


def _row(text: str, **weights: Array) -> Callable[[], Program]:
    """A model that takes x float32 [n, 1, 4]; n is 3 in the sample."""
    model = parsed(text, **weights)
    return lambda: bare(model, {"x": normal(3, 1, 4)})


_Q, _K, _V = (normal(4, size, seed=size) for size in (4, 5, 6))

_PACKED = {
    "nothing_to_do": _PRODUCT,
    "queries_keys_and_values": _row(
        """g (float[n, 1, 4] x) => (float[n, 1, 4] q, float[n, 1, 5] k, float[n, 1, 6] v) {
            q1 = MatMul (x, wq)
            q = Add (q1, bq)
            k = MatMul (x, wk)
            v1 = MatMul (x, wv)
            v = Add (bv, v1)
        }""",
        wq=_Q,
        wk=_K,
        wv=_V,
        bq=normal(4),
        bv=normal(6),
    ),
    "no_biases": _row(
        "g (float[n, 1, 4] x) => (float[n, 1, 4] q, float[n, 1, 5] k) { q = MatMul (x, wq) k = MatMul (x, wk) }",
        wq=_Q,
        wk=_K,
    ),
    "matrix_with_two_users_stays": _row(
        """g (float[n, 1, 4] x) => (float[n, 1, 4] q, float[n, 1, 5] k, float[n, 1, 4] again) {
            q = MatMul (x, wq)
            k = MatMul (x, wk)
            again = MatMul (q, wq)
        }""",
        wq=_Q,
        wk=_K,
    ),
    "many_rows_stay": _of(
        "g (float[n, 4] x) => (float[n, 4] q, float[n, 5] k) { q = MatMul (x, wq) k = MatMul (x, wk) }", wq=_Q, wk=_K
    ),
}


def _numbered(text: str) -> Callable[[], Program]:
    """A model that takes x float32 [n, 4] and knows the numbers 3, 6, 0 and a sixth."""
    numbers = {"three": 3, "six": 6, "zero": 0, "sixth": 1 / 6, "five": 5}
    return _of(text, **{name: np.array(number, np.float32) for name, number in numbers.items()})


_HARD_SWISH = {
    "nothing_to_do": _PRODUCT,
    "divided_last": _numbered(
        """g (float[n, 4] x) => (float[n, 4] y) {
            above = Add (x, three)
            gate = Clip (above, zero, six)
            product = Mul (x, gate)
            y = Div (product, six)
        }"""
    ),
    "gate_that_is_scaled": _numbered(
        """g (float[n, 4] x) => (float[n, 4] y) {
            above = Add (three, x)
            six_gates = Clip (above, zero, six)
            gate = Mul (six_gates, sixth)
            y = Mul (gate, x)
        }"""
    ),
    "gate_of_another_value_stays": _numbered(
        """g (float[n, 4] x, float[n, 4] other) => (float[n, 4] y) {
            above = Add (other, three)
            gate = Clip (above, zero, six)
            product = Mul (x, gate)
            y = Div (product, six)
        }"""
    ),
    "other_numbers_stay": _numbered(
        """g (float[n, 4] x) => (float[n, 4] y, float[n, 4] z) {
            above = Add (x, three)
            low = Clip (above, zero, five)
            y1 = Mul (x, low)
            y = Div (y1, six)
            gate = Clip (above, zero, six)
            z1 = Mul (x, gate)
            z = Div (z1, five)
        }"""
    ),
}


def _image(text: str) -> Callable[[], Program]:
    """A model that takes x float32 [n, 2, h, w]; n, h and w are 3, 4 and 5 in the sample."""
    image = "float[n, 2, h, w]"
    weights = {
        "depthwise": normal(2, 1, 3, 3),
        "pointwise": normal(2, 2, 1, 1, seed=1),
        "other": normal(2, 2, 1, 1, seed=2),
        "bias": normal(2, seed=3),
        "number": np.array(1.5, np.float32),
        "numbers": normal(1, 2, 1, 1, seed=4),
        "columns": normal(5, seed=5),
        "mean": normal(2, seed=6),
        "variance": normal(2, seed=7) ** 2 + 1,
    }
    model = parsed(text.format(image=image), **{name: array for name, array in weights.items() if name in text})
    return lambda: bare(model, {"x": normal(3, 2, 4, 5)})


_NORMALISED = _image(
    """g ({image} x) => ({image} y) {{
        a = Conv (x, pointwise)
        y = BatchNormalization (a, bias, mean, mean, variance)
    }}"""
)

_SCALES = {
    "nothing_to_do": _PRODUCT,
    "into_the_convolution_before": _image(
        """g ({image} x) => ({image} y) {{
            a = Conv <pads = [1, 1, 1, 1], group = 2> (x, depthwise)
            b = Mul (number, a)
            c = Sub (b, numbers)
            y = Div (c, number)
        }}"""
    ),
    "into_the_convolution_behind": _image(
        """g ({image} x) => ({image} y) {{
            a = Relu (x)
            b = Mul (a, numbers)
            c = Add (number, b)
            y = Conv (c, pointwise, bias)
        }}"""
    ),
    "scale_of_groups": _image(
        """g ({image} x) => ({image} y) {{
            a = Relu (x)
            b = Div (a, numbers)
            y = Conv <pads = [1, 1, 1, 1], group = 2> (b, depthwise, bias)
        }}"""
    ),
    "shift_before_padding_is_a_normalisation": _image(
        """g ({image} x) => ({image} y) {{
            a = Relu (x)
            b = Mul (a, number)
            c = Add (b, numbers)
            y = Conv <pads = [1, 1, 1, 1], group = 2> (c, depthwise)
        }}"""
    ),
    "batch_normalisation": lambda: FoldConstants()(_NORMALISED()).program,
    "scale_with_two_users": _image(
        """g ({image} x) => ({image} y, {image} z) {{
            a = Conv (x, pointwise)
            b = Mul (a, number)
            c = Relu (b)
            d = Mul (b, numbers)
            y = Conv (d, other)
            z = Add (c, b)
        }}"""
    ),
    "convolution_with_two_users_stays": _image(
        """g ({image} x) => ({image} y, {image} z) {{
            y = Conv (x, pointwise)
            z = Mul (y, number)
        }}"""
    ),
    "kernel_of_two_convolutions": _image(
        """g ({image} x) => ({image} y) {{
            a = Conv (x, pointwise)
            b = Mul (a, number)
            y = Conv (b, pointwise)
        }}"""
    ),
    "scale_of_columns_stays": _image(
        """g ({image} x) => ({image} y) {{
            a = Conv (x, pointwise)
            b = Mul (a, columns)
            y = Conv (b, other)
        }}"""
    ),
}

_NOTHING = _of("g (float[n, 4] x) => (float[n, 4] y) { y = Relu (x) }")

_NORMED = """
    g (float[n, 4] x) => (float[n, 4] y) {
        h = MatMul (x, w)
        last = Constant <value_ints = [-1]> ()
        mean = ReduceMean (h, last)
        d = Sub (h, mean)
        two = Constant <value_float = 2.0> ()
        square = Pow (d, two)
        var = ReduceMean (square, last)
        eps = Constant <value_float = 0.00001> ()
        v = Add (var, eps)
        deviation = Sqrt (v)
        normed = Div (d, deviation)
        scaled = Mul (normed, gain)
        y = MatMul (scaled, head)
    }
"""

_LOW = {
    "nothing_to_do": _NOTHING,
    "one_cast_on_the_way_in_and_one_out": _of(
        "g (float[n, 4] x) => (float[n, 4] y) { a = MatMul (x, w) b = Relu (a) y = MatMul (b, v) }",
        w=SQUARE,
        v=normal(4, 4, seed=1),
    ),
    "normalisation_that_is_written_out_stays": _of(
        _NORMED, w=SQUARE, head=normal(4, 4, seed=1), gain=normal(4, seed=2)
    ),
    "softmax_and_what_leads_to_it_stay": _of(
        """g (float[n, 4] x) => (float[n, 4] y) {
            a = MatMul (x, w)
            half = Constant <value_float = 0.5> ()
            s = Mul (a, half)
            p = Softmax (s)
            y = MatMul (p, v)
        }""",
        w=SQUARE,
        v=normal(4, 4, seed=1),
    ),
    "large_values_stay": lambda: program_of(
        parsed(
            """g (float[n, 4] x) => (float[n, 4] y) {
                a = MatMul (x, w)
                b = Mul (a, c)
                d = Div (b, c)
                y = MatMul (d, w)
            }""",
            w=SQUARE,
            c=np.full(1, 1e5, np.float32),
        ),
        [{"x": normal(3, 4)}],
    ),
    "weight_of_a_sum_stays_one": lambda: bare(
        parsed(
            """g (float[n, 20] x) => (float[n, 20] y, float[n, 20] z, float t) {
                y = MatMul (x, w)
                z = MatMul (y, v)
                t = ReduceSum <keepdims = 0> (w)
            }""",
            w=normal(20, 20),
            v=normal(20, 20, seed=1),
        ),
        {"x": normal(3, 20)},
    ),
    "slots_travel_in_sixteen_bits": lambda: decoder_program("cached"),
}


def _calibrated(text: str, *shape: int, **weights: Array) -> Callable[[], Program]:
    return lambda: program_of(parsed(text, **weights), [{"x": normal(*shape)}])


_STATIC = {
    "nothing_to_do": _NOTHING,
    "product_with_its_bias": _calibrated(
        "g (float[n, 4] x) => (float[n, 4] y) { a = MatMul (x, w) y = Add (a, b) }", 3, 4, w=SQUARE, b=normal(4, seed=1)
    ),
    "convolution_with_its_normalisation_and_relu": _calibrated(
        """g (float[1, 2, 4, 4] x) => (float[1, 3, 2, 2] y) {
            a = Conv (x, w)
            b = BatchNormalization (a, gain, shift, mean, var)
            c = Relu (b)
            d = MaxPool <kernel_shape = [2, 2]> (c)
            y = Conv (d, v)
        }""",
        1,
        2,
        4,
        4,
        w=normal(3, 2, 1, 1),
        v=normal(3, 3, 2, 2, seed=1),
        gain=normal(3, seed=2),
        shift=normal(3, seed=3),
        mean=normal(3, seed=4),
        var=np.abs(normal(3, seed=5)),
    ),
    "product_that_nobody_saw_stays": _PRODUCT,
    "step_and_encoder": lambda: decoder_program("cached"),
}
_STATIC_IN = {
    kind: {f"{case}_in_{kind}": _STATIC[case] for case in _STATIC if case.startswith(("product_with", "convolution"))}
    for kind in ("int8", "float8")
}


def _attending(scores: str, then: str = "y = Identity (o)") -> Callable[[], Program]:
    """Attention of x over itself, whose weights are guarded."""
    text = f"""
    g (float[n, 4] x, float[n, 4] m) => (float[n, 4] y) {{
        xt = Transpose <perm = [1, 0]> (x)
        product = MatMul (x, xt)
        {scores}
        p = Softmax <axis = -1> (s)
        bad = IsNaN (p)
        kept = Where (bad, zero, p)
        o = MatMul (kept, x)
        {then}
    }}
    """
    return _of(text, zero=np.array([0], np.float32), half=np.array(0.5, np.float32))


_HIDDEN_ROW = """
        mt = Transpose <perm = [1, 0]> (m)
        masks = MatMul (m, mt)
        s = Add (product, masks)
"""

_GUARDS = {
    "nothing_to_do": _PRODUCT,
    "scores_without_a_mask": _attending("s = Mul (product, half)"),
    "scores_with_a_mask": _attending(_HIDDEN_ROW),
    "behind_a_turn": _attending(
        _HIDDEN_ROW, "t = Transpose <perm = [1, 0]> (o) r = Transpose <perm = [1, 0]> (t) y = Relu (r)"
    ),
    "weights_that_are_a_result_too_stay": _attending(_HIDDEN_ROW, "k = ReduceSum (kept) y = Add (o, k)"),
}

_TABLE = normal(6, 4)
_TWO_PRODUCTS = """g (float[n, 4] x) => (float[n, 6] y, float[n, 3] z) {
    y = Gemm <transB = 1> (x, w)
    z = Gemm <transB = 1> (x, v)
}"""
_HALVES = normal(4, 4).astype(np.float16)

_CASTS = _of(
    "g (float[n, 4] x) => (float[n, 4] y) { v = Cast <to = 1> (half) z = MatMul (x, v) y = MatMul (z, w) }",
    half=_HALVES,
    w=_HALVES.astype(np.float32),
)

_DEDUPLICATED = {
    "nothing_to_do": _PRODUCT,
    "rows_of_a_table": _of(
        _TWO_PRODUCTS,
        w=_TABLE,
        v=_TABLE[2:5],
    ),
    "elements_that_are_no_rows": _of(
        "g (float[n, 4] x) => (float[n, 6] y, float[n, 4] z) { y = Gemm <transB = 1> (x, w) z = Mul (x, v) }",
        w=_TABLE,
        v=_TABLE.reshape(-1)[5:9],
    ),
    "rows_of_a_table_but_one_element_stay": _of(
        _TWO_PRODUCTS,
        w=_TABLE,
        v=np.concatenate([_TABLE[2:4], _TABLE[4:5] + np.float32(1e-6)]),
    ),
    "transpose_of_a_matrix_whose_rows_are_read": _of(
        """g (float[n, 4] x) => (float[n, 6] y, float[4] z) {
            y = MatMul (x, w)
            z = ReduceSum <keepdims = 0> (v, first)
        }""",
        w=_TABLE.T.copy(),
        v=_TABLE,
        first=np.array([0]),
    ),
    "transpose_with_a_bias": _of(
        "g (float[n, 4] x) => (float[n, 6] y, float[n, 4] z) { y = Gemm (x, w, b) z = MatMul (y, v) }",
        w=_TABLE.T.copy(),
        b=normal(6, seed=1),
        v=_TABLE,
    ),
    "transpose_that_was_turned": _of(
        """g (float[n, 4] x) => (float[n, 6] y, float[n, 4] z) {
            y = Gemm <transB = 1> (x, w, b)
            t = Transpose <perm = [1, 0]> (v)
            z = MatMul (y, t)
        }""",
        w=_TABLE,
        b=normal(6, seed=1),
        v=_TABLE.T.copy(),
    ),
    "transposes_whose_rows_are_both_read_stay": _of(
        """g (float[n, 4] x) => (float[n, 4] y, float[6] z) {
            sums = ReduceSum <keepdims = 0> (v, first)
            y = Add (x, sums)
            z = ReduceSum <keepdims = 0> (w, first)
        }""",
        w=_TABLE.T.copy(),
        v=_TABLE,
        first=np.array([0]),
    ),
    "exact_cast_is_told": _CASTS,
}

CASES: Mapping[str, Case] = {
    f"{step.name}/{name}": Case(step, program)
    for step, programs in (
        (FOLD, _FOLD),
        (EliminateDeadCode(), _DEAD),
        (EliminateCommonSubexpressions(), _COMMON),
        (SplitEncoderDecoder(), _SPLIT),
        (DeriveKvCache(), _CACHE),
        (DeriveKvCache(draft=2, least_bytes=0), {"window": _whole_in_an_engine, "no_window": _recurrence_in_an_engine}),
        (TabulatePositions(), _TABLES),
        (BoundCache(), _BOUND),
        (FuseHardSwish(), _HARD_SWISH),
        (FoldScales(), _SCALES),
        (UnrollDepthwise(places=9), DEPTHWISE),
        (MoveNanGuards(), _GUARDS),
        (TurnMemory(), _MEMORY),
        (FuseAttention(), _ATTENTION),
        (PackProjections(), _PACKED),
        (TwoStageHead(least_bytes=0), _HEAD),
        (QuantizeDraft(block=16, least=32), _DRAFTED),
        (QuantizeWeights(block=16, least=32), _WEIGHTS),
        (LowerPrecision(), _LOW),
        (QuantizeStatic(), _STATIC),
        (QuantizeStatic(codes="int8"), _STATIC_IN["int8"]),
        (QuantizeStatic(codes="float8_e4m3fn"), _STATIC_IN["float8"]),
        (DeduplicateWeights(least=8), _DEDUPLICATED),
        (DeduplicateWeights(least=8, merge_casts=True), {"exact_cast_is_merged": _CASTS}),
        (EliminateCopies(), COPIES),
    )
    for name, program in programs.items()
}
