"""A zoo on several machines: a Ray cluster of two nodes on loopback, with a store in a folder and at an S3 server."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support import s3
from tests.support.ray_cluster import QUIET, Cluster, ray_cluster
from tests.support.zoo import SmallZoo, bundles, small_zoo, states, times_built

pytest.importorskip("ray")

WAIT = """
import time

from passes.onnx_to_torch.registry import Registry

time.sleep(1.5)
OPERATORS = Registry()


@OPERATORS.op("Nothing", 1, domain="com.example")
def nothing(call):
    return call.inputs[0]
"""
"""Code that takes a moment, so that a node is at work when it dies."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with tempfile.TemporaryDirectory(prefix="u") as folder, ray_cluster(Path(folder)) as found:
        found.add('--resources={"sdk": 1}')
        yield found


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> tuple[SmallZoo, Mapping[str, Any]]:
    """A zoo and what this machine's own engine makes of it."""
    folder = tmp_path_factory.mktemp("zoo")
    made = small_zoo(folder, 5)
    (folder / "wait.py").write_text(WAIT)
    entries: list[dict[str, Any]] = [
        {"name": f"m{number}", "path": f"m{number}.onnx", "options": {"custom-ops": "wait.py"}} for number in range(4)
    ]
    entries.append({"name": "m4", "path": "m4.onnx", "resources": {"custom": {"sdk": 1}}})
    made.write(entries)
    assert made.build().status == 0
    return made, bundles(made.root)


def ray_flags(cluster: Cluster) -> tuple[str, ...]:
    return ("--engine", "ray", "--address", cluster.address)


def test_jobs_spread_and_the_bundles_are_those_of_one_machine(
    cluster: Cluster, zoo: tuple[SmallZoo, Mapping[str, Any]], tmp_path: Path
) -> None:
    local, expected = zoo
    other = SmallZoo(local.file, tmp_path / "out")
    outcome = other.build(*ray_flags(cluster), environment=QUIET)
    assert outcome.status == 0, outcome.stderr
    assert bundles(other.root) == expected
    nodes = {job["job"]: job["node"] for job in outcome.document["jobs"]}
    assert len(set(nodes.values())) == 2
    assert set(states(other.build()).values()) == {"up-to-date"}, "the local engine has the same plan"


def test_a_job_that_needs_what_no_node_has_fails_and_says_so(cluster: Cluster, tmp_path: Path) -> None:
    zoo = small_zoo(tmp_path, 2)
    zoo.write(
        [
            {"name": "m0", "path": "m0.onnx", "resources": {"gpus": 8}},
            {"name": "m1", "path": "m1.onnx"},
        ]
    )
    outcome = zoo.build(*ray_flags(cluster), environment=QUIET)
    jobs = {job["job"]: job for job in outcome.document["jobs"]}
    assert (outcome.status, jobs["m1/onnxruntime-fp32"]["state"]) == (1, "built")
    assert "no node of the cluster has CPU: 1, GPU: 8" in jobs["m0/onnxruntime-fp32"]["problems"][0]["message"]


def test_what_a_node_that_dies_was_at_is_done_again(
    cluster: Cluster, zoo: tuple[SmallZoo, Mapping[str, Any]], tmp_path: Path
) -> None:
    local, expected = zoo
    other = SmallZoo(local.file, tmp_path / "out")
    node = cluster.add()
    process = other.start(*ray_flags(cluster), environment=QUIET)
    deadline = time.monotonic() + 120
    while not node.is_compiling() and time.monotonic() < deadline:
        time.sleep(0.05)
    node.kill()
    assert process.wait(timeout=300) == 0
    assert bundles(other.root) == expected
    assert set(times_built(other.root).values()) == {1}
    outcome = other.build()
    assert set(states(outcome).values()) == {"up-to-date"}


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with s3.server(tmp_path_factory.mktemp("s3")) as found:
        yield found


@pytest.mark.slow  # a minute: a cluster and a server of its own, and two builds
def test_nodes_that_share_an_s3_store_alone(
    endpoint: str, zoo: tuple[SmallZoo, Mapping[str, Any]], tmp_path: Path
) -> None:
    """Models and code go there by content; bundles come back through it, the same bytes."""
    local, expected = zoo
    environment = {**QUIET, **s3.environment(endpoint)}
    bucket = s3.make_bucket(endpoint)
    other = SmallZoo(local.file, tmp_path / "out")
    with tempfile.TemporaryDirectory(prefix="u") as folder, ray_cluster(Path(folder), environment) as cluster:
        cluster.add('--resources={"sdk": 1}')
        flags = (*ray_flags(cluster), "--store", f"{bucket}/zoo")
        outcome = other.build(*flags, environment=environment)
        assert outcome.status == 0, outcome.stderr
    assert bundles(other.root) == expected
    # Another folder, another engine: the same store has it all.
    third = SmallZoo(local.file, tmp_path / "third")
    outcome = third.build("--store", f"{bucket}/zoo", environment=environment)
    assert set(states(outcome).values()) == {"cached"}
    assert bundles(third.root) == expected
