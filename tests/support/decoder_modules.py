"""Decoders of the forms that exporters and authors have, as torch modules: (tokens [b, t], source [b, s, 8]) -> scores.

Each looks back in another way; `converted_decoder` makes a Program of one, with samples by the module itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from artifacts.dtype import DType
from artifacts.samples import Sample
from artifacts.schedule import Decode, Generation, Host
from artifacts.spec import Signature, TensorSpec
from passes.derive_kv_cache import DeriveKvCache
from passes.onnx_to_torch.convert import export_module, to_function
from passes.program import Function, Model, Program
from passes.split_encoder_decoder import SplitEncoderDecoder

VOCABULARY, WIDTH, HEADS, LONGEST = 13, 8, 2, 12


class Attention(nn.Module):
    """Multi-head attention with its projections apart."""

    def __init__(self, key_heads: int = HEADS) -> None:
        super().__init__()
        size = WIDTH // HEADS
        self.key_heads = key_heads
        self.q, self.o = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.k, self.v = nn.Linear(WIDTH, key_heads * size), nn.Linear(WIDTH, key_heads * size)

    def heads(self, x: Tensor, count: int) -> Tensor:
        return x.reshape(x.shape[0], x.shape[1], count, -1).transpose(1, 2)

    def forward(self, x: Tensor, over: Tensor, mask: Tensor | None = None) -> Tensor:
        q, k, v = self.heads(self.q(x), HEADS), self.heads(self.k(over), self.key_heads), self.v(over)
        v = self.heads(v, self.key_heads)
        q, k = self.placed(q, k)
        out = self.weigh(q, k, v, mask)
        return self.o(out.transpose(1, 2).reshape(x.shape[0], x.shape[1], WIDTH))  # type: ignore[no-any-return]

    def placed(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        return q, k

    def weigh(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        scores = q @ k.transpose(2, 3) / math.sqrt(q.shape[3])
        return torch.softmax(scores if mask is None else scores + mask, -1) @ v


class KeysFirst(Attention):
    """Scores as keys by queries, and the softmax over what is then not the last axis."""

    def weigh(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        scores = k @ q.transpose(2, 3) / math.sqrt(q.shape[3])
        scores = scores if mask is None else scores + mask.transpose(0, 1)
        return torch.softmax(scores, -2).transpose(2, 3) @ v


class Grouped(Attention):
    """One head of keys and values for all heads of queries."""

    def __init__(self) -> None:
        super().__init__(key_heads=1)

    def weigh(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        wide = (k.shape[0], HEADS, k.shape[2], k.shape[3])
        return super().weigh(q, k.expand(wide), v.expand(wide), mask)


class Repeated(Attention):
    """Heads of keys and values repeated as exporters write `repeat_interleave`."""

    def __init__(self) -> None:
        super().__init__(key_heads=1)

    def weigh(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        k, v = (x.unsqueeze(2).repeat(1, 1, HEADS, 1, 1).reshape(x.shape[0], HEADS, -1, x.shape[3]) for x in (k, v))
        return super().weigh(q, k, v, mask)


class Rotary(Attention):
    """Queries and keys turned by their positions (Su et al. 2021, arXiv:2104.09864)."""

    def __init__(self) -> None:
        super().__init__()
        self.speed = nn.Parameter(torch.tensor([1.0, 0.1]))

    def placed(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        return self.turned(q), self.turned(k)

    def turned(self, x: Tensor) -> Tensor:
        angle = torch.arange(x.shape[2]).unsqueeze(1) * self.speed
        left, right = x.chunk(2, 3)
        return torch.cat([left * angle.cos() - right * angle.sin(), right * angle.cos() + left * angle.sin()], 3)


class Packed(Attention):
    """Heads merged into the batch, as torch's own MultiheadAttention does: [batch * heads, t, size]."""

    def weigh(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        flat = [x.reshape(-1, x.shape[2], x.shape[3]) for x in (q, k, v)]
        scores = torch.bmm(flat[0], flat[1].transpose(1, 2)) / math.sqrt(q.shape[3])
        out = torch.bmm(torch.softmax(scores if mask is None else scores + mask, -1), flat[2])
        return out.reshape(q.shape[0], HEADS, -1, q.shape[3])


class Sdpa(Attention):
    """The operator that torch has for all of it."""

    def weigh(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        return F.scaled_dot_product_attention(q, k, v, is_causal=mask is not None)


class OwnSoftmax(Attention):
    """A softmax written out, as some exporters do, with the largest score taken off first."""

    def weigh(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        scores = q @ k.transpose(2, 3) / math.sqrt(q.shape[3])
        scores = scores if mask is None else scores + mask
        shares = (scores - scores.amax(-1, keepdim=True)).exp()
        return shares / shares.sum(-1, keepdim=True) @ v


class Decoder(nn.Module):
    """Two layers of self-attention and one of cross-attention."""

    def __init__(self, attention: Callable[[], Attention] = Attention) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.embed, self.head = nn.Embedding(VOCABULARY, WIDTH), nn.Linear(WIDTH, VOCABULARY)
        self.layers = nn.ModuleList([attention() for _ in range(2)])
        self.norms = nn.ModuleList([nn.LayerNorm(WIDTH) for _ in range(3)])
        self.cross = Attention()
        self.table = nn.Parameter(torch.randn(LONGEST + 1, WIDTH))

    def forward(self, tokens: Tensor, source: Tensor) -> Tensor:
        x = self.embedded(tokens)
        mask = self.mask(tokens)
        for layer, norm in zip(self.layers, self.norms, strict=False):
            y = norm(x)
            x = x + layer(y, y, mask)
        return self.head(x + self.cross(self.norms[2](x), source))  # type: ignore[no-any-return]

    def embedded(self, tokens: Tensor) -> Tensor:
        return self.embed(tokens) * 1.5 + self.table[: tokens.shape[1]]  # type: ignore[no-any-return]

    def mask(self, tokens: Tensor) -> Tensor:
        t = tokens.shape[1]
        return torch.triu(torch.full((t, t), float("-inf")), 1)


class EveryOther(Decoder):
    """Looks at every other row of the source: no input of the step has the size that they are told by."""

    def forward(self, tokens: Tensor, source: Tensor) -> Tensor:
        return super().forward(tokens, source[:, ::2])


class RangeMask(Decoder):
    """The mask by comparing positions, and positions looked up."""

    def embedded(self, tokens: Tensor) -> Tensor:
        return self.embed(tokens) + self.table[torch.arange(tokens.shape[1])]  # type: ignore[no-any-return]

    def mask(self, tokens: Tensor) -> Tensor:
        places = torch.arange(tokens.shape[1])
        return torch.where(places.unsqueeze(0) <= places.unsqueeze(1), 0.0, -1e9)


class PaddingMask(RangeMask):
    """Padding among the tokens is neither seen nor counted."""

    def embedded(self, tokens: Tensor) -> Tensor:
        places = torch.cumsum((tokens != 0).to(torch.int64), 1) * (tokens != 0)
        return self.embed(tokens) + self.table[places]  # type: ignore[no-any-return]

    def mask(self, tokens: Tensor) -> Tensor:
        padding = torch.where(tokens != 0, 0.0, -1e4)[:, None, None, :]
        return super().mask(tokens) + padding


class Bidirectional(Decoder):
    """Every position sees every other."""

    def mask(self, tokens: Tensor) -> Tensor:
        return torch.zeros(tokens.shape[1], tokens.shape[1])


class MeanOfAll(nn.Module):
    """Rows are given the mean of all of them, twice: what the second sees of earlier rows, later tokens move."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.embed, self.head = nn.Embedding(VOCABULARY, WIDTH), nn.Linear(WIDTH, VOCABULARY)

    def forward(self, tokens: Tensor, source: Tensor) -> Tensor:
        x = self.embed(tokens)
        for _ in range(2):
            x = torch.tanh(x + x.mean(1, keepdim=True))
        return self.head(x + source.mean(1, keepdim=True))  # type: ignore[no-any-return]


class Thinned(Decoder):
    """Looks at every second position of the source, so that its memory has a size of its own."""

    def forward(self, tokens: Tensor, source: Tensor) -> Tensor:
        return super().forward(tokens, F.avg_pool1d(source.transpose(1, 2), 2, 2).transpose(1, 2))


class Relative(Decoder):
    """A bias by distance, in buckets (Raffel et al. 2020, arXiv:1910.10683), and no other position."""

    def embedded(self, tokens: Tensor) -> Tensor:
        return self.embed(tokens)  # type: ignore[no-any-return]

    def mask(self, tokens: Tensor) -> Tensor:
        places = torch.arange(tokens.shape[1])
        distance = (places.unsqueeze(1) - places.unsqueeze(0)).clamp(0, 5)
        return super().mask(tokens) + self.table[distance, 0]


class Recurrent(nn.Module):
    """A GRU that starts from the source's mean, and looks back on its own outputs if `looks_back`."""

    def __init__(self, looks_back: bool = False) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.embed, self.head = nn.Embedding(VOCABULARY, WIDTH), nn.Linear(WIDTH, VOCABULARY)
        self.looks_back = looks_back
        gates = 3 * WIDTH
        self.w, self.r = (nn.Parameter(torch.randn(1, gates, WIDTH) * 0.4) for _ in range(2))
        self.b = nn.Parameter(torch.randn(1, 2 * gates) * 0.1)
        self.cross = Attention()

    def forward(self, tokens: Tensor, source: Tensor) -> Tensor:
        x = self.embed(tokens).transpose(0, 1)
        start = source.mean(1).unsqueeze(0)
        options = ("forward", ["Sigmoid", "Tanh"], [0.0, 0.0], [0.0, 0.0], None, True)
        found, _ = torch.ops.unspool.gru(x, self.w, self.r, self.b, None, start, *options)
        out = found.squeeze(1).transpose(0, 1)
        if self.looks_back:
            t = tokens.shape[1]
            scores = out @ out.transpose(1, 2) + torch.triu(torch.full((t, t), float("-inf")), 1)
            out = out + torch.softmax(scores, -1) @ out
        return self.head(out + self.cross(out, source))  # type: ignore[no-any-return]


MODULES: dict[str, Callable[[], nn.Module]] = {
    "attention": Decoder,
    "every other": EveryOther,
    "keys first": lambda: Decoder(KeysFirst),
    "grouped": lambda: Decoder(Grouped),
    "repeated": lambda: Decoder(Repeated),
    "thinned": Thinned,
    "rotary": lambda: Decoder(Rotary),
    "packed": lambda: Decoder(Packed),
    "sdpa": lambda: Decoder(Sdpa),
    "own softmax": lambda: Decoder(OwnSoftmax),
    "range mask": RangeMask,
    "padding mask": PaddingMask,
    "relative": Relative,
    "gru": Recurrent,
    "gru that looks back": lambda: Recurrent(looks_back=True),
}
"""Every one of these has a cache."""

SEEING_LATER: dict[str, Callable[[], nn.Module]] = {"bidirectional": Bidirectional, "mean of all": MeanOfAll}
"""None of these has one."""

_INPUTS = (
    TensorSpec(name="tokens", dtype=DType.INT64, shape=("batch", "t")),
    TensorSpec(name="source", dtype=DType.FLOAT32, shape=("batch", "s", WIDTH)),
)
_SIGNATURE = Signature(
    inputs=_INPUTS, outputs=(TensorSpec(name="logits", dtype=DType.FLOAT32, shape=("batch", "t", VOCABULARY)),)
)


@cache
def converted_decoder(name: str) -> Program:
    """The module as a program of one function that recomputes; those of `SEEING_LATER` too."""
    module = _Flat((MODULES | SEEING_LATER)[name]().eval())
    samples = tuple(_sample(module, batch, length) for batch, length in ((2, 5), (1, 1), (3, 9)))
    body = export_module(module, _SIGNATURE, samples[0].inputs, name)
    converted = to_function("decoder", body, _SIGNATURE, {})
    function = converted.function
    time = frozenset({str(function.signature.input("tokens").shape[1])})
    schedule = Decode(
        encoder=None,
        step="decoder",
        tokens="tokens",
        logits="logits",
        state="recompute",
        control=Host(),
        generation=Generation(start=1, eos=(2,), pad=0, max_new_tokens=LONGEST),
    )
    model = Model(function.signature, schedule, "0" * 64, samples)
    return Program({"decoder": replace(function, time=time)}, {"decoder": model}, converted.weights)


@cache
def derived(name: str) -> Program:
    """The same with a cache, and the encoder apart."""
    return DeriveKvCache()(SplitEncoderDecoder()(converted_decoder(name)).program).program


def schedule_of(program: Program) -> Decode:
    """How the one model of a program decodes."""
    schedule = program.models["decoder"].schedule
    assert isinstance(schedule, Decode)
    return schedule


def step_of(program: Program) -> Function:
    """What it calls for every token."""
    return program.functions[schedule_of(program).step]


class _Flat(nn.Module):
    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: Tensor) -> tuple[Tensor]:
        return (self.module(*inputs),)


def _sample(module: nn.Module, batch: int, length: int) -> Sample:
    random = np.random.default_rng(batch)
    tokens = random.integers(1, VOCABULARY, (batch, length))
    source = random.standard_normal((batch, length + 2, WIDTH)).astype(np.float32)
    with torch.no_grad():
        (scores,) = module(torch.from_numpy(tokens), torch.from_numpy(source))
    return Sample({"tokens": tokens, "source": source}, {"logits": scores.numpy()})
