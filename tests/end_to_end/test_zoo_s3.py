"""A zoo whose models and store are at a real S3-protocol server: fetched when they change, and never half there."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from random import Random

import onnx
import pytest

from artifacts.shard_store.shelf import BUNDLES, Shelf
from artifacts.shard_store.store import ShardStore
from artifacts.shard_store.verify import verify
from tests.support import s3
from tests.support.models import perceptron, saved
from tests.support.zoo import SmallZoo, bundles, half_made, states

fsspec = pytest.importorskip("fsspec")


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with s3.server(tmp_path_factory.mktemp("s3")) as found:
        yield found


@pytest.fixture
def environment(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, str]:
    for name, value in s3.environment(endpoint).items():
        monkeypatch.setenv(name, value)
    return s3.environment(endpoint)


def upload(bucket: str, *files: Path) -> None:
    fs, root = fsspec.core.url_to_fs(bucket, skip_instance_cache=True, use_listings_cache=False)
    for file in files:
        fs.put_file(str(file), f"{root}/models/{file.name}")


def with_data(folder: Path) -> tuple[Path, Path]:
    """A model whose weights lie in a file beside it."""
    folder.mkdir()
    onnx.save(
        perceptron(7), folder / "two.onnx", save_as_external_data=True, location="two.onnx.data", size_threshold=0
    )
    return folder / "two.onnx", folder / "two.onnx.data"


@pytest.mark.slow  # a minute: four builds
def test_models_are_fetched_with_all_that_they_need_and_again_when_they_change(
    endpoint: str, environment: Mapping[str, str], tmp_path: Path
) -> None:
    bucket = s3.make_bucket(endpoint)
    upload(bucket, saved(perceptron(1), tmp_path / "one.onnx"), *with_data(tmp_path / "two"))
    zoo = SmallZoo(tmp_path / "zoo.yaml", tmp_path / "out")
    zoo.write([{"path": f"{bucket}/models/*.onnx"}], store=f"{bucket}/zoo")
    assert states(zoo.build()) == {"one/onnxruntime-fp32": "built", "two/onnxruntime-fp32": "built"}
    assert set(states(zoo.build()).values()) == {"up-to-date"}
    upload(bucket, saved(perceptron(2), tmp_path / "one.onnx"))
    assert states(zoo.build()) == {"one/onnxruntime-fp32": "built", "two/onnxruntime-fp32": "up-to-date"}
    local = SmallZoo(tmp_path / "local.yaml", tmp_path / "local")
    local.write([{"path": "one.onnx"}, {"path": "two/two.onnx"}])
    assert local.build().status == 0
    assert bundles(local.root) == bundles(zoo.root), "where models and stores lie makes no difference"


def test_a_place_that_is_not_there_is_one_error(endpoint: str, environment: Mapping[str, str], tmp_path: Path) -> None:
    bucket = s3.make_bucket(endpoint)
    upload(bucket, saved(perceptron(1), tmp_path / "one.onnx"))
    zoo = SmallZoo(tmp_path / "zoo.yaml", tmp_path / "out")
    zoo.write([{"path": f"{bucket}/models/missing.onnx"}, {"path": f"{bucket}/models/one.onnx"}])
    outcome = zoo.build()
    assert (outcome.status, states(outcome)) == (
        1,
        {"missing/onnxruntime-fp32": "failed", "one/onnxruntime-fp32": "built"},
    )
    (problem,) = outcome.document["errors"]
    assert "cannot be fetched" in problem["message"]
    assert s3.SECRET_KEY not in outcome.stdout + outcome.stderr


def check_kills(endpoint: str, folder: Path, kills: int, seed: int) -> None:
    """What builds left that were killed while they sent bundles to a store."""
    random, bucket = Random(seed), s3.make_bucket(endpoint)
    for number in range(4):
        saved(perceptron(number), folder / f"m{number}.onnx")
    zoo = SmallZoo(folder / "zoo.yaml", folder / "out")
    zoo.write([{"path": "*.onnx"}], store=f"{bucket}/zoo")
    for number in range(kills):
        process = zoo.start("--workers", 2)
        time.sleep(random.uniform(2, 9))
        process.kill()
        process.wait()
        assert half_made(zoo.root) == []
        check_store(f"{bucket}/zoo", folder / f"taken-{number}")
    assert zoo.build().status == 0
    check_store(f"{bucket}/zoo", folder / "taken")
    assert set(bundles(zoo.root)) == {f"m{number}/onnxruntime-fp32" for number in range(4)}


def check_store(url: str, folder: Path) -> None:
    """Every bundle that a store shows is whole."""
    store = ShardStore.open(url, create=True)
    for record in [*store.files.list(BUNDLES)]:
        key = Path(record.path).stem
        assert Shelf(store).take(key, folder / key) is not None
    assert verify(store).problems == ()


def test_an_upload_that_is_cut_short_shows_nothing(
    endpoint: str, environment: Mapping[str, str], tmp_path: Path
) -> None:
    check_kills(endpoint, tmp_path, kills=2, seed=1)


@pytest.mark.slow  # ten builds that are killed
def test_ten_uploads_that_are_cut_short_show_nothing(
    endpoint: str, environment: Mapping[str, str], tmp_path: Path
) -> None:
    check_kills(endpoint, tmp_path, kills=10, seed=2)
