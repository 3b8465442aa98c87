"""From zoo.yaml to jobs, or to everything that is wrong with it, by line and column."""

from __future__ import annotations

import glob
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from pydantic import ValidationError

from artifacts.errors import MissingToolError, Problem, UnspoolError, UsageError
from compiler.compile import call_problems
from compiler.flags.compiling import CompileFlags
from compiler.options import ModelFile
from compiler.parts.folder import WHOLE_MODEL, Role
from compiler.targets import find_target
from compiler.zoo.jobs import Job, JobLimits, Needs, SourceModel, filled, is_url, variables
from compiler.zoo.remote import remote_matches
from compiler.zoo.spec import (
    DEFAULT_PRECISION,
    DEFAULT_TARGET,
    RESERVED,
    Choices,
    Entry,
    Thresholds,
    Tolerances,
    ZooSpec,
)
from compiler.zoo.yaml_file import STAGE, Place, YamlFile, read_yaml

_NAMED = "a name has letters, digits, `_`, `.`, `+` and `-`"


@dataclass(frozen=True)
class Zoo:
    """A zoo's file as jobs, in its order. `store` is a URL, or None for the folder beside the bundles."""

    path: Path
    jobs: tuple[Job, ...]
    thresholds: Thresholds
    store: str | None

    def job(self, name: str) -> Job:
        """The job of that name. Raises KeyError."""
        return next(job for job in self.jobs if job.name == name)


def read_zoo(path: Path) -> Zoo:
    """Read and check a zoo's file. Raises UsageError with everything that is wrong with it."""
    file = read_yaml(path)
    try:
        spec = ZooSpec.model_validate(file.value)
    except ValidationError as error:
        raise UsageError(*_faults(file, error)) from error
    reading = _Reading(file, spec)
    jobs = reading.jobs()
    UsageError.raise_if(reading.problems)
    return Zoo(path, tuple(jobs), spec.thresholds, spec.store)


def read_thresholds(path: Path | None) -> Thresholds:
    """The thresholds of a zoo's file; the defaults without one. Raises UsageError."""
    if path is None:
        return Thresholds()
    file = read_yaml(path)
    try:
        return ZooSpec.model_validate(file.value).thresholds
    except ValidationError as error:
        raise UsageError(*_faults(file, error)) from error


def _faults(file: YamlFile, error: ValidationError) -> Iterator[Problem]:
    """A problem for each fault, at the value that it is about."""
    faults = error.errors(include_url=False)
    for fault in faults:
        place = fault["loc"]
        if fault["type"] == "too_short" and _is_within(faults, place):
            continue  # elements with faults of their own are not counted
        name = ".".join(str(step) for step in place if isinstance(step, int) or not _is_machinery(step))
        message = fault["msg"].removeprefix("Value error, ")
        hint = ""
        if fault["type"] == "extra_forbidden":
            message, hint = "is no key here", _apart(str(place[-1]))
        elif fault["type"] == "missing":
            message = "is missing"
        yield Problem(STAGE, file.subject(place), f"{name}: {message}" if name else message, hint or _SEE)


def _is_within(faults: Sequence[Any], place: Place) -> bool:
    """Whether a fault is about something inside of what is at a place."""
    return any(fault["loc"][: len(place)] == place != fault["loc"] for fault in faults)


_SEE = "docs/zoo.md has every key; `unspool schema --zoo` is for editors"


def _is_machinery(step: str) -> bool:
    """Whether a step of a fault's place names a branch of a type, and not a key."""
    return step in {"str", "[key]"} or "[" in step


def _apart(key: str) -> str:
    from compiler.zoo.spec import APART

    return f"say it with {APART[key]}:, beside options" if key in APART else ""


