from __future__ import annotations

from pathlib import Path

import pytest

from artifacts.errors import UsageError
from compiler.options import FurtherParts, ModelFile
from compiler.parts.folder import model_at, model_in_folder, model_of_parts


def folder_of(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).touch()
    return root


@pytest.mark.parametrize(
    ("names", "encoder", "decoder", "past"),
    [
        (
            ("encoder_model.onnx", "decoder_model.onnx", "decoder_with_past_model.onnx", "decoder_model_merged.onnx"),
            "encoder_model.onnx",
            "decoder_model.onnx",
            "decoder_with_past_model.onnx",
        ),
        (("encoder_model.onnx", "decoder_model_merged.onnx"), "encoder_model.onnx", "decoder_model_merged.onnx", None),
        (("encoder.onnx", "decoder.onnx", "model.onnx"), "encoder.onnx", "decoder.onnx", None),
    ],
)
def test_parts_are_known_by_their_names(
    names: tuple[str, ...], encoder: str, decoder: str, past: str | None, tmp_path: Path
) -> None:
    folder = folder_of(tmp_path, *names)
    expected = FurtherParts(folder / encoder, None if past is None else folder / past)
    assert model_in_folder("m", folder) == ModelFile("m", folder / decoder, expected)
    assert model_at("m", folder) == model_in_folder("m", folder)


def test_a_folder_with_one_model_is_that_model(tmp_path: Path) -> None:
    assert model_in_folder("m", folder_of(tmp_path, "model.onnx")) == ModelFile("m", tmp_path / "model.onnx")
    assert model_at("m", tmp_path / "model.onnx") == ModelFile("m", tmp_path / "model.onnx")


def test_a_folder_that_lacks_parts_is_told_of_all(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        model_in_folder("m", folder_of(tmp_path, "other.onnx"))
    assert [problem.message for problem in caught.value.problems] == ["holds no encoder", "holds no decoder"]
    with pytest.raises(UsageError, match="holds no encoder"):
        model_in_folder("m", folder_of(tmp_path, "decoder_model.onnx"))


def test_parts_by_role() -> None:
    found = model_of_parts("m", ["decoder=d=1.onnx", "encoder=e.onnx", "decoder-with-past=p.onnx"])
    assert found == ModelFile("m", Path("d=1.onnx"), FurtherParts(Path("e.onnx"), Path("p.onnx")))
    assert found.paths == (Path("d=1.onnx"), Path("e.onnx"), Path("p.onnx"))


@pytest.mark.parametrize(
    ("texts", "messages"),
    [
        (["head=h.onnx", "encoder.onnx"], ["is no part", "is no part"]),
        (["encoder=a.onnx", "encoder=b.onnx", "decoder=d.onnx"], ["the encoder is given twice"]),
        (["decoder-with-past=p.onnx"], ["the encoder is missing", "the decoder is missing"]),
        (["encoder=e.onnx"], ["the decoder is missing"]),
    ],
)
def test_what_is_wrong_with_roles_is_told_at_once(texts: list[str], messages: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        model_of_parts("m", texts)
    assert [problem.message for problem in caught.value.problems] == messages
