"""The base of every value that is written to a manifest: frozen, strict, nothing unknown accepted."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, ValidationError

from artifacts.errors import Problem


class Noun(BaseModel):
    """An immutable value with exactly the declared fields.

    Unknown fields are refused rather than dropped: a manifest of a newer schema must not be half understood.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def fault_problems(stage: str, subject: str, error: ValidationError) -> tuple[Problem, ...]:
    """A problem for each fault of a document: the path of the value, or `subject` for the whole, and what is wrong."""
    return tuple(
        Problem(stage, ".".join(map(str, fault["loc"])) or subject, fault["msg"])
        for fault in error.errors(include_url=False)
    )
