from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from artifacts.schedule import Decode, Generation, Host
from compiler.source_decode import source_tokens
from compiler.source_runner import SourceRunner
from tests.support.models import normal, toy_decoding

LIMIT = 10


@pytest.mark.parametrize("eos", [(3,), (4, 7)])
def test_the_source_is_called_once_a_token_until_every_row_has_ended(toy_file: Path, eos: tuple[int, ...]) -> None:
    x = normal(6, 4, seed=3) * 4
    generation = Generation(start=1, eos=eos, pad=0, max_new_tokens=LIMIT)
    schedule = Decode(
        encoder=None,
        step="toy",
        tokens="tokens",
        logits="logits",
        state="recompute",
        control=Host(),
        generation=generation,
    )
    inputs = {"x": x, "tokens": np.ones((6, 3), np.int64)}
    decoded = source_tokens(SourceRunner(toy_file), schedule, inputs, 6)

    expected = toy_decoding(x, 1, eos, LIMIT)
    longest = max(map(len, expected))
    assert decoded["lengths"].tolist() == [len(row) for row in expected]
    assert decoded["tokens"].tolist() == [row + [0] * (longest - len(row)) for row in expected]
    assert len(set(map(len, expected))) > 1, "rows of one length would not tell padding from tokens"
