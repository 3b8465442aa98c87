from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from artifacts.schedule import Decode, Generation, Host, Single
from compiler.source_decode import request_sample, source_tokens
from compiler.source_runner import SourceRunner
from passes.onnx_to_torch.convert import source_signature
from passes.onnx_to_torch.source import load_source
from tests.support.models import normal, source_outputs, toy_decoding

LIMIT = 10


def schedule_of(eos: tuple[int, ...]) -> Decode:
    return Decode(
        encoder=None,
        step="toy",
        tokens="tokens",
        logits="logits",
        state="recompute",
        control=Host(),
        generation=Generation(start=1, eos=eos, pad=0, max_new_tokens=LIMIT),
    )


@pytest.mark.parametrize("eos", [(3,), (4, 7)])
def test_the_source_is_called_once_a_token_until_every_row_has_ended(toy_file: Path, eos: tuple[int, ...]) -> None:
    x = normal(6, 4, seed=3) * 4
    inputs = {"x": x, "tokens": np.ones((6, 3), np.int64)}
    decoded = source_tokens(SourceRunner(toy_file), schedule_of(eos), inputs, 6)

    expected = toy_decoding(x, 1, eos, LIMIT)
    longest = max(map(len, expected))
    assert decoded["lengths"].tolist() == [len(row) for row in expected]
    assert decoded["tokens"].tolist() == [row + [0] * (longest - len(row)) for row in expected]
    assert len(set(map(len, expected))) > 1, "rows of one length would not tell padding from tokens"


def test_the_scores_of_a_request_are_those_of_the_tokens_that_it_decodes_to(toy_file: Path) -> None:
    x = normal(6, 4, seed=3) * 4
    runner = SourceRunner(toy_file)
    signature = source_signature(load_source(toy_file))
    sample = request_sample({"x": x}, runner, signature, schedule_of((3,)))
    decoded = source_tokens(runner, schedule_of((3,)), {"x": x, "tokens": np.ones((6, 1), np.int64)}, 6)
    np.testing.assert_array_equal(sample.decoded["tokens"], decoded["tokens"])
    given = sample.inputs["tokens"]
    assert (given[:, 0] == 1).all()
    np.testing.assert_array_equal(given[:, 1:], decoded["tokens"][:, :-1])
    chosen = sample.outputs["logits"].argmax(-1)
    for row, length in enumerate(decoded["lengths"]):
        np.testing.assert_array_equal(chosen[row, :length], decoded["tokens"][row, :length])


def test_a_request_of_a_model_that_is_called_once_has_its_answer(perceptron_file: Path) -> None:
    request = {"x": normal(3, 16)}
    signature = source_signature(load_source(perceptron_file))
    sample = request_sample(request, SourceRunner(perceptron_file), signature, Single(function="perceptron"))
    np.testing.assert_array_equal(sample.outputs["y"], source_outputs(perceptron_file, request)["y"])
