"""One small decoder in every form that a schedule knows, and its greedy decoding in numpy.

A step sums what it has seen, h_t = sum over i <= t of (embed[token_i] + place[i]), and scores it as
logits_t = h_t @ head + memory; memory [batch, 1, vocabulary] = x @ w comes from the encoder. By the sum every
token matters, so a form that loses or misplaces one gives other tokens.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from onnx import NodeProto, helper

from artifacts.dtype import DType
from artifacts.schedule import CacheSlot, Decode, Generation, Host
from artifacts.spec import Signature, TensorSpec
from tests.support.bundles import Graph, Model, spec

Array = npt.NDArray[Any]

VOCABULARY = 11
WIDTH = 5
MAX_NEW_TOKENS = 12
GENERATION = Generation(start=1, eos=(2, 5), pad=0, max_new_tokens=MAX_NEW_TOKENS)

Form = Literal["recompute", "padded", "growing", "summed"]
FORMS: tuple[Form, ...] = ("recompute", "padded", "growing", "summed")
"""growing: a cached slot that gets one row a step, whose length is the position; summed: one of fixed size that
starts as zeros, and a position input."""

_RANDOM = np.random.default_rng(7)
EMBED = _RANDOM.normal(size=(VOCABULARY, WIDTH)).astype(np.float32)
PLACE = _RANDOM.normal(size=(MAX_NEW_TOKENS, WIDTH)).astype(np.float32)
HEAD = _RANDOM.normal(size=(WIDTH, VOCABULARY)).astype(np.float32)
ENCODE = _RANDOM.normal(size=(4, VOCABULARY)).astype(np.float32)

INPUT = spec("x", DType.FLOAT32, "batch", 4)
MEMORY = spec("memory", DType.FLOAT32, "batch", 1, VOCABULARY)
POSITION = spec("position", DType.INT64)

SOURCE = Signature(
    inputs=(INPUT, spec("tokens", DType.INT64, "batch", "t")),
    outputs=(spec("logits", DType.FLOAT32, "batch", "t", VOCABULARY),),
)


def decoder(form: Form, generation: Generation = GENERATION) -> Model:
    """An encoder and a step in one of the forms; the caller gives x float32 [batch, 4]."""
    nodes = [helper.make_node("MatMul", ["x", "w"], ["xw"]), _constant("one", [1])]
    nodes.append(helper.make_node("Unsqueeze", ["xw", "one"], ["memory"]))
    encoder = Graph(nodes, Signature(inputs=(INPUT,), outputs=(MEMORY,)), {"w": ENCODE})
    cached = form in ("growing", "summed")
    schedule = Decode(
        encoder="encoder",
        step="step",
        tokens="tokens",
        logits="logits",
        position="position" if form == "summed" else None,
        state="cached" if cached else form,  # type: ignore[arg-type]  # mypy does not narrow by `cached`
        control=Host(),
        slots=(_SLOTS[form],) if cached else (),
        generation=generation,
    )
    step = _cached_step(form) if cached else _whole_step(form)
    return Model(schedule, SOURCE, {"encoder": encoder, "step": step})


def greedy(x: Array, generation: Generation = GENERATION) -> tuple[Array, Array]:
    """Tokens int64 [batch, n] and lengths int64 [batch], computed row by row."""
    rows = [_greedy_row(row @ ENCODE, generation) for row in x]
    longest = max(len(row) for row in rows)
    tokens = [row + [generation.pad] * (longest - len(row)) for row in rows]
    return np.array(tokens, np.int64), np.array([len(row) for row in rows], np.int64)


def _greedy_row(memory: Array, generation: Generation) -> list[int]:
    state = np.zeros(WIDTH, np.float32)
    token, made = generation.start, list[int]()
    for position in range(generation.max_new_tokens):
        state = state + EMBED[token] + PLACE[position]
        scores = state @ HEAD + memory
        scores[list(generation.suppressed)] = -np.inf
        token = int(scores.argmax())
        if position == 0 and generation.forced_first is not None:
            token = generation.forced_first
        if position == generation.max_new_tokens - 1 and generation.forced_last is not None:
            token = generation.forced_last
        made.append(token)
        if token in generation.eos:
            break
    return made


COUNTING = Generation(start=3, eos=(7,), pad=0, max_new_tokens=6)


def counting(
    *, extra: tuple[Any, ...] = (), tokens: DType = DType.INT64, batch: int | str = "batch", **schedule: Any
) -> Model:
    """A step without an encoder whose logits are one_hot(token + 1, 9), so that tokens count up from 3 to 7.

    `extra` are further inputs, which it does not use; `schedule` are fields of its schedule.
    """
    nodes = [
        helper.make_node("Cast", ["tokens"], ["wide"], to=7),
        helper.make_node("Constant", [], ["one"], value_int=1),
        helper.make_node("Add", ["wide", "one"], ["next"]),
        helper.make_node("Constant", [], ["depth"], value_int=9),
        helper.make_node("Constant", [], ["values"], value_floats=[0.0, 1.0]),
        helper.make_node("OneHot", ["next", "depth", "values"], ["logits"]),
    ]
    signature = Signature(
        inputs=(spec("tokens", tokens, batch, "t"), *extra),
        outputs=(spec("logits", DType.FLOAT32, batch, "t", 9),),
    )
    fields: dict[str, Any] = {"state": "recompute", "encoder": None, "control": Host(), "generation": COUNTING}
    decode = Decode(**{**fields, "step": "step", "tokens": "tokens", "logits": "logits", **schedule})
    return Model(decode, signature, {"step": Graph(nodes, signature)})


_SLOTS = {
    "growing": CacheSlot(input="past", output="present", axis=1, batch_axis=0, init="empty"),
    "summed": CacheSlot(input="past", output="present", axis=None, batch_axis=0, init="zeros"),
}


def _whole_step(form: Form) -> Graph:
    """Scores of every position from all tokens so far; causal by the running sum."""
    length = "t" if form == "recompute" else MAX_NEW_TOKENS
    nodes = [
        helper.make_node("Gather", ["embed", "tokens"], ["rows"]),
        helper.make_node("Shape", ["tokens"], ["length"], start=1, end=2),
        *(_constant(name, value) for name, value in (("zero", [0]), ("axis", 1))),
        helper.make_node("Slice", ["place", "zero", "length", "zero"], ["places"]),
        helper.make_node("Add", ["rows", "places"], ["placed"]),
        helper.make_node("CumSum", ["placed", "axis"], ["summed"]),
        *_scores("summed"),
    ]
    signature = Signature(
        inputs=(spec("tokens", DType.INT64, "batch", length), MEMORY),
        outputs=(spec("logits", DType.FLOAT32, "batch", length, VOCABULARY),),
    )
    return Graph(nodes, signature, {"embed": EMBED, "place": PLACE, "head": HEAD})


def _cached_step(form: Form) -> Graph:
    """Scores of one position from the last token, the position and the slot."""
    nodes = [
        helper.make_node("Gather", ["embed", "tokens"], ["rows"]),
        helper.make_node("Gather", ["place", "position"], ["placed_at"]),
        helper.make_node("Add", ["rows", "placed_at"], ["placed"]),
    ]
    inputs = [spec("tokens", DType.INT64, "batch", 1), MEMORY]
    past: TensorSpec
    present: TensorSpec
    if form == "growing":
        past = spec("past", DType.FLOAT32, "batch", "p", WIDTH)
        present = spec("present", DType.FLOAT32, "batch", "p1", WIDTH)
        nodes = [
            helper.make_node("Shape", ["past"], ["position"], start=1, end=2),
            *nodes,
            helper.make_node("Concat", ["past", "placed"], ["present"], axis=1),
            _constant("axes", [1]),
            helper.make_node("ReduceSum", ["present", "axes"], ["summed"], keepdims=1),
        ]
    else:
        inputs.append(POSITION)
        past = spec("past", DType.FLOAT32, "batch", 1, WIDTH)
        present = spec("present", DType.FLOAT32, "batch", 1, WIDTH)
        nodes += [
            helper.make_node("Add", ["past", "placed"], ["present"]),
            helper.make_node("Identity", ["present"], ["summed"]),
        ]
    signature = Signature(
        inputs=(*inputs, past),
        outputs=(spec("logits", DType.FLOAT32, "batch", 1, VOCABULARY), present),
    )
    return Graph([*nodes, *_scores("summed")], signature, {"embed": EMBED, "place": PLACE, "head": HEAD})


def _scores(state: str) -> list[NodeProto]:
    return [
        helper.make_node("MatMul", [state, "head"], ["scores"]),
        helper.make_node("Add", ["scores", "memory"], ["logits"]),
    ]


def _constant(name: str, value: int | list[int]) -> NodeProto:
    attribute = {"value_int": value} if isinstance(value, int) else {"value_ints": value}
    return helper.make_node("Constant", [], [name], **attribute)
