"""Decision trees as tensors: all rows go down all trees at once, one level a step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from passes.onnx_to_torch.constants import as_tensor

MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ", "BRANCH_MEMBER")
"""How a feature is compared with a node's split, in the order of TreeEnsemble-5's numbers."""

_COMPARE = (torch.le, torch.lt, torch.ge, torch.gt, torch.eq, torch.ne)
_MEMBER = MODES.index("BRANCH_MEMBER")

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Forest:
    """N nodes that decide, in any number of trees, then L leaves: place N + i stands for leaf i.

    `feature`, `mode`, `yes`, `no` and `missing` (whether NaN goes to `yes`) are [N]; `splits` is [N] of the
    features' type; `members` is [N, most], NaN beyond a node's set. `roots` is [trees]. `weights` is
    [L, targets], NaN where a leaf has nothing to say about a target.
    """

    feature: Numbers
    mode: Numbers
    yes: Numbers
    no: Numbers
    missing: npt.NDArray[np.bool_]
    splits: npt.NDArray[np.floating]
    members: npt.NDArray[np.floating]
    roots: Numbers
    weights: npt.NDArray[np.floating]

    def depth(self) -> int:
        """Decisions on the longest way to a leaf. Raises ValueError if a way comes back to where it was."""
        count, steps = len(self.feature), 0
        places = np.unique(self.roots)
        while (inner := places[places < count]).size:
            steps += 1
            if steps > count:
                raise ValueError("a tree has a cycle")
            places = np.unique(np.concatenate([self.yes[inner], self.no[inner]]))
        return steps

    def leaves(self, data: torch.Tensor) -> torch.Tensor:
        """The leaf that each row of `data` [rows, features] ends in, in each tree: int64 [rows, trees]."""
        count = len(self.feature)
        place = as_tensor(self.roots).unsqueeze(0).expand(data.shape[0], -1)
        feature, yes, no = map(as_tensor, (self.feature, self.yes, self.no))
        for _ in range(self.depth()):
            node = place.clamp(max=count - 1)
            value = data.gather(1, feature[node])
            after = torch.where(self._decisions(value, node), yes[node], no[node])
            place = torch.where(place < count, after, place)
        return place - count

    def _decisions(self, value: torch.Tensor, node: torch.Tensor) -> torch.Tensor:
        split, mode = as_tensor(self.splits).to(value.dtype)[node], as_tensor(self.mode)[node]
        holds = torch.isnan(value) & as_tensor(self.missing)[node]
        for number in map(int, np.unique(self.mode)):
            if number == _MEMBER:
                members = as_tensor(self.members).to(value.dtype)[node]
                true = (value.unsqueeze(-1) == members).any(-1)
            else:
                true = _COMPARE[number](value, split)
            holds = holds | ((mode == number) & true)
        return holds

    def aggregated(self, leaves: torch.Tensor, how: str) -> torch.Tensor:
        """Sum, average, least or greatest of the leaves' weights over the trees, [rows, targets]; 0 for nothing."""
        weights = as_tensor(self.weights)[leaves]
        absent = torch.isnan(weights)
        if how in ("SUM", "AVERAGE"):
            total = torch.where(absent, 0.0, weights).sum(1)
            return total / len(self.roots) if how == "AVERAGE" else total
        if how == "MIN":
            found = torch.where(absent, float("inf"), weights).amin(1)
        else:
            found = torch.where(absent, float("-inf"), weights).amax(1)
        return torch.where(absent.all(1), 0.0, found)
