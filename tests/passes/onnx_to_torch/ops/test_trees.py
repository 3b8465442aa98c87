from __future__ import annotations

from typing import Any

import numpy as np
import onnx.numpy_helper
import pytest

from artifacts.errors import SourceError
from passes.onnx_to_torch.forest import MODES
from tests.support.onnx_ops import check_op, run_op, sample

DOMAIN = "ai.onnx.ml"
FEATURES = 3


def ensemble(depth: int, trees: int, seed: int, aggregate: int) -> dict[str, Any]:
    """Full trees of a depth with random decisions, in TreeEnsemble's form."""
    generator = np.random.default_rng(seed)
    inner, leaves = 2**depth - 1, 2**depth
    nodes: dict[str, list[int]] = {"true": [], "false": [], "trueleaf": [], "falseleaf": []}
    for tree in range(trees):
        for node in range(inner):
            for side, child in (("true", 2 * node + 1), ("false", 2 * node + 2)):
                is_leaf = child >= inner
                place = tree * leaves + child - inner if is_leaf else tree * inner + child
                nodes[side].append(place)
                nodes[f"{side}leaf"].append(int(is_leaf))
    count = trees * inner
    return {
        "nodes_featureids": generator.integers(0, FEATURES, count).tolist(),
        "nodes_splits": onnx.numpy_helper.from_array(generator.uniform(-2, 2, count).astype(np.float32), "splits"),
        "nodes_modes": onnx.numpy_helper.from_array(generator.integers(0, 6, count).astype(np.uint8), "modes"),
        "nodes_truenodeids": nodes["true"],
        "nodes_falsenodeids": nodes["false"],
        "nodes_trueleafs": nodes["trueleaf"],
        "nodes_falseleafs": nodes["falseleaf"],
        "leaf_targetids": generator.integers(0, 2, trees * leaves).tolist(),
        "leaf_weights": onnx.numpy_helper.from_array(
            generator.uniform(-2, 2, trees * leaves).astype(np.float32), "weights"
        ),
        "tree_roots": [tree * inner for tree in range(trees)],
        "n_targets": 2,
        "aggregate_function": aggregate,
    }


def test_ensembles_export_with_a_symbolic_batch() -> None:
    first, second = (sample((n, FEATURES), low=-3, high=3) for n in (3, 6))
    check_op("TreeEnsemble", [first], 5, attributes=ensemble(2, 2, 1, 1), domain=DOMAIN, symbolic=[second])


def test_nan_goes_where_the_node_sends_it() -> None:
    data = np.array([[np.nan, 0, 0]], np.float32)
    stump = {**ensemble(1, 1, 0, 1), "nodes_missing_value_tracks_true": [1], "nodes_featureids": [0]}
    weights = onnx.numpy_helper.to_array(stump["leaf_weights"])
    found = run_op("TreeEnsemble", [data], 5, attributes=stump, domain=DOMAIN)[0]
    assert found[0, stump["leaf_targetids"][0]] == weights[0]


def test_a_cycle_is_an_error() -> None:
    stump = {**ensemble(1, 1, 0, 1), "nodes_trueleafs": [0], "nodes_truenodeids": [0]}
    with pytest.raises(SourceError, match="cycle"):
        run_op("TreeEnsemble", [sample((2, FEATURES))], 5, attributes=stump, domain=DOMAIN)


def test_modes_are_numbered_as_the_operator_numbers_them() -> None:
    assert MODES.index("BRANCH_MEMBER") == 6
