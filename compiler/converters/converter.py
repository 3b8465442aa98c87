"""What a converter of models is. Nothing here imports torch: an up-to-date compilation asks for `tools` only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    from artifacts.errors import Problem
    from artifacts.samples import Arrays
    from compiler.targets.target import Translations
    from passes.onnx_to_torch.convert import Converted
    from passes.onnx_to_torch.registry import Key
    from passes.onnx_to_torch.source import Source


class ModelConverter(Protocol):
    """Turns a source model into a Function. Whatever it gives is held to the source's answers.

    `runs_bodies` is true if it runs the function body that ONNX gives for an operator that it has no converter for.
    """

    runs_bodies: ClassVar[bool]

    def operators(self) -> tuple[Key, ...]:
        """Every operator and since-version that it has a converter for, sorted."""
        ...

    def tools(self) -> Mapping[str, str]:
        """What decides its results beside Unspool's own source, for the key and the manifest: name to version."""
        ...

    def gaps(self, source: Source) -> tuple[Problem, ...]:
        """What it cannot convert, as far as that is known before the source is run."""
        ...

    def convert(self, source: Source, name: str, inputs: Arrays) -> Converted:
        """The model as a Function called `name`, recorded on these inputs. Raises SourceError with every gap."""
        ...

    def translations(self) -> Translations:
        """What its functions may hold that targets of the ONNX kind do not know of themselves."""
        ...
