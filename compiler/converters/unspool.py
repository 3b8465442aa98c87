"""Unspool's own importer, with the operators that the user adds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from artifacts.errors import Problem
from artifacts.samples import Arrays
from compiler.targets.target import Translations
from passes.onnx_to_torch.custom_code import CustomOps

if TYPE_CHECKING:
    from passes.onnx_to_torch.convert import Converted
    from passes.onnx_to_torch.registry import Key, Registry
    from passes.onnx_to_torch.source import Source


CUSTOM_OPS = "custom-ops "
"""What comes before the name of the user's code among the tools of a manifest."""


@dataclass(frozen=True)
class UnspoolConverter:
    """The importer of passes/onnx_to_torch. The user's code is run when something is to be converted, not before."""

    runs_bodies: ClassVar[bool] = True

    custom_ops: tuple[CustomOps, ...] = ()

    def operators(self) -> tuple[Key, ...]:
        """Unspool's own and the user's."""
        return tuple(self._registry)

    def tools(self) -> Mapping[str, str]:
        """The digests of the user's code; Unspool's own source is in every key."""
        return {f"{CUSTOM_OPS}{code.name}": f"sha256:{code.digest}" for code in self.custom_ops}

    def gaps(self, source: Source) -> tuple[Problem, ...]:
        """Every gap there is."""
        from passes.onnx_to_torch.gaps import find_gaps

        return find_gaps(source.model, self._registry)

    def convert(self, source: Source, name: str, inputs: Arrays) -> Converted:
        """Import the graph while torch.export records."""
        from passes.onnx_to_torch.convert import convert

        return convert(source, name, inputs, self._registry)

    def translations(self) -> Translations:
        """Those that the user's code registers."""
        return self._registry.translations

    @cached_property
    def _registry(self) -> Registry:
        from passes.onnx_to_torch.custom_ops import load_custom_ops

        return load_custom_ops(self.custom_ops)
