"""How far the engines of a bundle got, as commands tell it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from artifacts.manifest import Manifest


def engines_document(manifest: Manifest) -> dict[str, Any]:
    """For JSON: by engine its status, and what it needs for more."""
    return {
        name: {"status": engine.status, "needs": [need.model_dump() for need in engine.needs]}
        for name, engine in manifest.engines.items()
    }


def print_engines(manifest: Manifest) -> None:
    """For people: the same, in lines."""
    for name, engine in manifest.engines.items():
        print(f"engine {name}: {engine.status}")
        for need in engine.needs:
            print(f"  for more it needs {need.what}: {need.command}")
