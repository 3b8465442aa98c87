"""ONNX's own backend tests through the importer: how much of ONNX converts, and whether it computes right.

A test passes as the suite's own runner judges it: same types, same shapes, values within the test's tolerance.
A few differ from it by rounding, which is told. A test that is refused is unsupported; one that gives another answer
is mismatched, and none may be.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import ml_dtypes
import numpy as np
import onnx
import onnx.numpy_helper
import onnx_ir as ir
import torch
from onnx.backend.test.case.test_case import TestCase
from onnx.backend.test.loader import load_model_tests
from onnx.backend.test.runner import Runner

from artifacts.dtype import DType
from artifacts.errors import SourceError, UnspoolError, UnsupportedError
from passes.onnx_to_torch.gaps import find_gaps
from passes.onnx_to_torch.importer import Importer
from passes.onnx_to_torch.values import Carried, Known, Text, Value, to_carrier, to_tensor
from passes.torch_dtypes import from_numpy, logical_dtype, to_numpy, torch_dtype_of

KINDS = ("node", "simple", "pytorch-converted", "pytorch-operator")
"""The parts of the suite that run offline; its real networks are tested end to end."""

ROUNDED = "beyond the test's tolerance by rounding only"

Outcome = Literal["passed", "unsupported", "mismatched", "failed"]
DataSet = tuple[Sequence[Any], Sequence[Any]]


@dataclass(frozen=True)
class CaseResult:
    """How one test of the suite ended, and why if it did not pass."""

    name: str
    kind: str
    outcome: Outcome
    reason: str = ""


@dataclass(frozen=True)
class Score:
    """How the whole suite ended."""

    cases: tuple[CaseResult, ...]

    @property
    def total(self) -> int:
        """Tests of the suite."""
        return len(self.cases)

    @property
    def passed(self) -> int:
        """Tests with the right answer."""
        return self._count("passed")

    @property
    def mismatched(self) -> int:
        """Tests with a wrong answer."""
        return self._count("mismatched")

    def document(self) -> dict[str, Any]:
        """The score as JSON: `passed`, `total`, `mismatched`, and every test that did not pass."""
        return {
            "passed": self.passed,
            "total": self.total,
            "mismatched": self.mismatched,
            "onnx": onnx.__version__,
            "passed_but_for_rounding": [case.name for case in self.cases if case.reason == ROUNDED],
            "not_passed": [vars(case) for case in self.cases if case.outcome != "passed"],
        }

    def _count(self, outcome: Outcome) -> int:
        return sum(case.outcome == outcome for case in self.cases)


def measure_coverage(kinds: Sequence[str] = KINDS) -> Score:
    """Run the suite in PyTorch, without export."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the suite makes its own data, overflows and divisions by zero included
        cases = [case for kind in kinds for case in load_model_tests(kind=kind)]
        return Score(tuple(run_case(case) for case in sorted(cases, key=lambda case: (case.kind, case.name))))


def run_case(case: TestCase) -> CaseResult:
    """Run one test on every data set that it has."""
    rounded = False
    try:
        model = case.model or onnx.load(Path(str(case.model_dir)) / "model.onnx")
        graph = ir.from_proto(model)
        UnsupportedError.raise_if(find_gaps(graph))
        importer = Importer(graph)
        for inputs, expected in data_sets(case, model):
            with torch.no_grad():
                actual = [_to_array(value) for value in importer.run([_to_value(item) for item in inputs])]
            rounded |= require_similar(expected, actual, case)
    except (AssertionError, AttributeError) as error:  # the runner trips over an answer of another kind
        return CaseResult(case.name, case.kind, "mismatched", first_line(error))
    except UnsupportedError as error:
        return CaseResult(case.name, case.kind, "unsupported", error.problems[0].message)
    except (UnspoolError, SourceError) as error:
        return CaseResult(case.name, case.kind, "failed", error.problems[0].message)
    except (TypeError, ValueError, RuntimeError, KeyError) as error:
        return CaseResult(case.name, case.kind, "failed", f"{type(error).__name__}: {first_line(error)}")
    return CaseResult(case.name, case.kind, "passed", ROUNDED if rounded else "")


