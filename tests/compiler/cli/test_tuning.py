from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from artifacts.bundle import Bundle
from artifacts.schedule import Decode, Engine, Partitioned, Unrolled
from compiler.options import ScheduleName
from compiler.tuning.choose import Form
from tests.support.cli import unspool
from tests.support.models import PROJECT

OCR = PROJECT / "examples" / "ocr" / "model.onnx"
ACCELERATOR = {"encoder": 5, "loop": {"step": 3}, "partition": {"call": 2, "step": 0.5}}
"""An accelerator whose calls are dear and whose engines cannot loop."""


@pytest.fixture
def lengths(tmp_path: Path) -> Path:
    path = tmp_path / "lengths.csv"
    path.write_text("length,count\n6,50\n20,10\n60,2\n")
    return path


@pytest.fixture
def costs(tmp_path: Path) -> Path:
    path = tmp_path / "costs.json"
    path.write_text(json.dumps(ACCELERATOR))
    return path


def form_of(schedule: Decode) -> Form:
    """The way to decode that a bundle has, as `tune` calls it."""
    match schedule.control:
        case Partitioned(boundaries=boundaries):
            return Form(ScheduleName.PARTITIONED, boundaries)
        case Unrolled():
            return Form(ScheduleName.UNROLLED)
        case Engine():
            return Form(ScheduleName.ENGINE_LOOP)
    return Form(ScheduleName.LOOP)


