from __future__ import annotations

from pathlib import Path

import pytest

from artifacts.bundle import Bundle
from artifacts.errors import BundleError, UsageError
from artifacts.neuron_serving import NeuronServing
from compiler.compile import compile_bundle
from compiler.key import compilation_key, ingredients
from compiler.options import CompileOptions, ModelFile
from compiler.serving import cores_of, served_anew, serving_of, serving_problems
from compiler.targets import find_target

SERVING = NeuronServing(instances=2, visible_cores=(0, 1))


def test_flags_replace_what_was_said_before() -> None:
    before = NeuronServing(num_cores=4, exec_timeout=9)
    assert serving_of(before) == before
    assert serving_of(before, instances=2, visible_cores=()) == NeuronServing(num_cores=4, exec_timeout=9, instances=2)
    assert serving_of(before, visible_cores=(0, 1)) == NeuronServing(visible_cores=(0, 1), exec_timeout=9)
    assert serving_of(SERVING, num_cores=2) == NeuronServing(num_cores=2, instances=2)


def test_contradictory_flags_are_one_error_that_names_them() -> None:
    with pytest.raises(UsageError, match="by number and by count") as caught:
        serving_of(NeuronServing(), num_cores=2, visible_cores=(0, 1))
    assert caught.value.problems[0].subject == "--num-cores, --visible-cores"
    with pytest.raises(UsageError, match="--visible-cores"):
        cores_of("--visible-cores", "3-0")


def test_other_targets_have_no_use_for_it() -> None:
    options = CompileOptions(serving=SERVING)
    subjects = [problem.subject for problem in serving_problems(options, find_target("onnxruntime"))]
    assert subjects == ["--instances", "--visible-cores"]
    assert not serving_problems(options, find_target("neuronx"))
    assert not serving_problems(CompileOptions(), find_target("onnxruntime"))


def test_the_key_of_a_compilation_does_not_have_it(perceptron_file: Path) -> None:
    model = ModelFile("perceptron", perceptron_file)
    keys = {
        compilation_key(ingredients([model], {"perceptron": "0"}, CompileOptions(serving=serving), {}, {}))
        for serving in (NeuronServing(), SERVING)
    }
    assert len(keys) == 1


def test_settings_change_and_nothing_else_does(perceptron_file: Path, tmp_path: Path) -> None:
    model = ModelFile("perceptron", perceptron_file)
    compile_bundle([model], tmp_path / "b", CompileOptions())
    before = Bundle.open(tmp_path / "b")
    inodes = {path: (before.root / path).stat().st_ino for path in before.manifest.files}
    after = served_anew(before, SERVING)
    opened = Bundle.open(tmp_path / "b")
    assert opened.manifest == after.manifest
    assert (opened.manifest.serving, opened.manifest.settings) == (SERVING, SERVING.settings)
    assert opened.manifest.model_copy(update={"serving": None, "settings": {}}) == before.manifest
    assert {path: (opened.root / path).stat().st_ino for path in opened.manifest.files} == inodes
    assert opened.report() == before.report()
    assert served_anew(opened, None).manifest == before.manifest


def test_a_folder_with_other_files_is_left_alone(perceptron_file: Path, tmp_path: Path) -> None:
    compile_bundle([ModelFile("perceptron", perceptron_file)], tmp_path / "b", CompileOptions())
    bundle = Bundle.open(tmp_path / "b")
    (bundle.root / "mine").write_text("x")
    with pytest.raises(BundleError, match="not the bundle's: mine"):
        served_anew(bundle, SERVING)
    assert (bundle.root / "mine").read_text() == "x"
