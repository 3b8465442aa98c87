"""Who turns a source model into a Function: Unspool's own importer, or another converter as a second opinion."""

from __future__ import annotations

from collections.abc import Mapping

from artifacts.errors import UsageError
from compiler.converters.converter import ModelConverter
from compiler.converters.onnx2torch import PACKAGE, Onnx2TorchConverter
from compiler.converters.unspool import CUSTOM_OPS, UnspoolConverter
from compiler.options import CompileOptions, ConverterName
from passes.onnx_to_torch.custom_code import find_custom_ops

__all__ = ["ModelConverter", "find_converter", "made_by_own_converters"]


def find_converter(options: CompileOptions) -> ModelConverter:
    """The converter that the options ask for, with the custom operators that they name.

    Raises UsageError for what does not go together or cannot be found, MissingToolError for what is not installed.
    """
    if options.converter == ConverterName.UNSPOOL:
        return UnspoolConverter(find_custom_ops(options.custom_ops))
    if options.custom_ops:
        hint = "custom operators register in Unspool's own converter: leave --converter out"
        raise UsageError.of("options", "--custom-ops", f"does not go with --converter {options.converter}", hint)
    return Onnx2TorchConverter.installed()


def made_by_own_converters(tools: Mapping[str, str]) -> bool:
    """Whether the tools of a manifest say that Unspool's converters alone were at work."""
    return PACKAGE not in tools and not any(name.startswith(CUSTOM_OPS) for name in tools)
