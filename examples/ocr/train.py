"""Train a reader of one-line images on lines it draws itself, and export it as one ONNX graph.

    python examples/ocr/train.py --seconds 120 --output build/ocr-trained

The alphabet is 36 bitmaps of 16 x 4 pixels, made of random dots once. A line is up to 74 of them side by
side, dimmed and covered in noise. The model is a conformer encoder (a frame for every four pixel columns) and
a causal transformer decoder. Like most exported decoders it keeps no cache: every call takes the image and
all tokens so far, and computes everything again. The folder gets `model.onnx`, `generation_config.json` and
`eval.npz`, the files that lie beside this script, so `demo.py --model FOLDER` reads its lines too.
"""

import argparse
import json
import logging
import math
import time
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime
import torch
import torch.nn.functional as F
from torch import Tensor, nn

PAD, START, END, FIRST_GLYPH = 0, 1, 2, 3
GLYPHS = 36
HEIGHT, WIDTH, GLYPH_WIDTH = 16, 320, 4
LONGEST = 74
STEPS = LONGEST + 1  # the end token takes a step too
FEATURES, HEADS, ENCODER_BLOCKS, DECODER_BLOCKS = 96, 4, 2, 2
BATCH = 32
EVALUATION_LINES = 256


class Lines(NamedTuple):
    """Images float32 [n, 1, 16, 320] and targets int64 [n, t]: the glyphs' tokens, the end token, padding."""

    images: Tensor
    targets: Tensor

    def decoder_inputs(self) -> Tensor:
        """The targets moved one step on, as the decoder sees them when it is always right: int64 [n, t]."""
        return F.pad(self.targets[:, :-1], (1, 0), value=START)


def draw_lines(bitmaps: Tensor, lengths: Tensor, generator: torch.Generator) -> Lines:
    """Draw one line for each of `lengths` (int64 [n], 1 to 74) from `bitmaps` (float32 [36, 16, 4])."""
    count, longest = len(lengths), int(lengths.max())
    glyphs = torch.randint(GLYPHS, (count, longest), generator=generator)
    written = torch.arange(longest) < lengths[:, None]
    ink = (bitmaps[glyphs] * written[..., None, None]).permute(0, 2, 1, 3).reshape(count, HEIGHT, -1)
    contrast = torch.empty(count, 1, 1).uniform_(0.6, 1.0, generator=generator)
    noise = torch.empty(count, HEIGHT, WIDTH).normal_(0.0, 0.2, generator=generator)
    images = F.pad(ink, (0, WIDTH - ink.shape[-1])) * contrast + noise
    targets = F.pad(torch.where(written, glyphs + FIRST_GLYPH, PAD), (0, 1), value=PAD)
    return Lines(images[:, None], targets.scatter(1, lengths[:, None], END))


def natural_lengths(count: int, generator: torch.Generator) -> Tensor:
    """Lengths as text has them, int64 [count]: most lines short (11 glyphs on average), a few very long."""
    return torch.empty(count).geometric_(1 / 11, generator=generator).clamp(max=LONGEST).long()


