from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch

from passes.interpreter import call
from passes.move_nan_guards import MoveNanGuards
from passes.program import Program
from tests.support.golden_cases import CASES
from tests.support.programs import Array, bare, normal, parsed

aten = torch.ops.aten

_MASKED = """
g (float[n, t, 4] q, float[n, u, 4] k, float[n, u, 4] v, float[n, 1, u] mask) => (float[n, t, 4] y) {
    kt = Transpose <perm = [0, 2, 1]> (k)
    product = MatMul (q, kt)
    s = Add (product, mask)
    p = Softmax <axis = -1> (s)
    bad = IsNaN (p)
    kept = Where (bad, zero, p)
    y = MatMul (kept, v)
}
"""


def masked() -> tuple[Program, Mapping[str, Array]]:
    """Attention whose mask hides all rows of the second request, and one row of the first."""
    inputs = {"q": normal(2, 3, 4), "k": normal(2, 5, 4, seed=1), "v": normal(2, 5, 4, seed=2)}
    mask = np.zeros((2, 1, 5), np.float32)
    mask[1] = -np.inf
    mask[0, 0, 3] = -np.inf
    given = {**inputs, "mask": mask}
    return bare(parsed(_MASKED, zero=np.zeros(1, np.float32)), given), given


def targets(program: Program, name: str = "main") -> list[object]:
    return [node.target for node in program.functions[name].computations]


def test_a_row_that_is_hidden_whole_is_zeros_as_before() -> None:
    program, given = masked()
    result = MoveNanGuards()(program)
    assert result.modified
    found = targets(result.program)
    assert found.index(aten.isnan.default) > len(found) - 3, "the guard is behind the last product"
    before, after = (call(p, "main", given)["y"].astype(np.float32) for p in (program, result.program))
    assert not before[1].any()
    np.testing.assert_allclose(after, before, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("case", "guards"), [("scores_without_a_mask", 0), ("scores_with_a_mask", 1)])
def test_a_guard_goes_where_no_mask_can_hide_a_row(case: str, guards: int) -> None:
    result = MoveNanGuards()(CASES[f"move-nan-guards/{case}"].program())
    assert targets(result.program).count(aten.isnan.default) == guards
