"""Engines of a model for each of its buckets: the same functions and weights, lowered at other sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from artifacts.dimensions import signature_at
from artifacts.manifest import Bucket, Buckets
from artifacts.runtime.buckets import told
from artifacts.samples import Sample
from artifacts.schedule import Schedule, Single
from compiler.targets import Target
from compiler.targets.target import BuiltEngine, Placement
from passes.program import Model, Program, SizeBucket


@dataclass(frozen=True)
class BuiltModel:
    """The engines of a model by name, and where each of its functions is: once, or for each bucket."""

    engines: Mapping[str, BuiltEngine]
    functions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    buckets: Buckets | None = None
    notices: tuple[str, ...] = ()


def build_model(target: Target, program: Program, name: str, placement: Placement) -> BuiltModel:
    """Make the engines of a model. Raises TargetError as `Target.build`."""
    model = program.models[name]
    if model.buckets is None:
        built = target.build(program, name, placement)
        takes = (f"takes {built.takes} and no other shapes; choose them with --opt-shapes",) if built.takes else ()
        return BuiltModel(built.engines, built.functions, notices=(*takes, *built.notices))
    engines, each, notices = dict[str, BuiltEngine](), list[Bucket](), list[str]()
    for bucket in model.buckets.each:
        placement.tell(f"bucket of {told(bucket.sizes)}")
        sized, alias, names = at_bucket(program, name, bucket)
        built = target.build(sized, alias, placement)
        engines |= built.engines
        functions = {function: built.functions[names[function]] for function in model.schedule.functions}
        each.append(Bucket(sizes=dict(bucket.sizes), functions=functions))
        notices += built.notices
    text = "; ".join(told(bucket.sizes) for bucket in each)
    notices.insert(0, f"has buckets for {text}: smaller requests are padded to the first that holds them")
    return BuiltModel(engines, {}, Buckets(each=tuple(each), padding=model.buckets.padding), tuple(notices))


def at_bucket(program: Program, name: str, bucket: SizeBucket) -> tuple[Program, str, dict[str, str]]:
    """A program of one model that takes a bucket's sizes, what it is called there, and so are its functions.

    They go by the bucket's name, so that whatever names what is made of them says for which sizes it is.
    """
    model = program.models[name]
    alias = f"{name}@{'x'.join(map(str, bucket.sizes.values()))}"
    names = {
        function: alias + function.removeprefix(name) if function.startswith(name) else f"{alias}.{function}"
        for function in model.schedule.functions
    }
    functions = {new: replace(program.functions[old], name=new) for old, new in names.items()}
    sized = replace(
        model,
        signature=signature_at(model.signature, bucket.sizes),
        schedule=_renamed(model.schedule, names),
        samples=(bucket.sample,),
        buckets=None,
    )
    return Program(functions, {alias: sized}, program.weights), alias, names


def _renamed(schedule: Schedule, names: Mapping[str, str]) -> Schedule:
    fields = ("function",) if isinstance(schedule, Single) else ("encoder", "first", "step", "choice")
    given = {field: getattr(schedule, field) for field in fields}
    return schedule.model_copy(update={field: names[name] for field, name in given.items() if name is not None})


def served(model: Model) -> tuple[Sample, ...]:
    """The requests that a model's engines are held to: its samples, or those for its buckets."""
    if model.buckets is None:
        return model.samples
    return (*(bucket.sample for bucket in model.buckets.each), *model.buckets.requests)
