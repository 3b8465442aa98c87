from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from artifacts.bundle import Bundle
from artifacts.canonical import canonical_json, sha256_bytes
from artifacts.neuron_serving import NeuronServing
from compiler.compile import compile_bundle
from compiler.options import CompileOptions, ModelFile
from compiler.serving import served_anew
from tests.support.cli import unspool

SHELL = str(shutil.which("sh"))


@pytest.fixture
def bundle(perceptron_file: Path, tmp_path: Path) -> Path:
    compile_bundle([ModelFile("perceptron", perceptron_file)], tmp_path / "b", CompileOptions())
    return tmp_path / "b"


def test_the_script_runs_as_it_is_printed(bundle: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    from compiler.cli.main import main

    assert main(["launch", str(bundle), "--instances", "2", "--", "printf", "%s", "$UNSPOOL_BUNDLE 'x'"]) == 0
    script, _ = capfdbinary.readouterr()
    done = subprocess.run([SHELL], input=script, capture_output=True, check=True)
    assert done.stdout == b"$UNSPOOL_BUNDLE 'x'" * 2


def test_a_file_of_it_can_be_started(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    script = tmp_path / "serve it.sh"
    found = unspool(capsys, "launch", bundle, "-o", script, "--", "sh", "-c", 'echo "$UNSPOOL_BUNDLE"')
    assert (found.status, found.stdout) == (0, f"{script}: starts 1 of sh\n")
    assert os.access(script, os.X_OK)
    done = subprocess.run([str(script)], capture_output=True, text=True, check=True)
    assert done.stdout == f"{bundle}\n"


def test_a_bundle_for_neuron_has_its_own_settings(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    served_anew(Bundle.open(bundle), NeuronServing(instances=2, visible_cores=(0, 1), exec_timeout=9))
    found = unspool(capsys, "launch", bundle, "--json", "--", "env")
    assert found.document["instances"] == 2
    done = subprocess.run([SHELL, "-c", found.document["script"]], capture_output=True, text=True, check=True)
    assert done.stdout.count("NEURON_RT_EXEC_TIMEOUT=9") == 2
    for cores in ("NEURON_RT_VISIBLE_CORES=0\n", "NEURON_RT_VISIBLE_CORES=1\n"):
        assert cores in done.stdout
    assert "UNSPOOL_THREADS" not in done.stdout
    other = unspool(capsys, "launch", bundle, "--json", "--instances", "1", "--cores", "4-7", "--", "env")
    assert "NEURON_RT_VISIBLE_CORES=4-7" in other.document["script"]
    wrong = unspool(capsys, "launch", bundle, "--json", "--instances", "3", "--", "env")
    assert (wrong.status, wrong.error["subject"]) == (2, "--instances")


def test_a_bundle_that_names_other_variables_is_refused(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = bundle / "manifest.json"
    document = json.loads(manifest.read_bytes()) | {"settings": {"LD_PRELOAD": "/tmp/x.so"}}
    del document["digest"]
    manifest.write_bytes(canonical_json({**document, "digest": sha256_bytes(canonical_json(document))}))
    found = unspool(capsys, "launch", bundle, "--json", "--", "true")
    assert found.status == 1
    assert "LD_PRELOAD" in found.error["message"]
    assert "script" not in found.document


def test_a_command_is_needed(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = unspool(capsys, "launch", bundle, "--json")
    assert (found.status, found.error["subject"]) == (2, "COMMAND")
