from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from artifacts.errors import ModelFormatError, UnspoolError, UnsupportedError
from passes.onnx_to_torch.convert import source_signature
from passes.onnx_to_torch.gaps import find_gaps
from passes.onnx_to_torch.source import external_names, load_source, read_source, source_files
from tests.support.programs import normal, parsed

MODEL = parsed("g (float[n, 4] x) => (float[n, 4] y) { a = MatMul (x, w) y = Relu (a) }", w=normal(4, 4))
BYTES = MODEL.SerializeToString()


def saved(folder: Path, model: onnx.ModelProto = MODEL, name: str = "model.onnx") -> Path:
    path = folder / name
    path.write_bytes(model.SerializeToString())
    return path


def with_external_weight(location: str = "w.bin") -> onnx.ModelProto:
    """The model with its weight, 64 bytes, in another file."""
    model = onnx.ModelProto()
    model.CopyFrom(MODEL)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return model


def test_a_model_is_loaded_with_its_digest_and_its_file(tmp_path: Path) -> None:
    path = saved(tmp_path)
    source = load_source(path)
    assert source.path == path
    assert source.digest == hashlib.sha256(BYTES).hexdigest()
    assert source_files(source) == (path,)
    assert [value.name for value in source.model.graph.inputs] == ["x"]
    weight = source.model.graph.initializers["w"].const_value
    assert weight is not None
    assert np.array_equal(weight.numpy(), normal(4, 4))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "holds no ONNX graph"),
        (b"not a model, but a text of some length\n", "not an ONNX model"),
        (b"PK\x03\x04" + bytes(60), "ONNX"),
        (b"\x80\x02}q\x00.", "ONNX"),
        (b'{"irVersion": "10"}', "ONNX"),
        (os.urandom(4096), "ONNX"),
        (helper.make_tensor("w", onnx.TensorProto.FLOAT, [1], [1.0]).SerializeToString(), "ONNX"),
    ],
    ids=["empty", "text", "zip", "pickle", "json", "noise", "tensor"],
)
@pytest.mark.parametrize("name", ["model.onnx", "model.json", "model.textproto"])
def test_other_files_are_told_from_models(tmp_path: Path, content: bytes, message: str, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ModelFormatError, match=message) as caught:
        load_source(path)
    (problem,) = caught.value.problems
    assert problem.stage == "load"
    assert problem.subject == str(path)
    assert problem.hint == "is it an ONNX file, and is it whole?"


def test_nothing_in_a_file_is_run(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    # A pickle that makes a directory when it is loaded.
    path.write_bytes(f"cos\nmkdir\n(V{tmp_path / 'sprung'}\ntR.".encode())
    with pytest.raises(ModelFormatError):
        load_source(path)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("name", ["model.json", "model.onnxtxt", "model"])
def test_a_model_is_a_model_whatever_its_name(tmp_path: Path, name: str) -> None:
    assert load_source(saved(tmp_path, name=name)).digest == hashlib.sha256(BYTES).hexdigest()


def test_a_directory_and_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ModelFormatError, match="is a folder"):
        load_source(tmp_path)
    with pytest.raises(ModelFormatError, match="no such file"):
        load_source(tmp_path / "missing.onnx")