def data_sets(case: TestCase, model: onnx.ModelProto) -> list[DataSet]:
    """The inputs and expected outputs of a test, as arrays and lists of arrays."""
    found = case.data_sets or _stored_data(Path(str(case.model_dir)), model)
    return [([_plain(item) for item in inputs], [_plain(item) for item in outputs]) for inputs, outputs in found]


def require_similar(expected: Sequence[Any], actual: Sequence[Any], case: TestCase) -> bool:
    """Compare as the suite's runner does, which trips over sequences of scalars; raise AssertionError if it would.

    True if a value is beyond the test's tolerance, but by rounding only.
    """
    rounded = False
    for want, got in zip(expected, actual, strict=True):
        if isinstance(want, list):
            if not isinstance(got, list) or len(want) != len(got):
                raise AssertionError(f"expected a sequence of {len(want)}")
            rounded |= require_similar(want, got, case)
            continue
        try:
            Runner.assert_similar_outputs([want], [got], case.rtol, case.atol)
        except AssertionError:
            if not _differs_by_rounding(want, got):
                raise
            rounded = True
    return rounded


def _differs_by_rounding(want: Any, got: Any) -> bool:
    """Whether all that differs is at most two units in the last place of the greatest element.

    The suite's expected values are what numpy's own kernels gave on the machine that made them, rounding errors
    included: a 0 that came out as 2e-7 beside elements of 50, half precision rounded after every step.
    """
    if not (isinstance(want, np.ndarray) and isinstance(got, np.ndarray) and want.dtype == got.dtype):
        return False
    if want.shape != got.shape or not DType.of(want.dtype).is_float or not want.size:
        return False
    a, b = want.astype(np.float64), got.astype(np.float64)
    unit = torch.finfo(torch_dtype_of(DType.of(want.dtype))).eps * np.abs(a).max()
    return bool(np.isfinite(a).all() and np.isfinite(b).all() and (np.abs(a - b) <= 2 * unit).all())


def _plain(item: Any) -> Any:
    """The suite keeps arrays of types that numpy lacks as protobufs."""
    return onnx.numpy_helper.to_array(item) if isinstance(item, onnx.TensorProto) else item


def _to_value(item: Any) -> Value:
    if item is None:
        return None
    if isinstance(item, list | tuple):
        return [to_tensor(_to_value(element)) for element in item]
    array = np.asarray(item)
    if array.dtype.kind in "OU":
        return Text(array.astype(object))
    try:
        dtype = DType.of(array.dtype)
    except ValueError:
        raise UnsupportedError.of("convert", "input", f"element type {array.dtype}") from None
    return from_numpy(array, dtype)


def _to_array(value: Value) -> Any:
    if isinstance(value, list):
        return [_to_array(element) for element in value]
    if isinstance(value, Known):
        value = value.tensor()
    if value is None:
        return None
    if isinstance(value, Text):
        return value.array
    logical = value.dtype if isinstance(value, Carried) else logical_dtype(value.dtype)
    array = to_numpy(to_carrier(value))
    if logical.is_native:
        return array
    own = getattr(ml_dtypes, logical.value)
    return array.astype(own) if logical.is_integer else array.view(own)


def _stored_data(folder: Path, model: onnx.ModelProto) -> Iterator[DataSet]:
    for data in sorted(folder.glob("test_data_set_*")):
        inputs = [
            _read(data / f"input_{n}.pb", v.type) for n, v in enumerate(model.graph.input) if _exists(data, "input", n)
        ]
        outputs = [_read(data / f"output_{n}.pb", v.type) for n, v in enumerate(model.graph.output)]
        yield inputs, outputs


def _exists(data: Path, side: str, number: int) -> bool:
    return (data / f"{side}_{number}.pb").exists()


def _read(path: Path, kind: onnx.TypeProto) -> Any:
    data = path.read_bytes()
    if kind.HasField("sequence_type"):
        return onnx.numpy_helper.to_list(onnx.SequenceProto.FromString(data))
    if kind.HasField("optional_type"):
        return onnx.numpy_helper.to_optional(onnx.OptionalProto.FromString(data))
    return onnx.numpy_helper.to_array(onnx.TensorProto.FromString(data))


def first_line(error: Exception) -> str:
    """The first line of an error's message that says something."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
