from __future__ import annotations

import dataclasses
import platform
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from artifacts.errors import UsageError
from artifacts.neuron_options import NeuronOptions
from artifacts.plan_build import BuilderOptions
from compiler import key
from compiler.generation import TokenFlags
from compiler.key import compilation_key, ingredients
from compiler.neuron.inf1_settings import Inf1Options
from compiler.neuron.tracing import Tracing
from compiler.options import (
    CacheMode,
    CalibrationMethod,
    CompileOptions,
    ConverterName,
    ModelFile,
    PaddingName,
    Precision,
    ScheduleName,
    WeightsName,
)
from compiler.shapes import ShapeRanges
from tests.support.cli import child_environment

MODELS = (ModelFile("text", Path("text.onnx")), ModelFile("image", Path("image.onnx")))
DIGESTS = {"text": "0" * 64, "image": "1" * 64}
TOOLS = {"torch": "2.13.0", "onnx-ir": "1.1.0"}
DEFAULTS = CompileOptions()


def key_of(options: CompileOptions = DEFAULTS, **changed: Any) -> str:
    parts: dict[str, Any] = {"models": MODELS, "digests": DIGESTS, "generation": {}, "tools": TOOLS, **changed}
    return compilation_key(ingredients(parts["models"], parts["digests"], options, parts["generation"], parts["tools"]))


FEW = st.integers(1, 99)
BOUNDS = st.floats(0, 1, exclude_min=True)
SHAPES = st.lists(st.tuples(st.sampled_from("abc"), st.lists(FEW).map(tuple)), min_size=1, max_size=2).map(tuple)
CHANGES: Mapping[str, st.SearchStrategy[Any]] = {
    "target": st.sampled_from(("tensorrt", "neuron")),
    "schedule": st.sampled_from([name for name in ScheduleName if name != DEFAULTS.schedule]),
    "partitions": st.lists(FEW, min_size=1).map(tuple),
    "cache": st.sampled_from([mode for mode in CacheMode if mode != DEFAULTS.cache]),
    "draft": st.integers(0, 99),
    "decoder_input": st.sampled_from("abc"),
    "logits": st.sampled_from("abc"),
    "precision": st.sampled_from([name for name in Precision if name != DEFAULTS.precision]),
    "calibration_method": st.sampled_from([m for m in CalibrationMethod if m != DEFAULTS.calibration_method]),
    "min_shapes": SHAPES,
    "further_ranges": SHAPES.map(lambda shapes: (ShapeRanges(opt=shapes),)),
    "builder": st.sampled_from([BuilderOptions(optimization_level=5), BuilderOptions(weights="refit")]),
    "neuron": st.sampled_from(
        [NeuronOptions(optlevel=3), NeuronOptions(target="trn2"), NeuronOptions(fast_loading=True)]
    ),
    "tracing": st.sampled_from([Tracing(tracer="torch-neuron"), Tracing(inf1=Inf1Options(fallback=False))]),
    "compute_capabilities": st.sampled_from([("sm86",), ("sm89",), ("sm86", "sm89")]),
    "opt_shapes": SHAPES,
    "max_shapes": SHAPES,
    "atol": BOUNDS,
    "tolerance": BOUNDS,
    "rtol": BOUNDS,
    "require": st.sampled_from(("emitted", "verified")),
    "weights": st.sampled_from(list(WeightsName)),
    "merge_casts": st.just(True),
    "skip_passes": st.lists(st.sampled_from("abc"), min_size=1).map(tuple),
    "bucketed": st.lists(st.sampled_from("abc"), min_size=1).map(tuple),
    "most_buckets": FEW.filter(lambda most: most != DEFAULTS.most_buckets),
    "padding": st.sampled_from([name for name in PaddingName if name != DEFAULTS.padding]),
    "converter": st.sampled_from([name for name in ConverterName if name != DEFAULTS.converter]),
}
TOKENS: Mapping[str, st.SearchStrategy[Any]] = {
    "start": FEW,
    "eos": st.lists(FEW, min_size=1).map(tuple),
    "pad": FEW,
    "max_new_tokens": FEW,
    "beams": FEW,
    "length_penalty": BOUNDS,
    "early_stopping": st.just(True),
}


FILES = ("samples", "tune", "buckets", "bucket_costs")


def test_every_option_is_drawn_here() -> None:
    """An option that the key forgets gives stale bundles: whoever adds one meets this test.

    Samples, lengths and calibration count by content, the code of custom operators is among the tools, and how a bundle
    is served changes its manifest alone (`compiler/serving.py`).
    """
    assert set(CHANGES) | {"tokens", *FILES, "calibration", "custom_ops", "serving"} == {
        field.name for field in dataclasses.fields(CompileOptions)
    }
    assert set(TOKENS) == {field.name for field in dataclasses.fields(TokenFlags)}


@pytest.mark.parametrize("name", CHANGES)
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_an_option_changes_the_key(name: str, data: st.DataObject) -> None:
    options = dataclasses.replace(DEFAULTS, **{name: data.draw(CHANGES[name])})
    assert key_of(options) != key_of()
    assert key_of(options) == key_of(dataclasses.replace(options))


