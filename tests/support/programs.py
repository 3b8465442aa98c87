"""Small Programs for the tests of passes: ONNX written as text, converted once, with answers by ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import onnx
import onnx.numpy_helper
import onnx.parser
import onnx_ir as ir
import onnxruntime
import torch

from artifacts.canonical import sha256_bytes
from artifacts.samples import Sample
from artifacts.schedule import Single
from artifacts.spec import Signature, TensorSpec
from artifacts.weights import WeightStore
from passes.bodies import copied_graph, dims, edited, without_metadata
from passes.onnx_to_torch.convert import Converted, convert
from passes.onnx_to_torch.source import Source
from passes.program import Function, Model, Program
from passes.torch_dtypes import logical_dtype

Array = npt.NDArray[Any]
Arrays = Mapping[str, Array]


def parsed(text: str, **weights: Array) -> onnx.ModelProto:
    """A model in ONNX's text form, with initializers added to its graph.

    The header may be left out: opset 20 and format 10 are meant then.
    """
    header = "" if text.lstrip().startswith("<") else '<ir_version: 10, opset_import: ["": 20]>\n'
    model = onnx.parser.parse_model(header + text)
    model.graph.initializer.extend(onnx.numpy_helper.from_array(array, name) for name, array in weights.items())
    return model


def source_of(model: onnx.ModelProto) -> Source:
    """The model as if it had been loaded from a file."""
    return Source(Path("model.onnx"), Path(), ir.from_proto(model), sha256_bytes(model.SerializeToString()), {})


def converted(model: onnx.ModelProto, inputs: Arrays, name: str = "main") -> Converted:
    """The model as a function, and its weights."""
    return convert(source_of(model), name, inputs)


def answered(model: onnx.ModelProto, inputs: Arrays) -> Sample:
    """The inputs with what ONNX Runtime makes of them, its optimisations off."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return Sample(inputs, dict(zip(names, session.run(names, dict(inputs)), strict=True)))


def program_of(model: onnx.ModelProto, samples: Sequence[Arrays], name: str = "main") -> Program:
    """A program of one model, called once; the first sample is the one that the conversion sees."""
    source = source_of(model)
    result = convert(source, name, samples[0])
    answers = tuple(answered(model, inputs) for inputs in samples)
    entry = Model(result.function.signature, Single(function=name), source.digest, answers)
    return Program({name: result.function}, {name: entry}, result.weights)


def bare(model: onnx.ModelProto, inputs: Arrays, name: str = "main") -> Program:
    """The model as a program of one function that no model calls: for what a pass writes, not for what it computes."""
    result = converted(model, inputs, name)
    return Program({name: result.function}, {}, result.weights)


def traced(function: Callable[..., Any], *arguments: torch.Tensor) -> Program:
    """A function of tensors x0, x1, ... as torch.export sees it: for operators that no ONNX model leads to."""

    class Traced(torch.nn.Module):
        def forward(self, *tensors: torch.Tensor) -> Any:
            return function(*tensors)

    body = torch.export.export(Traced(), arguments, strict=False)
    graph, _ = copied_graph(body)
    without_metadata(graph.nodes)
    whole = edited(body, graph)
    outputs = next(iter(reversed(graph.nodes))).args[0]
    ends = [("x", [n for n in graph.nodes if n.op == "placeholder"]), ("y", outputs)]
    inputs, results = (
        tuple(
            TensorSpec(name=f"{stem}{i}", dtype=logical_dtype(n.meta["val"].dtype), shape=dims(n.meta["val"], {}))
            for i, n in enumerate(nodes)
        )
        for stem, nodes in ends
    )
    return Program({"main": Function("main", Signature(inputs=inputs, outputs=results), whole, {})}, {}, WeightStore())


def without_output(program: Program, output: str) -> Program:
    """A program of one bare function that gives one output less: what led to that output alone is dead code now."""
    (function,) = program.functions.values()
    graph, _ = copied_graph(function.body)
    kept = [spec for spec in function.signature.outputs if spec.name != output]
    last = next(iter(reversed(graph.nodes)))
    named = zip(function.signature.outputs, last.args[0], strict=True)
    last.args = ([result for spec, result in named if spec in kept],)
    signature = Signature(inputs=function.signature.inputs, outputs=tuple(kept))
    changed = replace(function, body=edited(function.body, graph), signature=signature)
    return program.with_functions({function.name: changed})


