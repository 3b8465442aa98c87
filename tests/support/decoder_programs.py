"""One small attention decoder as a Program in every form that a step can have, and the same decoder in numpy.

Position i holds h_i = embed[token_i] + place[i] and looks back on h_0..h_i; its scores are
softmax(h_i . h_j) h_j @ head + memory, with memory [batch, 1, 11] = x @ encode from the encoder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache, reduce
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from artifacts.dtype import DType
from artifacts.samples import Sample
from artifacts.schedule import CacheSlot, Control, Decode, Generation, Host, State
from artifacts.spec import Signature, TensorSpec
from passes.program import Model, Program
from tests.support.programs import converted, normal, parsed

Array = npt.NDArray[Any]

VOCABULARY, WIDTH, LENGTH = 11, 6, 8
GENERATION = Generation(start=1, eos=(2,), pad=0, max_new_tokens=LENGTH)

Form = Literal["whole", "recompute", "padded", "cached", "first", "carried"]
FORMS: tuple[Form, ...] = ("whole", "recompute", "padded", "cached", "first", "carried")
"""whole: encoder and step in one function, as exporters write it; cached: one slot, which starts empty; first: the
same with a function of its own for position 0; carried: slots that start as zeros and as an encoder output too, and
no position input."""

EMBED = normal(VOCABULARY, WIDTH, seed=1)
PLACE = normal(LENGTH, WIDTH, seed=2)
HEAD = normal(WIDTH, VOCABULARY, seed=3)
ENCODE = normal(4, VOCABULARY, seed=4) * 2

_SIGNATURE = Signature(
    inputs=(
        TensorSpec(name="x", dtype=DType.FLOAT32, shape=("batch", 4)),
        TensorSpec(name="tokens", dtype=DType.INT64, shape=("batch", "t")),
    ),
    outputs=(TensorSpec(name="logits", dtype=DType.FLOAT32, shape=("batch", "t", VOCABULARY)),),
)

_ENCODER = """
encoder (float[batch, 4] x) => (float[batch, 1, 11] memory) {
    product = MatMul (x, encode)
    one = Constant <value_ints = [1]> ()
    memory = Unsqueeze (product, one)
}
"""

_WHOLE = """
step (int64[batch, LENGTH] tokens, float[batch, 1, 11] memory) => (float[batch, LENGTH, 11] logits) {
    zero = Constant <value_ints = [0]> ()
    length = Shape <start = 1, end = 2> (tokens)
    rows = Gather (embed, tokens)
    places = Slice (place, zero, length, zero)
    h = Add (rows, places)
    square = Concat <axis = 0> (length, length)
    low = ConstantOfShape <value = float[1] {-1e9}> (square)
    one = Constant <value_int = 1> ()
    later = Trilu <upper = 1> (low, one)
    ht = Transpose <perm = [0, 2, 1]> (h)
    s = MatMul (h, ht)
    masked = Add (s, later)
    p = Softmax <axis = -1> (masked)
    o = MatMul (p, h)
    z = MatMul (o, head)
    logits = Add (z, memory)
}
"""

_TOGETHER = """
step (int64[batch, t] tokens, float[batch, 4] x) => (float[batch, t, 11] logits) {
    product = MatMul (x, encode)
    one_axis = Constant <value_ints = [1]> ()
    memory = Unsqueeze (product, one_axis)
    BODY
}
"""

_LOOK_BACK = """
    present = Concat <axis = 1> (past, h)
    pt = Transpose <perm = [0, 2, 1]> (present)
    s = MatMul (h, pt)
    p = Softmax <axis = -1> (s)
    o = MatMul (p, present)
    z = MatMul (o, head)
    logits = Add (z, memory)