def test_every_truncation_is_found(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    for length in range(len(BYTES)):
        path.write_bytes(BYTES[:length])
        with pytest.raises(ModelFormatError):
            load_source(path)


def test_a_damaged_byte_gives_a_model_or_an_error_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    refused = 0
    for position in range(len(BYTES)):
        for mask in (0x01, 0x80, 0xFF):
            path.write_bytes(BYTES[:position] + bytes([BYTES[position] ^ mask]) + BYTES[position + 1 :])
            try:
                source = load_source(path)
                UnsupportedError.raise_if(find_gaps(source.model))
                source_signature(source)
            except UnspoolError:
                refused += 1
    assert refused > len(BYTES)


def versions(**changes: int) -> onnx.ModelProto:
    text = """
    <ir_version: 10, opset_import: ["": {opset}, "mine": 1]>
    g (float[n] x) => (float[n] y) {{ y = mine.twice (x) }}
    <domain: "mine", opset_import: ["": {inner}]>
    twice (a) => (b) {{ b = Add (a, a) }}
    """
    model = parsed(text.format(opset=changes.get("opset", 20), inner=changes.get("inner", 20)))
    model.ir_version = changes.get("ir_version", 10)
    return model


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"opset": 999}, ["opset 999 is newer"]),
        ({"inner": 998}, ["opset 998 is newer"]),
        ({"ir_version": 997}, ["format version 997 is newer"]),
        (
            {"opset": 999, "inner": 998, "ir_version": 997},
            ["format version 997 is newer", "opset 999 is newer", "opset 998 is newer"],
        ),
    ],
)
def test_versions_that_are_not_known_here_are_refused(
    tmp_path: Path, changes: Mapping[str, int], found: list[str]
) -> None:
    with pytest.raises(UnsupportedError) as caught:
        load_source(saved(tmp_path, versions(**changes)))
    assert len(caught.value.problems) == len(found)
    for problem, message in zip(caught.value.problems, found, strict=True):
        assert problem.message.startswith(message)
        assert "older version" in problem.hint


def test_versions_that_are_known_are_not(tmp_path: Path) -> None:
    newest = onnx.defs.onnx_opset_version()
    path = saved(tmp_path, versions(opset=newest, inner=newest, ir_version=onnx.IR_VERSION))
    assert load_source(path).model.opset_imports[""] == newest


def test_sparse_tensors_are_refused_by_name(tmp_path: Path) -> None:
    values = helper.make_tensor("w", onnx.TensorProto.FLOAT, [1], [2.0])
    indices = helper.make_tensor("i", onnx.TensorProto.INT64, [1], [0])
    sparse = helper.make_sparse_tensor(values, indices, [3])
    model = parsed("g (float[3] x) => (float[3] y) { a = Add (x, w) y = Add (a, v) }")
    model.graph.sparse_initializer.append(sparse)
    model.graph.node.insert(0, helper.make_node("Constant", [], ["v"], "thin", sparse_value=sparse))
    with pytest.raises(UnsupportedError) as caught:
        load_source(saved(tmp_path, model))
    assert [(problem.subject, problem.message) for problem in caught.value.problems] == [
        ("model.onnx: tensor 'w'", "is sparse"),
        ("model.onnx: node 'thin': attribute 'sparse_value'", "is sparse"),
    ]


def test_everything_wrong_comes_in_one_error(tmp_path: Path) -> None:
    text = """
    g (float[4] x, float[4] x) => (float[4] y, float[4] nowhere) {
        a = Add (x, undefined)
        a = Relu (c)
        c = Relu (a)
        y = Add (c, w)
    }
    """
    model = parsed(text)
    model.graph.initializer.extend(
        [
            onnx.TensorProto(name="w", data_type=onnx.TensorProto.FLOAT, dims=[4], raw_data=bytes(8)),
            *with_external_weight("../outside").graph.initializer,
        ]
    )
    with pytest.raises(ModelFormatError) as caught:
        load_source(saved(tmp_path, model))
    assert [(p.subject, p.message) for p in caught.value.problems] == [
        ("model.onnx: graph 'g'", "input 'x' is there twice"),
        ("model.onnx: graph 'g'", "initializer 'w' is there twice"),
        ("model.onnx: node 'Add:a'", "input 'undefined' is not defined"),
        ("model.onnx: node 'Relu:a'", "input 'c' is used before it is computed: a cycle, or nodes out of order"),
        ("model.onnx: node 'Relu:a'", "output 'a' is already the name of another value"),
        ("model.onnx: graph 'g'", "output 'nowhere' is not defined"),
        ("model.onnx: tensor 'w'", "holds 8 bytes, its shape needs 16"),
        ("model.onnx: tensor 'w'", "external data '../outside' is not inside the model's folder"),
    ]


