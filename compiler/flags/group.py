"""Flags as one value: a command takes a dataclass for an argument, and has a flag for each of its fields."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any, get_args, get_type_hints

from typer.models import OptionInfo

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


def written(flags: Any) -> list[str]:
    """The arguments of a command line that say what a value of flags says, but for what is a flag's default."""
    found: list[str] = []
    for parameter in group_parameters(type(flags)):
        value = getattr(flags, parameter.name)
        if value == parameter.default:
            continue
        yes, no = _names(parameter)
        match value:
            case True:
                found.append(yes)
            case False:
                found.append(no)
            case list() | tuple():
                found += [text for each in value for text in _said(yes, each)]
            case _:
                found += _said(yes, value)
    return found


def _said(flag: str, value: object) -> list[str]:
    """One flag with its value, which may begin with a dash."""
    return [f"{flag}={value}"] if str(value).startswith("-") else [flag, str(value)]


def _names(parameter: inspect.Parameter) -> tuple[str, str]:
    """The flag of a parameter, and of one that is true or false the flag that says no."""
    option = next(each for each in get_args(parameter.annotation) if isinstance(each, OptionInfo))
    # In an annotation typer keeps the first name where a default would be.
    declared = [each for each in (option.default, *(option.param_decls or ())) if isinstance(each, str)]
    plain = f"--{parameter.name.replace('_', '-')}"
    names = max((name for name in declared if name.startswith("--")), key=len, default=f"{plain}/--no-{plain[2:]}")
    yes, _, no = names.partition("/")
    return yes, no
