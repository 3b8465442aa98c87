"""Make tests/data/{bart,t5,pegasus,marian}_tiny: small encoder-decoders, and what transformers generates with them.

Needs packages that the project itself does not: in an environment of its own,

    pip install torch transformers onnx onnxscript onnxruntime
    python tests/data/generate_references.py

The weights are random and seeded. Two things are not as transformers initialises them, because a decoder with such
weights says one token for ever: the weights are larger, and the head is not tied to the embedding but has rows of
one length in random directions. So every token depends on all before it and on the source. The end tokens are
chosen among those that come up, such that rows of a batch end at different steps.
"""

from __future__ import annotations

import argparse
import itertools
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import transformers as hf

Array = npt.NDArray[Any]

VOCABULARY, WIDTH, LONGEST, NEW_TOKENS = 200, 64, 128, 20
LENGTHS = (5, 9, 14, 11, 7, 12)
"""Source lengths of the batch: the rest of a row is padding."""
BEAMS = 4
SMALL: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "d_model": WIDTH,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 128,
    "decoder_ffn_dim": 128,
    "max_position_embeddings": LONGEST,
    "init_std": 0.1,
    "tie_word_embeddings": False,
}
FAMILIES: dict[str, tuple[Any, Any]] = {
    "bart": (hf.BartForConditionalGeneration, hf.BartConfig(**SMALL)),
    "pegasus": (hf.PegasusForConditionalGeneration, hf.PegasusConfig(**SMALL)),
    "marian": (
        hf.MarianMTModel,
        hf.MarianConfig(
            pad_token_id=199,
            decoder_start_token_id=199,
            eos_token_id=0,
            forced_eos_token_id=None,
            **{**SMALL, "init_std": 0.07},
        ),
    ),
    "t5": (
        hf.T5ForConditionalGeneration,
        hf.T5Config(
            vocab_size=VOCABULARY,
            d_model=WIDTH,
            d_kv=16,
            d_ff=128,
            num_layers=2,
            num_heads=4,
            decoder_start_token_id=0,
            tie_word_embeddings=False,
        ),
    ),
}
RULES: dict[str, dict[str, Any]] = {
    "bart": {"forced_bos_token_id": 0, "forced_eos_token_id": 2},
    "pegasus": {"forced_eos_token_id": 1},
    "marian": {"suppress_tokens": [199]},
    "t5": {},
}
"""Which tokens are forced or suppressed in the published models of a family."""
DYNAMO = ("t5",)
"""Families that the newer exporter writes as well."""


class Whole(torch.nn.Module):
    """The model in one graph without a cache: source, its mask and the decoder's tokens in, logits out."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.eval()  # or the exporter leaves the model in training mode, with dropout

    def forward(self, input_ids: Any, attention_mask: Any, decoder_input_ids: Any) -> Any:
        """Logits [batch, t, vocabulary]."""
        return self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            decoder_input_ids=decoder_input_ids,
            use_cache=False,
        ).logits


def make(family: str) -> Any:
    """The model with its seeded weights."""
    kind, config = FAMILIES[family]
    config._attn_implementation = "eager"
    config.tie_word_embeddings = False  # again: a constructor may set it back
    torch.manual_seed(0)
    model = kind(config).eval()
    rows = torch.randn(model.lm_head.weight.shape, generator=torch.Generator().manual_seed(5))
    model.lm_head.weight = torch.nn.Parameter(4 * rows / rows.norm(dim=1, keepdim=True))
    return model


def request(pad: int) -> dict[str, torch.Tensor]:
    """A batch of sources of different lengths, and the mask that says so."""
    random = np.random.default_rng(3)
    ids = np.full((len(LENGTHS), max(LENGTHS)), pad)
    for row, length in enumerate(LENGTHS):
        ids[row, :length] = random.integers(5, VOCABULARY - 10, length)
    mask = np.arange(max(LENGTHS)) < np.array(LENGTHS)[:, None]
    return {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask.astype(np.int64))}


def settings(family: str, model: Any, inputs: dict[str, torch.Tensor]) -> dict[str, Any]:
    """The family's own special tokens, and two further end tokens that let rows end at different steps."""
    config = model.config
    found: dict[str, Any] = {
        "decoder_start_token_id": config.decoder_start_token_id,
        "pad_token_id": config.pad_token_id,
        "max_new_tokens": NEW_TOKENS,
    }
    found |= RULES[family]
    eos = config.eos_token_id
    free = generated(model, inputs, found | {"eos_token_id": None, "forced_eos_token_id": None})
    seen = sorted(set(free[:, 3:].flatten().tolist()))
    ends = max(itertools.combinations(seen, 2), key=lambda pair: spread(lengths_of(free, pair)))
    return found | {"eos_token_id": [eos, *ends]}


def spread(lengths: Array) -> tuple[int, int, int]:
    """How good these lengths are to test with: many different ones, one that never ends, and long ones."""
    return len(set(lengths.tolist())), int((lengths == NEW_TOKENS).any()), int(lengths.sum())


def generated(model: Any, inputs: dict[str, torch.Tensor], config: dict[str, Any], **more: Any) -> Array:
    """What transformers generates, the start token left out: int64 [batch, n]."""
    tokens: Array = run(model, inputs, config, **more).sequences[:, 1:].numpy()
    return tokens


def run(model: Any, inputs: dict[str, torch.Tensor], config: dict[str, Any], **more: Any) -> Any:
    """One call of transformers' generate, with these settings and no others."""
    wanted = {"num_beams": 1, **config, **more}
    model.generation_config = hf.GenerationConfig(do_sample=False, **wanted)
    return model.generate(**inputs, return_dict_in_generate=True, output_scores=True)


