"""Devices that engines load on, and whether a bundle's engines would: told from files alone, on any machine.

A device is written as in an engine's `runs_on`: `cpu`, or `nvidia:sm89` for an NVIDIA GPU of compute capability 8.9.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from artifacts.bundle import Bundle
from artifacts.errors import BundleError, Problem, UsageError
from artifacts.manifest import EngineEntry
from artifacts.plan_build import PlanBuild
from artifacts.tensorrt_plan import CAPABILITY_BITS, KIND, PlanHeader, number_of, read_plan

CPU = "cpu"
_NVIDIA = "nvidia:"
_DEVICE = re.compile(r"cpu|nvidia:sm[1-9][0-9]{1,2}")
_STAGE = "check"


@dataclass(frozen=True)
class Loading:
    """Whether an engine can load, device by device; `problem` is what stands in the way, None if nothing does."""

    engine: str
    kind: str
    loads: tuple[bool, ...]
    problem: Problem | None


def parse_devices(words: Iterable[str]) -> tuple[str, ...]:
    """The devices that are named, each word one or several with commas between them; each once, in their order.

    Raises UsageError about all that are none.
    """
    devices = tuple(dict.fromkeys(device.strip() for word in words for device in word.split(",")))
    hint = "write cpu, or nvidia:sm89 for an NVIDIA GPU of compute capability 8.9; several with commas between them"
    UsageError.raise_if(
        Problem("options", "--on", f"{device!r} is not a device", hint)
        for device in devices
        if not _DEVICE.fullmatch(device)
    )
    return devices


def plan_header(bundle: Bundle, engine: EngineEntry) -> PlanHeader | None:
    """What the plan of an engine says of itself; None without a plan of TensorRT-RTX. Raises BundleError."""
    if engine.kind != KIND or engine.plan is None:
        return None
    return read_plan(bundle.path_of(engine.plan), engine.plan)


def check_loading(bundle: Bundle, devices: Sequence[str]) -> tuple[Loading, ...]:
    """Whether each engine of a bundle can load on each of the devices. Nothing is run, and no GPU is needed.

    The manifest says where, and so does a plan's own header: where they differ an engine loads nowhere.
    """
    return tuple(_loading(bundle, name, engine, devices) for name, engine in bundle.manifest.engines.items())


def _loading(bundle: Bundle, name: str, engine: EngineEntry, devices: Sequence[str]) -> Loading:
    nowhere = (False,) * len(devices)
    try:
        header = plan_header(bundle, engine)
    except BundleError as error:
        return Loading(name, engine.kind, nowhere, error.problems[0])
    if engine.build is not None and engine.plan is None:
        message = f"has no plan that could be loaded: its status is {engine.status}"
        hint = "; ".join(need.command for need in engine.needs) or "compile it where its target is installed"
        return Loading(name, engine.kind, nowhere, Problem(_STAGE, f"engine {name!r}", message, hint))
    if header is not None:
        built_for = {_NVIDIA + capability for capability in header.capabilities}
        if built_for != set(engine.runs_on):
            message = f"the plan {engine.plan} is for {_listed(sorted(built_for))}"
            message += f", the manifest says {_listed(engine.runs_on)}"
            hint = "do not deploy it: compile it again, or copy it again from where it is whole"
            return Loading(name, engine.kind, nowhere, Problem(_STAGE, f"engine {name!r}", message, hint))
    loads = tuple(device in engine.runs_on for device in devices)
    missing = [device for device, found in zip(devices, loads, strict=True) if not found]
    if not missing:
        return Loading(name, engine.kind, loads, None)
    message = f"cannot load on {_listed(missing)}; it is for {_listed(engine.runs_on)}"
    hint = "; ".join(_remedies(engine, missing, devices))
    return Loading(name, engine.kind, loads, Problem(_STAGE, f"engine {name!r}", message, hint))


def _remedies(engine: EngineEntry, missing: Sequence[str], devices: Sequence[str]) -> Iterator[str]:
    """How to get an engine for what is missing that still loads on the other devices asked for."""
    if CPU in missing:
        yield "for a CPU compile with `--target onnxruntime`"
    capabilities = [device.removeprefix(_NVIDIA) for device in devices if device != CPU]
    if isinstance(engine.build, PlanBuild) and engine.kind != KIND:
        yield "build it on such a GPU: " + f"unspool emit --from BUNDLE --target {engine.target} -o BUNDLE2"
        return
    absent = [name for name in capabilities if name not in CAPABILITY_BITS]
    if any(_NVIDIA + name in missing for name in capabilities if name not in absent):
        flag = ",".join(number_of(name) for name in capabilities if name in CAPABILITY_BITS)
        target = "" if engine.kind == KIND else f"--target {KIND} "
        yield f"compile with `{target}--compute-capabilities {flag}`"
    if absent:
        known = ", ".join(map(number_of, CAPABILITY_BITS))
        yield f"TensorRT-RTX has no engines for {', '.join(map(number_of, absent))}, only for {known}"


def _listed(devices: Iterable[str]) -> str:
    return ", ".join(devices) or "no device"