def write_external(folder: Path, name: str, content: bytes = normal(4, 4).tobytes()) -> Path:
    (folder / "w.bin").write_bytes(content)
    return saved(folder, with_external_weight(), name)


def test_the_digest_covers_external_data(tmp_path: Path) -> None:
    before = load_source(write_external(tmp_path, "model.onnx"))
    assert source_files(before) == (tmp_path / "model.onnx", tmp_path / "w.bin")
    assert before.digest != hashlib.sha256((tmp_path / "model.onnx").read_bytes()).hexdigest()
    after = load_source(write_external(tmp_path, "model.onnx", bytes(64)))
    assert after.digest != before.digest


def test_the_names_of_external_files_are_known_before_those_are_there(tmp_path: Path) -> None:
    path = saved(tmp_path, with_external_weight("deep/w.bin"))
    assert external_names(path) == ("deep/w.bin",)
    several = with_external_weight("z.bin")
    for number, name in enumerate(("b.bin", "a.bin", "z.bin")):
        several.graph.initializer.add().CopyFrom(with_external_weight(name).graph.initializer[0])
        several.graph.initializer[-1].name = f"w{number}"
    assert external_names(saved(tmp_path, several)) == ("a.bin", "b.bin", "z.bin")
    assert external_names(saved(tmp_path)) == ()


def test_the_names_of_external_files_are_those_that_reading_finds(tmp_path: Path) -> None:
    path = write_external(tmp_path, "model.onnx")
    assert external_names(path) == tuple(read_source(path).external) == ("w.bin",)


@pytest.mark.parametrize("name", ["../w.bin", "/w.bin", "a/../../w.bin", "a\\w.bin", "link/w.bin", "."])
def test_names_of_external_files_lead_nowhere_else(tmp_path: Path, name: str) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "link").symlink_to(tmp_path)
    with pytest.raises(ModelFormatError, match="names external data outside of its folder"):
        external_names(saved(tmp_path / "m", with_external_weight(name)))


@pytest.mark.parametrize("content", [b"", b"no model", BYTES[:-9]])
def test_what_is_no_model_names_no_files(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(ModelFormatError):
        external_names(tmp_path / "model.onnx")
    with pytest.raises(ModelFormatError):
        external_names(tmp_path / "none.onnx")


@pytest.mark.parametrize("name", ["a.onnx", "z.onnx"])
def test_a_renamed_copy_has_the_same_digest(tmp_path: Path, name: str) -> None:
    """Also where its name comes on the other side of its data's."""
    (tmp_path / "copy").mkdir()
    original = load_source(write_external(tmp_path, "model.onnx"))
    copy = load_source(write_external(tmp_path / "copy", name))
    assert copy.digest == original.digest
    assert load_source(saved(tmp_path, name=name)).digest == load_source(saved(tmp_path)).digest


def test_data_under_another_name_is_another_model(tmp_path: Path) -> None:
    path = write_external(tmp_path, "model.onnx")
    (tmp_path / "v.bin").write_bytes((tmp_path / "w.bin").read_bytes())
    other = saved(tmp_path, with_external_weight("v.bin"), "other.onnx")
    assert load_source(other).digest != load_source(path).digest


@pytest.mark.parametrize("old", ["x", "w", "a"])
def test_a_name_with_a_nul_is_refused(tmp_path: Path, old: str) -> None:
    """Of an input, a weight or a value inside: the names inside an .npz of samples end at it."""
    path = tmp_path / "model.onnx"
    path.write_bytes(BYTES.replace(b"\x01" + old.encode(), b"\x01\0"))
    with pytest.raises(ModelFormatError, match="a NUL in them"):
        load_source(path)