@pytest.mark.parametrize("name", TOKENS)
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_a_token_changes_the_key(name: str, data: st.DataObject) -> None:
    value = data.draw(TOKENS[name])
    options = dataclasses.replace(DEFAULTS, tokens=TokenFlags(**{name: value}))
    assert key_of(options) != key_of()


@pytest.mark.parametrize("option", FILES)
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=st.binary(max_size=20), second=st.binary(max_size=20))
def test_files_count_by_content_and_not_by_path(tmp_path: Path, option: str, first: bytes, second: bytes) -> None:
    def key_with(name: str, content: bytes) -> str:
        (tmp_path / name).write_bytes(content)
        given: dict[str, Any] = {option: tmp_path / name}
        return key_of(dataclasses.replace(DEFAULTS, **given))

    assert key_with("a.npz", first) != key_of()
    assert key_with("a.npz", first) == key_with("b.npz", first)
    assert (key_with("a.npz", first) == key_with("a.npz", second)) == (first == second)


@pytest.mark.parametrize("option", FILES)
def test_files_that_are_not_there_are_a_wrong_call(tmp_path: Path, option: str) -> None:
    given: dict[str, Any] = {option: tmp_path / "in.npz"}
    with pytest.raises(UsageError, match=r"in\.npz"):
        key_of(dataclasses.replace(DEFAULTS, **given))


def calibrated(folder: Path, **files: bytes) -> CompileOptions:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / f"{name}.npz").write_bytes(content)
    return dataclasses.replace(DEFAULTS, calibration=folder)


def test_calibration_counts_by_content_in_the_order_of_names(tmp_path: Path) -> None:
    first = key_of(calibrated(tmp_path / "1", a=b"x", b=b"y"))
    assert first != key_of()
    assert first == key_of(calibrated(tmp_path / "2", c=b"x", d=b"y"))
    assert first != key_of(calibrated(tmp_path / "3", a=b"y", b=b"x"))
    assert first != key_of(calibrated(tmp_path / "4", a=b"x"))


def test_calibration_of_one_model_is_not_that_of_another(tmp_path: Path) -> None:
    keys = set()
    for name, other in (("text", "image"), ("image", "text")):
        options = calibrated(tmp_path / name, a=b"x")
        calibrated(tmp_path / name / name, a=b"y")
        calibrated(tmp_path / name / other, a=b"z")
        keys.add(key_of(options))
    assert len(keys) == 2


CHANGED: list[dict[str, Any]] = [
    {"digests": {**DIGESTS, "image": "2" * 64}},
    {"digests": {"text": DIGESTS["image"], "image": DIGESTS["text"]}},
    {"models": MODELS[:1], "digests": {"text": DIGESTS["text"]}},
    {"models": (ModelFile("other", Path("text.onnx")), MODELS[1]), "digests": {**DIGESTS, "other": "0" * 64}},
    {"generation": {"text/config.json": "3" * 64}},
    {"tools": {**TOOLS, "torch": "2.13.1"}},
    {"tools": {**TOOLS, "onnxruntime": "1.31.1"}},
]


@pytest.mark.parametrize("changed", CHANGED)
def test_models_their_names_generation_and_tools_change_the_key(changed: dict[str, Any]) -> None:
    assert key_of(**changed) != key_of()


def test_a_generation_file_counts_by_content() -> None:
    keys = {key_of(generation={"text/config.json": digest * 64}) for digest in "34"}
    assert len(keys) == 2


def test_paths_of_models_do_not_count() -> None:
    moved = tuple(ModelFile(model.name, Path("/elsewhere") / model.path) for model in MODELS)
    assert key_of(models=moved) == key_of()


@pytest.mark.parametrize(("name", "value"), [("machine", "other"), ("python_version", "9.9.9")])
def test_the_instruction_set_and_python_count(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    before = key_of()
    monkeypatch.setattr(platform, name, lambda: value)
    assert key_of() != before


def test_unspools_own_source_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    before = key_of()
    monkeypatch.setattr(key, "own_digest", lambda: "f" * 64)
    assert key_of() != before


@pytest.mark.parametrize("change", [lambda file: file.write_text("1\n"), Path.unlink])
def test_the_digest_of_our_source_sees_every_file(tmp_path: Path, change: Callable[[Path], object]) -> None:
    folder = tmp_path / "package"
    (folder / "inner").mkdir(parents=True)
    file = folder / "inner" / "module.py"
    file.write_text("0\n")
    (folder / "__init__.py").touch()
    before = key.source_digest({"package": folder})
    assert key.source_digest({"package": folder}) == before
    (folder / "notes.txt").write_text("not code")
    assert key.source_digest({"package": folder}) == before
    change(file)
    assert key.source_digest({"package": folder}) != before


def test_keys_are_the_same_whatever_the_hash_seed() -> None:
    """And whoever edits our source while the tests run: its digest is left out here."""
    script = """
from compiler import key
key.own_digest = lambda: ""
from tests.compiler.test_key import key_of
print(key_of())
"""
    keys = set()
    for seed in ("1", "2"):
        command, environment = [sys.executable, "-c", script], child_environment({"PYTHONHASHSEED": seed})
        keys.add(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
    assert len(keys) == 1