def training_lengths(count: int, generator: torch.Generator) -> Tensor:
    """Half natural, half uniform, int64 [count]: else the last of the 75 steps would hardly be trained."""
    uniform = torch.randint(1, LONGEST + 1, (count // 2,), generator=generator)
    return torch.cat([natural_lengths(count - count // 2, generator), uniform])


def sinusoids(length: int) -> Tensor:
    """Position codes float32 [length, 96], as in Vaswani et al. 2017, section 3.5."""
    rates = torch.exp(torch.arange(0, FEATURES, 2) * (-math.log(10_000.0) / FEATURES))
    angles = torch.arange(length)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def feed_forward() -> nn.Sequential:
    """Norm, expand, contract."""
    return nn.Sequential(
        nn.LayerNorm(FEATURES),
        nn.Linear(FEATURES, 2 * FEATURES),
        nn.SiLU(),
        nn.Linear(2 * FEATURES, FEATURES),
    )


class Attention(nn.Module):
    """Multi-head attention of x [n, t, 96] on memory [n, s, 96]."""

    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Linear(FEATURES, FEATURES)
        self.key = nn.Linear(FEATURES, FEATURES)
        self.value = nn.Linear(FEATURES, FEATURES)
        self.out = nn.Linear(FEATURES, FEATURES)

    def forward(self, x: Tensor, memory: Tensor, causal: bool = False) -> Tensor:
        q, k, v = (
            y.unflatten(-1, (HEADS, FEATURES // HEADS)).transpose(1, 2)
            for y in (self.query(x), self.key(memory), self.value(memory))
        )
        mixed: Tensor = self.out(F.scaled_dot_product_attention(q, k, v, is_causal=causal).transpose(1, 2).flatten(2))
        return mixed


class Convolution(nn.Module):
    """The conformer's convolution: gate, depthwise over time, pointwise (Gulati et al. 2020, section 2.2)."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(FEATURES)
        self.gate = nn.Linear(FEATURES, 2 * FEATURES)
        self.depthwise = nn.Conv1d(FEATURES, FEATURES, 7, padding=3, groups=FEATURES)
        self.batch_norm = nn.BatchNorm1d(FEATURES)
        self.out = nn.Linear(FEATURES, FEATURES)

    def forward(self, x: Tensor) -> Tensor:
        gated = F.glu(self.gate(self.norm(x))).transpose(1, 2)
        mixed: Tensor = self.out(F.silu(self.batch_norm(self.depthwise(gated))).transpose(1, 2))
        return mixed


class ConformerBlock(nn.Module):
    """Half a feed-forward, attention, convolution, the other half (Gulati et al. 2020, figure 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.after = feed_forward(), feed_forward()
        self.norm, self.attention = nn.LayerNorm(FEATURES), Attention()
        self.convolution = Convolution()
        self.final_norm = nn.LayerNorm(FEATURES)

    def forward(self, x: Tensor) -> Tensor:
        x = x + 0.5 * self.before(x)
        y = self.norm(x)
        x = x + self.attention(y, y)
        x = x + self.convolution(x)
        done: Tensor = self.final_norm(x + 0.5 * self.after(x))
        return done


class DecoderBlock(nn.Module):
    """Causal attention on the tokens, attention on the frames, feed-forward."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(FEATURES), Attention()
        self.look_norm, self.look = nn.LayerNorm(FEATURES), Attention()
        self.feed_forward = feed_forward()
        # Step t has to look at frame t. Both carry the same position codes, so with equal projections the
        # products are largest there from the start, and training need not find the alignment by chance.
        nn.init.orthogonal_(self.look.query.weight)
        self.look.key.load_state_dict(self.look.query.state_dict())

    def forward(self, x: Tensor, frames: Tensor) -> Tensor:
        y = self.norm(x)
        x = x + self.attention(y, y, causal=True)
        x = x + self.look(self.look_norm(x), frames)
        done: Tensor = x + self.feed_forward(x)
        return done


class LineReader(nn.Module):
    """Image float32 [n, 1, 16, 320] and the tokens so far int64 [n, t] -> logits float32 [n, t, 39]."""

    positions: Tensor

    def __init__(self) -> None:
        super().__init__()
        frames = WIDTH // GLYPH_WIDTH
        self.register_buffer("positions", sinusoids(max(frames, STEPS)))
        self.stem = nn.Sequential(
            nn.Conv2d(1, 24, 3, stride=2, padding=1), nn.BatchNorm2d(24), nn.ReLU(),
            nn.Conv2d(24, 48, 3, stride=2, padding=1), nn.BatchNorm2d(48), nn.ReLU(),
        )  # fmt: skip
        self.frames = nn.Linear(48 * HEIGHT // 4, FEATURES)
        self.encoder = nn.ModuleList(ConformerBlock() for _ in range(ENCODER_BLOCKS))
        self.embedding = nn.Embedding(FIRST_GLYPH + GLYPHS, FEATURES)
        self.decoder = nn.ModuleList(DecoderBlock() for _ in range(DECODER_BLOCKS))
        self.norm = nn.LayerNorm(FEATURES)
        self.classes = nn.Linear(FEATURES, FIRST_GLYPH + GLYPHS)

    def forward(self, image: Tensor, decoder_input_ids: Tensor) -> Tensor:
        """Logits of the token after each given one."""
        frames: Tensor = self.frames(self.stem(image).flatten(1, 2).transpose(1, 2))
        frames = frames + self.positions[: frames.shape[1]]
        for block in self.encoder:
            frames = block(frames)
        x: Tensor = self.embedding(decoder_input_ids) + self.positions[: decoder_input_ids.shape[1]]
        for block in self.decoder:
            x = block(x, frames)
        logits: Tensor = self.classes(self.norm(x))
        return logits


def train(bitmaps: Tensor, seconds: float) -> LineReader:
    """Train a new reader for `seconds`; the rate follows half a cosine of the time spent."""
    generator = torch.Generator().manual_seed(1)
    reader = LineReader().train()
    optimizer = torch.optim.AdamW(reader.parameters(), betas=(0.9, 0.98))
    started = reported = time.monotonic()
    step = 0
    while (spent := (time.monotonic() - started) / seconds) < 1:
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * min(1.0, (step + 1) / 100) * 0.5 * (1 + math.cos(math.pi * spent))
        lines = draw_lines(bitmaps, training_lengths(BATCH, generator), generator)
        logits = reader(lines.images, lines.decoder_inputs())
        loss = F.cross_entropy(logits.flatten(0, 1), lines.targets.flatten(), ignore_index=PAD)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(reader.parameters(), 1.0)
        optimizer.step()
        step += 1
        if time.monotonic() - reported > seconds / 12:
            reported = time.monotonic()
            print(f"{reported - started:4.0f} s  step {step:5}  loss {loss.item():.4f}", flush=True)
    return reader.eval()


def export(reader: LineReader, example: Lines, path: Path) -> None:
    """Write one ONNX graph: image, decoder_input_ids -> logits, with free batch and token counts."""
    batch, tokens = torch.export.Dim("batch"), torch.export.Dim("tgt_len", max=STEPS)
    # The exporter warns about torch's own deprecations and about torchvision, which nothing here uses.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings(action="ignore"):
        torch.onnx.export(
            reader,
            (example.images[:2], example.decoder_inputs()[:2]),
            path,
            input_names=["image", "decoder_input_ids"],
            output_names=["logits"],
            dynamic_shapes=({0: batch}, {0: batch, 1: tokens}),
            dynamo=True,
            external_data=False,
            verbose=False,
        )


def exact_lines(path: Path, lines: Lines) -> int:
    """How many of the lines greedy decoding reads without one mistake, run by ONNX Runtime.

    Given the true tokens so far, the best next token is the true one at every step: exactly then a decoder
    that feeds itself reads the same line. So one call with all the steps tells.
    """
    session = onnxruntime.InferenceSession(path)
    inputs, exact = lines.decoder_inputs(), 0
    for start in range(0, len(inputs), BATCH):
        part = slice(start, start + BATCH)
        feeds = {"image": lines.images[part].numpy(), "decoder_input_ids": inputs[part].numpy()}
        tokens = torch.from_numpy(session.run(["logits"], feeds)[0]).argmax(-1)
        right = (tokens == lines.targets[part]) | (lines.targets[part] == PAD)
        exact += int(right.all(dim=1).sum())
    return exact


def main() -> None:
    """Train, export, and say how many unseen lines the exported graph reads."""
    parser = argparse.ArgumentParser(description="Train and export a reader of one-line images.")
    parser.add_argument("--seconds", type=float, default=120.0, help="time to train (default: 120)")
    parser.add_argument("--output", type=Path, default=Path("build/ocr-trained"), help="folder to write")
    options = parser.parse_args()
    torch.manual_seed(0)
    bitmaps = torch.randint(2, (GLYPHS, HEIGHT, GLYPH_WIDTH)).float()
    reader = train(bitmaps, options.seconds)

    options.output.mkdir(parents=True, exist_ok=True)
    unseen = torch.Generator().manual_seed(2)
    lines = draw_lines(bitmaps, natural_lengths(EVALUATION_LINES, unseen), unseen)
    lines = lines._replace(images=lines.images.half().float())  # as eval.npz keeps them
    model = options.output / "model.onnx"
    export(reader, lines, model)
    np.savez_compressed(options.output / "eval.npz", images=lines.images.half().numpy(), targets=lines.targets.numpy())
    tokens = {
        "decoder_start_token_id": START,
        "eos_token_id": END,
        "max_new_tokens": STEPS,
        "pad_token_id": PAD,
    }
    (options.output / "generation_config.json").write_text(json.dumps(tokens, indent=2) + "\n")
    print(f"{model}: {exact_lines(model, lines)} of {EVALUATION_LINES} unseen lines exact in ONNX Runtime")


if __name__ == "__main__":
    main()
