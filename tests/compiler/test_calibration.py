from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from artifacts.dtype import DType
from artifacts.errors import UsageError
from artifacts.spec import TensorSpec
from compiler.calibration import calibration_files, read_calibration
from tests.support.programs import Array, normal

INPUTS = (
    TensorSpec(name="x", dtype=DType.FLOAT32, shape=("n", 4)),
    TensorSpec(name="ids", dtype=DType.INT64, shape=("n",)),
)


def write(path: Path, **arrays: Array) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, allow_pickle=False, **arrays)
    return path


def test_requests_are_read_in_the_order_of_their_files(tmp_path: Path) -> None:
    for number in (2, 0, 1):
        write(tmp_path / f"{number}.npz", x=normal(2, 4, seed=number), ids=np.array([number, 7]))
    (tmp_path / "notes.txt").write_text("not a request")
    found = read_calibration(tmp_path, "model", INPUTS)
    assert [int(given["ids"][0]) for given in found] == [0, 1, 2]
    np.testing.assert_array_equal(found[2]["x"], normal(2, 4, seed=2))


def test_what_a_decode_makes_need_not_be_given_and_what_is_more_is_left_aside(tmp_path: Path) -> None:
    write(tmp_path / "a.npz", x=normal(2, 4), y=normal(9))
    (given,) = read_calibration(tmp_path, "model", INPUTS, made=("ids",))
    assert set(given) == {"x"}


def test_a_folder_of_a_models_own_comes_before_the_common_one(tmp_path: Path) -> None:
    common, own = write(tmp_path / "a.npz", x=normal(2, 4)), write(tmp_path / "text" / "b.npz", x=normal(2, 4))
    assert calibration_files(tmp_path, ["text", "image"]) == {"text": (own,), "image": (common,)}


def test_everything_that_does_not_fit_is_told_at_once(tmp_path: Path) -> None:
    write(tmp_path / "a.npz", x=normal(2, 5), ids=np.zeros(2, np.int64))
    write(tmp_path / "b.npz", x=normal(2, 4))
    (tmp_path / "c.npz").write_bytes(b"not an archive")
    write(tmp_path / "d.npz", x=normal(2, 4).astype(np.float64), ids=np.zeros(3, np.int64))
    with pytest.raises(UsageError) as caught:
        read_calibration(tmp_path, "model", INPUTS)
    told = [(Path(problem.subject.split(": ")[0]).name, str(problem)) for problem in caught.value.problems]
    assert [name for name, _ in told] == ["a.npz", "b.npz", "c.npz", "d.npz", "d.npz"]
    assert "ids" in told[1][1]
    assert "missing" in told[1][1]


def test_a_folder_that_is_missing_or_empty_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        calibration_files(tmp_path / "no", ["model"])
    with pytest.raises(UsageError, match=r"holds no \.npz file"):
        calibration_files(tmp_path, ["one", "other"])


def test_a_model_without_files_of_its_own_is_named(tmp_path: Path) -> None:
    write(tmp_path / "text" / "a.npz", x=normal(2, 4))
    (tmp_path / "image").mkdir()
    with pytest.raises(UsageError) as caught:
        calibration_files(tmp_path, ["text", "image"])
    assert [problem.subject for problem in caught.value.problems] == [f"--calibration {tmp_path / 'image'}"]
