"""Whether contestants write the same, and whether they may not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from tests.bench.peers.models import PeerModel, texts
from tests.bench.sessions import bare_session

Rows = Sequence[Sequence[int]]

NEAR = 1e-5
"""Of the largest score: what the sums of float32 can differ by, made in another order."""


def share(ours: Rows, theirs: Rows) -> float:
    """Of the tokens, how many are the same at the same place."""
    same = [a == b for row, other in zip(ours, theirs, strict=True) for a, b in zip(row, other, strict=True)]
    return sum(same) / len(same)


def first_differences(ours: Rows, theirs: Rows) -> Iterator[tuple[int, int]]:
    """Row and position of the first token of each row that is another. What follows it has another past."""
    for number, (row, other) in enumerate(zip(ours, theirs, strict=True)):
        if len(row) != len(other):
            raise RuntimeError(f"{len(row)} tokens and {len(other)}")
        different = (position for position, (a, b) in enumerate(zip(row, other, strict=True)) if a != b)
        if (position := next(different, None)) is not None:
            yield number, position


def require_agreement(model: PeerModel, file: Path, written: Mapping[str, Rows]) -> Iterator[str]:
    """What there is to say of texts, by contestant, that ought to be the same: that they part at a near tie.

    Raises RuntimeError if they part where the source model, in `file`, prefers one by more than rounding.
    """
    (reference, expected), *others = written.items()
    for name, found in others:
        for row, position in first_differences(expected, found):
            gap = _gap(model, file, expected[row], row, position, found[row][position])
            if gap > NEAR:
                raise RuntimeError(
                    f"{model.what}, text {row}: {name} writes {found[row]}, {reference} {expected[row]}; the scores "
                    f"of token {position} are {gap:.1e} of the largest apart"
                )
            yield (
                f"{name} and {reference} part at token {position} of text {row}, where the two scores are "
                f"{gap:.1e} of the largest apart"
            )


def _gap(model: PeerModel, file: Path, row: Sequence[int], number: int, position: int, other: int) -> float:
    """How far the scores of the two tokens are apart in the source model, over the largest score."""
    given = texts(model, number + 1)[number:]
    tokens = np.array([[model.start, *row[:position]]])
    inputs = {"input_ids": given, "attention_mask": np.ones_like(given), "decoder_input_ids": tokens}
    (scores,) = bare_session(file, 1).run(["logits"], inputs)
    last = scores[0, -1]
    return float(abs(last[row[position]] - last[other]) / np.abs(last).max())