class _Reading:
    """One way through the entries of a file."""

    def __init__(self, file: YamlFile, spec: ZooSpec) -> None:
        self.file = file
        self.spec = spec
        self.folder = file.path.resolve().parent
        self.problems: list[Problem] = []

    def jobs(self) -> list[Job]:
        found: dict[str, Job] = {}
        self._check_targets(self.spec.defaults, ("defaults",))
        for number, entry in enumerate(self.spec.models):
            place: Place = ("models", number)
            self._check_targets(entry, place)
            for name, sources in self._named(entry, place):
                if name in RESERVED:
                    self._wrong(place, f"{name} is what the zoo has there itself", "give it another name:")
                    continue
                for job in self._cells(entry, name, sources, place):
                    if job.name in found:
                        first = found[job.name].place
                        self._wrong(place, f"{job.name} is there already, of {first}", "give one of them another name")
                    else:
                        found[job.name] = job
        if not found and not self.problems:
            self._wrong(("models",), "there is no job", "name a model, or exclude fewer")
        return list(found.values())

    def _check_targets(self, choices: Choices, place: Place) -> None:
        """Options of a target that does not exist would never be anybody's."""
        for name in choices.target_options:
            try:
                find_target(name)
            except UsageError as error:
                for problem in error.problems:
                    self._wrong((*place, "target-options", name), problem.message, problem.hint)

    def _wrong(self, place: Sequence[str | int], message: str, hint: str) -> None:
        self.problems.append(Problem(STAGE, self.file.subject(place), message, hint))

    def _named(self, entry: Entry, place: Place) -> Iterator[tuple[str, tuple[SourceModel, ...]]]:
        """The bundles of an entry by name, each with its models."""
        if (entry.path is None) == (entry.parts is None):
            hint = "path: names a file, a folder, a pattern or a URL; parts: those of one model"
            self._wrong(place, "an entry has a path or parts, and one of them alone", hint)
        elif entry.parts is not None:
            yield from self._of_parts(entry, place)
        elif isinstance(entry.path, str):
            yield from self._of_path(entry, entry.path, place)
        elif entry.path is not None:
            yield from self._of_several(entry, entry.path, place)

    def _of_parts(self, entry: Entry, place: Place) -> Iterator[tuple[str, tuple[SourceModel, ...]]]:
        parts = {Role(role): self._location(text) for role, text in (entry.parts or {}).items()}
        missing = [role for role in (Role.ENCODER, Role.DECODER) if role not in parts]
        if entry.name is None:
            self._wrong(place, "a model in parts needs a name", "give name:")
        if missing:
            self._wrong(
                (*place, "parts"), f"the {missing[0]} is missing", "a model in parts has an encoder and a decoder"
            )
        for role, location in parts.items():
            self._exists(location, (*place, "parts", role.value))
        if entry.name is not None and not missing:
            yield entry.name, (SourceModel(entry.name, parts=tuple(sorted(parts.items()))),)

    def _of_path(self, entry: Entry, text: str, place: Place) -> Iterator[tuple[str, tuple[SourceModel, ...]]]:
        place = (*place, "path")
        location = self._location(text)
        if glob.has_magic(text) and (is_url(text) or not Path(location).exists()):
            matches = self._matches(text, place)
            if not matches:
                self._wrong(place, f"{text} matches nothing", "paths are relative to the zoo's file")
            if entry.name is not None and len(matches) > 1:
                self._wrong(place, f"{text} matches {len(matches)} models, and they have one name", "leave out name:")
                return
        else:
            matches = [location] if self._exists(location, place) else []
        for match in matches:
            name = entry.name or _stem(match)
            if name is None:
                self._wrong(place, f"{match} gives no name for a folder", f"give name:; {_NAMED}")
                continue
            yield name, (SourceModel(name, match),)

    def _of_several(
        self, entry: Entry, paths: Mapping[str, str], place: Place
    ) -> Iterator[tuple[str, tuple[SourceModel, ...]]]:
        place = (*place, "path")
        if entry.name is None:
            self._wrong(place, "several models in one bundle need a name", "give name:")
        found = [SourceModel(name, self._location(text)) for name, text in paths.items()]
        whole = [self._exists(source.location, (*place, source.name)) for source in found]
        if not found:
            self._wrong(place, "names no model", "write path: {spam: spam.onnx, toxic: toxic.onnx}")
        elif entry.name is not None and all(whole):
            yield entry.name, tuple(found)

    def _location(self, text: str) -> str:
        if is_url(text):
            return text
        return str(self.folder / _local(text))

    def _matches(self, text: str, place: Place) -> list[str]:
        pattern = text if is_url(text) else str(Path(glob.escape(str(self.folder)), _local(text)))
        try:
            found = remote_matches(pattern) if is_url(text) else sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 - of an absolute pattern
        except MissingToolError:
            raise
        except UnspoolError as error:
            self.problems += [
                Problem(STAGE, self.file.subject(place), str(each.message), each.hint) for each in error.problems
            ]
            return []
        return found

    def _exists(self, location: str, place: Place) -> bool:
        """Whether a path is there; what a URL names is seen when it is fetched."""
        if is_url(location) or Path(location).exists():
            return True
        self._wrong(place, f"{location} is not there", "paths are relative to the zoo's file")
        return False

    def _cells(self, entry: Entry, name: str, sources: tuple[SourceModel, ...], place: Place) -> Iterator[Job]:
        targets = self._axis(entry, "targets") or (DEFAULT_TARGET,)
        precisions = self._axis(entry, "precisions") or (DEFAULT_PRECISION,)
        batches: tuple[int | None, ...] = self._axis(entry, "batches") or (None,)
        excluded = [*self.spec.defaults.exclude, *entry.exclude]
        for target, precision, batch in itertools.product(*map(dict.fromkeys, (targets, precisions, batches))):
            cell = {"target": target, "precision": precision, "batch": batch}
            if any(all(cell[key] == value for key, value in each if value is not None) for each in excluded):
                continue
            job = self._job(entry, name, sources, cell, place)
            if job is not None:
                yield job

    def _axis(self, entry: Entry, key: str) -> Any:
        own = getattr(entry, key)
        return getattr(self.spec.defaults, key) if own is None else own

    def _job(
        self, entry: Entry, name: str, sources: tuple[SourceModel, ...], cell: Mapping[str, Any], place: Place
    ) -> Job | None:
        defaults, target = self.spec.defaults, cell["target"]
        said = [
            _given(section)
            for section in (
                defaults.options,
                defaults.target_options.get(target),
                entry.options,
                entry.target_options.get(target),
            )
        ]
        merged: dict[str, Any] = {key: value for each in said for key, value in each.items()}
        values = {key: str(value) for key, value in {**cell, "name": name}.items() if value is not None}
        tolerances = _merged_tolerances(defaults, entry)
        samples = entry.samples or defaults.samples
        if samples is not None:
            merged["samples"] = samples
        problems: list[Problem] = []
        try:
            used = {each for value in merged.values() for text in _texts(value) for each in variables(text)}
            if cell["batch"] is not None and "batch" not in used:
                raise UsageError.of(STAGE, "batches", "change nothing", 'write opt-shapes: "ids:{batch}x64", say')
            merged = {key: self._filled(key, value, values) for key, value in merged.items()}
            flags = CompileFlags(
                target=target,
                precision=cell["precision"],
                atol=tolerances.atol,
                rtol=tolerances.rtol,
                tolerance=None if cell["precision"] == DEFAULT_PRECISION else tolerances.share,  # of fewer bits
                **merged,
            )
            named = [ModelFile(source.name, Path(source.locations[0])) for source in sources]
            problems += call_problems(named, flags.options(), flags.compiler_timeout)
            problems += _missing_files(flags)
        except UsageError as error:
            problems += error.problems
        for problem in problems:
            where = self._said_at(problem.subject, target, place)
            self._wrong(where, f"{name}, {target}, {problem.subject}: {problem.message}", problem.hint)
        if problems:
            return None
        return Job(
            entry=name,
            target=target,
            precision=cell["precision"],
            batch=cell["batch"],
            sources=sources,
            flags=flags,
            labels=tuple(dict.fromkeys((*defaults.labels, *entry.labels))),
            limits=_merged_limits(defaults, entry),
            needs=_merged_needs(defaults, entry),
            place=self.file.subject(place),
        )

    def _said_at(self, subject: str, target: str, entry: Place) -> Place:
        """Where the file says what a problem is about: the option that its subject names, or else the entry."""
        key = subject.partition(" ")[0].removeprefix("--")
        for section in (entry, ("defaults",)):
            for options in (("target-options", target), ("options",), ()):
                if (*section, *options, key) in self.file.marks:
                    return (*section, *options, key)
        return entry

    def _filled(self, key: str, value: Any, values: Mapping[str, str]) -> Any:
        """An option's value with its variables, and of paths where they are."""
        if isinstance(value, list):
            return [self._filled(key, each, values) for each in value]
        if isinstance(value, Path):
            return self.folder / filled(str(value), values)
        if isinstance(value, str):
            text = filled(value, values)
            is_file = key == "custom_ops" and (self.folder / text).exists()  # else it is a module's name
            return str(self.folder / text) if is_file else text
        return value


