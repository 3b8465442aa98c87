from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import onnx
import pytest

from artifacts.bundle import Bundle
from artifacts.errors import BundleError, ModelFormatError
from compiler.compile import compile_bundle
from compiler.key import Ingredients
from compiler.options import CompileOptions, ModelFile
from compiler.parts.reading import read_model
from compiler.present import find_unchanged
from tests.support.models import perceptron, saved


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, its weights in a file in a folder beside it, and its bundle."""
    folder = tmp_path_factory.mktemp("made")
    path = saved(perceptron(), folder / "model.onnx")
    (folder / "data").mkdir()
    proto = onnx.load_model(path)
    onnx.save_model(proto, path, save_as_external_data=True, location="data/weights.bin", size_threshold=0)
    compile_bundle([ModelFile("m", path)], folder / "out", CompileOptions())
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "copy"))


def digests(folder: Path) -> dict[str, str] | None:
    """What the files of the model are said to be, without reading them as a model."""
    asked: list[dict[str, str]] = []

    def ingredients_of(found: Mapping[str, str]) -> Ingredients:
        asked.append(dict(found))
        return {"of another": "key"}

    assert find_unchanged(folder / "out", [ModelFile("m", folder / "model.onnx")], ingredients_of) is None
    return asked[0] if asked else None


def test_the_digest_is_the_one_that_reading_gives(folder: Path) -> None:
    assert digests(folder) == {"m": read_model(ModelFile("m", folder / "model.onnx")).digest}
    with (folder / "data" / "weights.bin").open("r+b") as file:
        file.write(b"\1")
    changed = digests(folder)
    assert changed == {"m": read_model(ModelFile("m", folder / "model.onnx")).digest}
    report = Bundle.open(folder / "out").report()
    assert report is not None
    assert report.external == {"m": {"decoder": ("data/weights.bin",)}}


def test_up_to_date_means_all_files_and_says_which(folder: Path) -> None:
    def again() -> tuple[bool, tuple[Path, ...]]:
        found = compile_bundle([ModelFile("m", folder / "model.onnx")], folder / "out", CompileOptions())
        return found.up_to_date, found.files

    assert again() == (True, (folder / "model.onnx", folder / "data" / "weights.bin"))
    with (folder / "data" / "weights.bin").open("r+b") as file:
        file.write(b"\1")
    with pytest.raises(BundleError, match="other inputs or options"):
        again()
    (folder / "model.onnx").write_bytes(b"\0")
    with pytest.raises(ModelFormatError):
        again()


@pytest.mark.parametrize("name", ["../secret", "/dev/zero", "data", "data/../../secret", "nothing", "link"])
def test_a_bundle_cannot_have_other_files_opened(folder: Path, name: str) -> None:
    (folder.parent / "secret").write_text("secret")
    (folder / "link").symlink_to(folder.parent / "secret")
    report = folder / "out" / "build.json"
    document = json.loads(report.read_text())
    document["external"]["m"]["decoder"] = [name]
    report.write_text(json.dumps(document))
    assert digests(folder) is None


def test_roles_that_the_model_has_not(folder: Path) -> None:
    report = folder / "out" / "build.json"
    document = json.loads(report.read_text())
    document["external"]["m"]["encoder"] = []
    report.write_text(json.dumps(document))
    assert digests(folder) is None
