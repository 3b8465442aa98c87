from __future__ import annotations

import json

import pytest

from artifacts.manifest import manifest_schema
from compiler.targets import all_targets
from tests.support.cli import unspool


def test_targets(capsys: pytest.CaptureFixture[str]) -> None:
    document = unspool(capsys, "targets", "--json").document
    assert set(document["targets"]) == set(all_targets())
    own = document["targets"]["onnxruntime"]
    assert own["usable"] is True
    assert own["version"]
    assert "fp32" in own["precisions"]
    assert "loop (recompute)" in own["decodes"]

    found = unspool(capsys, "targets")
    assert found.status == 0
    for part in ("onnxruntime", own["version"], own["summary"], f"single, {own['decodes'][0]}"):
        assert part in " ".join(found.stdout.split())


def test_operators(capsys: pytest.CaptureFixture[str]) -> None:
    document = unspool(capsys, "ops", "--json").document
    assert 13 in document["operators"]["MatMul"]
    assert set(document["missing"]).isdisjoint({"MatMul", "Constant"})
    found = unspool(capsys, "ops")
    assert found.status == 0
    assert "MatMul" in found.stdout.split()


def test_the_schema(capsys: pytest.CaptureFixture[str]) -> None:
    found = unspool(capsys, "schema")
    assert (found.status, found.stderr) == (0, "")
    assert json.loads(found.stdout) == manifest_schema()
    assert unspool(capsys, "schema", "--json").document["schema"] == manifest_schema()
