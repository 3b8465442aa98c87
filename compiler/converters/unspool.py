"""Unspool's own importer, with the operators that the user adds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from artifacts.errors import Problem
from artifacts.samples import Arrays
from compiler.targets.target import Translations
from passes.onnx_to_torch.custom_ops import CustomOps, load_custom_ops
from passes.onnx_to_torch.registry import Registry

if TYPE_CHECKING:
    from passes.onnx_to_torch.convert import Converted
    from passes.onnx_to_torch.source import Source


@dataclass(frozen=True)
class UnspoolConverter:
    """The importer of passes/onnx_to_torch. The user's code is run when something is to be converted, not before."""

    custom_ops: tuple[CustomOps, ...] = ()

    def tools(self) -> Mapping[str, str]:
        """The digests of the user's code; Unspool's own source is in every key."""
        return {f"custom-ops {code.name}": f"sha256:{code.digest}" for code in self.custom_ops}

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
        return load_custom_ops(self.custom_ops)
