"""TreeEnsemble and TreeEnsembleRegressor of ai.onnx.ml."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from passes.onnx_to_torch.call import Call
from passes.onnx_to_torch.forest import MODES, Forest
from passes.onnx_to_torch.registry import op

_DOMAIN = "ai.onnx.ml"
_AGGREGATES = ("AVERAGE", "SUM", "MIN", "MAX")
_TRANSFORMS = ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT")


@op("TreeEnsemble", 5, domain=_DOMAIN)
def tree_ensemble(call: Call, data: torch.Tensor) -> torch.Tensor:
    """`data` [N, features]; nodes and leaves have numbers of their own, across all trees."""
    splits = call.attr_array("nodes_splits")
    count = len(splits)
    to_leaf = {side: np.array(call.attr_ints(f"nodes_{side}leafs"), bool) for side in ("true", "false")}
    to = {side: np.array(call.attr_ints(f"nodes_{side}nodeids"), np.int64) for side in ("true", "false")}
    forest = Forest(
        feature=np.array(call.attr_ints("nodes_featureids"), np.int64),
        mode=call.attr_array("nodes_modes").astype(np.int64),
        yes=np.where(to_leaf["true"], to["true"] + count, to["true"]),
        no=np.where(to_leaf["false"], to["false"] + count, to["false"]),
        missing=np.array(call.attr_ints("nodes_missing_value_tracks_true", [0] * count), bool),
        splits=splits.astype(np.float64),
        members=_members(call),
        roots=np.array(call.attr_ints("tree_roots"), np.int64),
        weights=_weights(
            range(len(call.attr_ints("leaf_targetids"))),
            call.attr_ints("leaf_targetids"),
            call.attr_array("leaf_weights"),
            (len(call.attr_ints("leaf_targetids")), call.attr_int("n_targets")),
        ),
    )
    scores = forest.aggregated(forest.leaves(data), _AGGREGATES[call.attr_int("aggregate_function")])
    return _transformed(call, scores.to(data.dtype), _TRANSFORMS[call.attr_int("post_transform")])


@op("TreeEnsembleRegressor", 1, 3, 5, domain=_DOMAIN)
def tree_ensemble_regressor(call: Call, data: torch.Tensor) -> torch.Tensor:
    """`data` [N, features] of any numbers; float32 [N, targets]. A node has a number within its tree."""
    trees, numbers = call.attr_ints("nodes_treeids"), call.attr_ints("nodes_nodeids")
    names = list(zip(trees, numbers, strict=True))
    modes = call.attr_texts("nodes_modes")
    inner = [name for name, mode in zip(names, modes, strict=True) if mode != "LEAF"]
    leaves = [name for name, mode in zip(names, modes, strict=True) if mode == "LEAF"]
    place = {name: position for position, name in enumerate([*inner, *leaves])}
    kept = np.array([mode != "LEAF" for mode in modes], bool)

    def reached(attribute: str) -> npt.NDArray[np.int64]:
        ends = zip(trees, call.attr_ints(attribute), modes, strict=True)
        return np.array([place[tree, end] for tree, end, mode in ends if mode != "LEAF"], np.int64)

    named = list(zip(call.attr_ints("target_treeids"), call.attr_ints("target_nodeids"), strict=True))
    given = _numbers(call, "target_weights")
    first: dict[int, tuple[int, int]] = {}
    for name in names:  # a tree begins with its first node
        first.setdefault(name[0], name)
    forest = Forest(
        feature=np.array(call.attr_ints("nodes_featureids"), np.int64)[kept],
        mode=np.array([MODES.index(mode) for mode in modes if mode != "LEAF"], np.int64),
        yes=reached("nodes_truenodeids"),
        no=reached("nodes_falsenodeids"),
        missing=np.array(call.attr_ints("nodes_missing_value_tracks_true", [0] * len(names)), bool)[kept],
        splits=_numbers(call, "nodes_values")[kept],
        members=np.full((len(inner), 1), np.nan),
        roots=np.array([place[name] for name in first.values()], np.int64),
        weights=_weights(
            [place[name] - len(inner) for name in named],
            call.attr_ints("target_ids"),
            given,
            (len(leaves), call.attr_int("n_targets")),
        ),
    )
    if not inner:
        call.unsupported("trees without a decision")
    values = data if data.dtype is torch.float64 else data.to(torch.float32)
    scores = forest.aggregated(forest.leaves(values), call.attr_text("aggregate_function"))
    if call.has("base_values") or call.has("base_values_as_tensor"):
        base = _numbers(call, "base_values")
        scores = scores + torch.stack([torch.full((), float(value), dtype=scores.dtype) for value in base])
    return _transformed(call, scores.to(torch.float32), call.attr_text("post_transform"))


def _numbers(call: Call, name: str) -> npt.NDArray[Any]:
    """Floating-point numbers: a list of float32, or from version 3 on perhaps a tensor."""
    if call.has(f"{name}_as_tensor"):
        return call.attr_array(f"{name}_as_tensor").reshape(-1)
    return np.array(call.attr_floats(name), np.float32)


def _weights(leaves: Any, targets: Any, given: npt.NDArray[Any], shape: tuple[int, int]) -> npt.NDArray[np.float64]:
    """Weights by leaf and target. A leaf may say several things about one target; they add up."""
    table = np.full(shape, np.nan)
    for leaf, target, weight in zip(leaves, targets, given, strict=True):
        table[leaf, target] = weight if np.isnan(table[leaf, target]) else table[leaf, target] + weight
    return table


def _members(call: Call) -> npt.NDArray[np.float64]:
    """The sets of nodes that ask for membership, which the file has one after the other, each ended by NaN."""
    member = call.attr_array("nodes_modes").astype(np.int64) == MODES.index("BRANCH_MEMBER")
    listed: npt.NDArray[Any] = call.attr_array("membership_values") if call.has("membership_values") else np.empty(0)
    sets = [group[~np.isnan(group)] for group in np.split(listed, np.flatnonzero(np.isnan(listed)) + 1)]
    table = np.full((len(member), max([1, *(len(group) for group in sets)])), np.nan)
    for node, group in zip(np.flatnonzero(member), sets, strict=False):
        table[node, : len(group)] = group
    return table


def _transformed(call: Call, scores: torch.Tensor, how: str) -> torch.Tensor:
    if how == "SOFTMAX":
        return torch.softmax(scores, -1)
    if how == "LOGISTIC":
        return torch.sigmoid(scores)
    return scores if how == "NONE" else call.unsupported(f"post_transform={how}")
