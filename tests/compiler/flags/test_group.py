from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st
from typer.models import OptionInfo

from compiler.cli.compiling import compile_command
from compiler.flags.compiling import CompileFlags
from compiler.flags.group import group_parameters, with_flags, written


@dataclass(frozen=True, kw_only=True)
class Colours:
    """Flags of a kind each."""

    red: Annotated[int, typer.Option(min=0, help="How red.")] = 1
    pale: Annotated[bool, typer.Option("--pale", help="With white.")] = False
    warm: Annotated[bool | None, typer.Option("--warm/--cold")] = None
    names: Annotated[list[str] | None, typer.Option("-n", "--name")] = None
    swatch: Annotated[Path | None, typer.Option()] = None
    plain: Annotated[bool, typer.Option()] = True


def parsed(group: type[Any], arguments: Sequence[str]) -> Any:
    """The flags that typer reads from a command line."""
    found: list[Any] = []

    def command(before: Annotated[int, typer.Option()] = 0, *, flags: Any) -> None:
        found.append(flags)

    command.__annotations__["flags"] = group
    app = typer.Typer()
    app.command()(with_flags(command))
    typer.main.get_command(app)(list(arguments), "paint", standalone_mode=False)
    (flags,) = found
    return flags


def test_a_command_has_a_flag_for_each_field_in_the_place_of_the_group() -> None:
    app = typer.Typer()
    app.command()(compile_command)
    names = [parameter.name for parameter in typer.main.get_command(app).params]
    fields_of_flags = [field.name for field in fields(CompileFlags)]
    begin = names.index(fields_of_flags[0])
    assert names[begin : begin + len(fields_of_flags)] == fields_of_flags
    assert {"output", "models", "part", "name", "force", "replace", "depfile", "store", "json"} <= set(names)
    assert "flags" not in names
    assert compile_command.__name__ == "compile_command"
    assert (compile_command.__doc__ or "").startswith("Compile models")


def test_a_command_gets_its_flags_as_one_value() -> None:
    assert parsed(Colours, []) == Colours()
    arguments = ["--red", "3", "--pale", "--cold", "-n", "a", "--name", "b", "--swatch", "s", "--no-plain"]
    assert parsed(Colours, arguments) == Colours(
        red=3, pale=True, warm=False, names=["a", "b"], swatch=Path("s"), plain=False
    )
    with pytest.raises(typer.TyperException, match="greater than or equal to 0"):
        parsed(Colours, ["--red", "-1"])


def test_flags_are_written_by_the_names_that_a_command_has() -> None:
    assert written(Colours()) == []
    colours = Colours(red=3, pale=True, warm=False, names=["a", "-b"], swatch=Path("s"), plain=False)
    assert written(colours) == [
        *("--red", "3", "--pale", "--cold", "--name", "a", "--name=-b", "--swatch", "s", "--no-plain"),
    ]
    assert written(Colours(warm=True)) == ["--warm"]


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6)


def values(parameter: Any, folder: Path) -> st.SearchStrategy[Any]:
    """What a field may hold that a command line can say."""
    base, *about = get_args(parameter.annotation)
    option = next(each for each in about if isinstance(each, OptionInfo))
    low, high = option.min, option.max
    kinds = [base] if get_origin(base) is Literal or not get_args(base) else list(get_args(base))
    if option.exists:
        return st.just(None) | st.just(folder / ("file" if option.file_okay else "folder"))
    return st.one_of(*(_of(kind, low, high) for kind in kinds if kind is not NoneType or parameter.default is None))


def _of(kind: Any, low: float | None, high: float | None) -> st.SearchStrategy[Any]:
    if get_origin(kind) is Literal:
        return st.sampled_from(get_args(kind))
    if get_origin(kind) is list:
        return st.lists(_of(get_args(kind)[0], low, high), min_size=1, max_size=3)
    if kind is int:
        return st.integers(None if low is None else int(low), None if high is None else int(high))
    if kind is float:
        return st.floats(low, high, allow_nan=False)
    strategies: dict[Any, st.SearchStrategy[Any]] = {bool: st.booleans(), str: TEXT, NoneType: st.none()}
    return strategies[kind]


@given(st.data())
def test_a_command_line_that_is_written_says_the_same(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.getbasetemp() / "-flags"
    (folder / "folder").mkdir(parents=True, exist_ok=True)
    (folder / "file").touch()
    every = {parameter.name: parameter for parameter in group_parameters(CompileFlags)}
    some = data.draw(st.lists(st.sampled_from(sorted(every)), unique=True, max_size=12))
    flags = CompileFlags(**{name: data.draw(values(every[name], folder), name) for name in some})
    assert parsed(CompileFlags, written(flags)) == flags
