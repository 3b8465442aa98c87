"""The base of every value that is written to a manifest: frozen, strict, nothing unknown accepted."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Noun(BaseModel):
    """An immutable value with exactly the declared fields.

    Unknown fields are refused rather than dropped: a manifest of a newer schema must not be half understood.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
