"""Content moderation in five files that repeat each other: two backbones, each exported with every task it serves.

A small one of what such a service is made of, or one of the size of two base transformers. Every file calls the
weights by names of its own, as separate exports do, so that only their contents tell that they are the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import ModelProto

from tests.support.models import Array, normal
from tests.support.programs import parsed


@dataclass(frozen=True)
class BackboneSize:
    """`words` in the table of the text backbone, features of both, and the products that each ends with."""

    words: int = 512
    width: int = 64
    text_layers: int = 0
    image_layers: int = 0


SMALL = BackboneSize()
BASE = BackboneSize(words=11264, width=2048, text_layers=20, image_layers=11)
"""445 MB for text and 337 MB for images, which together is 2.3 GB in five files."""

WORDS, PATCH = SMALL.words, 8

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
    text_0 = Div (total, count)
"""
_IMAGE = """
    patches = Conv <strides = [8, 8]> (pixel_values, {p}patch)
    bright = Relu (patches)
    mixed = Conv <pads = [1, 1, 1, 1]> (bright, {p}mix)
    even = GlobalAveragePool (mixed)
    image_0 = Flatten (even)
"""
_LAYER = """
    {backbone}_product_{number} = MatMul ({backbone}_{number}, {p}{backbone}_layer_{number})
    {backbone}_{next} = Relu ({backbone}_product_{number})
"""
_TEXT_INPUTS = "int64[batch, seq] input_ids, int64[batch, seq] attention_mask"
_IMAGE_INPUTS = "float[batch, 3, 32, 32] pixel_values"


def text_backbone(size: BackboneSize = SMALL) -> dict[str, Array]:
    """The weights that every file which reads text repeats."""
    return {
        "words": normal(size.words, size.width, seed=1),
        "dense": normal(size.width, size.width, seed=2) / np.float32(size.width**0.5),
        "bias": normal(size.width, seed=3),
        **_layers("text", size.text_layers, size.width, seed=100),
    }


def image_backbone(size: BackboneSize = SMALL) -> dict[str, Array]:
    """The weights that every file which sees images repeats."""
    return {
        "patch": normal(size.width, 3, PATCH, PATCH, seed=4) / 14,
        "mix": normal(size.width, size.width, 3, 3, seed=5) / np.float32(3 * size.width**0.5),
        **_layers("image", size.image_layers, size.width, seed=200),
    }


def _layers(backbone: str, count: int, width: int, seed: int) -> dict[str, Array]:
    """Matrices after which, and after a ReLU, values are as large as before."""
    scale = np.float32((2 / width) ** 0.5)
    return {f"{backbone}_layer_{n}": normal(width, width, seed=seed + n) * scale for n in range(count)}


def heads(size: BackboneSize = SMALL) -> dict[str, Array]:
    """The weights that each file has for itself, by the file's name."""
    return {
        "text_toxicity": normal(size.width, 5, seed=10),
        "text_spam": normal(size.width, 2, seed=11),
        "image_nsfw": normal(size.width, 7, seed=12),
        "image_violence": normal(size.width, 7, seed=13),
        "fusion_policy": normal(2 * size.width, 11, seed=14),
    }


def unique_bytes(size: BackboneSize) -> int:
    """Bytes of all weights of the five models, each counted once."""
    every = (text_backbone(size), image_backbone(size), heads(size))
    return sum(array.nbytes for arrays in every for array in arrays.values())


def moderation() -> dict[str, ModelProto]:
    """The five models by name: text and masks, images, or both -> logits float32 [batch, classes]."""
    return {name: moderation_model(name) for name in heads()}


def moderation_model(name: str, size: BackboneSize = SMALL) -> ModelProto:
    """One of the five."""
    head = heads(size)[name]
    sees, reads = not name.startswith("text"), not name.startswith("image")
    prefix = f"{name}_"
    body, inputs, weights = "", list[str](), dict[str, Array]()
    if reads:
        body += _TEXT.format(p=prefix) + _stack("text", prefix, size.text_layers)
        inputs.append(_TEXT_INPUTS)
        weights |= text_backbone(size) | {"last": np.array([-1]), "time": np.array([1])}
    if sees:
        body += _IMAGE.format(p=prefix) + _stack("image", prefix, size.image_layers)
        inputs.append(_IMAGE_INPUTS)
        weights |= image_backbone(size)
    if sees and reads:
        body += f"features = Concat <axis = 1> (text_{size.text_layers}, image_{size.image_layers})\n"
    one = f"text_{size.text_layers}" if reads else f"image_{size.image_layers}"
    features = "features" if sees and reads else one
    body += f"logits = MatMul ({features}, {prefix}head)"
    named = {f"{prefix}{key}": array for key, array in (weights | {"head": head}).items()}
    return parsed(f"g ({', '.join(inputs)}) => (float[batch, {head.shape[1]}] logits) {{ {body} }}", **named)


def _stack(backbone: str, prefix: str, layers: int) -> str:
    return "".join(_LAYER.format(backbone=backbone, p=prefix, number=n, next=n + 1) for n in range(layers))
