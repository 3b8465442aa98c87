"""Compiling into a store: bundles of models that share a backbone, and what "up to date" means then."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from artifacts.bundle import Bundle
from artifacts.errors import BundleError, StoreError
from artifacts.runtime import Session
from artifacts.shard_store.collect import collect
from artifacts.shard_store.store import ShardStore, stored_path
from artifacts.shard_store.verify import verify
from compiler.compile import Compiled, compile_bundle
from compiler.options import CompileOptions, Existing, ModelFile
from tests.support.models import normal, perceptron, saved, source_outputs
from tests.support.stores import inodes, tree


def compiled(model: Path, destination: Path, store: Path | None, *, force: bool = False) -> Compiled:
    place = None if store is None else str(store)
    existing = Existing.REMAKE if force else Existing.KEEP
    return compile_bundle([ModelFile("m", model)], destination, CompileOptions(), store=place, existing=existing)


def test_two_models_with_one_backbone_hold_it_once(tmp_path: Path) -> None:
    backbone = normal(16, 32, seed=9)
    one, two = (saved(perceptron(seed, backbone), tmp_path / f"{seed}.onnx") for seed in (1, 2))
    for model in (one, two):
        assert not compiled(model, tmp_path / model.stem, tmp_path / "store").report.notices
    assert len(inodes(tmp_path)) == 3, "one backbone and two heads"
    shutil.rmtree(tmp_path / "1")
    assert collect(ShardStore.open(tmp_path / "store")).removed.files == 1
    assert len(inodes(tmp_path)) == 2
    x = normal(3, 16)
    with Session.open(tmp_path / "2") as session:
        np.testing.assert_allclose(session.run({"x": x})["y"], source_outputs(two, {"x": x})["y"], rtol=1e-4, atol=1e-5)
    assert not verify(ShardStore.open(tmp_path / "store")).problems


def test_up_to_date_is_asked_of_the_bundle_and_not_of_the_store(tmp_path: Path) -> None:
    model, bundle = saved(perceptron(), tmp_path / "m.onnx"), tmp_path / "bundle"
    first, second = tmp_path / "first", tmp_path / "second"
    made = compiled(model, bundle, first)
    assert compiled(model, bundle, first).up_to_date
    shutil.rmtree(first)
    before = tree(bundle)
    assert compiled(model, bundle, second).up_to_date
    assert tree(bundle) == before
    for shard in made.bundle.manifest.weights.shards:
        assert (bundle / shard.path).samefile(second / stored_path(shard.sha256))
    found = verify(ShardStore.open(second))
    assert (found.live, found.problems) == (1, ())
    # Shards are cut otherwise without a store, so that is another bundle.
    with pytest.raises(BundleError, match="other inputs or options"):
        compiled(model, bundle, None)
    compiled(model, bundle, None, force=True)
    Bundle.open(bundle)
    assert collect(ShardStore.open(second)).removed.files == 2


def test_a_folder_that_is_no_store_stops_the_compilation(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.tex").write_text("mine")
    with pytest.raises(StoreError, match="is not a store"):
        compiled(saved(perceptron(), tmp_path / "m.onnx"), tmp_path / "bundle", tmp_path / "folder")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "m.onnx"]
