"""Make a model in every form that a contestant takes, in the environment of the peers.

    python -m tests.bench.peers.export MODEL FOLDER

model.onnx is one graph, (input_ids, attention_mask, decoder_input_ids) -> logits: what Unspool compiles, with the
configuration beside it. encoder_model.onnx, decoder_model.onnx and decoder_with_past_model.onnx are the three-file
form, by the names that optimum gives it. transformers/ is the saved model, ctranslate2/ the converted one.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers
from ctranslate2.converters import TransformersConverter
from torch import Tensor, nn
from transformers.cache_utils import DynamicCache, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput

from tests.bench.peers.models import MODEL_FILE, PeerModel, model_named
from tests.bench.peers.vocabulary import END, PAD, UNKNOWN, token_texts

_OPSET = 17
_LONGEST = 128


def main(name: str, folder: str) -> int:
    warnings.simplefilter("ignore")  # of tracing: that Python values become constants
    model, path = model_named(name), Path(folder)
    path.mkdir(parents=True, exist_ok=True)
    network = made(model)
    for place in (path / "transformers", path):
        network.generation_config.save_pretrained(place)
        network.config.save_pretrained(place)
    network.save_pretrained(path / "transformers")
    _Converter(model, str(path / "transformers")).convert(str(path / "ctranslate2"), force=True)
    # Exported from the fused attention, every one has a guard against NaN that costs all who run the graph.
    network.set_attn_implementation("eager")
    with torch.no_grad():
        _export(network, model, path)
    return 0


def made(model: PeerModel) -> Any:
    """The network of transformers, weights as it draws them from a seed, in which the end token is suppressed."""
    special = {"pad_token_id": model.pad, "decoder_start_token_id": model.start, "eos_token_id": model.end}
    if model.kind == "t5":
        config = transformers.T5Config(
            vocab_size=model.vocabulary,
            d_model=model.size,
            d_kv=model.size // model.heads,
            d_ff=model.inner,
            num_layers=model.layers,
            num_heads=model.heads,
            **special,
        )
        network = transformers.T5ForConditionalGeneration
    else:
        halves = ("encoder", "decoder")
        config = transformers.MarianConfig(
            vocab_size=model.vocabulary,
            d_model=model.size,
            max_position_embeddings=_LONGEST,
            **{f"{half}_layers": model.layers for half in halves},
            **{f"{half}_attention_heads": model.heads for half in halves},
            **{f"{half}_ffn_dim": model.inner for half in halves},
            forced_eos_token_id=None,
            **special,
        )
        network = transformers.MarianMTModel
    torch.manual_seed(0)
    found = network(config).eval()
    if model.kind == "t5":
        # As they are drawn, embeddings outweigh all that layers add: every text is the start token, again and again.
        with torch.no_grad():
            found.get_input_embeddings().weight.mul_(0.05)
    found.generation_config = transformers.GenerationConfig(suppress_tokens=[model.end], **special)
    return found


class _Converter(TransformersConverter):  # type: ignore[misc]
    """CTranslate2's own, with words made up instead of a tokenizer's."""

    def __init__(self, model: PeerModel, path: str) -> None:
        super().__init__(path)
        self._model = model

    def load_tokenizer(self, *_: Any, **__: Any) -> _Words:
        return _Words(self._model)


class _Words:
    """As much of a tokenizer as the conversion asks for."""

    pad_token, eos_token, unk_token = PAD, END, UNKNOWN

    def __init__(self, model: PeerModel) -> None:
        self._words = token_texts(model)

    def get_vocab(self) -> dict[str, int]:
        return {word: token for token, word in enumerate(self._words)}

    def convert_ids_to_tokens(self, token: int) -> str:
        return self._words[token]


class _Whole(nn.Module):
    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, input_ids: Tensor, attention_mask: Tensor, decoder_input_ids: Tensor) -> Any:
        return self.network(
            input_ids=input_ids, attention_mask=attention_mask, decoder_input_ids=decoder_input_ids, use_cache=False
        ).logits


class _Encoder(nn.Module):
    def __init__(self, network: Any) -> None:
        super().__init__()
        self.encoder = network.get_encoder()

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
        return self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state


class _First(nn.Module):
    """Scores, and for every layer the keys and values of what was written and of what was read."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, input_ids: Tensor, encoder_hidden_states: Tensor, encoder_attention_mask: Tensor) -> Any:
        answer = self.network(
            encoder_outputs=BaseModelOutput(encoder_hidden_states),
            attention_mask=encoder_attention_mask,
            decoder_input_ids=input_ids,
            use_cache=True,
        )
        return answer.logits, *_flat(answer.past_key_values)


