"""One TorchScript model of a decode: its parts traced apart, its loop inside, loaded with torch alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from artifacts.bundle import Bundle
from artifacts.errors import BundleError, RunError
from artifacts.runtime import Session
from compiler.compile import compile_bundle
from compiler.generation import TokenFlags
from compiler.options import CacheMode, CompileOptions, ModelFile, ScheduleName
from tests.support.cli import child_environment
from tests.support.models import OCR, BundleCache, forced_toy, normal, saved, source_outputs, toy_decoder, toy_decoding

DECODE = {"schedule": ScheduleName.ENGINE_LOOP}

each_state = pytest.mark.parametrize("state", [CacheMode.ON, CacheMode.PADDED])


@pytest.fixture(scope="module")
def perceptron(cache: BundleCache, perceptron_file: Path) -> Path:
    model = ModelFile("perceptron", perceptron_file)
    options = CompileOptions(target="torchscript", opt_shapes=(("x", (4, 16)),))
    return cache.get("perceptron-torchscript", lambda path: compile_bundle([model], path, options))


def test_a_model_that_is_called_once_answers_as_the_source(perceptron: Path, perceptron_file: Path) -> None:
    (engine,) = Bundle.open(perceptron).manifest.engines.values()
    assert (engine.kind, engine.status, engine.source) == ("torchscript", "verified", "engines/perceptron.pt")
    with Session.open(perceptron) as session:
        x = normal(4, 16, seed=1)
        expected = source_outputs(perceptron_file, {"x": x})["y"]
        np.testing.assert_allclose(session.run({"x": x})["y"], expected, rtol=1e-4, atol=1e-5)
        with pytest.raises(RunError):
            session.run({"x": normal(5, 16, seed=1)})


@pytest.mark.parametrize(
    "tokens",
    [
        TokenFlags(start=0, eos=(2,), pad=0, max_new_tokens=6),
        TokenFlags(start=0, eos=(2, 9), pad=1, max_new_tokens=3),
    ],
)
@each_state
def test_a_decode_ends_where_its_rows_do(tokens: TokenFlags, state: CacheMode, tmp_path: Path) -> None:
    model = ModelFile("toy", saved(toy_decoder(), tmp_path / "toy.onnx"))
    options = CompileOptions(target="torchscript", tokens=tokens, cache=state, opt_shapes=(("x", (5, 4)),), **DECODE)  # type: ignore[arg-type]
    compile_bundle([model], tmp_path / "b", options)
    assert tokens.eos is not None
    assert tokens.max_new_tokens is not None
    with Session.open(tmp_path / "b") as session:
        for seed in range(3):
            x = normal(5, 4, seed=seed)
            answer = session.run({"x": x})
            found = [row[:count].tolist() for row, count in zip(answer["tokens"], answer["lengths"], strict=True)]
            expected = toy_decoding(x, 0, tokens.eos, tokens.max_new_tokens)
            assert found == expected
            assert answer["tokens"].shape[1] == max(map(len, expected)), "the loop ends with the last row"


def test_what_is_no_model_is_one_error(perceptron: Path, tmp_path: Path) -> None:
    from artifacts.engines import open_engine

    (engine,) = Bundle.open(perceptron).manifest.engines.values()
    (tmp_path / "engines").mkdir()
    (tmp_path / engine.source).write_bytes(b"no model")
    with pytest.raises(BundleError, match="torch cannot open it"):
        open_engine(tmp_path, engine)


WITH_TORCH_ALONE = """
import json, sys, warnings
sys.modules.update(dict.fromkeys(("artifacts", "compiler", "passes", "onnx", "onnxruntime", "jax")))
import numpy as np, torch
model = torch.jit.load(sys.argv[1])
with np.load(sys.argv[2]) as archive:
    images, targets = archive["images"].astype(np.float32), archive["targets"]
right, steps = 0, []
for start in range(0, len(images), 8):
    tokens, lengths = model(torch.from_numpy(images[start : start + 8]))
    steps.append(tokens.shape[1])
    for row, count, target in zip(tokens.tolist(), lengths.tolist(), targets[start : start + 8].tolist()):
        right += row[:count] == [token for token in target if token]
print(json.dumps([right, len(images), min(steps), max(steps)]))
"""


@pytest.mark.slow  # a minute each: the reader of lines is converted, and reads 256 of them a token at a time
@each_state
def test_it_reads_every_line_with_torch_alone(state: CacheMode, tmp_path: Path) -> None:
    options = CompileOptions(
        target="torchscript",
        cache=state,
        tokens=TokenFlags(max_new_tokens=75),
        opt_shapes=(("image", (8, 1, 16, 320)),),
        **DECODE,  # type: ignore[arg-type]
    )
    compile_bundle([ModelFile("ocr", OCR / "model.onnx")], tmp_path / "b", options)
    file = tmp_path / "b" / "engines" / "ocr.decode.pt"
    command = [sys.executable, "-c", WITH_TORCH_ALONE, str(file), str(OCR / "eval.npz")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=child_environment())
    right, lines, fewest, most = json.loads(done.stdout)
    assert (right, lines) == (256, 256)
    assert fewest < most < 75, "it stops when the last of its lines has ended"


@pytest.mark.parametrize("length", [1, 3])
def test_a_first_token_is_forced_and_others_are_never_chosen(length: int, tmp_path: Path) -> None:
    model = ModelFile("toy", forced_toy(tmp_path, length))
    compile_bundle(
        [model],
        tmp_path / "b",
        CompileOptions(target="torchscript", opt_shapes=(("x", (5, 4)),), **DECODE),  # type: ignore[arg-type]
    )
    with Session.open(tmp_path / "b") as session:
        tokens = session.run({"x": normal(5, 4, seed=0)})["tokens"]
    assert tokens[:, 0].tolist() == [7] * 5
    assert not np.isin(tokens, [3, 4, 5]).any()
