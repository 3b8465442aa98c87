"""Every weight that no pass made is what a source file holds, byte for byte; the others are told with their pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import onnx
import onnx.numpy_helper
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artifacts.checks import Tolerances
from compiler.frontend import CLEANUP
from compiler.provenance import SourceTensors, derivations, source_tensors, weights_report
from passes.contract import Pass
from passes.deduplicate_weights import DeduplicateWeights
from passes.eliminate_dead_code import EliminateDeadCode
from passes.fold_constants import FoldConstants
from passes.lower_precision import LowerPrecision
from passes.pipeline import PassRun, run_passes
from passes.program import Program
from passes.quantize_weights import QuantizeWeights
from passes.verification import check_program
from tests.support.programs import normal, parsed, program_of, source_of
from tests.support.random_models import random_models

DEDUPLICATE = DeduplicateWeights(least=0)
PIPELINES: Sequence[Sequence[Pass]] = (
    (*CLEANUP, DEDUPLICATE),
    (DEDUPLICATE, FoldConstants(limit=0), EliminateDeadCode(), DEDUPLICATE),
    (*CLEANUP, DeduplicateWeights(least=0, merge_casts=True), FoldConstants()),
)


def all_tensors(graph: onnx.GraphProto) -> Iterator[bytes]:
    """The bytes of every initializer and constant of a graph and of those inside it."""
    for tensor in graph.initializer:
        yield onnx.numpy_helper.to_array(tensor).tobytes()
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.name == "value":
                yield onnx.numpy_helper.to_array(attribute.t).tobytes()
            yield from all_tensors(attribute.g)


def compiled(
    model: onnx.ModelProto, program: Program, steps: Sequence[Pass]
) -> tuple[Program, list[SourceTensors], tuple[PassRun, ...]]:
    """The program after the passes, what its source holds, and the runs."""
    sources = [source_tensors(source_of(model).model, program.weights)]
    program, runs = run_passes(program, steps, Tolerances())
    return program, sources, runs


@settings(max_examples=12, deadline=None, derandomize=True)
@given(random_models(inside=True), st.sampled_from(PIPELINES))
def test_a_weight_is_the_sources_or_has_a_reason(model: onnx.ModelProto, steps: Sequence[Pass]) -> None:
    assert_told(model, steps)


# A third of a second for each model.
@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(random_models(inside=True), st.sampled_from(PIPELINES))
def test_the_same_for_many_models(model: onnx.ModelProto, steps: Sequence[Pass]) -> None:
    assert_told(model, steps)


def assert_told(model: onnx.ModelProto, steps: Sequence[Pass]) -> None:
    random = np.random.default_rng(0)
    requests = [(3, True, 2), (1, False, 0), (8, True, 3)]
    inputs = [{"x": random.normal(size=(n, 4)), "given": np.array(g), "count": np.array(c)} for n, g, c in requests]
    before = program_of(model, inputs)
    assert all(check.comparison.passed for check in check_program(before, Tolerances()))

    program, sources, runs = compiled(model, before, steps)

    assert all(check.comparison.passed for run in runs for check in run.checks)
    held = set(all_tensors(model.graph))
    reasons = derivations(program, sources, runs)
    made = {"convert", *(step.name for step in steps)} - {DEDUPLICATE.name}
    for digest in program.digests:
        is_source = program.weights.blobs[digest].tobytes() in held
        assert is_source == (digest not in reasons)
    assert set(reasons.values()) <= made
    report = weights_report(program, sources, runs)
    assert sum(entry.tensors for entry in report.derived) == len(reasons)
    assert report.derived_bytes == sum(program.weights.blobs[digest].nbytes for digest in reasons)
    assert report.unique_bytes == sum(program.weights.blobs[digest].nbytes for digest in program.digests)


TIED = """
tied (int64[n] ids) => (float[n, 40] scores, float[n, 32] late) {
    rows = Gather (embed, ids)
    scores = MatMul (rows, head)
    doubled = Add (own, own)
    late = MatMul (rows, doubled)
}
"""


def tied() -> tuple[onnx.ModelProto, Program]:
    embed = normal(40, 32)
    model = parsed(TIED, embed=embed, head=embed.T.copy(), own=normal(32, 32, seed=1))
    return model, program_of(model, [{"ids": np.array([3, 1, 39])}])


def test_the_report_counts_what_went_and_what_was_made() -> None:
    model, program = tied()
    report = weights_report(*compiled(model, program, (*CLEANUP, DEDUPLICATE)))
    assert report.source_bytes == 4 * (2 * 40 * 32 + 32 * 32)
    assert report.unique_bytes == 4 * (40 * 32 + 32 * 32)
    assert report.merged == 1
    (folded,) = report.derived
    assert (folded.reason, folded.tensors, folded.bytes) == ("fold-constants", 1, 4 * 32 * 32)
    assert report.derived_bytes == folded.bytes
    assert report.computed_at_open == ()


def test_what_has_fewer_bits_is_told_by_its_pass() -> None:
    model, program = tied()
    for step in (QuantizeWeights(block=16, least=16), LowerPrecision()):
        program_after = compiled(model, program, (*CLEANUP, DEDUPLICATE, step))
        report = weights_report(*program_after)
        assert step.name in {entry.reason for entry in report.derived}


def test_what_is_computed_of_weights_alone_is_told() -> None:
    text = "g (float[n, 30] x) => (float[n, 30] y) { t = Transpose <perm = [1, 0]> (w) y = Add (x, t) z = Mul (y, y) }"
    model = parsed(text.replace("float[n, 30] x", "float[20, 30] x"), w=normal(30, 20))
    program = program_of(model, [{"x": normal(20, 30)}])
    (made,) = weights_report(*compiled(model, program, (*CLEANUP, DEDUPLICATE))).computed_at_open
    assert (made.reason, made.tensors, made.bytes) == ("permute", 1, 4 * 20 * 30)
