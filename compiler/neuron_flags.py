"""What the command line says of AWS Neuron's compiler, held to what means something together, and to a target."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from pydantic import ValidationError

from artifacts.errors import Problem, UsageError
from artifacts.neuron_options import NeuronOptions, contradictions
from compiler.targets import Target, all_targets

FLAGS: Mapping[str, str] = MappingProxyType(
    {
        "target": "--neuron-target",
        "model_type": "--model-type",
        "auto_cast": "--auto-cast",
        "auto_cast_type": "--auto-cast-type",
        "optlevel": "--optlevel",
        "logical_nc_config": "--logical-nc-config",
        "fast_loading": "--fast-loading",
        "extra": "--neuronx-cc-arg",
    }
)
"""The flag that sets a field of `NeuronOptions`."""

SECONDS_FLAG = "--compiler-timeout"


def neuron_options(said: Mapping[str, object], base: NeuronOptions | None = None) -> NeuronOptions:
    """The options of `base`, or the defaults, with those that flags `said`, by field.

    What hangs on a field that is said anew does not come from `base`: a type to cast to, where nothing is cast any
    more, and logical cores of a target that has none. Raises UsageError with every contradiction, at its flag.
    """
    base = base or NeuronOptions()
    kept = {field: getattr(base, field) for field in base.model_fields_set}
    if said.get("auto_cast") == "none":
        kept.pop("auto_cast_type", None)
    if said.get("target", "trn2") != "trn2":
        kept.pop("logical_nc_config", None)
    meant = {**kept, **said}
    UsageError.raise_if(
        Problem("options", FLAGS[field], message, "leave it out, or give what it goes together with")
        for field, message in contradictions({**dict(NeuronOptions()), **meant})
    )
    try:
        return NeuronOptions.model_validate(meant)
    except ValidationError as error:
        raise UsageError(
            *(
                Problem("options", FLAGS.get(str(fault["loc"][0]), str(fault["loc"][0])), fault["msg"])
                for fault in error.errors(include_url=False)
            )
        ) from error


def reached(options: NeuronOptions, base: NeuronOptions) -> bool:
    """Whether flags over `base` make the options: no flag takes back what is left to the compiler."""
    said = {field: value for field, value in options if value is not None and value != ()}
    return neuron_options(said, base) == options


def written(options: NeuronOptions, base: NeuronOptions | None = None) -> list[str]:
    """The flags that say all of the options over `base`, or the defaults, but for what is left to the compiler."""
    found = ["--no-fast-loading"] if base is not None and base.fast_loading and not options.fast_loading else []
    for field, flag in FLAGS.items():
        match getattr(options, field):
            case None | False:
                continue
            case True:
                found.append(flag)
            case tuple() as several:
                found += [f"{flag}={each}" for each in several]
            case value:
                found += [flag, str(value)]
    return found


def unknown_to(fields: Iterable[str], seconds: float | None, target: Target) -> list[Problem]:
    """A problem for every flag that was given and means nothing to a target: by field, and the limit of time."""
    given = [FLAGS[field] for field in FLAGS if field in set(fields) - set(target.neuron_options)]
    if seconds is not None and not target.neuron_options:
        given.append(SECONDS_FLAG)
    names = [f"--target {name}" for name, each in all_targets().items() if each.neuron_options]
    hint = f"leave it out, or give {' or '.join(names)}"
    return [Problem("options", flag, f"means nothing to target {target.name}", hint) for flag in given]
