"""Flags as one value: a command takes a dataclass for an argument, and has a flag for each of its fields."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any, get_type_hints

PARAMETER = "flags"
"""The parameter of a command that stands for the flags of its type."""


def with_flags(command: Callable[..., None]) -> Callable[..., None]:
    """The command with, in the place of its parameter `flags`, a parameter for each field of that one's dataclass."""
    hints = get_type_hints(command, include_extras=True)
    group = hints.pop(PARAMETER)
    fields = group_parameters(group)
    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(command).parameters.items():
        if name == PARAMETER:
            parameters += fields
        else:
            parameters.append(parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY))
    names = {parameter.name for parameter in fields}

    @functools.wraps(command)
    def called(**given: Any) -> None:
        flags = group(**{name: given.pop(name) for name in names & given.keys()})
        command(**given, flags=flags)

    annotations = {parameter.name: parameter.annotation for parameter in parameters}
    vars(called).update(
        __signature__=inspect.Signature(parameters, return_annotation=None),
        __annotations__={**annotations, "return": None},
    )
    called.__annotations__ = {**annotations, "return": None}
    return called


def group_parameters(group: type[Any]) -> list[inspect.Parameter]:
    """A parameter for each field of a dataclass of flags, with its annotation and default."""
    hints = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name]
        )
        for field in dataclasses.fields(group)
    ]


def path_fields(group: type[Any]) -> frozenset[str]:
    """The fields of a dataclass of flags that name a file or a folder."""
    return frozenset(field.name for field in dataclasses.fields(group) if "Path" in str(field.type))
