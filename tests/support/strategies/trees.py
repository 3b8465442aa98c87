"""Ensembles of decision trees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx.numpy_helper
from hypothesis import strategies as st

from tests.support.onnx_ops import Array
from tests.support.strategies.node import Node
from tests.support.strategies.table import draws

DOMAIN = "ai.onnx.ml"
FEATURES = 3
MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ")
NOT_DRAWN = ("membership_values", "nodes_hitrates", "nodes_hitrates_as_tensor", "base_values_as_tensor")
"""Sets of members have a test of their own; how often a node is hit is advice."""


@draws("TreeEnsemble", domain=DOMAIN)
def tree_ensemble(node: Node) -> Sequence[Array | None]:
    """Full trees of one depth with random decisions."""
    depth, trees = node.size(1, 3), node.size(1, 3)
    inner, leaves = 2**depth - 1, 2**depth
    count = trees * inner
    dtype = node.dtype(0, "f", without=("float16",))

    def tensor(array: Array, name: str) -> onnx.TensorProto:
        return onnx.numpy_helper.from_array(array, name)

    sides: dict[str, list[int]] = {"true": [], "false": [], "trueleaf": [], "falseleaf": []}
    for tree in range(trees):
        for parent in range(inner):
            for side, child in (("true", 2 * parent + 1), ("false", 2 * parent + 2)):
                leaf = child >= inner
                sides[side].append(tree * leaves + child - inner if leaf else tree * inner + child)
                sides[f"{side}leaf"].append(int(leaf))
    node.attributes |= {
        "nodes_featureids": node.array((count,), np.int64, 0, FEATURES - 1).tolist(),
        "nodes_splits": tensor(node.array((count,), dtype, -2, 2), "splits"),
        "nodes_modes": tensor(node.array((count,), np.uint8, 0, 5), "modes"),
        "nodes_truenodeids": sides["true"],
        "nodes_falsenodeids": sides["false"],
        "nodes_trueleafs": sides["trueleaf"],
        "nodes_falseleafs": sides["falseleaf"],
        "leaf_targetids": node.array((trees * leaves,), np.int64, 0, 1).tolist(),
        "leaf_weights": tensor(node.array((trees * leaves,), dtype, -2, 2), "weights"),
        "tree_roots": [tree * inner for tree in range(trees)],
        "n_targets": 2,
    }
    # Neither the evaluator nor the specification says what the least of no leaves is.
    node.attribute("aggregate_function", st.sampled_from([0, 1]))
    node.attribute("post_transform", st.just(0))
    node.attribute("nodes_missing_value_tracks_true", st.just([0] * count))
    node.asked |= {*node.attributes, *NOT_DRAWN}
    return [node.array((node.size(), FEATURES), dtype, -3, 3)]


@draws("TreeEnsembleRegressor", domain=DOMAIN)
def tree_ensemble_regressor(node: Node) -> Sequence[Array | None]:
    """A stump and a tree of three leaves. From version 3 on numbers may be tensors, from 5 on with a base."""
    splits = node.array((8,), np.float32, -1, 1).tolist()
    modes = [node.choice(*MODES) for _ in range(3)]
    weights = [1.0, 2.0, 4.0, 8.0, 16.0]
    attributes: dict[str, Any] = {
        "nodes_treeids": [0, 0, 0, 1, 1, 1, 1, 1],
        "nodes_nodeids": [0, 1, 2, 0, 1, 2, 3, 4],
        "nodes_featureids": node.array((8,), np.int64, 0, FEATURES - 1).tolist(),
        "nodes_values": splits,
        "nodes_modes": [modes[0], "LEAF", "LEAF", modes[1], modes[2], "LEAF", "LEAF", "LEAF"],
        "nodes_truenodeids": [1, 0, 0, 1, 3, 0, 0, 0],
        "nodes_falsenodeids": [2, 0, 0, 2, 4, 0, 0, 0],
        "target_treeids": [0, 0, 1, 1, 1],
        "target_nodeids": [1, 2, 2, 3, 4],
        "target_ids": [0, 0, 0, 0, 0],
        "target_weights": weights,
        "n_targets": 1,
    }
    node.attributes |= attributes
    node.attribute("aggregate_function", st.sampled_from(["SUM", "AVERAGE", "MIN", "MAX"]))
    node.attribute("post_transform", st.just("NONE"))
    node.attribute("nodes_missing_value_tracks_true", st.just([0] * 8))
    node.asked |= {"base_values", *(f"{name}_as_tensor" for name in ("nodes_values", "target_weights"))}
    node.asked |= {*attributes, *NOT_DRAWN}
    dtype = node.dtype(0)
    data = node.array((node.size(), FEATURES), dtype, -1, 1)
    node.ask([data if dtype.kind == "f" else data.astype(np.float32)], node.since, node.attributes)
    assert node.expected is not None
    base = node.choice(0, 0.25)  # which the evaluator leaves out; it keeps the type of the data, too
    node.expected = [(node.expected[0] + base).astype(np.float32)]
    if base:
        node.attributes["base_values"] = [base]
    return [data]