def _local(text: str) -> Path:
    """A path of this machine as the file has it."""
    return Path(unquote(urlsplit(text).path)) if text.startswith("file://") else Path(text).expanduser()


def _given(section: Any) -> dict[str, Any]:
    """What a section of options says."""
    return {} if section is None else {key: getattr(section, key) for key in section.model_fields_set}


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, list | tuple):
        for each in value:
            yield from _texts(each)
    elif isinstance(value, str | Path):
        yield str(value)


def _missing_files(flags: CompileFlags) -> list[Problem]:
    """A problem for each file or folder that a flag names and that is not there."""
    named = [(field.name, getattr(flags, field.name)) for field in fields(flags)]
    return [
        Problem(STAGE, name.replace("_", "-"), f"{value} is not there", "paths are relative to the zoo's file")
        for name, value in named
        if isinstance(value, Path) and not value.exists()
    ]


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def _merged_tolerances(defaults: Choices, entry: Entry) -> Tolerances:
    own, other = entry.tolerances, defaults.tolerances
    return Tolerances(
        atol=_first(own.atol, other.atol), rtol=_first(own.rtol, other.rtol), share=_first(own.share, other.share)
    )


def _merged_limits(defaults: Choices, entry: Entry) -> JobLimits:
    own, other, plain = entry.limits, defaults.limits, JobLimits()
    return JobLimits(
        memory=_first(own.memory, other.memory),
        seconds=_first(own.time, other.time, plain.seconds),
        retries=_first(own.retries, other.retries, plain.retries),
    )


def _merged_needs(defaults: Choices, entry: Entry) -> Needs:
    own, other = entry.resources, defaults.resources
    custom = {**other.custom, **own.custom}
    cores = _first(own.neuron_cores, other.neuron_cores)
    if cores:
        custom["neuron_cores"] = cores
    return Needs(
        cpus=_first(own.cpus, other.cpus, 1.0),
        gpus=_first(own.gpus, other.gpus, 0.0),
        custom=tuple(sorted(custom.items())),
    )


def _stem(location: str) -> str | None:
    """The name that a location gives: its file's without the ending, or the folder's of a `model.onnx`."""
    import re

    path = Path(urlsplit(location).path if is_url(location) else location)
    is_folder = path.name == WHOLE_MODEL or path.suffix != ".onnx"
    stem = (path.parent if path.name == WHOLE_MODEL else path).name if is_folder else path.stem
    return re.sub(r"[^A-Za-z0-9_.+-]", "_", stem).lstrip(".+-") or None
