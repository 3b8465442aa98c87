"""What can go wrong, as one tree.

    UnspoolError                 every error that Unspool raises on purpose
    ├── UsageError               a wrong call: a flag, a shape, a path (exit code 2)
    ├── SourceError              the model we were given
    │   ├── ModelFormatError     not a valid ONNX model: truncated, cyclic, undefined names, bad external data
    │   └── UnsupportedError     valid, but it needs something Unspool does not have
    ├── PassError                a pass failed, or broke its contract
    │   └── NumericsError        an output moved further than its tolerance
    ├── TargetError              an engine could not be made
    ├── BundleError              a bundle cannot be read, written or trusted
    ├── StoreError               a store of shards cannot be read, written or trusted
    ├── RunError                 an engine was given inputs that it cannot run on
    └── MissingToolError         an optional package or a vendor's tool is not installed

An error is a tuple of problems, because gaps come all at once: a model with three unknown operators raises
one error with three problems. Each problem says the stage, the subject (file, node, tensor) and a hint: its own, or
what can always be done about an error of its kind.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import ClassVar, Self


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: where in the pipeline, about what, and what to do about it."""

    stage: str
    subject: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        text = f"{self.stage}: {self.subject}: {self.message}"
        return f"{text}\n  hint: {self.hint}" if self.hint else text


class UnspoolError(Exception):
    """Base of the tree: one or more problems, never none."""

    exit_code: ClassVar[int] = 1
    hint: ClassVar[str] = "report it, with the model if you can"
    """For problems that have none of their own."""

    def __init__(self, *problems: Problem) -> None:
        if not problems:
            raise ValueError("an UnspoolError needs at least one problem")
        self.problems = tuple(replace(p, hint=p.hint or self.hint) for p in problems)
        super().__init__(*self.problems)

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)

    @classmethod
    def of(cls, stage: str, subject: str, message: str, hint: str = "") -> Self:
        """Shorthand for the common case of a single problem."""
        return cls(Problem(stage, subject, message, hint))

    @classmethod
    def raise_if(cls, problems: Iterable[Problem]) -> None:
        """Raise all problems at once, or do nothing when there are none."""
        found = tuple(dict.fromkeys(problems))
        if found:
            raise cls(*found)


class UsageError(UnspoolError):
    """The command or the call was wrong; nothing was started."""

    exit_code = 2
    hint = "`unspool COMMAND --help` lists what there is"


class SourceError(UnspoolError):
    """The source model is at fault, or beyond us."""


class ModelFormatError(SourceError):
    """The file is not a valid ONNX model."""

    hint = "export the model again, or copy it again from where it is whole"


class UnsupportedError(SourceError):
    """The model is valid, but needs an operator, version, dtype or construct that Unspool does not have."""

    hint = "export the model without it; `unspool ops` lists what converts"


class PassError(UnspoolError):
    """A pass failed or did not keep its contract."""


class NumericsError(PassError):
    """An output differs from the source model by more than the tolerance."""

    hint = "`unspool verify --against MODEL.onnx` names the node at which they part"


class TargetError(UnspoolError):
    """An engine could not be made for the target."""

    hint = "`unspool targets` lists what each target can do here"


class BundleError(UnspoolError):
    """A bundle cannot be read, written or trusted."""

    hint = "compile it again, or copy it again from where it is whole"


class StoreError(UnspoolError):
    """A store of shards cannot be read, written or trusted."""

    hint = "`unspool store verify STORE` says everything that is wrong with it"


class RunError(UnspoolError):
    """The inputs of a run do not fit the engine, or the engine failed on them."""

    hint = "`unspool inspect` shows the inputs, their types and their sizes"


class MissingToolError(UnspoolError):
    """An optional package or a vendor's tool is needed and not installed."""
