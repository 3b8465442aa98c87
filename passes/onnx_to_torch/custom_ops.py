"""Operators of the user's own: converters from code that the user names, and from nowhere else.

The code is a module or a file with a constant `OPERATORS`, a `Registry`. What it registers is a value that one
compilation takes beside Unspool's own converters; nothing stays behind for the next one.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from types import ModuleType

from artifacts.errors import Problem, UsageError
from passes.onnx_to_torch.custom_code import STAGE, CustomOps, guarded
from passes.onnx_to_torch.registry import Registry, builtin, full_name

CONSTANT = "OPERATORS"

_HOW = f"see docs/operators.md: it wants a constant {CONSTANT} = Registry()"


def load_custom_ops(found: Sequence[CustomOps]) -> Registry:
    """Run the code, and give Unspool's converters with what it registers beside them.

    Raises UsageError for code that fails or registers nothing, and with every operator that has a converter already.
    """
    own = builtin()  # before any other code runs, so that families register as what they are
    registries = {code.name: _registry(code) for code in found}
    UsageError.raise_if(_overrides(own, registries))
    whole = Registry(dict(own.converters), dict(own.known_converters))
    for registry in registries.values():
        whole.converters.update(registry.converters)
        whole.known_converters.update(registry.known_converters)
        whole.translations.update(registry.translations)
    return whole


def _registry(code: CustomOps) -> Registry:
    module = guarded(code.name, code.files, lambda: _imported(code))
    registry = getattr(module, CONSTANT, None)
    if not isinstance(registry, Registry):
        raise UsageError.of(STAGE, code.name, f"has no {CONSTANT} that is a Registry", _HOW)
    if not registry.converters:
        raise UsageError.of(STAGE, code.name, f"registers nothing in {CONSTANT}", _HOW)
    return registry


def _imported(code: CustomOps) -> ModuleType:
    """The module, which Python keeps for the life of the process."""
    module = sys.modules.get(code.module)
    if module is None:
        module = importlib.import_module(code.module) if code.name == code.module else _run_file(code)
    if vars(module).setdefault(_DIGEST, code.digest) != code.digest:
        raise UsageError.of(STAGE, code.name, "changed after it was loaded", "compile in a new process")
    return module


_DIGEST = "__unspool_digest__"


def _run_file(code: CustomOps) -> ModuleType:
    spec = importlib.util.spec_from_file_location(code.module, code.files[0])
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[code.module] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[code.module]
        raise
    return module


def _overrides(own: Registry, registries: dict[str, Registry]) -> Iterator[Problem]:
    """Everything that is registered where a converter is already; ONNX's operators without one are free."""
    hint = "converters are added and never replaced: register a domain of your own"
    holders: dict[object, str] = dict.fromkeys((*own.converters, *own.known_converters), "Unspool")
    translated: dict[object, str] = {}
    for name, registry in registries.items():
        keys = dict.fromkeys((*registry.converters, *registry.known_converters))
        for key in keys:
            if (holder := holders.setdefault(key, name)) != name:
                yield Problem(STAGE, f"{name}: {full_name(key)}", f"is converted by {holder} already", hint)
        for overload in registry.translations:
            if (holder := translated.setdefault(overload, name)) != name:
                yield Problem(STAGE, f"{name}: {overload}", f"is translated by {holder} already", hint)
