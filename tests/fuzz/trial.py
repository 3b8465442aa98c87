"""One damaged model, bundle or packed bundle, what it was given to, and how that ended."""

from __future__ import annotations

import contextlib
import gc
import io
import json
import os
import shutil
import stat
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Literal

import onnx

from artifacts.errors import Problem
from compiler.cli.main import main
from tests.fuzz import graph_mutations, operator_mutations, tensor_mutations
from tests.fuzz.base_models import BASES, write_base
from tests.fuzz.bundle_mutations import BUNDLE_MUTATIONS, damage_and_seal
from tests.fuzz.graph_mutations import ModelMutation
from tests.support.mutations import damage_file, replace_by_other_kind

End = Literal["refused", "compiled", "harmless", "defect"]
Subject = Literal["model", "bundle", "archive"]

MODEL_MUTATIONS: tuple[ModelMutation, ...] = (
    *graph_mutations.mutations(),
    *tensor_mutations.mutations(),
    *operator_mutations.mutations(),
)
TOKENS = ("--bos", "1", "--eos", "3", "--pad", "0", "--max-length", "4")
"""How the base that decodes is told to."""

LONGEST_MESSAGE = 4000
"""Characters: an error that fills the screen is not clear. Names are clipped at half as many."""


@dataclass(frozen=True)
class Trial:
    """What to try: the seed decides the base, the damage, and the command for a bundle."""

    subject: Subject
    seed: int


@dataclass(frozen=True)
class Verdict:
    """How a trial ended: refused with a clear error, with success, or with what must not be."""

    trial: Trial
    damage: str
    stage: str
    end: End
    detail: str
    seconds: float


def run_trial(trial: Trial, folder: Path, bundles: Sequence[Path]) -> Verdict:
    """Damage, try and judge, in a folder that has nothing in it but `home` and `tmp`, and has not afterwards."""
    random = Random(f"{trial.subject}:{trial.seed}")
    for name, variable in (("home", "HOME"), ("tmp", "TMPDIR")):
        (folder / name).mkdir(exist_ok=True)
        os.environ[variable] = str(folder / name)
    began = time.perf_counter()
    match trial.subject:
        case "model":
            damage, stage, end, detail = _try_model(random, folder)
        case "bundle":
            damage, stage, end, detail = _try_bundle(random, folder, bundles)
        case "archive":
            damage, stage, end, detail = _try_archive(random, folder, bundles)
    gc.collect()  # what a process of its own would have ended with; deep in a recursion finalizers cannot run
    for path in folder.iterdir():
        shutil.rmtree(path)
    return Verdict(trial, damage, stage, end, detail, time.perf_counter() - began)


def _try_model(random: Random, folder: Path) -> tuple[str, str, End, str]:
    base, damage = damaged_model(random, folder / "model")
    model, bundle = folder / "model" / "model.onnx", folder / "bundle"
    tokens = TOKENS if base == "decoder" and random.random() < 0.5 else ()
    before = listing(folder)
    stage, end, detail = _judge(*_command("compile", str(model), "-o", str(bundle), *tokens, "--json"))
    after = listing(folder)
    changed = sorted(
        {path for path, _ in before ^ after} - {path for path, _ in after if end == "compiled" and _inside(path)}
    )
    if changed:
        return f"{base}: {damage}", stage, "defect", f"files appeared, changed or went: {changed}; {detail}"
    if end == "compiled":
        stage, verified, again = _judge(*_command("verify", str(bundle), "--json"))
        if verified != "compiled":
            end, detail = "defect", f"was compiled and does not verify: {again}"
    return f"{base}: {damage}", stage, end, detail


def _inside(path: str, folder: str = "bundle") -> bool:
    return path == folder or path.startswith(f"{folder}/")


def _try_bundle(random: Random, folder: Path, bundles: Sequence[Path]) -> tuple[str, str, End, str]:
    base = random.choice(bundles)
    bundle = folder / "bundle"
    shutil.copytree(base, bundle)
    done = ", ".join(random.choice(BUNDLE_MUTATIONS)(random, bundle) for _ in range(random.choice((1, 1, 1, 2))))
    before = listing(folder)
    inputs = ("--inputs", str(base / "samples" / f"{base.name}-0.inputs.npz"))
    command = random.choice((("inspect",), ("verify",), ("run", *inputs)))
    stage, end, detail = _judge(*_command(command[0], str(bundle), *command[1:], "--json"))
    changed = sorted({path for path, _ in listing(folder) ^ before})
    if changed:
        end, detail = "defect", f"files appeared, changed or went: {changed}; {detail}"
    return f"{base.name}: {done}, {command[0]}", stage, "harmless" if end == "compiled" else end, detail


