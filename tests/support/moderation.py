"""Content moderation in five files that repeat each other: two backbones, each exported with every task it serves.

A small one of what such a service is made of. Every file calls the weights by names of its own, as separate exports
do, so that only their contents tell that they are the same.
"""

from __future__ import annotations

import numpy as np
from onnx import ModelProto

from tests.support.models import Array, normal
from tests.support.programs import parsed

WORDS, WIDTH, PATCH = 512, 64, 8

_TEXT = """
    rows = Gather ({p}words, input_ids)
    product = MatMul (rows, {p}dense)
    sums = Add (product, {p}bias)
    hidden = Relu (sums)
    floats = Cast <to = 1> (attention_mask)
    columns = Unsqueeze (floats, {p}last)
    kept = Mul (hidden, columns)
    total = ReduceSum <keepdims = 0> (kept, {p}time)
    count = ReduceSum <keepdims = 0> (columns, {p}time)
    text = Div (total, count)
"""
_IMAGE = """
    patches = Conv <strides = [8, 8]> (pixel_values, {p}patch)
    bright = Relu (patches)
    mixed = Conv <pads = [1, 1, 1, 1]> (bright, {p}mix)
    even = GlobalAveragePool (mixed)
    image = Flatten (even)
"""
_TEXT_INPUTS = "int64[batch, seq] input_ids, int64[batch, seq] attention_mask"
_IMAGE_INPUTS = "float[batch, 3, 32, 32] pixel_values"


def text_backbone() -> dict[str, Array]:
    """The weights that every file which reads text repeats."""
    return {
        "words": normal(WORDS, WIDTH, seed=1),
        "dense": normal(WIDTH, WIDTH, seed=2) / 8,
        "bias": normal(WIDTH, seed=3),
    }


def image_backbone() -> dict[str, Array]:
    """The weights that every file which sees images repeats."""
    return {
        "patch": normal(WIDTH, 3, PATCH, PATCH, seed=4) / 14,
        "mix": normal(WIDTH, WIDTH, 3, 3, seed=5) / 24,
    }


def heads() -> dict[str, Array]:
    """The weights that each file has for itself, by the file's name."""
    return {
        "text_toxicity": normal(WIDTH, 5, seed=10),
        "text_spam": normal(WIDTH, 2, seed=11),
        "image_nsfw": normal(WIDTH, 7, seed=12),
        "image_violence": normal(WIDTH, 7, seed=13),
        "fusion_policy": normal(2 * WIDTH, 11, seed=14),
    }


def moderation() -> dict[str, ModelProto]:
    """The five models by name: text and masks, images, or both -> logits float32 [batch, classes]."""
    return {name: _model(name, head) for name, head in heads().items()}


def _model(name: str, head: Array) -> ModelProto:
    sees, reads = not name.startswith("text"), not name.startswith("image")
    prefix = f"{name}_"
    body, inputs, weights = "", list[str](), dict[str, Array]()
    if reads:
        body += _TEXT.format(p=prefix)
        inputs.append(_TEXT_INPUTS)
        weights |= text_backbone() | {"last": np.array([-1]), "time": np.array([1])}
    if sees:
        body += _IMAGE.format(p=prefix)
        inputs.append(_IMAGE_INPUTS)
        weights |= image_backbone()
    if sees and reads:
        body += "features = Concat <axis = 1> (text, image)\n"
    features = "features" if sees and reads else "text" if reads else "image"
    body += f"logits = MatMul ({features}, {prefix}head)"
    named = {f"{prefix}{key}": array for key, array in (weights | {"head": head}).items()}
    return parsed(f"g ({', '.join(inputs)}) => (float[batch, {head.shape[1]}] logits) {{ {body} }}", **named)
