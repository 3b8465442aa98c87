from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest

from artifacts.errors import UsageError
from compiler.depfile import write_depfile
from compiler.generation import generation_files
from compiler.options import CompileOptions, ModelFile
from compiler.parts.reading import read_model
from tests.support.models import normal, perceptron, saved

CHARACTERS = " #$:%[]*?&()'\"~@+,!{}<>^`é\\"
"""What make gives a meaning to and a file name may hold."""


def write(folder: Path, *models: Path, bundle: str = "bundle", options: CompileOptions | None = None) -> Path:
    """The depfile of a compilation whose bundle is a little younger than everything in the folder."""
    manifest = folder / bundle / "manifest.json"
    manifest.parent.mkdir(exist_ok=True)
    manifest.touch()
    read = [ModelFile(path.stem, path) for path in models]
    files = [f for m in read for f in (*read_model(m).files.values(), *generation_files(m.path))]
    write_depfile(folder / "out.d", manifest.parent, files, options or CompileOptions())
    for path in folder.rglob("*"):
        os.utime(path, (1000, 1000))
    os.utime(manifest, (2000, 2000))
    return manifest


def is_made_again(manifest: Path) -> bool:
    """What make says of the manifest, with a recipe for it and the depfile's rules. Fails where make does."""
    folder = manifest.parents[1]
    recipe = folder / "recipe.mk"
    recipe.write_text("%/manifest.json:\n\t@echo made\n")
    command = [
        "make",
        "--no-builtin-rules",
        "--question",
        "-f",
        str(folder / "out.d"),
        "-f",
        str(recipe),
        str(manifest),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    return done.returncode == 1


def depends(manifest: Path, file: Path) -> bool:
    """Whether make starts to make the manifest when the file becomes younger, or is gone."""
    assert not is_made_again(manifest)
    content = file.read_bytes()
    os.utime(file, (3000, 3000))
    younger = is_made_again(manifest)
    file.unlink()
    gone = is_made_again(manifest)
    file.write_bytes(content)
    os.utime(file, (1000, 1000))
    assert younger == gone
    return younger


def test_make_sees_every_file_that_was_read(tmp_path: Path) -> None:
    first = saved(perceptron(), tmp_path / "a" / "first.onnx")
    second = tmp_path / "b" / "second.onnx"
    second.parent.mkdir()
    onnx.save(perceptron(1), second, save_as_external_data=True, location="second.data", size_threshold=0)
    for folder in "ab":
        (tmp_path / folder / "generation_config.json").write_text("{}")
    (tmp_path / "b" / "config.json").write_text("{}")
    (tmp_path / "b" / "tokenizer.json").write_text("{}")
    np.savez(tmp_path / "in.npz", x=normal(2, 16))
    manifest = write(tmp_path, first, second, options=CompileOptions(samples=tmp_path / "in.npz"))

    read = ["a/first.onnx", "a/generation_config.json", "b/second.onnx", "b/second.data"]
    read += ["b/generation_config.json", "b/config.json", "in.npz"]
    for name in read:
        assert depends(manifest, tmp_path / name), name
    assert not depends(manifest, tmp_path / "b" / "tokenizer.json")


def test_make_sees_calibration_files_and_those_that_come_and_go(tmp_path: Path) -> None:
    model = saved(perceptron(), tmp_path / "model.onnx")
    folder = tmp_path / "requests" / "model"
    folder.mkdir(parents=True)
    np.savez(folder / "a.npz", x=normal(2, 16))
    manifest = write(tmp_path, model, options=CompileOptions(calibration=tmp_path / "requests"))
    assert depends(manifest, folder / "a.npz")
    os.utime(folder, (1000, 1000))
    assert not is_made_again(manifest)
    np.savez(folder / "b.npz", x=normal(2, 16))
    os.utime(folder, (3000, 3000))
    assert is_made_again(manifest)


@pytest.mark.parametrize("character", CHARACTERS)
def test_make_reads_what_a_name_may_hold(tmp_path: Path, character: str) -> None:
    model = saved(perceptron(), tmp_path / f"a{character}b.onnx")
    other = saved(perceptron(1), tmp_path / f"{character}.onnx")
    manifest = write(tmp_path, model, other, bundle=f"made{character}")
    assert depends(manifest, model)
    assert depends(manifest, other)


@pytest.mark.parametrize("name", ["a\\ b", "a\\\\ b", "a\\#b", "a\\$b", "$(shell touch bad)", "a\\:b"])
def test_make_reads_backslashes_before_what_is_escaped(tmp_path: Path, name: str) -> None:
    model = saved(perceptron(), tmp_path / f"{name}.onnx")
    manifest = write(tmp_path, model)
    assert depends(manifest, model)
    assert not list(tmp_path.rglob("bad"))


def test_a_star_is_no_pattern(tmp_path: Path) -> None:
    model = saved(perceptron(), tmp_path / "a*.onnx")
    neighbour = saved(perceptron(), tmp_path / "ab.onnx")
    manifest = write(tmp_path, model)
    assert depends(manifest, model)
    assert not depends(manifest, neighbour)


@pytest.mark.parametrize("character", ";|=\t\n")
def test_what_make_cannot_write_is_refused(tmp_path: Path, character: str) -> None:
    model = saved(perceptron(), tmp_path / f"a{character}b.onnx")
    with pytest.raises(UsageError, match="make cannot name"):
        write(tmp_path, model)
    assert not (tmp_path / "out.d").exists()


def test_writing_again_replaces_the_file_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    model = saved(perceptron(), tmp_path / "model.onnx")
    write(tmp_path, model)
    once = (tmp_path / "out.d").read_bytes()
    write(tmp_path, model)
    assert (tmp_path / "out.d").read_bytes() == once
    assert {path.name for path in tmp_path.iterdir()} == {"model.onnx", "out.d", "bundle"}


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    model = saved(perceptron(), tmp_path / "model.onnx")
    with pytest.raises(UsageError) as caught:
        write_depfile(tmp_path / "no" / "out.d", tmp_path / "bundle", [model], CompileOptions())
    assert str(tmp_path / "no" / "out.d") in caught.value.problems[0].subject
