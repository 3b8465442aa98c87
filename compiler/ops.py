"""Which operators convert: what a converter has beside ONNX's own list of schemas."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import onnx.defs

from passes.onnx_to_torch.function_bodies import has_function
from passes.onnx_to_torch.registry import Key, builtin

DOMAINS = ("", "ai.onnx.ml")
"""The domains whose operators are listed as missing; ONNX's training domain is not for inference."""


def converted_operators(keys: Iterable[Key] | None = None) -> dict[str, list[int]]:
    """Since-versions among the keys, by operator; operators of other domains are written DOMAIN.NAME.

    The keys are those of Unspool's own converters unless others are given.
    """
    found: dict[str, list[int]] = defaultdict(list)
    for domain, name, since in sorted(builtin() if keys is None else keys):
        found[_full_name(domain, name)].append(since)
    return dict(sorted(found.items()))


def missing_operators(keys: Iterable[Key] | None = None, *, bodies: bool = True) -> dict[str, list[int]]:
    """Since-versions that ONNX defines and that are not among the keys.

    With `bodies`, those that ONNX's own function bodies serve are not missing.
    """
    have = set(builtin() if keys is None else keys)
    found: dict[str, list[int]] = defaultdict(list)
    for schema in onnx.defs.get_all_schemas_with_history():
        key = (schema.domain, schema.name, schema.since_version)
        # Constant is read by the importer itself; a function body stands in for a converter.
        served = bodies and (schema.name == "Constant" or has_function(schema))
        if schema.domain in DOMAINS and key not in have and not served and not schema.deprecated:
            found[_full_name(schema.domain, schema.name)].append(schema.since_version)
    return {name: sorted(versions) for name, versions in sorted(found.items())}


def _full_name(domain: str, name: str) -> str:
    return f"{domain}.{name}" if domain else name
