"""Code of the user's own that holds operators: found and digested, and not run.

Nothing here imports onnx: a compilation that has nothing to do needs the digests alone.
"""

from __future__ import annotations

import importlib.util
import re
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import TypeVar

from artifacts.canonical import canonical_json, sha256_bytes, sha256_file
from artifacts.errors import Problem, UsageError

STAGE = "custom-ops"

_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class CustomOps:
    """Code as the user named it, found and digested but not run.

    `name` is how a manifest calls it: a module's name, or a file's without its folder. `module` is the name that it
    is imported under. `digest` is over the contents of `files`: the file, or every Python file of a package.
    """

    name: str
    module: str
    files: tuple[Path, ...]
    digest: str


def find_custom_ops(named: Sequence[str]) -> tuple[CustomOps, ...]:
    """Find what the user named: `MODULE`, which Python can import, or `FILE.py`. Only packages around it are run.

    Raises UsageError for what cannot be found, and for two of one name, which a manifest could not tell apart.
    """
    found = tuple(_file(Path(text)) if text.endswith(".py") else _module(text) for text in named)
    names = [code.name for code in found]
    UsageError.raise_if(
        Problem(STAGE, name, "is given twice", "files are known by their names without the folder: rename one")
        for name in names
        if names.count(name) > 1
    )
    return found


def _file(path: Path) -> CustomOps:
    try:
        digest = sha256_file(path)
    except OSError as error:
        raise UsageError.of(STAGE, str(path), f"cannot be read: {error.strerror}") from error
    # The contents are in the name, so that a file that changed is another module in the same process.
    return CustomOps(path.name, f"unspool_custom_ops_{digest}", (path,), digest)


def _module(name: str) -> CustomOps:
    hint = "name a file (FILE.py), or a module that Python can import: install it, or set PYTHONPATH"
    if not _MODULE.fullmatch(name):
        raise UsageError.of(STAGE, name, "is neither a module's name nor a .py file", hint)
    # Finding a module runs the packages around it.
    spec = guarded(name, (), lambda: importlib.util.find_spec(name) if _parent_is_there(name) else None)
    if spec is None or spec.origin is None or not spec.has_location:
        raise UsageError.of(STAGE, name, "there is no such module of Python source", hint)
    files = tuple(_files_of(spec, Path(spec.origin)))
    contents = {file.relative_to(files[0].parent).as_posix(): sha256_file(file) for file in files}
    return CustomOps(name, name, files, sha256_bytes(canonical_json(dict(contents))))


def _parent_is_there(name: str) -> bool:
    parent, _, _ = name.rpartition(".")
    return not parent or (_parent_is_there(parent) and importlib.util.find_spec(parent) is not None)


def _files_of(spec: ModuleSpec, origin: Path) -> Iterator[Path]:
    yield origin
    if spec.submodule_search_locations is not None:
        yield from (file for file in sorted(origin.parent.rglob("*.py")) if file != origin)


def guarded(name: str, files: Sequence[Path], run: Callable[[], _Result]) -> _Result:
    """Run code that is not Unspool's. Raises UsageError for whatever it raises."""
    try:
        return run()
    except _FAILURES as error:
        message = f"{type(error).__name__}: {str(error).strip() or 'no message'}{_line(error, files)}"
        raise UsageError.of(STAGE, name, message, "this is what importing your code raised") from error


_FAILURES = (
    ImportError,
    SyntaxError,
    NameError,
    AttributeError,
    TypeError,
    ValueError,
    LookupError,
    ArithmeticError,
    AssertionError,
    RuntimeError,
    OSError,
    SystemExit,
)
"""What the import of a module raises; `sys.exit` in it must not end a compilation as if it had succeeded."""


def _line(error: BaseException, files: Sequence[Path]) -> str:
    """The innermost line of the named files at which it happened."""
    own = {str(file.resolve()) for file in files}
    stack = traceback.extract_tb(error.__traceback__)
    frames = [frame for frame in stack if str(Path(frame.filename).resolve()) in own]
    if isinstance(error, SyntaxError) or not frames:
        return ""
    return f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})"
