"""What a converter is told about the node that it converts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn, TypeAlias

import numpy as np
import numpy.typing as npt
import onnx.defs
import onnx.helper
import onnx_ir as ir
import torch

from artifacts.errors import UnsupportedError
from passes.onnx_to_torch.branches import Choices
from passes.onnx_to_torch.loops import Times
from passes.onnx_to_torch.values import Known, Value

RunGraph: TypeAlias = Callable[[ir.Graph, Sequence[Value]], list[Value]]
RunEither: TypeAlias = "Callable[[torch.Tensor | torch.SymBool, tuple[ir.Graph, ir.Graph]], list[Value]]"
Iterate: TypeAlias = "Callable[[RunGraph, Known, Sequence[Value], Sequence[Value]], Sequence[Value]]"
"""One iteration: how to run its graph, its number, what is carried, and what it shares with all others; gives whether
to go on, what is carried on, and the rows."""
RunLoop: TypeAlias = "Callable[[ir.Graph, Times, Sequence[Value], Sequence[Value], Iterate], list[Value]]"
"""A loop's graph, how often it runs, what is carried, what is shared, and what an iteration is."""


@dataclass(frozen=True, eq=False)
class Call:
    """One node about to be converted.

    `attributes` are the node's own, with references to a function's attributes already resolved; defaults come
    from the schema. `statics` holds, per input, the array of a constant input (an initializer or a Constant
    node), for operators whose constant operands select what they do (Resize's scales, Clip's bounds). `run_graph`
    runs a subgraph, `run_either` both branches of an If, `run_loop` a body as often as the data tells; `choices` says
    which branch if it can be only one.
    """

    node: ir.Node
    label: str
    since: int
    schema: onnx.defs.OpSchema | None
    attributes: Mapping[str, ir.Attr]
    statics: Callable[[int], npt.NDArray[np.generic] | None]
    run_graph: RunGraph
    run_either: RunEither
    run_loop: RunLoop
    choices: Choices

    @property
    def op(self) -> str:
        return self.node.op_type

    @property
    def output_count(self) -> int:
        """Number of outputs the node declares, absent ones at the end not counted."""
        names = [output.name for output in self.node.outputs]
        while names and not names[-1]:
            names.pop()
        return len(names)

    def has(self, name: str) -> bool:
        """True if the node itself sets the attribute."""
        return name in self.attributes

    def static(self, position: int) -> npt.NDArray[np.generic] | None:
        """The constant behind an input, or None if it is absent or computed."""
        return self.statics(position)

    def attr_int(self, name: str, default: int | None = None) -> int:
        """An INT attribute, the given default, or the schema's. Raises UnsupportedError if there is none."""
        found = self._value(name, default)
        return int(found)  # type: ignore[call-overload,no-any-return]

    def attr_float(self, name: str, default: float | None = None) -> float:
        """A FLOAT attribute, the given default, or the schema's."""
        return float(self._value(name, default))  # type: ignore[arg-type]

    def attr_text(self, name: str, default: str | None = None) -> str:
        """A STRING attribute, the given default, or the schema's."""
        found = self._value(name, default)
        return found.decode() if isinstance(found, bytes) else str(found)

    def attr_ints(self, name: str, default: Sequence[int] | None = None) -> list[int]:
        """An INTS attribute, the given default, or the schema's."""
        return [int(item) for item in self._value(name, default)]  # type: ignore[attr-defined]

    def attr_floats(self, name: str, default: Sequence[float] | None = None) -> list[float]:
        """A FLOATS attribute, the given default, or the schema's."""
        return [float(item) for item in self._value(name, default)]  # type: ignore[attr-defined]

    def attr_texts(self, name: str, default: Sequence[str] | None = None) -> list[str]:
        """A STRINGS attribute, the given default, or the schema's."""
        items: Sequence[bytes | str] = self._value(name, default)  # type: ignore[assignment]
        return [item.decode() if isinstance(item, bytes) else str(item) for item in items]

    def attr_array(self, name: str) -> npt.NDArray[np.generic]:
        """A TENSOR attribute as an array."""
        return self.attributes[name].as_tensor().numpy()

    def attr_graph(self, name: str) -> ir.Graph:
        """A GRAPH attribute."""
        return self.attributes[name].as_graph()

    def unsupported(self, what: str, hint: str = "") -> NoReturn:
        """Give up on this node with a reason that a user can act on."""
        raise UnsupportedError.of("convert", self.label, f"{self.op}-{self.since}: {what}", hint)

    def _value(self, name: str, default: object) -> object:
        if name in self.attributes:
            return self.attributes[name].value
        if default is not None:
            return default
        declared = self.schema.attributes.get(name) if self.schema else None
        if declared is None or not declared.default_value.name:
            self.unsupported(f"attribute {name!r} is missing and has no default")
        return onnx.helper.get_attribute_value(declared.default_value)