class _Later(nn.Module):
    """The same of the next token, given all those; what was read is not given back."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, input_ids: Tensor, encoder_attention_mask: Tensor, *past: Tensor) -> Any:
        written, read = DynamicCache(), DynamicCache()
        for layer, place in enumerate(range(0, len(past), 4)):
            written.update(*past[place : place + 2], layer)
            read.update(*past[place + 2 : place + 4], layer)
        # The decoder asks for its length only: keys and values of it are in the cache.
        memory = past[2].new_zeros((past[2].shape[0], past[2].shape[2], self.network.config.d_model))
        answer = self.network(
            encoder_outputs=BaseModelOutput(memory),
            attention_mask=encoder_attention_mask,
            decoder_input_ids=input_ids,
            past_key_values=EncoderDecoderCache(written, read),
            use_cache=True,
        )
        grown = [value for place, value in enumerate(_flat(answer.past_key_values)) if place % 4 < 2]
        return answer.logits, *grown


def _flat(cache: Any) -> list[Tensor]:
    layers = zip(cache.self_attention_cache.layers, cache.cross_attention_cache.layers, strict=True)
    return [value for pair in layers for layer in pair for value in (layer.keys, layer.values)]


def _export(network: Any, model: PeerModel, folder: Path) -> None:
    ids = torch.arange(5, 5 + 2 * 11).reshape(2, 11)
    mask = torch.ones_like(ids)
    tokens = torch.arange(5, 5 + 2 * 6).reshape(2, 6)
    memory = _Encoder(network)(ids, mask)
    first = _First(network)
    _, *past = first(tokens[:, :1], memory, mask)
    text, read = {0: "batch", 1: "tokens"}, {0: "batch", 1: "source"}
    slots = [
        f"{layer}.{half}.{what}"
        for layer in range(model.layers)
        for half in ("decoder", "encoder")
        for what in ("key", "value")
    ]
    written = [slot for slot in slots if ".decoder." in slot]
    rows = {slot: {0: "batch", 2: "past" if slot in written else "source"} for slot in slots}
    grown = {slot: {0: "batch", 2: "grown"} for slot in written}
    _write(
        _Whole(network),
        folder / MODEL_FILE,
        {"input_ids": (ids, read), "attention_mask": (mask, read), "decoder_input_ids": (tokens, text)},
        {"logits": text},
    )
    _write(
        _Encoder(network),
        folder / "encoder_model.onnx",
        {"input_ids": (ids, read), "attention_mask": (mask, read)},
        {"last_hidden_state": read},
    )
    _write(
        first,
        folder / "decoder_model.onnx",
        {
            "input_ids": (tokens[:, :1], text),
            "encoder_hidden_states": (memory, read),
            "encoder_attention_mask": (mask, read),
        },
        {"logits": text} | {f"present.{slot}": axes for slot, axes in rows.items()},
    )
    _write(
        _Later(network),
        folder / "decoder_with_past_model.onnx",
        {"input_ids": (tokens[:, 1:2], {0: "batch"}), "encoder_attention_mask": (mask, read)}
        | {f"past_key_values.{slot}": (value, rows[slot]) for slot, value in zip(slots, past, strict=True)},
        {"logits": {0: "batch"}} | {f"present.{slot}": axes for slot, axes in grown.items()},
    )


def _write(
    module: nn.Module,
    path: Path,
    inputs: Mapping[str, tuple[Tensor, Mapping[int, str]]],
    outputs: Mapping[str, Mapping[int, str]],
) -> None:
    """By the tracing exporter, as optimum does; the names of dynamic axes are for readers only."""
    torch.onnx.export(
        module.eval(),
        tuple(value for value, _ in inputs.values()),
        str(path),
        input_names=list(inputs),
        output_names=list(outputs),
        dynamic_axes={name: dict(axes) for name, (_, axes) in inputs.items()}
        | {name: dict(axes) for name, axes in outputs.items()},
        opset_version=_OPSET,
        dynamo=False,
    )


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
