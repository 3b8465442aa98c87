"""ONNX's backend tests through the whole pipeline: converted, exported, emitted to ONNX, run in ONNX Runtime.

The second score beside coverage.py's. ONNX Runtime itself runs about seven tenths of the suite from the source; what
it cannot run from the source either is told apart.
"""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
from onnx.backend.test.case.test_case import TestCase
from onnx.backend.test.loader import load_model_tests
from onnx.backend.test.runner import Runner

from artifacts.engines.onnxruntime import open_engine
from artifacts.errors import UnspoolError, UnsupportedError
from artifacts.manifest import EngineEntry
from artifacts.schedule import Single
from artifacts.shards import write_shards
from artifacts.spec import TensorSpec
from compiler.coverage import KINDS, CaseResult, Outcome, Score, data_sets, first_line
from compiler.source_session import SourceSession
from compiler.targets.onnxruntime import TARGET
from compiler.targets.target import Placement
from passes.eliminate_common_subexpressions import EliminateCommonSubexpressions
from passes.eliminate_dead_code import EliminateDeadCode
from passes.fold_constants import FoldConstants
from passes.onnx_to_torch.convert import convert, source_signature
from passes.onnx_to_torch.source import load_source
from passes.program import Model, Program

PASSES = (FoldConstants(), EliminateCommonSubexpressions(), EliminateDeadCode())
"""What every compilation runs."""


@dataclass(frozen=True)
class PipelineScore(Score):
    """The score of the pipeline; `from_source` has the names of the tests that ONNX Runtime passes from the source."""

    from_source: frozenset[str] = frozenset()

    def document(self) -> dict[str, Any]:
        """The score as JSON. What ONNX Runtime does not pass from the source either is listed apart."""
        document = super().document()
        missed = document.pop("not_passed")
        return {
            **document,
            "onnxruntime_from_source": len(self.from_source),
            "not_passed": [case for case in missed if case["name"] in self.from_source],
            "not_passed_from_source_either": [case for case in missed if case["name"] not in self.from_source],
        }


def measure_pipeline(kinds: Sequence[str] = KINDS, workers: int = 1) -> PipelineScore:
    """Run the suite; each test takes about a second, most of it in torch.onnx."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        names = sorted((kind, case.name) for kind in kinds for case in load_model_tests(kind=kind))
    share = max(1, len(names) // (8 * workers))
    shares = [names[start : start + share] for start in range(0, len(names), share)]
    # Not forked: whoever calls may have threads, JAX's for one.
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(workers, spawn) as pool:
        results = [result for found in pool.map(_run_share, shares) for result in found]
    cases = tuple(case for case, _ in results)
    return PipelineScore(cases, frozenset(case.name for case, runs in results if runs))


def _run_share(names: Sequence[tuple[str, str]]) -> list[tuple[CaseResult, bool]]:
    """Run some tests in a worker, which makes the suite's data anew: it cannot be sent between processes."""
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    cases = {(kind, case.name): case for kind in KINDS for case in load_model_tests(kind=kind)}
    return [run_case(cases[name]) for name in names]


def run_case(case: TestCase) -> tuple[CaseResult, bool]:
    """Run one test. Returns how it ended, and whether ONNX Runtime passes it from the source."""
    model: onnx.ModelProto = case.model or onnx.load(Path(str(case.model_dir)) / "model.onnx")
    sets = data_sets(case, model)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(model.SerializeToString())
        from_source = _passes_from_source(path, case, sets)
        outcome, reason = _judge(path, case, sets)
    return CaseResult(case.name, case.kind, outcome, reason), from_source


def _judge(path: Path, case: TestCase, sets: Sequence[tuple[Sequence[Any], Sequence[Any]]]) -> tuple[Outcome, str]:
    try:
        for inputs, expected in sets:
            actual = _compiled(path, inputs)
            Runner.assert_similar_outputs(expected, actual, case.rtol, case.atol)
    except (AssertionError, AttributeError) as error:
        return "mismatched", first_line(error)
    except UnsupportedError as error:
        return "unsupported", error.problems[0].message
    except UnspoolError as error:
        return "failed", error.problems[0].message
    except (TypeError, ValueError, RuntimeError, KeyError, NotImplementedError) as error:
        return "failed", f"{type(error).__name__}: {first_line(error)}"
    return "passed", ""


def _compiled(path: Path, inputs: Sequence[Any]) -> list[Any]:
    """Convert, transform, emit and run on one data set, as `unspool compile` and a session do."""
    source = load_source(path)
    signature = source_signature(source)
    given = {spec.name: _array(item) for spec, item in zip(signature.inputs, inputs, strict=True)}
    converted = convert(source, "test", {spec.name: _exportable(given[spec.name], spec) for spec in signature.inputs})
    program = Program(
        {"test": converted.function},
        {"test": Model(converted.function.signature, Single(function="test"), source.digest)},
        converted.weights,
    )
    for step in PASSES:
        program = step(program).program
    root = path.parent / "bundle"
    (root / "engines").mkdir(parents=True, exist_ok=True)
    refs = tuple(program.functions["test"].weights.values())
    shards = write_shards(program.weights, TARGET.stored(refs), root)
    built = TARGET.build(program, "test", Placement(root, program.weights, shards)).engines["test"]
    (root / "engines/test.onnx").write_bytes(built.source)
    entry = EngineEntry(
        kind="onnxruntime",
        target="onnxruntime",
        signature=built.signature,
        source="engines/test.onnx",
        status="emitted",
        weights=built.made.weights,
    )
    runner = open_engine(root, entry, 1, built.made.weights.default)
    results = runner.call(
        {
            spec.name: np.ascontiguousarray(given[spec.name]).reshape(given[spec.name].shape)
            for spec in built.signature.inputs
        }
    )
    return [_declared(results[spec.name], spec) for spec in built.signature.outputs]


def _declared(array: np.ndarray, spec: TensorSpec) -> np.ndarray:
    """An output as the suite has it: of the type that the carrier stands for."""
    if spec.dtype.is_native:
        return array
    own = getattr(ml_dtypes, spec.dtype.value)
    return array.astype(own) if spec.dtype.is_integer else array.view(own)


def _exportable(array: np.ndarray, spec: TensorSpec) -> np.ndarray:
    """A sample to export with: at least 2 of every size that the file leaves open, as a compilation draws them."""
    shape = tuple(
        max(size, 2) if isinstance(dim, str) else size for size, dim in zip(array.shape, spec.shape, strict=True)
    )
    return array if shape == array.shape else np.resize(array, shape) if array.size else np.zeros(shape, array.dtype)


def _array(item: Any) -> np.ndarray:
    if not isinstance(item, np.ndarray | np.generic):
        raise UnsupportedError.of("convert", "input", f"is a {type(item).__name__}, not a tensor")
    return np.asarray(item)


def _passes_from_source(path: Path, case: TestCase, sets: Sequence[tuple[Sequence[Any], Sequence[Any]]]) -> bool:
    try:
        runner = SourceSession(path)
        for inputs, expected in sets:
            names = runner.input_names
            outputs = runner.run(dict(zip(names, inputs, strict=False)))
            Runner.assert_similar_outputs(expected, list(outputs.values()), case.rtol, case.atol)
    except (UnspoolError, AssertionError, AttributeError, TypeError, ValueError, KeyError):
        return False
    return True
