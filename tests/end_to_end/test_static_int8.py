"""The trained reader of text lines with its products in 8 bits: what it reads is still the text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from artifacts.checks import Tolerances
from artifacts.schedule import Decode
from compiler.build_log import BuildLog
from compiler.converters import find_converter
from compiler.frontend import make_program
from compiler.options import CompileOptions, ModelFile
from compiler.parts.opening import loaded_sources
from compiler.parts.reading import read_model
from compiler.targets import find_target
from passes.calibration import Method
from passes.decode import greedy
from passes.program import Program
from passes.quantize_static import QuantizeStatic
from passes.verification import check_program
from tests.support.models import OCR, Array

SHOWN = 32
"""Lines that the ranges come from."""


@pytest.fixture(scope="module")
def lines() -> Mapping[str, Array]:
    """images float32 [256, 1, 16, 320], targets int64 [256, t]."""
    with np.load(OCR / "eval.npz") as archive:
        return {"images": archive["images"].astype(np.float32), "targets": archive["targets"]}


@pytest.fixture(scope="module")
def program(lines: Mapping[str, Array], tmp_path_factory: pytest.TempPathFactory) -> Program:
    """The reader, held to real lines and calibrated on others."""
    samples = tmp_path_factory.mktemp("samples") / "in.npz"
    targets = lines["targets"][SHOWN : SHOWN + 4]
    tokens = np.concatenate([np.ones((4, 1), np.int64), targets[:, :-1]], axis=1)
    np.savez(samples, image=lines["images"][SHOWN : SHOWN + 4], decoder_input_ids=tokens)
    file, options = ModelFile("model", Path(OCR / "model.onnx")), CompileOptions(samples=samples)
    with loaded_sources({"model": read_model(file)}) as sources:
        made = make_program(
            [file], sources, options, find_target("onnxruntime"), find_converter(options), BuildLog(quiet=True)
        )
    model = replace(made.models["model"], calibration=({"image": lines["images"][:SHOWN]},))
    return replace(made, models={"model": model})


@pytest.mark.slow
@pytest.mark.parametrize("method", ["min-max", "percentile", "entropy"])
def test_it_reads_every_line(program: Program, lines: Mapping[str, Array], method: Method) -> None:
    step = QuantizeStatic(method=method)
    quantized = step(program).program
    assert [check for check in check_program(quantized, step.loosened(Tolerances())) if not check.passed] == []
    schedule = quantized.models["model"].schedule
    assert isinstance(schedule, Decode)
    known = [[int(token) for token in row if token] for row in lines["targets"]]
    found: list[list[int]] = []
    for start in range(0, 256, 64):
        results = greedy(quantized, schedule, {"image": lines["images"][start : start + 64]}, 64, 75)
        found += [row[:length].tolist() for row, length in zip(results["tokens"], results["lengths"], strict=True)]
    assert found == known
