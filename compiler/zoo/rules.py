"""A zoo as plain rules for make: one a bundle, with what it depends on, so that make schedules and our scheduler rests.

Each rule depends on its models, on the files that its last compilation said it read (depfiles), and on a file that
holds its flags, which is written anew only when they are others.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from artifacts.errors import Problem, UsageError
from artifacts.manifest import MANIFEST_FILE
from compiler.depfile import UNWRITABLE, escaped, rule_target
from compiler.flags.group import written
from compiler.zoo.jobs import Job, SourceModel, is_url
from compiler.zoo.read import Zoo
from compiler.zoo.spec import STORE
from compiler.zoo.yaml_file import STAGE

RULES = ".rules"


def make_rules(zoo: Zoo, root: Path, path_of: Callable[[str], Path]) -> str:
    """The rules of every job, and a phony target `zoo` for all and `zoo-ENTRY` for each entry.

    `path_of` says where a location is on this machine, or will be once it is fetched. Writes the files of flags below
    `root`. Raises UsageError for a name that make cannot read, or if a file cannot be written.
    """
    text = "\n".join(_rules(zoo, _here(root), path_of))
    try:
        for job in zoo.jobs:
            _write_anew(_flags_file(root, job), f"{shlex.join(_flags(job))}\n")
    except OSError as error:
        message = f"cannot be written: {error.strerror}"
        raise UsageError.of(
            STAGE, str(error.filename), message, "name a folder that can be written, with -o"
        ) from error
    return text + "\n"


def _rules(zoo: Zoo, root: Path, path_of: Callable[[str], Path]) -> Iterator[str]:
    where = shlex.quote(str(_here(zoo.path)))
    yield f"# Made by `unspool zoo rules {where} -o {shlex.quote(str(root))}`: make it again when that file changes."
    yield "UNSPOOL ?= unspool"
    yield ""
    entries = dict.fromkeys(job.entry for job in zoo.jobs)
    yield f".PHONY: zoo {' '.join(f'zoo-{entry}' for entry in entries)}"
    yield f"zoo: {' '.join(f'zoo-{entry}' for entry in entries)}"
    for entry in entries:
        yield f"zoo-{entry}: {' '.join(escaped(_manifest(root, job)) for job in zoo.jobs if job.entry == entry)}"
    remote: dict[str, Job] = {}
    for job in zoo.jobs:
        paths = {where: _here(path_of(where)) for source in job.sources for where in source.locations}
        _check([*paths.values(), root / job.name])
        # Of a folder of this machine its depfile names the files; one at a URL has to be fetched before.
        read = [path for where, path in paths.items() if path.suffix == ".onnx" or is_url(where)]
        flags = _flags_file(root, job)
        yield ""
        yield f"{rule_target(_manifest(root, job))}: {' '.join(map(escaped, [*read, flags]))}"
        yield f"\t$(UNSPOOL) {_recipe(zoo, root, job, paths)}"
        for source in job.sources:
            remote |= {str(paths[where]): job for where in source.locations if is_url(where)}
    for path, job in remote.items():
        fetch = shlex.join(["zoo", "fetch", str(_here(zoo.path)), "-o", str(root), "--only", job.entry])
        yield ""
        yield f"{rule_target(Path(path))}:"
        yield f"\t$(UNSPOOL) {_recipe_text(fetch)}"
    yield ""
    yield f"-include {' '.join(escaped(_depfile(root, job)) for job in zoo.jobs)}"


def _recipe(zoo: Zoo, root: Path, job: Job, paths: dict[str, Path]) -> str:
    models = [text for source in job.sources for text in _named(source, paths)]
    outputs = ["-o", str(root / job.name), "--store", zoo.store or str(root / STORE)]
    return _recipe_text(
        shlex.join(["compile", *models, *outputs, "--replace", "--depfile", str(_depfile(root, job)), *_flags(job)])
    )


def _named(source: SourceModel, paths: dict[str, Path]) -> Sequence[str]:
    """How a command line names a model."""
    if not source.parts:
        return [f"{source.name}={paths[source.location]}"]
    parts = [text for role, where in source.parts for text in ("--part", f"{role}={paths[where]}")]
    return ["--name", source.name, *parts]


def _flags(job: Job) -> list[str]:
    return written(job.flags)


def _recipe_text(text: str) -> str:
    """A shell command as a line of a recipe."""
    return text.replace("$", "$$")


def _manifest(root: Path, job: Job) -> Path:
    return root / job.name / MANIFEST_FILE


def _flags_file(root: Path, job: Job) -> Path:
    return root / RULES / f"{job.name}.flags"


def _depfile(root: Path, job: Job) -> Path:
    return root / RULES / f"{job.name}.d"


def _here(path: Path) -> Path:
    """The path as one types it in this folder."""
    whole = Path(os.path.abspath(path))  # noqa: PTH100 - links stay links
    return whole.relative_to(Path.cwd()) if whole.is_relative_to(Path.cwd()) else whole


def _check(paths: Sequence[Path]) -> None:
    UsageError.raise_if(
        Problem(STAGE, str(path), "is a name that make cannot read", f"rename it without {UNWRITABLE!r}")
        for path in paths
        if set(UNWRITABLE) & set(str(path))
    )


def _write_anew(path: Path, text: str) -> None:
    """Write a file if it holds something else: make goes by its time."""
    if path.is_file() and path.read_text() == text:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(text)
    draft.replace(path)
