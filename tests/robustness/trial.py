"""One damaged model or bundle, what it was given to, and how that ended."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Literal

import onnx

from artifacts.errors import Problem, UnspoolError
from compiler.cli.main import main
from tests.robustness import graph_mutations, operator_mutations, tensor_mutations
from tests.robustness.base_models import BASES, write_base
from tests.robustness.bundle_mutations import BUNDLE_MUTATIONS
from tests.robustness.graph_mutations import ModelMutation
from tests.support.mutations import damage_file, replace_by_other_kind

End = Literal["refused", "accepted", "defect"]
Subject = Literal["model", "bundle"]

MODEL_MUTATIONS: tuple[ModelMutation, ...] = (
    *graph_mutations.mutations(),
    *tensor_mutations.mutations(),
    *operator_mutations.mutations(),
)
TOKENS = ("--bos", "1", "--eos", "3", "--pad", "0", "--max-length", "4")
LONGEST_MESSAGE = 400000
"""Characters: an error that fills the screen is not clear."""


@dataclass(frozen=True)
class Trial:
    """What to try: the seed decides the base, the damage, and the command for a bundle.

    `thorough` compiles a model that its inspection did not refuse.
    """

    subject: Subject
    seed: int
    thorough: bool = False


@dataclass(frozen=True)
class Verdict:
    """How a trial ended: with one clear error, with success, or with what must not be."""

    trial: Trial
    damage: str
    stage: str
    end: End
    detail: str


def run_trial(trial: Trial, scratch: Path, bundles: Sequence[Path]) -> Verdict:
    """Damage, try and judge, in the empty folder `scratch`, which is empty again afterwards."""
    random = Random(f"{trial.subject}:{trial.seed}")
    verdict = (
        _try_model(trial, random, scratch) if trial.subject == "model" else _try_bundle(trial, random, scratch, bundles)
    )
    for path in scratch.iterdir():
        shutil.rmtree(path)
    return verdict


def _try_model(trial: Trial, random: Random, scratch: Path) -> Verdict:
    base, damage = damaged_model(random, scratch / "model")
    model, out = scratch / "model" / "model.onnx", scratch / "out" / "bundle"
    before = listing(scratch)
    end, stage, detail = _judge(*_command("inspect", str(model), "--json"))
    if end == "accepted":
        end, stage, detail = _judge(*_sampled(model))
    if end == "accepted" and trial.thorough:
        tokens = TOKENS if base == "decoder" and random.random() < 0.5 else ()
        end, stage, detail = _judge(*_command("compile", str(model), "-o", str(out), *tokens, "--json"))
    after = listing(scratch)
    wanted = before | {"out", "out/bundle"} if end == "accepted" and trial.thorough else before
    changed = sorted(path for path in after ^ wanted if not path.startswith("out/bundle/"))
    if changed:
        end, detail = "defect", f"files appeared or went: {changed}"
    return Verdict(trial, f"{base}: {damage}", stage, end, detail)


def _try_bundle(trial: Trial, random: Random, scratch: Path, bundles: Sequence[Path]) -> Verdict:
    bundle = scratch / "bundle"
    base = random.choice(bundles)
    shutil.copytree(base, bundle)
    done = ", ".join(random.choice(BUNDLE_MUTATIONS)(random, bundle) for _ in range(random.choice((1, 1, 1, 2))))
    before = listing(scratch)
    inputs = ("--inputs", str(base / "samples" / f"{base.name}-0.inputs.npz"))
    command = random.choice((("inspect",), ("verify",), ("run", *inputs)))
    end, stage, detail = _judge(*_command(command[0], str(bundle), *command[1:], "--json"))
    changed = sorted(listing(scratch) ^ before)
    if changed:
        end, detail = "defect", f"files appeared or went: {changed}"
    return Verdict(trial, f"{base.name}: {done}, {command[0]}", stage, end, detail)


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


def listing(folder: Path) -> set[str]:
    """Everything below a folder, by relative path; links are not followed."""
    return {
        os.path.relpath(os.path.join(top, name), folder)
        for top, folders, files in os.walk(folder)
        for name in (*folders, *files)
    }


def _command(*arguments: str) -> tuple[int, Sequence[Problem], str]:
    """Run a command in this process: exit status, the errors of its JSON document, what it printed for people."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = main(arguments)
    errors = json.loads(out.getvalue())["errors"]
    return status, [Problem(**error) for error in errors], err.getvalue()


def _sampled(model: Path) -> tuple[int, Sequence[Problem], str]:
    """What a compilation does before it converts: open the source and ask it for samples."""
    from compiler.converters import find_converter
    from compiler.frontend import load, sample
    from compiler.options import CompileOptions, ModelFile
    from compiler.targets import find_target
    from passes.onnx_to_torch.source import load_source

    options = CompileOptions()
    try:
        loaded = load(ModelFile("model", model), load_source(model), options, find_converter(options))
        sample(loaded, options, find_target(options.target))
    except UnspoolError as error:
        return 1, error.problems, ""
    except Exception as error:  # noqa: BLE001 - as the command line does, but with its origin
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        where = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}" if trace else ""
        return 1, [Problem("internal", type(error).__name__, f"{error} at {where}")], ""
    return 0, (), ""


def _judge(status: int, problems: Sequence[Problem], printed: str) -> tuple[End, str, str]:
    """The end, the stage, and the first message or the reason for calling it a defect."""
    stage = problems[0].stage if problems else ""
    text = str(problems[0]) if problems else ""
    faults = [
        *(["traceback"] if "Traceback (most recent call last)" in printed else []),
        *(["internal"] if any(problem.stage == "internal" for problem in problems) else []),
        *(["error without a word"] if any(not (p.stage and p.subject and p.message) for p in problems) else []),
        *(["no error, status not 0"] if status and not problems else []),
        *(["error, status 0"] if problems and not status else []),
        *(["too long"] if any(len(str(problem)) > LONGEST_MESSAGE for problem in problems) else []),
    ]
    if faults:
        return "defect", stage, f"{'; '.join(faults)}: {text[:600]}"
    return ("refused" if problems else "accepted"), stage, text[:300]
