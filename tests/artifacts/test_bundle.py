from __future__ import annotations

import os
import socket
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artifacts.bundle import Bundle, is_identical
from artifacts.errors import BundleError
from artifacts.manifest import FileEntry, Manifest
from tests.support import bundles
from tests.support.bundles import REPORT


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle that its tests damage and mend again."""
    return bundles.write(tmp_path_factory.mktemp("damaged") / "bundle", {"m": bundles.linear()})


def subjects(caught: pytest.ExceptionInfo[BundleError]) -> set[str]:
    return {problem.subject for problem in caught.value.problems}


def test_an_intact_bundle_opens_with_and_without_verification(linear_bundle: Bundle) -> None:
    for verify in (True, False):
        opened = Bundle.open(linear_bundle.root, verify=verify)
        assert opened == linear_bundle
    assert opened.report() == REPORT


def test_its_weights_are_mapped(linear_bundle: Bundle) -> None:
    weights = linear_bundle.weights()
    for name, model in (("one", bundles.linear(seed=1)), ("two", bundles.linear(columns=2, seed=2))):
        for tensor, ref in linear_bundle.manifest.engines[f"{name}-main"].bindings.items():
            np.testing.assert_array_equal(weights.array(ref), model.functions["main"].weights[tensor])


def test_paths_are_of_listed_files_only(linear_bundle: Bundle) -> None:
    assert linear_bundle.path_of("engines/one-main.onnx").is_file()
    for path in ("manifest.json", "../bundle", "absent"):
        with pytest.raises(KeyError):
            linear_bundle.path_of(path)


@settings(max_examples=50)
@given(st.data())
def test_a_changed_byte_anywhere_is_a_bundle_error(damaged: Bundle, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(["manifest.json", *sorted(damaged.manifest.files)]))
    file = damaged.root / path
    good = file.read_bytes()
    at = data.draw(st.integers(0, len(good) - 1))
    file.write_bytes(good[:at] + bytes([good[at] ^ data.draw(st.integers(1, 255))]) + good[at + 1 :])
    try:
        with pytest.raises(BundleError):
            Bundle.open(damaged.root)
    finally:
        file.write_bytes(good)


@settings(max_examples=20)
@given(st.data())
def test_a_cut_or_grown_file_is_a_bundle_error_even_without_verification(damaged: Bundle, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(["manifest.json", *sorted(damaged.manifest.files)]))
    file = damaged.root / path
    good = file.read_bytes()
    file.write_bytes(data.draw(st.sampled_from([b"", good[:-1], good + b"\0", good + good])))
    try:
        with pytest.raises(BundleError):
            Bundle.open(damaged.root, verify=False)
    finally:
        file.write_bytes(good)


def test_a_missing_file_is_named(bundle_copy: Path) -> None:
    (bundle_copy / "engines" / "one-main.onnx").unlink()
    with pytest.raises(BundleError, match="is missing") as caught:
        Bundle.open(bundle_copy, verify=False)
    assert subjects(caught) == {"engines/one-main.onnx"}


@pytest.mark.parametrize("path", ["extra", "engines/extra.onnx", "weights/.hidden", "new/extra", "BUILD.JSON"])
def test_a_file_that_is_not_listed_is_refused(bundle_copy: Path, path: str) -> None:
    (bundle_copy / path).parent.mkdir(exist_ok=True)
    (bundle_copy / path).write_bytes(b"")
    with pytest.raises(BundleError, match="not in the manifest"):
        Bundle.open(bundle_copy)


def test_an_empty_folder_is_refused(bundle_copy: Path) -> None:
    (bundle_copy / "engines" / "empty").mkdir()
    with pytest.raises(BundleError, match="a folder that the manifest does not mention"):
        Bundle.open(bundle_copy)


@pytest.mark.parametrize("path", ["manifest.json", "build.json", "engines/one-main.onnx", "extra"])
@pytest.mark.parametrize("inside", [True, False])
def test_links_are_refused_wherever_they_point(bundle_copy: Path, tmp_path: Path, path: str, inside: bool) -> None:
    link = bundle_copy / path
    if path != "extra":
        link.rename(tmp_path / "moved")
    link.symlink_to(bundle_copy / "manifest.json" if inside and path != "manifest.json" else tmp_path / "moved")
    with pytest.raises(BundleError, match=r"symbolic link|not a regular file"):
        Bundle.open(bundle_copy)


def test_a_linked_folder_is_refused(bundle_copy: Path, tmp_path: Path) -> None:
    (bundle_copy / "engines").rename(tmp_path / "engines")
    (bundle_copy / "engines").symlink_to(tmp_path / "engines")
    with pytest.raises(BundleError, match="symbolic link") as caught:
        Bundle.open(bundle_copy)
    assert {"engines", "engines/one-main.onnx"} <= subjects(caught)


def test_pipes_and_sockets_are_refused_and_never_read(bundle_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = bundle_copy / "engines" / "one-main.onnx"
    engine.unlink()
    os.mkfifo(engine)
    monkeypatch.chdir(bundle_copy)  # the path of a socket has to be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("extra")
        with pytest.raises(BundleError, match="not a regular file") as caught:
            Bundle.open(bundle_copy)
    assert subjects(caught) >= {"engines/one-main.onnx", "extra"}


def test_a_folder_in_a_files_place_is_refused(bundle_copy: Path) -> None:
    (bundle_copy / "engines" / "one-main.onnx").unlink()
    (bundle_copy / "engines" / "one-main.onnx").mkdir()
    with pytest.raises(BundleError):
        Bundle.open(bundle_copy)


def test_a_manifest_that_is_a_folder_is_refused(bundle_copy: Path) -> None:
    (bundle_copy / "manifest.json").unlink()
    (bundle_copy / "manifest.json").mkdir()
    with pytest.raises(BundleError, match="not a regular file"):
        Bundle.open(bundle_copy)


def test_everything_wrong_comes_at_once(bundle_copy: Path) -> None:
    (bundle_copy / "engines" / "one-main.onnx").unlink()
    (bundle_copy / "engines" / "two-main.onnx").write_bytes(b"x")
    (bundle_copy / "samples" / "inputs.npz").write_bytes(b"samples/inputs.npy")
    (bundle_copy / "extra").write_bytes(b"")
    (bundle_copy / "link").symlink_to("extra")
    with pytest.raises(BundleError) as caught:
        Bundle.open(bundle_copy)
    assert subjects(caught) == {
        "engines/one-main.onnx",
        "engines/two-main.onnx",
        "samples/inputs.npz",
        "extra",
        "link",
    }


@pytest.mark.parametrize("place", ["absent", "file", "empty"])
def test_what_is_no_bundle_says_so(tmp_path: Path, place: str) -> None:
    if place == "file":
        (tmp_path / place).write_bytes(b"")
    elif place == "empty":
        (tmp_path / place).mkdir()
    with pytest.raises(BundleError) as caught:
        Bundle.open(tmp_path / place)
    assert len(caught.value.problems) == 1
    assert caught.value.problems[0].hint


def test_a_link_to_a_whole_bundle_is_the_operators_choice(linear_bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "current").symlink_to(linear_bundle.root)
    assert Bundle.open(tmp_path / "current").root == linear_bundle.root


def test_hard_links_are_regular_files(bundle_copy: Path, tmp_path: Path) -> None:
    (shard,) = (bundle_copy / "weights").iterdir()
    os.link(shard, tmp_path / "store")
    Bundle.open(bundle_copy)


def rewritten(bundle: Bundle, **changes: object) -> None:
    """Write the manifest with other parts, as somebody does who knows how to make its digest."""
    manifest = bundle.manifest.model_copy(update=changes)
    (bundle.root / "manifest.json").write_bytes(manifest.to_bytes())


def test_weights_that_no_shard_holds_are_refused_all_at_once(tmp_path: Path) -> None:
    bundle = bundles.write(tmp_path / "b", {"m": bundles.linear()})
    engine = bundle.manifest.engines["m-main"]
    (_, ref), *_ = engine.bindings.items()
    bindings = {
        "absent": ref.model_copy(update={"digest": "0" * 64}),
        "long": ref.model_copy(update={"offset": 1}),
    }
    rewritten(bundle, engines={"m-main": engine.model_copy(update={"bindings": bindings})})
    with pytest.raises(BundleError) as caught:
        Bundle.open(bundle.root)
    assert [problem.subject for problem in caught.value.problems] == ["engine 'm-main'"] * 2
    assert "no shard holds the weight" in str(caught.value)
    assert "reach beyond a blob" in str(caught.value)


def test_a_weight_is_stored_once(tmp_path: Path) -> None:
    bundle = bundles.write(tmp_path / "b", {"m": bundles.linear()})
    (shard,) = bundle.manifest.weights.shards
    again = shard.model_copy(update={"path": "weights/again.safetensors"})
    (bundle.root / again.path).write_bytes((bundle.root / shard.path).read_bytes())
    files = {**bundle.manifest.files, again.path: bundle.manifest.files[shard.path]}
    weights = bundle.manifest.weights.model_copy(update={"shards": (shard, again)})
    rewritten(bundle, weights=weights, files=files)
    with pytest.raises(BundleError, match="stored twice"):
        Bundle.open(bundle.root)


def test_a_shard_that_is_no_shard_is_refused(tmp_path: Path) -> None:
    bundle = bundles.write(tmp_path / "b", {"m": bundles.linear()})
    (shard,) = bundle.manifest.weights.shards
    file = bundle.root / shard.path
    file.write_bytes(bytes(shard.bytes))
    digest = "0" * 64
    manifest = Manifest.from_bytes((bundle.root / "manifest.json").read_bytes())
    shards = (shard.model_copy(update={"sha256": digest}),)
    files = {**manifest.files, shard.path: FileEntry(sha256=digest, bytes=shard.bytes)}
    weights = manifest.weights.model_copy(update={"shards": shards})
    rewritten(bundle, weights=weights, files=files)
    with pytest.raises(BundleError, match="not a valid weight shard"):
        Bundle.open(bundle.root, verify=False)


def test_identical_compares_bytes(linear_bundle: Bundle, bundle_copy: Path, tmp_path: Path) -> None:
    manifest = linear_bundle.manifest
    assert is_identical(bundle_copy, manifest)
    assert not is_identical(bundle_copy, manifest.model_copy(update={"unspool": "0.2.0"}))
    assert not is_identical(tmp_path / "absent", manifest)
    (bundle_copy / "manifest.json").write_bytes(manifest.to_bytes() + b"\n")
    assert not is_identical(bundle_copy, manifest)


@pytest.mark.parametrize("content", [b"", b"{}", b"[" * 100_000, b"\xff"])
def test_a_damaged_report_is_no_reason_not_to_serve(bundle_copy: Path, content: bytes) -> None:
    (bundle_copy / "build.json").write_bytes(content)
    bundle = Bundle.open(bundle_copy)
    with pytest.raises(BundleError, match="cannot be read"):
        bundle.report()
    (bundle_copy / "build.json").unlink()
    assert Bundle.open(bundle_copy).report() is None
