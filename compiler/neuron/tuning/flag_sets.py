"""The sets of flags that are tried: what documents allow to go together, or what a file lists.

Documented ("Neuron Compiler CLI Reference Guide", Neuron 2.32) is that a type to cast to is for a cast alone. Nothing
is said of what else goes together, so that everything else does.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import ValidationError

from artifacts.errors import Problem, UsageError
from artifacts.neuron_options import NeuronOptions
from artifacts.noun import fault_problems
from compiler.neuron_flags import FLAGS

AXES = ("auto_cast", "auto_cast_type", "model_type", "optlevel")
"""The fields of `NeuronOptions` that are varied, the one that decides most first."""

SETS_FLAG = "--sets"


def flag_sets(base: NeuronOptions, axes: Mapping[str, tuple[Any, ...]]) -> tuple[NeuronOptions, ...]:
    """All values of each of the `AXES`, or those that `axes` has for it, with the other fields as in `base`.

    Those that cast nothing come first, since what was proven of the source holds of them. Raises UsageError for a type
    to cast to that no set could have.
    """
    values = {field: axes.get(field) or axis_values(field) for field in AXES}
    if axes.get("auto_cast_type") and values["auto_cast"] == ("none",):
        hint = f"leave it out, or give {FLAGS['auto_cast']} matmult or all"
        raise UsageError.of("options", FLAGS["auto_cast_type"], "is for a cast, and nothing is to be cast", hint)
    found = []
    for cast, cast_type, model_type, optlevel in itertools.product(*(values[field] for field in AXES)):
        varied = {"auto_cast": cast, "auto_cast_type": None if cast == "none" else cast_type}
        found.append(base.model_copy(update={**varied, "model_type": model_type, "optlevel": optlevel}))
    return tuple(dict.fromkeys(found))  # without a cast, the types of it make no difference


def changes_numerics(options: NeuronOptions) -> bool:
    """Whether an engine computes in fewer bits than its source, of which alone it was proven what it computes."""
    return options.auto_cast != "none"


def axis_values(field: str) -> tuple[Any, ...]:
    """Every value of a field but None, which leaves the choice to the compiler."""
    annotation = NeuronOptions.model_fields[field].annotation
    parts = (annotation,) if get_origin(annotation) is Literal else get_args(annotation)
    return tuple(value for part in parts for value in get_args(part))


def parse_axis(field: str, text: str | None) -> tuple[Any, ...]:
    """The values in `none,all`, each once; () for None. Raises UsageError for what is none."""
    known = {str(value): value for value in axis_values(field)}
    words = [] if text is None else [word.strip() for word in text.split(",")]
    UsageError.raise_if(
        Problem("options", FLAGS[field], f"{word!r} is none of its values", f"write some of {','.join(known)}")
        for word in words
        if word not in known
    )
    return tuple(known[word] for word in dict.fromkeys(words))


def read_sets(path: Path, base: NeuronOptions) -> tuple[NeuronOptions, ...]:
    """The sets in a JSON file: a list of objects, whose fields are those of `NeuronOptions`, over those of `base`.

    Raises UsageError with everything that is wrong with it.
    """
    subject, hint = f"{SETS_FLAG} {path}", 'write a list of objects, [{"optlevel": 3, "auto_cast": "all"}, ...]'
    try:
        listed = json.loads(path.read_bytes())
    except OSError as error:
        raise UsageError.of("options", subject, f"cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError.of("options", subject, f"is no JSON: {error}", hint) from error
    if not isinstance(listed, list) or not listed or not all(isinstance(each, dict) for each in listed):
        raise UsageError.of("options", subject, "is no list of sets of flags", hint)
    found, problems = [], list[Problem]()
    for number, each in enumerate(listed):
        try:
            # Through JSON once more: strict validation takes arrays for tuples in JSON input only.
            document = json.dumps({**base.model_dump(mode="json"), **each})
            found.append(NeuronOptions.model_validate_json(document))
        except ValidationError as error:
            faults = fault_problems("options", "all of it", error)
            problems += [
                Problem(fault.stage, f"{subject}: set {number}: {fault.subject}", fault.message, hint)
                for fault in faults
            ]
    UsageError.raise_if(problems)
    return tuple(dict.fromkeys(found))
