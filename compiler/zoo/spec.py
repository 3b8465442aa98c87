"""What zoo.yaml may say: pydantic's types, by which it is checked, and which `unspool schema --zoo` publishes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

from annotated_types import Ge, Le
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, create_model
from typer.models import OptionInfo

from compiler.flags.compiling import CompileFlags, PrecisionFlag
from compiler.flags.group import group_parameters

DEFAULT_TARGET = "onnxruntime"
DEFAULT_PRECISION = "fp32"
"""What `--precision auto` is without a tolerance, by its own name: a bundle's folder is named after it."""

STORE = "store"
"""The folder of weights beside the models' folders."""

RESERVED = frozenset({STORE, "zoo.sqlite", "zoo.sqlite-shm", "zoo.sqlite-wal"})
"""Names in a zoo's folder that are no models'."""

_BYTES = re.compile(r"(?P<number>\d+(\.\d+)?)\s*(?P<unit>[kKMGT]i?B?|B)?")
_UNITS = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_BINARY = {"k": 2**10, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_SECONDS = re.compile(r"(?P<number>\d+(\.\d+)?)\s*(?P<unit>s|sec|m|min|h)?")
_PER = {"": 1.0, "s": 1.0, "sec": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


def parse_bytes(value: object) -> object:
    """A number of bytes, also as `4GiB` or `500 MB`; what is neither is left as it is."""
    found = _BYTES.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        return value
    unit = (found["unit"] or "").removesuffix("B")
    scale = _BINARY[unit[0]] if unit.endswith("i") else _UNITS[unit]
    return int(Fraction(found["number"]) * scale)


def parse_seconds(value: object) -> object:
    """A number of seconds, also as `90s`, `10min` or `2h`; what is neither is left as it is."""
    found = _SECONDS.fullmatch(value.strip()) if isinstance(value, str) else None
    return value if found is None else float(found["number"]) * _PER[found["unit"] or ""]


def _listed(value: object) -> object:
    """One value where a list of them is taken."""
    return value if value is None or isinstance(value, list | tuple) else [value]


def _many(item: Any) -> BeforeValidator:
    """Takes one of these items, of which a list is wanted, for a list of it."""
    return BeforeValidator(_listed, json_schema_input_type=item | list[item] | None)


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.+-]*$", max_length=120)]
Label = Annotated[str, Field(pattern=r"^[^\s,][^,]*$", max_length=120)]
Bytes = Annotated[int, Field(gt=0), BeforeValidator(parse_bytes, json_schema_input_type=int | str)]
Seconds = Annotated[
    float,
    Field(gt=0, allow_inf_nan=False),
    BeforeValidator(parse_seconds, json_schema_input_type=float | str),
]
Share = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Section(BaseModel):
    """A mapping of the file: exactly these keys, with `-` for `_`."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=lambda name: name.replace("_", "-"),
        hide_input_in_errors=True,
    )


class Tolerances(Section):
    """How far answers may be from the source's: as `--atol`, `--rtol`, and of fewer bits `--tolerance`."""

    atol: Share | None = None
    rtol: Share | None = None
    share: Share | None = None


class Resources(Section):
    """What a job takes of a machine; `custom` are resources that a cluster's nodes were started with."""

    cpus: Annotated[float, Field(gt=0)] | None = None
    gpus: Annotated[float, Field(ge=0)] | None = None
    neuron_cores: Annotated[float, Field(ge=0)] | None = None
    custom: dict[Name, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)


class Limits(Section):
    """What one job may take, and how often a job is tried again that ended for a reason outside of its model."""

    memory: Bytes | None = None
    time: Seconds | None = None
    retries: Annotated[int, Field(ge=0, le=10)] | None = None


class Exclusion(Section):
    """Jobs of the matrix that are left out: those that agree with every value that is given."""

    target: str | None = None
    precision: PrecisionFlag | None = None
    batch: int | None = None


Many = Annotated[tuple[str, ...], _many(str)]
Batch = Annotated[int, Field(ge=1)]

APART = {
    "target": "targets",
    "precision": "precisions",
    "samples": "samples",
    "atol": "tolerances",
    "rtol": "tolerances",
    "tolerance": "tolerances",
}
"""Flags that are no options here, and the key that says the same."""


def _options_type() -> type[Section]:
    """The flags of `unspool compile` as a section: a key for each, of its type and within its bounds, all optional."""
    fields: dict[str, Any] = {}
    for parameter in group_parameters(CompileFlags):
        if parameter.name in APART:
            continue
        base, *about = get_args(parameter.annotation)
        option = next(each for each in about if isinstance(each, OptionInfo))
        bounds = [*([] if option.min is None else [Ge(option.min)]), *([] if option.max is None else [Le(option.max)])]
        many: list[BeforeValidator] = []
        kind = base
        for each in get_args(base):
            if get_origin(each) is list:
                (item,) = get_args(each)
                bounded = Annotated[item, *bounds] if bounds else item
                kind, many = list[bounded], [_many(bounded)]  # type: ignore[valid-type]
            elif bounds and each is not NoneType:
                kind = Annotated[each, *bounds]
        if bounds and kind is base:
            kind = Annotated[base, *bounds]
        fields[parameter.name] = (Annotated[kind | None, Field(description=option.help), *many], None)
    return create_model("Options", __base__=Section, __doc__="Flags of `unspool compile`, by name.", **fields)


if TYPE_CHECKING:

    class Options(Section):
        """Flags of `unspool compile`, by name."""
else:
    Options = _options_type()


class Choices(Section):
    """What is said of one model, and of all that say nothing else."""

    targets: Many | None = None
    precisions: Annotated[tuple[PrecisionFlag, ...], _many(PrecisionFlag)] | None = None
    batches: Annotated[tuple[Batch, ...], _many(Batch)] | None = None
    exclude: Annotated[tuple[Exclusion, ...], _many(Exclusion)] = ()
    options: Options = Options()
    target_options: dict[str, Options] = Field(default_factory=dict)
    samples: Path | None = None
    tolerances: Tolerances = Tolerances()
    labels: Annotated[tuple[Label, ...], _many(Label)] = ()
    limits: Limits = Limits()
    resources: Resources = Resources()


class Entry(Choices):
    """One entry of `models`: a path, a pattern or a URL; several models of one bundle by name; or parts of a model."""

    name: Name | None = None
    path: str | dict[Name, str] | None = None
    parts: dict[Literal["encoder", "decoder", "decoder-with-past"], str] | None = None


class Thresholds(Section):
    """From which growth on a figure is told as a regression: shares of the figure before, `numerics` a factor."""

    bytes: Share = 0.05
    seconds: Share = 0.5
    operators: Share = 0.05
    numerics: Annotated[float, Field(ge=1)] = 10.0


class ZooSpec(Section):
    """The whole file."""

    models: Annotated[tuple[Entry, ...], Field(min_length=1)]
    defaults: Choices = Choices()
    thresholds: Thresholds = Thresholds()
    store: str | None = None


def spec_schema() -> Mapping[str, Any]:
    """The JSON Schema of zoo.yaml, for editors."""
    return ZooSpec.model_json_schema()
