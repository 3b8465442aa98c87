"""docs/coverage.md: the score beside that of other ways to run ONNX, by opset and by operator."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import onnx
from onnx.backend.test.case.test_case import TestCase
from onnx.backend.test.loader import load_model_tests

from compiler.coverage import KINDS, ROUNDED, Score
from compiler.coverage_models import OUTCOMES, Comparison, Conversion
from compiler.options import ConverterName
from passes.onnx_to_torch.registry import normal_domain

OURS = "Unspool"
_SEVERAL = "(several operators)"


def coverage_markdown(scores: Mapping[str, Score], models: Comparison | None = None) -> str:
    """The document, from scores of the whole suite by name, the one called `OURS` told in full, and of model files."""
    tables = (*_table_by(scores, "Opset", 0), *_table_by(scores, "Operator", 1))
    return "\n".join([*_summary(scores), *tables]) + "\n" + (models_markdown(models) if models else "")


def _summary(scores: Mapping[str, Score]) -> Iterator[str]:
    ours = scores[OURS]
    yield "# Operator coverage"
    yield ""
    yield f"ONNX's own backend tests (onnx {onnx.__version__}), all {ours.total} that run offline, in eager PyTorch."
    yield "Made by `unspool ops --coverage --models docs/coverage_models.json --markdown docs/coverage.md`, which runs"
    yield "all of these. How [model files](#model-files) convert is told at the end."
    yield ""
    yield "A test passes as the suite's runner judges it: the same types and shapes, values within the test's tolerance"
    yield "or within two units in the last place of an output's greatest element."
    yield ""
    yield from table(
        ["", "passed", "wrong", "not run"],
        [[name, *_counts(score)] for name, score in scores.items()],
    )
    rounded = [f"`{case.name}`" for case in ours.cases if case.reason == ROUNDED]
    yield f"By rounding beyond the test's tolerance, in {OURS}: {', '.join(rounded) or 'none'}."
    yield ""
    yield "## What does not pass"
    yield ""
    rows = [[f"`{case.name}`", case.outcome, case.reason] for case in ours.cases if case.outcome != "passed"]
    yield from table(["test", "outcome", "reason"], rows)


def models_markdown(models: Comparison) -> str:
    """The part of the document about model files."""
    by_model: dict[str, dict[str, Conversion]] = defaultdict(dict)
    for found in models.conversions:
        by_model[found.model][found.converter] = found
    tools = ", ".join(f"{tool} {version}" for tool, version in models.tools.items())
    names = [name.value for name in ConverterName]
    lines = [
        "## Model files",
        "",
        f"{len(by_model)} files by each of the converters ([converters.md](converters.md); {tools}), recorded by",
        "`unspool ops --compare FOLDER --json`. A file is converted if the program has its answers; `one size` is a",
        "program for the sizes of the sample only, although the file leaves them open.",
        "",
        *table(
            ["", *OUTCOMES],
            [[name, *(str(models.count(name, outcome)) for outcome in OUTCOMES)] for name in names],
        ),
        *table(
            ["file", *names, "why not"],
            [
                [f"`{model}`", *(found[name].outcome for name in names), "; ".join(_why_not(found, names))]
                for model, found in by_model.items()
            ],
        ),
    ]
    return "\n".join(lines)


def _why_not(found: Mapping[str, Conversion], names: Sequence[str]) -> Iterator[str]:
    """What stood in the way, without the nodes that it was at."""
    for name in names:
        yield from (reason.partition("; needed by")[0] for reason in found[name].reasons)


def _counts(score: Score) -> list[str]:
    return [str(score.passed), str(score.mismatched), str(score.total - score.passed - score.mismatched)]


def _table_by(scores: Mapping[str, Score], what: str, place: int) -> Iterator[str]:
    """Tests passed of all tests, by opset (place 0 of a subject) or by operator (place 1)."""
    subjects = {(case.kind, case.name): subject_of(case) for kind in KINDS for case in load_model_tests(kind=kind)}
    totals: dict[str, int] = defaultdict(int)
    passed: dict[tuple[str, str], int] = defaultdict(int)
    for subject in subjects.values():
        totals[subject[place]] += 1
    for name, score in scores.items():
        for case in score.cases:
            passed[name, subjects[case.kind, case.name][place]] += case.outcome == "passed"
    keys = sorted(totals, key=lambda key: (int(key.split()[-1]), key) if place == 0 else (0, key))
    yield f"## By {what.lower()}"
    yield ""
    yield from table(
        [what.lower(), "tests", *scores],
        [[key, str(totals[key]), *(str(passed[name, key]) for name in scores)] for key in keys],
    )


def subject_of(case: TestCase) -> tuple[str, str]:
    """Opset and operator of a test; a model of more than one node has no one operator."""
    model = case.model or onnx.load(Path(str(case.model_dir)) / "model.onnx")
    opsets = {normal_domain(imported.domain): imported.version for imported in model.opset_import}
    if len(model.graph.node) > 1:
        domain = "" if "" in opsets else next(iter(opsets))
        return f"{domain or 'ai.onnx'} {opsets[domain]}", _SEVERAL
    node = model.graph.node[0]
    domain = normal_domain(node.domain)
    return f"{domain or 'ai.onnx'} {opsets[domain]}", f"{domain}.{node.op_type}" if domain else node.op_type


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """A table in Markdown, line by line, and an empty line."""
    yield f"| {' | '.join(header)} |"
    yield f"|{'---|' * len(header)}"
    yield from (f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows)
    yield ""
