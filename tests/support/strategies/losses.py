"""Losses, which ONNX defines by a function body."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

from tests.support.onnx_ops import Array
from tests.support.strategies.node import Node
from tests.support.strategies.table import draws


@draws("NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss")
def loss(node: Node) -> Sequence[Array | None]:
    """Scores [N, C, ...] and a class for each place; those of `ignore_index` do not count."""
    node.attribute("reduction", st.sampled_from(["none", "sum", "mean"]))
    node.attribute("ignore_index", st.just(0))
    batch, classes, places = node.size(1, 3), node.size(2, 4), node.shape(most=2)
    scores = node.tensor(0, (batch, classes, *places), -4, 0)
    # Not all are ignored, of which there is no mean.
    labels = node.array((batch, *places), node.dtype(1), 0, classes - 1)
    labels.flat[0] = 1
    if node.op == "SoftmaxCrossEntropyLoss":
        node.outputs = node.choice(1, 2)
    return [scores, labels, node.tensor(2, (classes,), 0.5, 2) if node.bit() else None]
