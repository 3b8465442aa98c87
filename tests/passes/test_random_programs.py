"""Every pass, in any order, on random models: the outputs stay those of the model in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from hypothesis import given, settings
from hypothesis import strategies as st

from artifacts.checks import Tolerances
from passes.contract import Pass
from passes.deduplicate_weights import DeduplicateWeights
from passes.eliminate_common_subexpressions import EliminateCommonSubexpressions
from passes.eliminate_dead_code import EliminateDeadCode
from passes.fold_constants import FoldConstants
from passes.pipeline import run_passes
from passes.program import Program
from passes.text import fingerprint
from passes.verification import check_program
from tests.support.programs import program_of
from tests.support.random_models import random_models

STEPS: Sequence[Pass] = (
    FoldConstants(),
    FoldConstants(limit=0),
    EliminateDeadCode(),
    EliminateCommonSubexpressions(),
    DeduplicateWeights(least=0),
)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(random_models(), st.lists(st.sampled_from(STEPS), min_size=3, max_size=6))
def test_passes_in_any_order_keep_the_outputs(model: onnx.ModelProto, steps: list[Pass]) -> None:
    random = np.random.default_rng(0)
    program = program_of(model, [{"x": random.normal(size=(n, 4))} for n in (3, 1, 8)])
    assert all(check.comparison.passed for check in check_program(program, Tolerances()))

    result, runs = run_passes(program, steps, Tolerances())

    for run in runs:
        assert all(check.comparison.passed for check in run.checks)
    assert_settles(result)
    assert nbytes(EliminateDeadCode()(FoldConstants(limit=0)(program).program).program) <= nbytes(program)


def assert_settles(program: Program) -> None:
    """Rounds of the passes come to one that changes nothing: no two of them undo each other."""
    for _ in range(10):
        before = fingerprint(program)
        for step in STEPS[1:]:
            program = step(program).program
        if fingerprint(program) == before:
            return
    raise AssertionError("ten rounds, and the passes still change the program")


def nbytes(program: Program) -> int:
    """Bytes of the contents that the functions refer to, each counted once."""
    digests = {ref.digest for function in program.functions.values() for ref in function.weights.values()}
    return sum(program.weights.blobs[digest].nbytes for digest in digests)
