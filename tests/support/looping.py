"""Models with loops whose iterations only the data or the sizes of a request tell."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx.compose
import onnx.parser

from tests.support.models import DATA

Array = npt.NDArray[Any]
Request = Mapping[str, Array]

_HEADER = '<ir_version: 10, opset_import: ["": 21]>'
_MOST = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Looping:
    """A model as text, and requests for it by a size and a number of iterations."""

    text: str
    request: Callable[[int, int], dict[str, Array]]
    sizes: Sequence[tuple[int, int]] = ((4, 3), (2, 1), (5, 6), (1, 2))

    @property
    def model(self) -> onnx.ModelProto:
        model: onnx.ModelProto = onnx.parser.parse_model(f"{_HEADER} {self.text}")
        return model

    @property
    def requests(self) -> list[dict[str, Array]]:
        """The first one has sizes that torch.export takes for symbols."""
        return [self.request(*size) for size in self.sizes]


def _floats(*shape: int) -> Array:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


COUNTED = """
    graph (float[n, 3] x, int64 count) => (float[n, 3] last, float[k, n, 3] all)
    <float[3, 3] w = {1, 0, 0, 0, 2, 0, 0, 0, 0.5}>
    {
        last, all = Loop (count, , x) <
            body = step (int64 i, bool going, float[n, 3] c) => (bool keep, float[n, 3] d, float[n, 3] seen) {
                keep = Identity(going)
                number = Cast <to = 1> (i)
                d = MatMul(c, w)
                seen = Add(d, number)
            }
        >
    }
"""
STOPPED = f"""
    graph (float[n] x) => (float[n] last, int64 steps)
    <float limit = {{100}}, int64 most = {{{_MOST}}}, int64 zero = {{0}}, int64 one = {{1}}>
    {{
        before = ReduceMax <keepdims = 0> (x)
        small = Less(before, limit)
        last, steps = Loop (most, small, x, zero) <
            body = step (int64 i, bool going, float[n] c, int64 k) => (bool keep, float[n] d, int64 next) {{
                d = Add(c, c)
                after = ReduceMax <keepdims = 0> (d)
                keep = Less(after, limit)
                next = Add(k, one)
            }}
        >
    }}
"""
GROWING = """
    graph (float[n, 2] x, int64 count) => (float[m, 2] last, float[k] sums)
    <bool true = {1}, int64[1] zero = {0}, int64[1] one = {1}>
    {
        last, sums = Loop (count, true, x) <
            body = step (int64 i, bool going, float[n, 2] c) => (bool keep, float[m, 2] d, float sum) {
                keep = Identity(going)
                mean = ReduceMean <keepdims = 1> (c, zero)
                d = Concat <axis = 0> (c, mean)
                at = Unsqueeze(i, zero)
                end = Add(at, one)
                row = Slice(d, at, end, zero)
                sum = ReduceSum <keepdims = 0> (row)
            }
        >
    }
"""
SCANNED = """
    graph (float[k] start, float[n, k] rows) => (float[k] final, float[n, k] sums)
    {
        final, sums = Scan <
            num_scan_inputs = 1,
            body = step (float[k] total, float[k] row) => (float[k] next, float[k] seen) {
                next = Add(total, row)
                seen = Identity(next)
            }
        > (start, rows)
    }
"""
BACKWARD = """
    graph (float[k] start, float[k, n] columns) => (float[k] final, float[k, n] sums)
    {
        final, sums = Scan <
            num_scan_inputs = 1, scan_input_axes = [1], scan_input_directions = [1],
            scan_output_axes = [-1], scan_output_directions = [1],
            body = step (float[k] total, float[k] column) => (float[k] next, float[k] seen) {
                next = Add(total, column)
                seen = Identity(next)
            }
        > (start, columns)
    }
"""
LOOP_IN_IF = """
    graph (float[n] x, int64 count, bool given) => (float[m] y)
    <bool true = {1}, float[1] w = {2}>
    {
        y = If (given) <
            then_branch = then () => (float[a] t) {
                t = Loop (count, true, x) <
                    body = step (int64 i, bool going, float[n] c) => (bool keep, float[m] d) {
                        keep = Identity(going)
                        e = Mul(c, w)
                        d = Concat <axis = 0> (e, w)
                    }
                >
            },
            else_branch = otherwise () => (float[b] o) { o = Neg(x) }
        >
    }
"""
IF_IN_LOOP = """
    graph (float[n] x, int64 count) => (float[m] y)
    <bool true = {1}, float[1] w = {2}, float zero = {0}>
    {
        y = Loop (count, true, x) <
            body = step (int64 i, bool going, float[n] c) => (bool keep, float[m] d) {
                keep = Identity(going)
                sum = ReduceSum <keepdims = 0> (c)
                positive = Greater(sum, zero)
                d = If (positive) <
                    then_branch = then () => (float[a] t) {
                        turned = Neg(c)
                        t = Concat <axis = 0> (turned, w)
                    },
                    else_branch = otherwise () => (float[b] o) {
                        number = Cast <to = 1> (i)
                        o = Sub(c, number)
                    }
                >
            }
        >
    }
