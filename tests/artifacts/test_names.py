from __future__ import annotations

from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from artifacts.names import PATH_PATTERN, EngineName, Name, RelativePath, Sha256

PATHS: TypeAdapter[str] = TypeAdapter(RelativePath)
NAMES: TypeAdapter[str] = TypeAdapter(Name)
ENGINES: TypeAdapter[str] = TypeAdapter(EngineName)


@pytest.mark.parametrize(
    "path", ["a", "weights/0f.safetensors", "engines/m-main.onnx", "a/b/c_1+x", "engines/m@1x16.step.onnx"]
)
def test_ordinary_paths_are_accepted(path: str) -> None:
    assert PATHS.validate_python(path) == path


@pytest.mark.parametrize(
    "path",
    [
        "", ".", "..", "../a", "a/..", "a/../b", "a/./b", "/a", "//a", "a//b", "a/", ".hidden", "a/.hidden",
        "a\\b", "..\\a", "C:a", "C:/a", "a:b", "~", "~/a", "a\nb", "a\n", "a\0b", "a b", "é", "-a",
        "a/-b", "@a", "a/@b",
    ],
)  # fmt: skip
def test_paths_that_could_leave_the_folder_or_confuse_a_tool_are_refused(path: str) -> None:
    with pytest.raises(ValidationError):
        PATHS.validate_python(path)


@given(st.from_regex(PATH_PATTERN, fullmatch=True))
def test_an_accepted_path_stays_inside_on_every_system(path: str) -> None:
    for kind in (PurePosixPath, PureWindowsPath):
        parsed = kind(path)
        assert not parsed.is_absolute()
        assert not parsed.drive
        assert ".." not in parsed.parts
        assert parsed.as_posix() == path


@pytest.mark.parametrize("name", ["a/b", "", ".", "..", "a b", "a" * 201])
def test_names_are_single_segments(name: str) -> None:
    for names in (NAMES, ENGINES):
        with pytest.raises(ValidationError):
            names.validate_python(name)


def test_only_engines_say_for_which_sizes_they_are() -> None:
    assert ENGINES.validate_python("bert@1x16.encoder") == "bert@1x16.encoder"
    for wrong in ("bert@", "@1x16", "bert@1@2"):
        with pytest.raises(ValidationError):
            ENGINES.validate_python(wrong)
    with pytest.raises(ValidationError):
        NAMES.validate_python("bert@1x16")


@pytest.mark.parametrize("digest", ["", "0" * 63, "0" * 65, "G" * 64, "A" * 64, "0" * 64 + "\n"])
def test_digests_are_64_lower_case_hexadecimal_digits(digest: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(Sha256).validate_python(digest)
