"""What a command costs before it does anything: a serving host has no torch, and nobody waits for help."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.support.cli import child_environment, unspool_process
from tests.support.models import normal
from tests.support.neff import FILE_NAME, TRACED_NAME, NeffFixture, traced_bytes

HEAVY = {"torch", "jax", "onnx", "onnx_ir", "onnxscript", "onnxruntime", "pydantic", "numpy", "safetensors", "sympy"}


@pytest.mark.parametrize(
    ("arguments", "heavy"),
    [
        ([], HEAVY),
        (["--help"], HEAVY),
        (["compile", "--help"], HEAVY - {"pydantic"}),  # typer's own, for what a flag may be
        (["run", "--help"], HEAVY - {"pydantic"}),
    ],
)
def test_help_imports_nothing_heavy(arguments: list[str], heavy: set[str]) -> None:
    script = """
import sys
from compiler.cli.main import main
main(sys.argv[1:])
print("\\nloaded", *{name.partition(".")[0] for name in sys.modules})
"""
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, env=child_environment(), capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines()[-1].split()[1:])
    assert "typer" in loaded
    assert not loaded & heavy


@pytest.mark.parametrize("arguments", [["targets"], ["targets", "--json"], ["schema"], ["schema", "--json"]])
def test_the_catalog_needs_no_torch_and_no_onnx(arguments: list[str]) -> None:
    found = unspool_process(*arguments, blocked=("torch", "onnx", "onnx_ir", "onnxscript"))
    assert (found.status, found.stderr) == (0, "")


@pytest.mark.parametrize("name", ["perceptron_bundle", "toy_bundle"])
def test_bundles_run_where_torch_and_onnx_are_missing(
    request: pytest.FixtureRequest, tmp_path: Path, name: str
) -> None:
    bundle: Path = request.getfixturevalue(name)
    blocked = ("torch", "onnx", "onnx_ir", "onnxscript", "ml_dtypes", "sympy")
    np.savez(tmp_path / "in.npz", x=normal(3, 16 if name == "perceptron_bundle" else 4))
    packed, unpacked = tmp_path / "bundle.tar", tmp_path / "unpacked"
    for arguments in (
        ["run", bundle, "--inputs", tmp_path / "in.npz"],
        ["verify", bundle],
        ["check", bundle, "--on", "cpu"],
        ["inspect", bundle],
        ["pack", bundle, "-o", packed, "--force"],
        ["unpack", packed, "-o", unpacked, "--force"],
    ):
        for json in ([], ["--json"]):
            found = unspool_process(*arguments, *json, blocked=blocked)
            assert found.status == 0, found.stderr
            if json:
                assert found.document["ok"] is True


def test_neffs_are_read_where_torch_and_onnx_are_missing(tmp_path: Path) -> None:
    neff = NeffFixture().to_bytes()
    for name, data in ((FILE_NAME, neff), (TRACED_NAME, traced_bytes(neff))):
        (tmp_path / name).write_bytes(data)
        blocked = ("torch", "onnx", "onnx_ir", "onnxscript", "onnxruntime", "ml_dtypes", "sympy", "safetensors.torch")
        found = unspool_process("inspect", tmp_path / name, "--json", blocked=blocked)
        assert (found.status, found.document["kind"]) == (0, "neff"), found.stderr


def test_an_up_to_date_compile_needs_neither_torch_nor_onnx(
    perceptron_copy: Path, perceptron_file: Path, tmp_path: Path
) -> None:
    command = ("compile", f"perceptron={perceptron_file}", "-o", perceptron_copy, "--depfile", tmp_path / "out.d")
    found = unspool_process(*command, blocked=("torch", "onnx", "onnx_ir", "onnxscript", "onnxruntime", "sympy"))
    assert found.status == 0, found.stderr
    assert "up to date" in found.stdout
    assert (tmp_path / "out.d").exists()


@pytest.mark.parametrize("package", ["torch", "onnx", "onnxscript"])
def test_what_a_serving_host_leaves_out_says_what_to_install(
    perceptron_file: Path, tmp_path: Path, package: str
) -> None:
    found = unspool_process("compile", perceptron_file, "-o", tmp_path / "out", "--json", blocked=(package,))
    assert found.status == 1
    assert (found.error["subject"], found.error["message"]) == (package, "is not installed")
    assert "unspool[compile]" in found.error["hint"]
    assert not (tmp_path / "out").exists()
