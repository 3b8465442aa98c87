"""docs/coverage_pipeline.md: what the whole pipeline does not pass, by reason."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from compiler.coverage_document import table
from compiler.coverage_pipeline import PipelineScore

_SHOWN = 6
"""Tests named beside a reason; the record has them all."""


def pipeline_markdown(score: PipelineScore) -> str:
    """The document, from a score of the whole suite."""
    found = score.document()
    lines = [
        "# Operator coverage through the whole pipeline",
        "",
        f"ONNX's own backend tests (onnx {found['onnx']}), all {found['total']} that run offline: converted, exported",
        "by torch.export, transformed, emitted to ONNX and run in ONNX Runtime. A test's data stands for the samples.",
        "Made by `unspool ops --coverage --pipeline --markdown docs/coverage_pipeline.md`.",
        "",
        *table(
            ["", "tests"],
            [
                ["passed", str(found["passed"])],
                ["wrong", str(found["mismatched"])],
                ["passed by ONNX Runtime from the source", str(found["onnxruntime_from_source"])],
                ["passed by ONNX Runtime from the source, not by us", str(len(found["not_passed"]))],
                ["passed by neither", str(len(found["not_passed_from_source_either"]))],
            ],
        ),
        "## What ONNX Runtime passes from the source and the pipeline does not",
        "",
        *_by_reason(found["not_passed"]),
        "## What ONNX Runtime does not pass from the source either",
        "",
        *_by_reason(found["not_passed_from_source_either"]),
    ]
    return "\n".join(lines) + "\n"


def _by_reason(cases: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for case in cases:
        groups[case["outcome"], case["reason"]].append(case["name"])
    ordered = sorted(groups.items(), key=lambda group: (-len(group[1]), group[0]))
    yield from table(
        ["outcome", "reason", "tests", "which"],
        [[outcome, reason, str(len(names)), _listed(sorted(names))] for (outcome, reason), names in ordered],
    )


def _listed(names: Sequence[str]) -> str:
    return ", ".join([*(f"`{name}`" for name in names[:_SHOWN]), *(["..."] if len(names) > _SHOWN else [])])