def lengths_of(tokens: Array, eos: tuple[int, ...]) -> Array:
    """Tokens up to and with the first end token, int64 [batch]."""
    ended = np.isin(tokens, eos)
    lengths: Array = np.where(ended.any(1), ended.argmax(1) + 1, tokens.shape[1])
    return lengths


def answers(model: Any, inputs: dict[str, torch.Tensor], config: dict[str, Any]) -> dict[str, Array]:
    """Greedy and beam results by name; each row also alone, without its padding, to see that it is the same."""
    found: dict[str, Array] = {}
    ways: dict[str, dict[str, Any]] = {"greedy": {}}
    for penalty, early in ((1.0, False), (1.0, True), (2.0, False), (2.0, True), (1.0, "never"), (-0.5, False)):
        ways[f"beams,{penalty},{early}".lower()] = {
            "num_beams": BEAMS,
            "length_penalty": penalty,
            "early_stopping": early,
        }
    for name, way in ways.items():
        result = run(model, inputs, config, **way)
        tokens, lengths = padded(result.sequences[:, 1:].numpy(), config)
        for row, length in enumerate(LENGTHS):
            one = {key: value[row : row + 1, :length] for key, value in inputs.items()}
            alone, _ = padded(run(model, one, config, **way).sequences[:, 1:].numpy(), config)
            assert alone[0].tolist() == tokens[row, : lengths[row]].tolist(), (name, row)
        found |= {f"{name}:tokens": tokens, f"{name}:lengths": lengths}
        if way:
            found[f"{name}:scores"] = result.sequences_scores.numpy()
    return found


def padded(tokens: Array, config: dict[str, Any]) -> tuple[Array, Array]:
    """Tokens filled with pad (transformers fills beams with an end token if pad is 0), and lengths."""
    lengths = lengths_of(tokens, tuple(config["eos_token_id"]))
    kept = np.arange(tokens.shape[1]) < lengths[:, None]
    return np.where(kept, tokens, config["pad_token_id"])[:, : lengths.max()], lengths


def export(model: Any, inputs: dict[str, torch.Tensor], folder: Path, dynamo: bool) -> None:
    """model.onnx by the TorchScript exporter, and model_dynamo.onnx by the other."""
    arguments = (*inputs.values(), torch.full((len(LENGTHS), 6), 7))
    names = ["input_ids", "attention_mask", "decoder_input_ids"]
    source, target = {0: "batch", 1: "encoder_sequence_length"}, {0: "batch", 1: "decoder_sequence_length"}
    torch.onnx.export(
        Whole(model),
        arguments,
        folder / "model.onnx",
        input_names=names,
        output_names=["logits"],
        dynamic_axes=dict(zip([*names, "logits"], [source, source, target, target], strict=True)),
        opset_version=17,
        dynamo=False,
    )
    if dynamo:
        dim = torch.export.Dim
        batch, width, length = (
            dim("batch", max=64),
            dim("enc_len", min=2, max=LONGEST),
            dim("dec_len", min=2, max=LONGEST),
        )
        torch.onnx.export(
            Whole(model),
            arguments,
            folder / "model_dynamo.onnx",
            input_names=names,
            output_names=["logits"],
            dynamic_shapes=({0: batch, 1: width}, {0: batch, 1: width}, {0: batch, 1: length}),
            opset_version=20,
            dynamo=True,
            external_data=False,
        )
        without_traces(folder / "model_dynamo.onnx")


def without_traces(path: Path) -> None:
    """Take out the stack traces that the dynamo exporter writes into a model: they are half of it."""
    import onnx

    model = onnx.load(path)
    for graph in (model.graph, *model.functions):
        for node in graph.node:
            del node.metadata_props[:]
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        del value.metadata_props[:]
    del model.graph.metadata_props[:]
    onnx.save(model, path)


def check(folder: Path, model: Any, inputs: dict[str, torch.Tensor]) -> float:
    """The largest difference between the exports' logits and the model's."""
    import onnxruntime

    tokens = torch.randint(5, VOCABULARY, (len(LENGTHS), 9), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        wanted = Whole(model)(*inputs.values(), tokens).numpy()
    given = {**{name: value.numpy() for name, value in inputs.items()}, "decoder_input_ids": tokens.numpy()}
    return max(
        float(np.abs(onnxruntime.InferenceSession(path).run(None, given)[0] - wanted).max())
        for path in folder.glob("*.onnx")
    )


def main() -> None:
    """Write everything for the families named, else for all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("families", nargs="*", help=f"of {', '.join(FAMILIES)}; without one, all")
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    hf.logging.set_verbosity_error()
    for family in parser.parse_args().families or FAMILIES:
        folder = Path(__file__).parent / f"{family}_tiny"
        folder.mkdir(exist_ok=True)
        model = make(family)
        inputs = request(model.config.pad_token_id)
        config = settings(family, model, inputs)
        export(model, inputs, folder, family in DYNAMO)
        found = answers(model, inputs, config)
        (folder / "generation_config.json").write_text(json.dumps(config, indent=2) + "\n")
        arrays: dict[str, Any] = {**{name: value.numpy() for name, value in inputs.items()}, **found}
        np.savez_compressed(folder / "generate.npz", **arrays)
        lengths = {name: found[name].tolist() for name in found if name.endswith(":lengths")}
        print(family, f"logits within {check(folder, model, inputs):.1e}", config, lengths, sep="\n  ")


if __name__ == "__main__":
    main()