class TestTune:
    def test_costs_of_another_machine_choose_without_the_model(
        self, capsys: pytest.CaptureFixture[str], lengths: Path, costs: Path
    ) -> None:
        found = unspool(capsys, "tune", OCR, "--lengths", lengths, "--costs", costs, "--max-length", "75", "--json")
        document = found.document
        assert (document["schedule"], document["partitions"]) == ("partitioned", [6, 20, 60, 75])
        best, *others = document["forms"]
        assert best["predicted"]["mean"] < min(other["predicted"]["mean"] for other in others)
        assert {"schedule": "partitioned", "partitions": [25, 50, 75]}.items() <= others[0].items()
        assert [point["boundary"] for point in document["curve"]] == list(range(1, 76))
        assert all(form["measured"] is None for form in document["forms"])

    def test_people_read_a_table_bars_and_what_to_type_next(
        self, capsys: pytest.CaptureFixture[str], lengths: Path, costs: Path
    ) -> None:
        found = unspool(
            capsys, "tune", OCR, "--lengths", lengths, "--costs", costs, "--max-length", "75", "--objective", "p95"
        )
        assert "partitioned 20,60,75" in found.stdout
        assert "####" in found.stdout
        assert "compile with: --schedule partitioned --partitions 20,60,75 --max-length 75" in found.stdout

    @pytest.mark.parametrize("forms", [(), ("loop",)])
    def test_a_chart_is_one_file(
        self, capsys: pytest.CaptureFixture[str], lengths: Path, costs: Path, tmp_path: Path, forms: tuple[str, ...]
    ) -> None:
        if forms:
            costs.write_text(json.dumps({name: ACCELERATOR[name] for name in forms}))
        call = ("tune", OCR, "--lengths", lengths, "--costs", costs, "--max-length", "75")
        document = unspool(capsys, *call, "--plot", tmp_path / "costs.html", "--json").document
        text = (tmp_path / "costs.html").read_text()
        assert {"costs.html", "costs.json", "lengths.csv"} == {path.name for path in tmp_path.iterdir()}
        assert "partitioned" in text if not forms else "loop, mean" in text
        assert f"{document['forms'][0]['predicted']['mean']:.2f} ms in the mean" in text

    def test_a_chart_that_cannot_be_written_or_drawn_is_one_error(
        self,
        capsys: pytest.CaptureFixture[str],
        lengths: Path,
        costs: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        call = ("tune", OCR, "--lengths", lengths, "--costs", costs, "--max-length", "75", "--json", "--plot")
        found = unspool(capsys, *call, tmp_path / "none" / "costs.html")
        assert (found.status, found.error["stage"]) == (2, "tune")
        monkeypatch.setitem(sys.modules, "plotly.graph_objects", None)
        found = unspool(capsys, *call, tmp_path / "costs.html")
        assert found.status == 1
        assert found.error["hint"] == 'pip install "unspool[plot]"'
        assert not (tmp_path / "costs.html").exists()

    def test_a_file_without_lengths_is_a_wrong_call(self, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
        path = tmp_path / "none.csv"
        path.write_text("")
        found = unspool(capsys, "tune", OCR, "--lengths", path, "--json")
        assert found.status == 2
        assert found.error["stage"] == "lengths"

    def test_a_model_that_is_called_once_has_nothing_to_choose(
        self, capsys: pytest.CaptureFixture[str], perceptron_file: Path, lengths: Path
    ) -> None:
        found = unspool(capsys, "tune", perceptron_file, "--lengths", lengths, "--json")
        assert found.status == 2
        assert found.error["stage"] in {"tune", "options"}

    def test_measured_forms_and_the_bundle_of_the_best(
        self, capsys: pytest.CaptureFixture[str], toy_file: Path, lengths: Path, tmp_path: Path
    ) -> None:
        tokens = ("--bos", "1", "--eos", "2", "--pad", "0", "--max-length", "6")
        found = unspool(capsys, "tune", toy_file, "--lengths", lengths, *tokens, "-o", tmp_path / "bundle", "--json")
        document = found.document
        assert found.status == 0
        forms = {form["schedule"] for form in document["forms"]}
        assert forms == {"engine-loop", "loop", "unrolled", "partitioned"}
        assert all(form["measured"] > 0 for form in document["forms"])
        assert document["forms"][0]["schedule"] == document["schedule"]
        assert document["max_length"] == 6
        schedule = Bundle.open(tmp_path / "bundle").manifest.models["toy"].schedule
        assert isinstance(schedule, Decode)
        if isinstance(schedule.control, Partitioned):
            assert list(schedule.control.boundaries) == document["partitions"]
        else:
            assert document["partitions"] == []
            assert schedule.generation.max_new_tokens == 6


class TestCompileTune:
    TOKENS = ("--bos", "1", "--eos", "2", "--pad", "0", "--max-length", "6")

    def test_the_choice_is_compiled_in_one_go_and_is_up_to_date_for_the_same_lengths(
        self, capsys: pytest.CaptureFixture[str], toy_file: Path, lengths: Path, tmp_path: Path
    ) -> None:
        rule = tmp_path / "bundle.d"
        call = ("compile", toy_file, "--tune", lengths, *self.TOKENS, "-o", tmp_path / "bundle", "--depfile", rule)
        found = unspool(capsys, *call, "--json")
        assert found.document["result"] == "compiled"
        (notice,) = found.document["report"]["notices"]
        schedule = Bundle.open(tmp_path / "bundle").manifest.models["toy"].schedule
        assert isinstance(schedule, Decode)
        assert f"toy: tuned to {form_of(schedule)}, " in notice
        assert str(lengths) in rule.read_text()
        assert unspool(capsys, *call, "--json").document["result"] == "up to date"
        lengths.write_text("length,count\n2,50\n")
        assert unspool(capsys, *call, "--json").error["stage"] == "bundle", "other lengths are another bundle"

    def test_what_it_would_choose_may_not_be_set(
        self, capsys: pytest.CaptureFixture[str], toy_file: Path, perceptron_file: Path, lengths: Path, tmp_path: Path
    ) -> None:
        call = ("compile", toy_file, perceptron_file, "--tune", lengths, "--schedule", "loop", "--partitions", "2,4")
        found = unspool(capsys, *call, "-o", tmp_path / "bundle")
        assert found.status == 2
        assert found.stderr.count("--tune") == 3


def test_what_each_number_of_buckets_would_bring(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "sizes.csv"
    path.write_text("seq,count\n4,6\n8,2\n32,2\n")
    found = unspool(capsys, "buckets", path, "--json")
    assert found.status == 0
    choices = found.document["choices"]
    assert [choice["sizes"] for choice in choices] == [[32], [8, 32], [4, 8, 32]], "a fourth brings nothing"
    assert [round(choice["cost"], 9) for choice in choices] == [32, 12.8, 10.4]
    assert choices[-1]["padding"] == pytest.approx(0)
    (tmp_path / "costs.csv").write_text("size,cost\n1,5\n8,5\n32,6\n")
    found = unspool(capsys, "buckets", path, "--costs", tmp_path / "costs.csv")
    assert "8, 32" in found.stdout
    assert "4, 8, 32" not in found.stdout
