from __future__ import annotations

from pathlib import Path

import pytest

from artifacts.bundle import Bundle
from artifacts.errors import TargetError
from artifacts.manifest import STATUSES, Manifest, Need, Status
from compiler.plan_files import engine_sizes, require_status

NEEDS = (Need(what="a GPU", command="unspool emit --from BUNDLE"), Need(what="an SDK", command="make sdk"))


@pytest.fixture(scope="module")
def manifest(perceptron_bundle: Path) -> Manifest:
    return Bundle.open(perceptron_bundle).manifest


def reaching(manifest: Manifest, status: Status) -> Manifest:
    engines = {
        name: engine.model_copy(update={"status": status, "needs": NEEDS}) for name, engine in manifest.engines.items()
    }
    return manifest.model_copy(update={"engines": engines})


@pytest.mark.parametrize("wanted", STATUSES)
@pytest.mark.parametrize("reached", STATUSES)
def test_less_than_the_status_required_is_an_error(manifest: Manifest, reached: Status, wanted: Status) -> None:
    made = reaching(manifest, reached)
    if STATUSES.index(reached) >= STATUSES.index(wanted):
        require_status(made, wanted)
        return
    with pytest.raises(TargetError) as caught:
        require_status(made, wanted)
    (problem,) = caught.value.problems
    assert problem.subject == "engine perceptron"
    assert problem.message == f"is {reached}, and {wanted} is required"
    assert problem.hint == "needs a GPU: unspool emit --from BUNDLE; needs an SDK: make sdk"


def test_nothing_required_is_always_met(manifest: Manifest) -> None:
    require_status(reaching(manifest, "emitted"), None)


def test_every_engine_below_is_named(manifest: Manifest) -> None:
    (engine,) = reaching(manifest, "built").engines.values()
    two = manifest.model_copy(update={"engines": {**manifest.engines, "a": engine, "b": engine}})
    with pytest.raises(TargetError) as caught:
        require_status(two, "verified")
    assert [problem.subject for problem in caught.value.problems] == ["engine a", "engine b"]


def test_sizes_are_those_of_the_files(manifest: Manifest, perceptron_bundle: Path) -> None:
    (size,) = engine_sizes(perceptron_bundle, manifest)
    assert size.source_bytes == (perceptron_bundle / "engines" / "perceptron.onnx").stat().st_size
    assert size.plan_bytes is None
    assert size.plan is None
