from __future__ import annotations

from pathlib import Path

import pytest

from artifacts.bundle import Bundle
from artifacts.devices import Loading, check_loading, parse_devices, plan_header
from artifacts.errors import Problem, UsageError
from tests.support.tensorrt import built_plan, put_plans

ONE, TWO = "one-main", "two-main"


def only_problem(loading: Loading) -> Problem:
    assert loading.problem is not None
    return loading.problem


class TestParse:
    @pytest.mark.parametrize(
        ("words", "devices"),
        [
            (["cpu"], ("cpu",)),
            (["nvidia:sm89"], ("nvidia:sm89",)),
            (["nvidia:sm120,nvidia:sm89", "cpu"], ("nvidia:sm120", "nvidia:sm89", "cpu")),
            (["cpu, nvidia:sm86", "cpu"], ("cpu", "nvidia:sm86")),
        ],
    )
    def test_one_or_several(self, words: list[str], devices: tuple[str, ...]) -> None:
        assert parse_devices(words) == devices

    @pytest.mark.parametrize(
        "word",
        [
            *("", "gpu", "CPU", "sm89", "nvidia", "nvidia:", "nvidia:89", "nvidia:8.9", "nvidia:sm8", "nvidia:sm089"),
            *("nvidia:sm1200", "amd:gfx90a", "nvidia:sm٨٩"),
        ],
    )
    def test_a_word_that_is_no_device(self, word: str) -> None:
        with pytest.raises(UsageError, match="is not a device") as caught:
            parse_devices([word])
        (problem,) = caught.value.problems
        assert problem.subject == "--on"
        assert "cpu" in problem.hint
        assert "nvidia:sm89" in problem.hint

    def test_all_wrong_words_at_once(self) -> None:
        with pytest.raises(UsageError) as caught:
            parse_devices(["tpu,cpu", "npu"])
        assert [p.message for p in caught.value.problems] == ["'tpu' is not a device", "'npu' is not a device"]


class TestOnnxRuntime:
    def test_on_a_cpu(self, linear_bundle: Bundle) -> None:
        assert check_loading(linear_bundle, ["cpu"]) == (
            Loading(ONE, "onnxruntime", (True,), None),
            Loading(TWO, "onnxruntime", (True,), None),
        )

    def test_on_a_gpu(self, linear_bundle: Bundle) -> None:
        found = check_loading(linear_bundle, ["cpu", "nvidia:sm89"])
        assert [loading.loads for loading in found] == [(True, False)] * 2
        problem = only_problem(found[0])
        assert problem.subject == "engine 'one-main'"
        assert problem.message == "cannot load on nvidia:sm89; it is for cpu"
        assert problem.hint == "compile with `--target tensorrt-rtx --compute-capabilities 8.9`"

    def test_there_is_no_header(self, linear_bundle: Bundle) -> None:
        assert plan_header(linear_bundle, linear_bundle.manifest.engines[ONE]) is None


class TestPlans:
    def test_where_it_was_built_for(self, bundle_copy: Path) -> None:
        plan = built_plan("sm86", "sm120")
        put_plans(bundle_copy, {ONE: plan, TWO: plan}, ("nvidia:sm120", "nvidia:sm86"))
        devices = ["nvidia:sm86", "nvidia:sm120"]
        bundle = Bundle.open(bundle_copy)
        assert check_loading(bundle, devices) == (
            Loading(ONE, "tensorrt-rtx", (True, True), None),
            Loading(TWO, "tensorrt-rtx", (True, True), None),
        )
        header = plan_header(bundle, bundle.manifest.engines[ONE])
        assert header is not None
        assert header.capabilities == ("sm86", "sm120")

    def test_elsewhere(self, bundle_copy: Path) -> None:
        put_plans(bundle_copy, {ONE: built_plan("sm86")}, ("nvidia:sm86",))
        one, two = check_loading(Bundle.open(bundle_copy), ["nvidia:sm86", "nvidia:sm120"])
        assert one.loads == (True, False)
        assert only_problem(one).message == "cannot load on nvidia:sm120; it is for nvidia:sm86"
        assert only_problem(one).hint == "compile with `--compute-capabilities 8.6,12.0`"
        assert two.loads == (False, False)
        assert only_problem(two).subject == "engine 'two-main'"

    def test_on_a_cpu(self, bundle_copy: Path) -> None:
        put_plans(bundle_copy, {ONE: built_plan("sm86")}, ("nvidia:sm86",))
        bundle = Bundle.open(bundle_copy)
        for devices in (["cpu"], ["cpu", "nvidia:sm86"]):
            one, two = check_loading(bundle, devices)
            assert only_problem(one).hint == "for a CPU compile with `--target onnxruntime`"
            assert two.loads[0]

    def test_on_a_gpu_that_no_plan_can_be_for(self, bundle_copy: Path) -> None:
        put_plans(bundle_copy, {ONE: built_plan("sm86")}, ("nvidia:sm86",))
        one, _ = check_loading(Bundle.open(bundle_copy), ["nvidia:sm90", "nvidia:sm89"])
        first, second = only_problem(one).hint.split("; ")
        assert first == "compile with `--compute-capabilities 8.9`"
        assert second == "TensorRT-RTX has no engines for 9.0, only for 7.5, 8.0, 8.6, 8.9, 12.0, 12.1"

    @pytest.mark.parametrize("runs_on", [("nvidia:sm86", "nvidia:sm89"), ("nvidia:sm89",), ("cpu", "nvidia:sm86"), ()])
    def test_a_manifest_that_says_something_else(self, bundle_copy: Path, runs_on: tuple[str, ...]) -> None:
        put_plans(bundle_copy, {ONE: built_plan("sm86")}, runs_on)
        one, _ = check_loading(Bundle.open(bundle_copy), ["nvidia:sm86"])
        assert one.loads == (False,)
        said = ", ".join(runs_on) or "no device"
        message = f"the plan engines/one-main.plan is for nvidia:sm86, the manifest says {said}"
        assert only_problem(one).message == message

    def test_a_plan_that_is_none(self, bundle_copy: Path) -> None:
        put_plans(bundle_copy, {ONE: built_plan("sm86")[:100], TWO: b"plan"}, ("nvidia:sm86",))
        one, two = check_loading(Bundle.open(bundle_copy), ["nvidia:sm86"])
        assert (one.loads, two.loads) == ((False,), (False,))
        assert only_problem(one).message.startswith("has 100 bytes, its header says")
        assert only_problem(two).subject == "engines/two-main.plan"

    def test_an_engine_without_a_plan(self, bundle_copy: Path) -> None:
        put_plans(bundle_copy, {ONE: None}, ())
        one, _ = check_loading(Bundle.open(bundle_copy), ["nvidia:sm86"])
        assert only_problem(one).message == "has no plan that could be loaded: its status is emitted"
        assert only_problem(one).hint == "unspool verify BUNDLE"
