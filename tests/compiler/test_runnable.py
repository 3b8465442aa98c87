from __future__ import annotations

import shutil
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from artifacts.bundle import Bundle
from artifacts.dtype import DType
from artifacts.plan_build import PlanBuild
from artifacts.runtime import Session
from compiler.runnable import runnable
from tests.support.models import Array, BundleCache, saved
from tests.support.programs import normal, parsed
from tests.support.tensorrt import put_plans

LOW = "g (float[n] x) => (float[n] y) { a = Cast <to = 16> (x) b = Mul (a, a) c = Add (b, a) y = Cast <to = 1> (c) }"


def computed(x: Array) -> Array:
    low = x.astype(ml_dtypes.bfloat16)
    found: Array = (low * low + low).astype(np.float32)
    return found


@pytest.fixture
def bundle(cache: BundleCache, tmp_path: Path) -> Bundle:
    """One whose engine is of a kind that nothing here can open, and whose graph computes in bfloat16."""
    text = "g (float[n] x) => (float[n] y) { b = Mul (x, x) y = Add (b, x) }"
    root = tmp_path / "bundle"
    shutil.copytree(cache.compiled("low", saved(parsed(text), tmp_path / "low.onnx")), root)
    put_plans(root, dict.fromkeys(Bundle.open(root).manifest.engines), ("nvidia:sm89",))
    manifest = Bundle.open(root).manifest
    ((name, engine),) = manifest.engines.items()
    (root / engine.source).write_bytes(parsed(LOW).SerializeToString())
    build = PlanBuild(dtypes=(DType.BFLOAT16, DType.FLOAT32), capabilities=("sm89",))
    engines = {name: engine.model_copy(update={"build": build})}
    return Bundle(root, manifest.model_copy(update={"engines": engines}))


def files(root: Path) -> list[Path]:
    return sorted(root.rglob("*"))


def test_an_engine_that_nothing_here_opens_runs_as_its_graph_says(bundle: Bundle) -> None:
    x, before = normal(64), files(bundle.root)
    (name,) = bundle.manifest.models
    with runnable(bundle) as proof, Session.of(proof, name) as session:
        assert files(bundle.root) == before
        np.testing.assert_array_equal(session.run({"x": x})["y"], computed(x))


def test_what_was_written_for_it_goes_also_if_the_check_fails(bundle: Bundle) -> None:
    written = list[Path]()

    def fail() -> None:
        with runnable(bundle) as proof:
            written.extend(proof.root / engine.source for engine in proof.manifest.engines.values())
            assert all(path.exists() for path in written)
            raise RuntimeError("moved")

    with pytest.raises(RuntimeError, match="moved"):
        fail()
    assert written
    assert not any(path.exists() or path.is_relative_to(bundle.root) for path in written)


def test_engines_that_can_run_here_are_left_as_they_are(cache: BundleCache) -> None:
    compiled = Bundle.open(cache.export("bert_tiny/model"))
    with runnable(compiled) as proof:
        assert proof.manifest == compiled.manifest
