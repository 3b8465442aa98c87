from __future__ import annotations

import secrets
import shutil
import time
from pathlib import Path

import pytest

from artifacts.shard_store.store import ShardStore, stored_path
from tests.support.cli import unspool, unspool_process
from tests.support.stores import content, share, tree


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store of two bundles that have one content in common; one of them is gone."""
    path = tmp_path / "store"
    opened = ShardStore.open(path, create=True)
    share(opened, tmp_path / "one", {"backbone": content(1), "head": content(2)})
    share(opened, tmp_path / "two", {"backbone": content(1), "head": content(3)})
    shutil.rmtree(tmp_path / "two")
    return path


@pytest.mark.parametrize("command", ["list", "verify", "gc", "unlock"])
def test_help_has_an_example(capsys: pytest.CaptureFixture[str], command: str) -> None:
    found = unspool(capsys, "store", command, "--help")
    assert found.status == 0
    assert f"unspool store {command} {'s3://bucket/zoo' if command == 'unlock' else 'zoo/store'}" in found.stdout
    assert command in unspool(capsys, "store", "--help").stdout.split()


def test_list_says_who_shares_what(capsys: pytest.CaptureFixture[str], tmp_path: Path, store: Path) -> None:
    document = unspool(capsys, "store", "list", store, "--json").document
    assert (document["shards"], document["ok"]) == (3, True)
    assert [(row["bundle"], row["state"], row["shards"]) for row in document["bundles"]] == [
        (str(tmp_path / "one"), "live", 2),
        (str(tmp_path / "two"), "dead", 2),
    ]
    assert document["bytes"] * 4 == sum(row["bytes"] for row in document["bundles"]) * 3
    text = unspool(capsys, "store", "list", store).stdout
    assert "3 shards" in text
    assert str(tmp_path / "two") in text


def test_gc_tells_first_and_then_removes(capsys: pytest.CaptureFixture[str], tmp_path: Path, store: Path) -> None:
    before = tree(store)
    told = unspool(capsys, "store", "gc", store, "--dry-run", "--json").document
    assert tree(store) == before
    assert "would remove 1 shards" in unspool(capsys, "store", "gc", store, "--dry-run").stdout
    done = unspool(capsys, "store", "gc", store, "--json").document
    assert {**done, "dry_run": True} == told
    assert (done["removed"]["files"], done["claimed"]["files"]) == (1, 2)
    assert [claim["place"] for claim in done["dead_claims"]] == [str(tmp_path / "two")]
    assert "removed 0 shards" in unspool(capsys, "store", "gc", store).stdout


def test_verify_fails_with_every_fault(capsys: pytest.CaptureFixture[str], store: Path) -> None:
    sound = unspool(capsys, "store", "verify", store, "--json")
    assert (sound.status, sound.document["shards"], sound.document["dead"]) == (0, 3, 1)
    assert "3 shards" in unspool(capsys, "store", "verify", store).stdout
    damaged = sorted(store.rglob("*.safetensors"))[:2]
    for file in damaged:
        file.chmod(0o644)
        file.write_bytes(b"0" * file.stat().st_size)
    found = unspool(capsys, "store", "verify", store, "--json")
    assert found.status == 1
    assert {error["subject"] for error in found.document["errors"]} == {stored_path(file.stem) for file in damaged}


@pytest.mark.parametrize("command", ["list", "verify", "gc", "unlock"])
def test_what_is_no_store_is_one_clear_error(capsys: pytest.CaptureFixture[str], tmp_path: Path, command: str) -> None:
    found = unspool(capsys, "store", command, tmp_path, "--json")
    assert found.status == 1
    assert found.error["subject"] == str(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_host_without_torch_can_look_after_a_store(store: Path) -> None:
    found = unspool_process("store", "verify", store, blocked=("torch", "onnx", "onnx_ir", "onnxscript", "onnxruntime"))
    assert found.status == 0, found.stderr


def test_a_long_job_says_how_far_it_is(
    capsys: pytest.CaptureFixture[str], store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 1000, 3))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    assert "verify: 0.00 of 0.00 GB" in unspool(capsys, "store", "verify", store).stderr
    monkeypatch.undo()
    assert not unspool(capsys, "store", "verify", store).stderr


def test_a_store_at_a_url_has_the_same_commands(
    capsys: pytest.CaptureFixture[str], perceptron_bundle: Path, tmp_path: Path
) -> None:
    url = f"memory://{secrets.token_hex(8)}/zoo"
    assert unspool(capsys, "pack", perceptron_bundle, "-o", tmp_path / "p.tar").status == 0
    found = unspool(capsys, "unpack", tmp_path / "p.tar", "-o", tmp_path / "p", "--store", url)
    assert found.status == 0
    assert "cannot be hard-linked" in found.stderr
    (row,) = unspool(capsys, "store", "list", url, "--json").document["bundles"]
    assert (row["bundle"], row["state"]) == (str(tmp_path / "p"), "live")
    assert unspool(capsys, "store", "verify", url, "--json").document["live"] == 1
    shutil.rmtree(tmp_path / "p")
    assert unspool(capsys, "store", "gc", url, "--json").document["removed"]["files"] == row["shards"]


def test_unlock_removes_the_lock_that_a_killed_gc_left(capsys: pytest.CaptureFixture[str]) -> None:
    url = f"memory://{secrets.token_hex(8)}/zoo"
    opened = ShardStore.open(url, create=True)
    opened.files.write("gc.json", b"{}")
    held = unspool(capsys, "store", "gc", url, "--json")
    assert (held.status, f"unspool store unlock {url}" in held.error["hint"]) == (1, True)
    assert unspool(capsys, "store", "unlock", url).stdout == f"{url}: unlocked\n"
    assert unspool(capsys, "store", "unlock", url, "--json").document["unlocked"] is False
    assert unspool(capsys, "store", "gc", url).status == 0


@pytest.mark.parametrize(
    ("package", "url", "hint"),
    [("fsspec", "memory://zoo", "unspool[store]"), ("s3fs", "s3://zoo", "unspool[s3]")],
)
def test_a_package_that_is_missing_is_named(package: str, url: str, hint: str) -> None:
    found = unspool_process("store", "list", url, "--json", blocked=(package, "torch"))
    assert found.status == 1
    assert hint in found.error["hint"]


def test_an_unknown_kind_of_url_is_a_wrong_call(capsys: pytest.CaptureFixture[str]) -> None:
    assert unspool(capsys, "store", "list", "nowhere://zoo").status == 2
