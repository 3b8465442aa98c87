"""The contract of a pass: `Program -> Program`, its options are its fields, its input is never changed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from pydantic import JsonValue, TypeAdapter

from artifacts.checks import Tolerances
from artifacts.weights import WeightStore
from passes.program import Function, Program
from passes.text import fingerprint


@dataclass(frozen=True)
class PassResult:
    """What a pass gives back: the new program, whether it differs, and what is worth reporting.

    `modified` is computed here from fingerprints, so that no pass can be wrong about itself.
    """

    program: Program
    modified: bool
    notes: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rewrite:
    """What the `rewrite` of a pass gives back: the new program, what it did, and what a user has to know of it."""

    program: Program
    notes: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Pass(ABC):
    """Base of every pass: a frozen dataclass whose fields are its options.

    A pass is one file of one stem: `fold_constants.py`, `FoldConstants`, "fold-constants".
    """

    name: ClassVar[str]

    def requires(self, program: Program) -> None:  # noqa: B027  # not abstract: most passes require nothing
        """Raise PassError with everything that keeps this pass from running, each with a hint."""

    @abstractmethod
    def rewrite(self, program: Program) -> Rewrite:
        """The transformed program. The one given is left as it was; a second application changes nothing."""

    def __call__(self, program: Program) -> PassResult:
        """Check, rewrite, and say whether anything changed."""
        self.requires(program)
        before = fingerprint(program)
        rewrite = self.rewrite(program)
        return PassResult(rewrite.program, fingerprint(rewrite.program) != before, rewrite.notes, rewrite.notices)

    def loosened(self, tolerances: Tolerances) -> Tolerances:
        """What its result is held to: as much as before, unless the pass computes in fewer bits."""
        return tolerances

    @property
    def options(self) -> dict[str, JsonValue]:
        """The fields as JSON, for the manifest and the cache key."""
        found: dict[str, JsonValue] = TypeAdapter(type(self)).dump_python(self, mode="json")
        return found


@dataclass(frozen=True)
class FunctionPass(Pass):
    """A pass that looks at one function at a time."""

    def rewrite(self, program: Program) -> Rewrite:
        functions: dict[str, Function] = {}
        store = program.weights
        notes: list[str] = []
        for name, function in program.functions.items():
            functions[name], store, found = self.rewrite_function(function, store)
            notes += [f"{name}: {note}" for note in found]
        return Rewrite(program.with_functions(functions, store), tuple(notes))

    @abstractmethod
    def rewrite_function(
        self, function: Function, weights: WeightStore
    ) -> tuple[Function, WeightStore, tuple[str, ...]]:
        """The transformed function, the store with what it added, and notes."""
