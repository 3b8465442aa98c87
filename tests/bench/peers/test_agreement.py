from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from tests.bench.peers.agreement import first_differences, require_agreement, share
from tests.bench.peers.models import PeerModel
from tests.support.models import floats, graph_model, ints, saved

MODEL = PeerModel("toy", "toy", "marian", 20, 4, 1, 1, 4, start=19, end=0)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Scores that depend on the last token alone: after 7 the tokens 8 and 9 score as good as the same."""
    scores = np.zeros((20, 20), np.float32)
    scores[:, 7] = 3
    scores[7, :10] = [0, 0, 0, 0, 0, 0, 0, 1, 10, 10.00001]
    nodes = [helper.make_node("Gather", ["scores", "decoder_input_ids"], ["logits"])]
    inputs = [ints(name, "batch", "length") for name in ("input_ids", "attention_mask", "decoder_input_ids")]
    model = graph_model(nodes, inputs, [floats("logits", "batch", "length", 20)], {"scores": scores})
    return saved(model, tmp_path / "model.onnx")


def test_the_share_of_tokens_that_are_the_same() -> None:
    assert share([[1, 2], [3, 4]], [[1, 2], [4, 4]]) == 0.75


def test_the_first_difference_of_each_row() -> None:
    assert list(first_differences([[1, 2, 3], [1, 2, 3], [4, 4, 4]], [[1, 2, 3], [1, 5, 5], [0, 4, 4]])) == [
        (1, 1),
        (2, 0),
    ]
    with pytest.raises(RuntimeError, match="2 tokens and 1"):
        list(first_differences([[1, 2]], [[1]]))


def test_texts_may_part_at_a_near_tie(file: Path) -> None:
    written = {"first": [[7, 9, 7]], "second": [[7, 8, 3]], "third": [[7, 9, 7]]}
    (remark,) = require_agreement(MODEL, file, written)
    assert remark.startswith("second and first part at token 1 of text 0, where the two scores are 9.")
    assert remark.endswith("e-07 of the largest apart")


def test_texts_may_not_part_elsewhere(file: Path) -> None:
    with pytest.raises(RuntimeError, match=r"toy, text 0: second writes \[8, 8\], first \[7, 8\]; .* token 0 are 1.0e"):
        list(require_agreement(MODEL, file, {"first": [[7, 8]], "second": [[8, 8]]}))