def _try_archive(random: Random, folder: Path, bundles: Sequence[Path]) -> tuple[str, str, End, str]:
    base = random.choice(bundles)
    bundle, archive, out = folder / "bundle", folder / "packed" / "bundle.tar", folder / "out"
    shutil.copytree(base, bundle)
    archive.parent.mkdir()
    done = [damage_and_seal(random, bundle)] if random.random() < 0.4 else []
    stage, end, detail = _judge(*_command("pack", str(bundle), "-o", str(archive), "--json"))
    if end == "compiled":
        if random.random() < 0.9:
            done.append(f"{damage_file(random, archive)} {archive.name}")
        elif not done or random.random() < 0.5:
            done.append(f"{archive.name} is {replace_by_other_kind(random, archive)}")
        before = listing(folder)
        stage, end, detail = _judge(*_command("unpack", str(archive), "-o", str(out), "--json"))
        left = {path for path, _ in listing(folder) ^ before}
        changed = sorted(path for path in left if end != "compiled" or not _inside(path, "out"))
        if changed:
            end, detail = "defect", f"files appeared, changed or went: {changed}; {detail}"
    if end == "compiled":
        stage, verified, again = _judge(*_command("verify", str(out), "--json"))
        end, detail = ("defect", again) if verified == "defect" else ("harmless", again)
    return f"{base.name}: {', '.join(done)}, unpack", stage, end, detail


def damaged_model(random: Random, folder: Path) -> tuple[str, str]:
    """Write a damaged model, `model.onnx`, into a new folder; the base and what was done to it."""
    base = random.choice(tuple(BASES))
    for name, data in _base_files(base, folder.parent / "base").items():
        folder.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)
    path = folder / "model.onnx"
    (folder / "link").symlink_to(folder.parent)
    kind = random.choices(("structure", "bytes", "both", "file"), (70, 20, 8, 2))[0]
    done = []
    if kind in {"structure", "both"}:
        model = onnx.ModelProto.FromString(path.read_bytes())
        for _ in range(random.choice((1, 1, 1, 2, 3))):
            mutation = random.choice(MODEL_MUTATIONS)
            mutation(random, model)
            done.append(mutation.__name__)
        path.write_bytes(model.SerializeToString())
    if kind in {"bytes", "both"}:
        file = random.choice(sorted(file for file in folder.iterdir() if file.is_file()))
        done.append(f"{damage_file(random, file)} {file.name}")
    if kind == "file":
        file = random.choice(sorted(file for file in folder.iterdir() if file.is_file()))
        done.append(f"{file.name} is {replace_by_other_kind(random, file)}")
    return base, ", ".join(done)


_BASE_FILES: dict[str, dict[str, bytes]] = {}


def _base_files(base: str, folder: Path) -> dict[str, bytes]:
    if base not in _BASE_FILES:
        write_base(base, folder)
        _BASE_FILES[base] = {path.name: path.read_bytes() for path in folder.iterdir()}
        shutil.rmtree(folder)
    return _BASE_FILES[base]


def listing(folder: Path) -> set[tuple[str, tuple[int, ...]]]:
    """Everything below a folder, by relative path, with what changes when it is written; links are not followed."""
    found = set[tuple[str, tuple[int, ...]]]()
    for path in folder.rglob("*"):
        status = path.lstat()
        # A folder's own time changes with a temporary file that came and went.
        when = 0 if stat.S_ISDIR(status.st_mode) else status.st_mtime_ns
        found.add((str(path.relative_to(folder)), (status.st_mode, status.st_ino, when)))
    return found


def _command(*arguments: str) -> tuple[int, Sequence[Problem], str]:
    """Run a command in this process: exit status, the errors of its JSON document, what it printed for people."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(arguments)
    errors = json.loads(out.getvalue())["errors"]
    return status, [Problem(**error) for error in errors], err.getvalue()


def _judge(status: int, problems: Sequence[Problem], printed: str) -> tuple[str, End, str]:
    """The stage, the end, and the first message or the reason for calling it a defect."""
    stage = problems[0].stage if problems else ""
    text = str(problems[0]) if problems else ""
    faults = [
        *(["traceback"] if "Traceback (most recent call last)" in printed else []),
        *(["internal"] if any(problem.stage == "internal" for problem in problems) else []),
        *(["without a hint"] if any(not problem.hint for problem in problems) else []),
        *(["without a word"] if any(not (p.stage and p.subject and p.message) for p in problems) else []),
        *(["no error, status not 0"] if status and not problems else []),
        *(["error, status 0"] if problems and not status else []),
        *(["too long"] if any(len(str(problem)) > LONGEST_MESSAGE for problem in problems) else []),
    ]
    if faults:
        worst = next((p for p in problems if p.stage == "internal" or not p.hint), problems[0] if problems else "")
        return stage, "defect", f"{'; '.join(faults)}: {str(worst)[:600]} {printed[-600:]}"
    return stage, "refused" if problems else "compiled", text[:300]