def normal(*shape: int, seed: int = 0) -> Array:
    """Seeded float32 from the standard normal distribution."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def operators(function: Function) -> list[str]:
    """The operators of a function in order, as "aten.add.Tensor"."""
    return [str(node.target) for node in function.computations]


# --- the programs that every pass is tried on ----------------------------------------------------------------


def _tied_perceptron() -> Program:
    """One weight [24, 24] used three times: twice as it is, once transposed."""
    text = """
    mlp (float[batch, 24] x) => (float[batch, 24] y) {
        a = MatMul (x, w)
        b = Add (a, bias)
        c = Relu (b)
        d = MatMul (c, w)
        e = Relu (d)
        wt = Transpose <perm = [1, 0]> (w)
        y = MatMul (e, wt)
    }
    """
    model = parsed(text, w=normal(24, 24) / 5, bias=normal(24, seed=1))
    return program_of(model, [{"x": normal(n, 24, seed=n)} for n in (3, 1)])


def attention_model() -> onnx.ModelProto:
    """Self-attention, two heads of 8, its head tied to its embedding; batch and seq symbolic; a padding mask."""
    text = """
    attention (int64[batch, seq] ids, int64[batch, seq] mask) => (float[batch, seq, 13] logits) {
        h = Gather (embed, ids)
        heads = Constant <value_ints = [0, 0, 2, 8]> ()
        whole = Constant <value_ints = [0, 0, 16]> ()
        q = MatMul (h, wq)
        k = MatMul (h, wk)
        v = MatMul (h, wv)
        q1 = Reshape (q, heads)
        k1 = Reshape (k, heads)
        v1 = Reshape (v, heads)
        q2 = Transpose <perm = [0, 2, 1, 3]> (q1)
        k2 = Transpose <perm = [0, 2, 3, 1]> (k1)
        v2 = Transpose <perm = [0, 2, 1, 3]> (v1)
        scale = Constant <value_float = 0.35355339> ()
        s = MatMul (q2, k2)
        s1 = Mul (s, scale)
        seen = Cast <to = 1> (mask)
        one = Constant <value_float = 1.0> ()
        hidden = Sub (one, seen)
        low = Constant <value_float = -10000.0> ()
        bias = Mul (hidden, low)
        axes = Constant <value_ints = [1, 2]> ()
        bias1 = Unsqueeze (bias, axes)
        s2 = Add (s1, bias1)
        p = Softmax <axis = -1> (s2)
        o = MatMul (p, v2)
        o1 = Transpose <perm = [0, 2, 1, 3]> (o)
        o2 = Reshape (o1, whole)
        r = Add (o2, h)
        n = LayerNormalization <axis = -1> (r, gain, shift)
        head = Transpose <perm = [1, 0]> (embed)
        logits = MatMul (n, head)
    }
    """
    weights = {name: normal(16, 16, seed=seed) / 4 for seed, name in enumerate(("wq", "wk", "wv"))}
    return parsed(text, embed=normal(13, 16, seed=9), gain=normal(16, seed=7), shift=normal(16, seed=8), **weights)


def tokens(batch: int, seq: int, vocabulary: int = 13) -> Array:
    """Seeded token ids, int64 [batch, seq]."""
    return np.random.default_rng(batch * 100 + seq).integers(0, vocabulary, (batch, seq))


def attention_inputs(batch: int, seq: int) -> dict[str, Array]:
    """Inputs of `attention_model`: the last position of the first row is padding where there are more than one."""
    mask = np.ones((batch, seq), np.int64)
    mask[0, 1:] = np.arange(1, seq) < max(seq - 1, 1)
    return {"ids": tokens(batch, seq), "mask": mask}


def _attention() -> Program:
    return program_of(attention_model(), [attention_inputs(*sizes) for sizes in ((2, 5), (3, 7), (1, 1))])


def _filled_convolution() -> Program:
    """Weights that ConstantOfShape fills: larger than the folding limit, and smaller."""
    text = """
    conv (float[batch, 3, h, w] image) => (float[batch, 10] scores) {
        kernel_shape = Constant <value_ints = [16, 3, 3, 3]> ()
        kernel = ConstantOfShape <value = float[1] {0.125}> (kernel_shape)
        bias_shape = Constant <value_ints = [16]> ()
        bias = ConstantOfShape <value = float[1] {0.5}> (bias_shape)
        a = Conv <pads = [1, 1, 1, 1]> (image, kernel, bias)
        b = Relu (a)
        c = GlobalAveragePool (b)
        d = Flatten (c)
        scores = Gemm <transB = 1> (d, weight)
    }
    """
    model = parsed(text, weight=normal(10, 16))
    return program_of(model, [{"image": normal(n, 3, h, w, seed=n)} for n, h, w in ((2, 6, 8), (1, 5, 9))])


def _shape_arithmetic() -> Program:
    """Sizes read from the input, computed with, and used to reshape and to slice a table of positions."""
    text = """
    shapes (float[batch, seq, 12] x) => (float[n, 6] y, int64[3] sizes) {
        sizes = Shape (x)
        one = Constant <value_int = 1> ()
        two = Constant <value_int = 2> ()
        zero = Constant <value_ints = [0]> ()
        first = Constant <value_int = 0> ()
        batch = Gather (sizes, first)
        seq = Gather (sizes, one)
        bs = Mul (batch, seq)
        rows = Mul (bs, two)
        r1 = Unsqueeze (rows, zero)
        minus = Constant <value_ints = [-1]> ()
        shape = Concat <axis = 0> (r1, minus)
        end = Unsqueeze (seq, zero)
        places = Slice (table, zero, end, zero)
        placed = Add (x, places)
        y = Reshape (placed, shape)
    }
    """
    model = parsed(text, table=normal(40, 12))
    return program_of(model, [{"x": normal(b, s, 12, seed=s)} for b, s in ((2, 5), (3, 2), (1, 1))])


def _half_weights() -> Program:
    """A bfloat16 table that is cast on its way to two uses."""
    text = """
    half (int64[batch, seq] ids) => (float[batch, seq, 20] y) {
        table = Cast <to = 1> (stored)
        h = Gather (table, ids)
        turned = Transpose <perm = [1, 0]> (table)
        y = MatMul (h, turned)
    }
    """
    model = parsed(text, stored=normal(20, 24).astype(ml_dtypes.bfloat16))
    return program_of(model, [{"ids": tokens(b, s, 20)} for b, s in ((2, 3), (1, 1))])


def _two_models() -> Program:
    """Two models in one program, with one backbone: its weight is one content."""
    text = """
    tagger (float[batch, 20] x) => (float[batch, {labels}] y) {{
        doubled = Add (backbone, backbone)
        h = MatMul (x, doubled)
        y = MatMul (h, head)
    }}
    """
    parts = [
        program_of(
            parsed(text.format(labels=labels), backbone=normal(20, 20) / 5, head=normal(20, labels, seed=labels)),
            [{"x": normal(3, 20, seed=labels)}],
            name,
        )
        for name, labels in (("large", 7), ("small", 3))
    ]
    return parts[0].merged(parts[1])


def _constant_outputs() -> Program:
    """Outputs that are an input, a weight, a constant, and one value under two names."""
    text = """
    outputs (float[n] x, float[n] unused) => (float[n] same, float[3] weight, float[2] made, float[n] a, float[n] b) {
        same = Identity (x)
        weight = Identity (w)
        made = Constant <value_floats = [1.0, 2.0]> ()
        a = Relu (x)
        b = Identity (a)
    }
    """
    return program_of(parsed(text, w=normal(3)), [{"x": normal(n), "unused": normal(n)} for n in (4, 1)])


PROGRAMS: Mapping[str, Callable[[], Program]] = {
    "tied_perceptron": cache(_tied_perceptron),
    "attention": cache(_attention),
    "filled_convolution": cache(_filled_convolution),
    "shape_arithmetic": cache(_shape_arithmetic),
    "half_weights": cache(_half_weights),
    "two_models": cache(_two_models),
    "constant_outputs": cache(_constant_outputs),
}
"""Made on first use and then shared: no pass may change the program that it is given."""