"""

_CACHED = f"""
step (int64[batch, 1] tokens, int64 position, float[batch, p, 6] past, float[batch, 1, 11] memory)
    => (float[batch, 1, 11] logits, float[batch, p1, 6] present) {{
    rows = Gather (embed, tokens)
    here = Gather (place, position)
    h = Add (rows, here)
    {_LOOK_BACK}
}}
"""

_FIRST = """
first (int64[batch, 1] tokens, float[batch, 1, 11] memory)
    => (float[batch, 1, 11] logits, float[batch, 1, 6] present) {
    zero = Constant <value_int = 0> ()
    rows = Gather (embed, tokens)
    here = Gather (place, zero)
    present = Add (rows, here)
    z = MatMul (present, head)
    logits = Add (z, memory)
}
"""

_CARRIED = f"""
step (int64[batch, 1] tokens, int64[batch, 1] seen, float[batch, p, 6] past, float[batch, 1, 11] memory)
    => (float[batch, 1, 11] logits, int64[batch, 1] seen_now, float[batch, p1, 6] present, float[batch, 1, 11] kept) {{
    rows = Gather (embed, tokens)
    here = Gather (place, seen)
    h = Add (rows, here)
    one = Constant <value_int = 1> ()
    seen_now = Add (seen, one)
    kept = Identity (memory)
    {_LOOK_BACK}
}}
"""

_PAST = CacheSlot(input="past", output="present", axis=1, batch_axis=0, init="empty")
_SEEN = CacheSlot(input="seen", output="seen_now", axis=None, batch_axis=0, init="zeros")
_MEMORY = CacheSlot(input="memory", output="kept", axis=None, batch_axis=0, init="encoder:memory")


_STATES: Mapping[Form, State] = {"whole": "recompute", "recompute": "recompute", "padded": "padded"}


@cache
def decoder_program(form: Form, control: Control | None = None, generation: Generation = GENERATION) -> Program:
    """The decoder as a program of a model called "decoder", with two samples by numpy."""
    tables = {"embed": EMBED, "place": PLACE, "head": HEAD}
    memory = normal(2, 1, VOCABULARY)
    past, one = normal(2, 3, WIDTH), np.zeros((2, 1), np.int64)
    parts = [converted(parsed(_ENCODER, encode=ENCODE), {"x": normal(2, 4)}, "encoder")]
    if form == "whole":
        text = _TOGETHER.replace("BODY", _WHOLE.partition("{")[2].rpartition("}")[0])
        inputs = {"tokens": np.zeros((2, 5), np.int64), "x": normal(2, 4)}
        parts = [converted(parsed(text, encode=ENCODE, **tables), inputs, "step")]
    elif form in ("recompute", "padded"):
        text = _WHOLE.replace("LENGTH", "t" if form == "recompute" else str(LENGTH))
        tokens = np.zeros((2, 5 if form == "recompute" else LENGTH), np.int64)
        parts.append(converted(parsed(text, **tables), {"tokens": tokens, "memory": memory}, "step"))
    elif form == "carried":
        inputs = {"tokens": one, "seen": one, "past": past, "memory": memory}
        parts.append(converted(parsed(_CARRIED, **tables), inputs, "step"))
    else:
        inputs = {"tokens": one, "position": np.array(1), "past": past, "memory": memory}
        parts.append(converted(parsed(_CACHED, **tables), inputs, "step"))
    if form == "first":
        parts.append(converted(parsed(_FIRST, **tables), {"tokens": one, "memory": memory}, "first"))
    schedule = Decode(
        encoder=None if form == "whole" else "encoder",
        first="first" if form == "first" else None,
        step="step",
        tokens="tokens",
        logits="logits",
        position="position" if form in ("cached", "first") else None,
        state=_STATES.get(form, "cached"),
        control=Host() if control is None else control,
        slots={"cached": (_PAST,), "first": (_PAST,), "carried": (_PAST, _SEEN, _MEMORY)}.get(form, ()),
        generation=generation,
    )
    samples = tuple(decoder_sample(batch, generation) for batch in (2, 1))
    merged = reduce(Program.merged, (Program({p.function.name: p.function}, {}, p.weights) for p in parts))
    step = replace(merged.functions["step"], time=frozenset({"t"} if schedule.state == "recompute" else ()))
    return replace(
        merged.with_functions({"step": step}), models={"decoder": Model(_SIGNATURE, schedule, "0" * 64, samples)}
    )


def decoder_sample(batch: int, generation: Generation = GENERATION) -> Sample:
    """A request with given tokens [batch, 8], the scores of every position, and what is decoded greedily."""
    random = np.random.default_rng(batch)
    x = random.standard_normal((batch, 4)).astype(np.float32)
    tokens = random.integers(0, VOCABULARY, (batch, LENGTH))
    scores = np.stack([_scores(row, memory) for row, memory in zip(tokens, x @ ENCODE, strict=True)])
    return Sample({"x": x, "tokens": tokens}, {"logits": scores}, greedy(x, generation))


def greedy(x: Array, generation: Generation) -> Mapping[str, Array]:
    """Tokens int64 [batch, n] and lengths int64 [batch] that the decoder generates for x [batch, 4]."""
    rows = []
    for memory in x @ ENCODE:
        made: list[int] = []
        while len(made) < generation.max_new_tokens and (not made or made[-1] not in generation.eos):
            scores = _scores([generation.start, *made], memory)[-1]
            scores[[token for token in generation.suppressed if token < VOCABULARY]] = -np.inf
            forced = {0: generation.forced_first, generation.max_new_tokens - 1: generation.forced_last}
            token = forced.get(len(made))
            made.append(int(scores.argmax()) if token is None else token)
        rows.append(made)
    lengths = np.array([len(row) for row in rows])
    tokens = np.array([row + [generation.pad] * (max(lengths) - len(row)) for row in rows])
    return {"tokens": tokens, "lengths": lengths}


def _scores(tokens: npt.ArrayLike, memory: Array) -> Array:
    """Scores [t, vocabulary] of one row."""
    h = EMBED[np.asarray(tokens)] + PLACE[: np.size(tokens)]
    weights = np.exp(h @ h.T) * np.tri(len(h))
    scores: Array = (weights / weights.sum(axis=1, keepdims=True)) @ h @ HEAD + memory
    return scores.astype(np.float32)


def controlled(program: Program, control: Control, **rules: object) -> Program:
    """The program of one decoder with another control and other rules of generation."""
    model = program.models["decoder"]
    assert isinstance(model.schedule, Decode)
    generation = model.schedule.generation.model_copy(update=rules)
    schedule = model.schedule.model_copy(update={"control": control, "generation": generation})
    return replace(program, models={"decoder": replace(model, schedule=schedule)})
