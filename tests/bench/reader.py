"""A reader of lines of text as large as those that are served: seeded random weights, 47 million of them.

Its family is a convolutional stem, a conformer encoder (Gulati et al. 2020, arXiv:2005.08100) and a transformer decoder
with learned positions; one graph that computes every position again at every step.
"""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTH, HEADS, INNER = 384, 6, 1536
ENCODER_LAYERS, DECODER_LAYERS = 8, 6
VOCABULARY, LONGEST = 6000, 75
HEIGHT, IMAGE_WIDTH = 48, 320


class Attention(nn.Module):
    """Multi-head attention of x [b, t, d] over what is given [b, s, d]."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(WIDTH, WIDTH) for _ in range(4))

    def forward(self, x: Tensor, over: Tensor, mask: Tensor | None = None) -> Tensor:
        def heads(projected: Tensor) -> Tensor:
            return projected.reshape(projected.shape[0], -1, HEADS, WIDTH // HEADS).transpose(1, 2)

        scores = heads(self.query(x)) @ heads(self.key(over)).transpose(2, 3) / math.sqrt(WIDTH // HEADS)
        weights = torch.softmax(scores if mask is None else scores + mask, -1)
        mixed = (weights @ heads(self.value(over))).transpose(1, 2)
        return self.out(mixed.reshape(x.shape[0], -1, WIDTH))  # type: ignore[no-any-return]


class Feed(nn.Sequential):
    """Norm, widen, SiLU, narrow."""

    def __init__(self) -> None:
        super().__init__(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, INNER), nn.SiLU(), nn.Linear(INNER, WIDTH))


class Convolution(nn.Module):
    """The convolution of a conformer block: pointwise with a gate, depthwise over 15 columns, pointwise."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.gated = nn.Conv1d(WIDTH, 2 * WIDTH, 1)
        self.depthwise = nn.Conv1d(WIDTH, WIDTH, 15, padding=7, groups=WIDTH)
        self.batch_norm = nn.BatchNorm1d(WIDTH)
        self.pointwise = nn.Conv1d(WIDTH, WIDTH, 1)

    def forward(self, x: Tensor) -> Tensor:
        columns = functional.glu(self.gated(self.norm(x).transpose(1, 2)), 1)
        mixed = functional.silu(self.batch_norm(self.depthwise(columns)))
        return self.pointwise(mixed).transpose(1, 2)  # type: ignore[no-any-return]


class EncoderLayer(nn.Module):
    """Half a feed-forward, attention, convolution, the other half."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.after = Feed(), Feed()
        self.norm, self.last_norm = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.attention, self.convolution = Attention(), Convolution()

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.before(x) / 2
        normed = self.norm(x)
        x = x + self.attention(normed, normed)
        x = x + self.convolution(x)
        return self.last_norm(x + self.after(x) / 2)  # type: ignore[no-any-return]


class DecoderLayer(nn.Module):
    """Attention to the tokens so far, attention to the image, feed-forward."""

    def __init__(self) -> None:
        super().__init__()
        self.self_norm, self.cross_norm = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.self_attention, self.cross_attention, self.feed = Attention(), Attention(), Feed()

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor) -> Tensor:
        normed = self.self_norm(x)
        x = x + self.self_attention(normed, normed, mask)
        x = x + self.cross_attention(self.cross_norm(x), memory)
        return x + self.feed(x)  # type: ignore[no-any-return]


class Reader(nn.Module):
    """image float32 [b, 1, 48, w], tokens int64 [b, t] -> scores float32 [b, t, 6000]."""

    causal: Tensor

    def __init__(self) -> None:
        super().__init__()
        stem, channels = list[nn.Module](), 1
        for wider, stride in ((WIDTH // 4, (2, 2)), (WIDTH // 2, (2, 2)), (WIDTH // 2, (2, 1))):
            stem += [nn.Conv2d(channels, wider, 3, stride, 1), nn.BatchNorm2d(wider), nn.ReLU()]
            channels = wider
        self.stem = nn.Sequential(*stem)
        self.columns = nn.Linear(channels * HEIGHT // 8, WIDTH)
        self.places = nn.Parameter(0.02 * torch.randn(IMAGE_WIDTH, WIDTH))
        self.encoder = nn.ModuleList(EncoderLayer() for _ in range(ENCODER_LAYERS))
        self.tokens, self.positions = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(LONGEST, WIDTH)
        self.decoder = nn.ModuleList(DecoderLayer() for _ in range(DECODER_LAYERS))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, VOCABULARY)
        self.register_buffer("causal", torch.full((LONGEST, LONGEST), -1e4).triu(1))

    def forward(self, image: Tensor, tokens: Tensor) -> Tensor:
        memory = self.columns(self.stem(image).permute(0, 3, 1, 2).flatten(2))
        memory = memory + self.places[: memory.shape[1]]
        for layer in self.encoder:
            memory = layer(memory)
        count = tokens.shape[1]
        x = self.tokens(tokens) + self.positions.weight[:count]
        for layer in self.decoder:
            x = layer(x, memory, self.causal[:count, :count])
        return self.head(self.norm(x))  # type: ignore[no-any-return]


def export_reader(path: Path) -> Path:
    """Write the reader as one ONNX graph."""
    torch.manual_seed(0)
    reader = Reader().eval()
    axes = {"image": {0: "batch"}, "tokens": {0: "batch", 1: "length"}, "logits": {0: "batch", 1: "length"}}
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore", DeprecationWarning)  # the exporter that most decoders in use came from
        torch.onnx.export(
            reader,
            (torch.rand(2, 1, HEIGHT, IMAGE_WIDTH), torch.ones(2, 7, dtype=torch.int64)),
            path,
            input_names=["image", "tokens"],
            output_names=["logits"],
            dynamic_axes=axes,
            opset_version=17,
            dynamo=False,
        )
    return path
