"""The same backend tests, judged the same way, by ONNX Runtime, ONNX's reference evaluator and onnx2torch."""

from __future__ import annotations

import concurrent.futures
import importlib
import multiprocessing
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx
from onnx.backend.test.case.test_case import TestCase
from onnx.backend.test.loader import load_model_tests
from onnx.reference import ReferenceEvaluator

from artifacts.onnxruntime_module import import_onnxruntime
from compiler.coverage import KINDS, CaseResult, Score, data_sets, first_line, require_similar

Run: TypeAlias = Callable[[Mapping[str, Any]], Sequence[Any]]
Errors: TypeAlias = tuple[type[Exception], ...]


@dataclass(frozen=True)
class Peer:
    """Another way to run a model, and what it raises where it cannot."""

    load: Callable[[onnx.ModelProto], Run]
    errors: Callable[[], Errors]


def load_onnxruntime(model: onnx.ModelProto) -> Run:
    """The model as a session on the CPU."""
    ort = import_onnxruntime("coverage")
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return lambda inputs: session.run(None, dict(inputs))


def load_reference(model: onnx.ModelProto) -> Run:
    """The model in numpy."""
    evaluator = ReferenceEvaluator(model)

    def run(inputs: Mapping[str, Any]) -> Sequence[Any]:
        results = evaluator.run(None, dict(inputs))
        assert isinstance(results, list)
        return results

    return run


def load_onnx2torch(model: onnx.ModelProto) -> Run:
    """The model as onnx2torch's module. For a process that nothing else shares: torchvision is stood in for."""
    import torch

    from compiler.converters.onnx2torch_child import stand_in_for_torchvision

    stand_in_for_torchvision()
    module: torch.nn.Module = importlib.import_module("onnx2torch").convert(model).eval()

    def run(inputs: Mapping[str, Any]) -> Sequence[Any]:
        with torch.no_grad():
            results = module(*(torch.from_numpy(np.array(array)) for array in inputs.values()))
        return [result.numpy() for result in (results if isinstance(results, list | tuple) else [results])]

    return run


def _errors_of_onnxruntime() -> Errors:
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    # They have no common base but Exception.
    own = [kind for kind in vars(state).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    return (*own, *_PLAIN_ERRORS)


_PLAIN_ERRORS = (
    RuntimeError,
    TypeError,
    ValueError,
    LookupError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    ImportError,
)

PEERS: Mapping[str, Peer] = {
    "ONNX Runtime": Peer(load_onnxruntime, _errors_of_onnxruntime),
    "ONNX's reference evaluator": Peer(load_reference, lambda: _PLAIN_ERRORS),
    "onnx2torch": Peer(load_onnx2torch, lambda: _PLAIN_ERRORS),
}


def measure_peers(kinds: Sequence[str] = KINDS) -> dict[str, Score]:
    """The scores of all peers, by name, each measured in a process of its own."""
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, spawn, max_tasks_per_child=1) as pool:
        return {name: pool.submit(_measure_named, name, tuple(kinds)).result() for name in PEERS}


def _measure_named(name: str, kinds: Sequence[str]) -> Score:
    return measure_peer(PEERS[name], kinds)


def measure_peer(peer: Peer, kinds: Sequence[str] = KINDS) -> Score:
    """Run the suite. Whatever a peer raises counts as a test that it does not support."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        cases = [case for kind in kinds for case in load_model_tests(kind=kind)]
        return Score(tuple(_run_case(case, peer) for case in sorted(cases, key=lambda case: (case.kind, case.name))))


def _run_case(case: TestCase, peer: Peer) -> CaseResult:
    model: onnx.ModelProto = case.model or onnx.load(Path(str(case.model_dir)) / "model.onnx")
    sets = data_sets(case, model)
    names = [value.name for value in model.graph.input]
    try:
        run = peer.load(model)
        answers = [run(dict(zip(names, inputs, strict=False))) for inputs, _ in sets]
    except peer.errors() as error:
        return CaseResult(case.name, case.kind, "unsupported", first_line(error))
    try:
        for (_, expected), actual in zip(sets, answers, strict=True):
            require_similar(expected, list(actual), case)
    except (AssertionError, AttributeError, TypeError, ValueError) as error:  # the runner trips over other types
        return CaseResult(case.name, case.kind, "mismatched", first_line(error))
    return CaseResult(case.name, case.kind, "passed")