"""
NESTED = """
    graph (float[n, m] x) => (float[n, m] y, float[n, m] all)
    <int64 first = {0}, int64 second = {1}, float two = {2}, bool true = {1}>
    {
        shape = Shape(x)
        rows = Gather(shape, first)
        columns = Gather(shape, second)
        start = ReduceSum <keepdims = 0> (x)
        y, all = Loop (rows, true, x) <
            body = step (int64 i, bool going, float[n, m] c) => (bool keep, float[n, m] d, float[m] parts) {
                keep = Identity(going)
                row = Gather(x, i)
                sum, parts = Loop (columns, true, start) <
                    body = inner (int64 j, bool on, float total) => (bool more, float next, float part) {
                        more = Identity(on)
                        element = Gather(row, j)
                        both = Add(i, j)
                        factor = Cast <to = 1> (both)
                        half = Div(factor, two)
                        added = Add(half, element)
                        next = Sub(added, total)
                        part = Identity(next)
                    }
                >
                d = Add(c, sum)
            }
        >
    }
"""


def _counted(size: int, count: int) -> dict[str, Array]:
    return {"x": _floats(size), "count": np.array(count)}


LOOPS: Mapping[str, Looping] = {
    "counted": Looping(
        COUNTED, lambda n, k: {"x": _floats(n, 3), "count": np.array(k)}, ((4, 3), (2, 1), (5, 6), (1, 2), (3, 0))
    ),
    "stopped": Looping(STOPPED, lambda n, k: {"x": np.abs(_floats(n)) + np.float32(0.1 + 40 * k)}),
    "growing": Looping(GROWING, lambda n, k: {"x": _floats(n, 2), "count": np.array(k)}),
    "scanned": Looping(SCANNED, lambda n, k: {"start": _floats(k), "rows": _floats(n, k)}, ((4, 3), (7, 2), (1, 1))),
    "backward": Looping(
        BACKWARD, lambda n, k: {"start": _floats(k), "columns": _floats(k, n)}, ((4, 3), (7, 2), (1, 1))
    ),
    "loop in if": Looping(LOOP_IN_IF, lambda n, k: {**_counted(n, k), "given": np.array(n != 2)}),
    "if in loop": Looping(IF_IN_LOOP, _counted),
    "nested": Looping(NESTED, lambda n, k: {"x": _floats(n, k) / 10}, ((4, 3), (2, 5), (1, 1), (3, 1))),
}
"""Loops of every kind."""


def greedy_model(start: int = 50, end: int = 24, pad: int = 0) -> onnx.ModelProto:
    """A T5 that decodes by itself, its decoder in a Loop that ends with the text: what a scripted loop exports as.

    `input_ids` and `attention_mask` int64 [batch, n] and `most` int64 [] in; `tokens` int64 [batch, m] out, the start
    token among them, padded after the end token.
    """
    encoder, decoder = (onnx.load(DATA / f"t5_tiny/parts/{name}_model.onnx") for name in ("encoder", "decoder"))
    encoder = onnx.compose.add_prefix(encoder, "e/", rename_inputs=False, rename_outputs=False)
    decoder = onnx.compose.add_prefix(decoder, "d/", rename_inputs=False, rename_outputs=False)
    glue = onnx.parser.parse_model(f"""<ir_version: 8, opset_import: ["": 17]>
        graph (int64[batch, n] input_ids, int64[batch, n] attention_mask, int64 most) => (int64[batch, m] tokens)
        <int64 first = {{{start}}}, int64 end = {{{end}}}, int64 pad = {{{pad}}}, bool true = {{1}}, bool false = {{0}},
         int64[1] one = {{1}}, int64 last = {{-1}}>
        {{
            shape = Shape <end = 1> (input_ids)
            square = Concat <axis = 0> (shape, one)
            begun = Expand(first, square)
            none = Expand(false, shape)
            tokens, ended = Loop (most, true, begun, none) <
                body = step (int64 i, bool going, int64[batch, t] so_far, bool[batch] done)
                    => (bool more, int64[batch, u] longer, bool[batch] now_done)
                {{
                    scores = Gather <axis = 1> (logits, last)
                    best = ArgMax <axis = -1, keepdims = 0> (scores)
                    token = Where(done, pad, best)
                    column = Unsqueeze(token, one)
                    longer = Concat <axis = 1> (so_far, column)
                    is_end = Equal(token, end)
                    now_done = Or(done, is_end)
                    numbers = Cast <to = 7> (now_done)
                    all_done = ReduceMin <axes = [0], keepdims = 0> (numbers)
                    finished = Cast <to = 9> (all_done)
                    more = Not(finished)
                }}
            >
        }}
    """)
    graph, loop = glue.graph, glue.graph.node[-1]
    body = next(attribute.g for attribute in loop.attribute if attribute.name == "body")
    steps = [*decoder.graph.node, *body.node]
    encoded = {"encoder_hidden_states": "last_hidden_state", "encoder_attention_mask": "attention_mask"}
    names = {"input_ids": "so_far", **encoded}
    for node in steps:
        _rename(node, names)
    del body.node[:]
    body.node.extend(_needed(steps, ["more", "longer", "now_done"]))
    nodes = [*encoder.graph.node, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.extend([*encoder.graph.initializer, *decoder.graph.initializer])
    return glue


def _rename(node: onnx.NodeProto, names: Mapping[str, str]) -> None:
    node.input[:] = [names.get(name, name) for name in node.input]
    for attribute in node.attribute:
        if attribute.HasField("g"):
            for inner in attribute.g.node:
                _rename(inner, names)


def _needed(nodes: Sequence[onnx.NodeProto], results: Sequence[str]) -> list[onnx.NodeProto]:
    wanted, kept = set(results), list[onnx.NodeProto]()
    for node in reversed(nodes):
        if wanted & set(node.output):
            kept.append(node)
            wanted |= set(node.input)
    return kept[::-1]
