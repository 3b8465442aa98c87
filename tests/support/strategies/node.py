"""A node that is being drawn: element types, attributes and inputs as the schema of its operator has them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx.defs
import onnx.helper
from hypothesis import strategies as st

from tests.support.onnx_ops import Array, node_model, reference
from tests.support.strategies.elements import elements

BIT = st.integers(0, 1)
OUT_OF_USE = frozenset({"consumed_inputs"})
"""Attributes that tell a runtime of 2017 which buffers it may overwrite."""

Judge = Callable[[onnx.ModelProto, Sequence[Array]], Sequence[Any]]
_TYPES = onnx.defs.OpSchema.FormalParameterOption


@dataclass(eq=False)
class Node:
    """One node of an operator in one since-version, and what it has to give.

    A strategy draws element types, shapes and attributes through it. What is right is `expected` where that is set,
    else what `judge` says: ONNX's reference evaluator unless there is a reason not to ask it. An operator that no
    node alone shows (one on sequences, say) leaves a `whole` model behind.
    """

    draw: st.DrawFn
    op: str
    domain: str
    since: int
    schema: onnx.defs.OpSchema | None
    attributes: dict[str, Any] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)
    types: dict[str, np.dtype[Any]] = field(default_factory=dict)
    inputs: list[Array | None] = field(default_factory=list)
    outputs: int = 1
    constants: Collection[int] = ()
    expected: Sequence[Any] | None = None
    judge: Judge = reference
    tolerance: float | None = None
    whole: onnx.ModelProto | None = None

    def __repr__(self) -> str:
        return f"{self.op}-{self.since}({self.inputs}, {self.attributes}, constants={sorted(self.constants)})"

    def _repr_pretty_(self, printer: Any, _: bool) -> None:
        """What hypothesis shows of a node that fails: no schema."""
        printer.text(repr(self))

    def attribute(self, name: str, values: st.SearchStrategy[Any], absent: Any = None) -> Any:
        """Draw an attribute, or leave it out if it may be; gives the value in force.

        `absent` stands for an attribute that this version has not, or that is left out and has no default.
        """
        declared = self.schema.attributes.get(name) if self.schema else None
        if self.schema is not None and declared is None:
            return absent
        self.asked.add(name)
        required = declared is not None and declared.required
        value = self.draw(values if required else st.none() | values)
        if value is not None:
            self.attributes[name] = value
        elif declared is None or not declared.default_value.name:
            return absent
        else:
            value = onnx.helper.get_attribute_value(declared.default_value)
        if isinstance(value, float):
            return float(np.float32(value))  # as files have it
        return value.decode() if isinstance(value, bytes) else value

    def has(self, name: str) -> bool:
        """True if this version has an attribute of that name."""
        return self.schema is None or name in self.schema.attributes

    def set(self, name: str, value: Any) -> None:
        """Give an attribute a value that follows from others, if this version has it."""
        if self.has(name):
            self.asked.add(name)
            self.attributes[name] = value

    @property
    def arity(self) -> int:
        """How many formal inputs this version has."""
        assert self.schema is not None
        return len(self.schema.inputs)

    def dtype(self, position: int, kinds: str = "biufcV", without: Collection[str] = ()) -> np.dtype[Any]:
        """The element type of an input; inputs of one type variable have one type.

        `kinds` are numpy's letters for the types that are wanted, V those of ml_dtypes; `without` names single ones.
        """
        assert self.schema is not None
        formal = self.schema.inputs[min(position, len(self.schema.inputs) - 1)]
        if formal.type_str not in self.types:
            allowed = [numpy_type(name) for name in sorted(formal.types)]
            found = [t for t in allowed if t is not None and t.kind in kinds and t.name not in without]
            self.types[formal.type_str] = self.draw(st.sampled_from(found))
        return self.types[formal.type_str]

    def tensor(
        self, position: int, shape: Sequence[int], low: float = -4, high: float = 4, edges: bool = False
    ) -> Array:
        """An input of that shape, uniform in low..high as far as its type goes, see `elements`."""
        return self.array(shape, self.dtype(position), low, high, edges)

    def array(
        self, shape: Sequence[int], dtype: npt.DTypeLike, low: float = -4, high: float = 4, edges: bool = False
    ) -> Array:
        """Any array; `edges` strews zeros, infinities, NaN and the greatest numbers among its elements."""
        seed = self.draw(st.integers(0, 2**16))
        return elements(shape, np.dtype(dtype), seed, low, high, edges and self.draw(st.booleans()))

    def shape(self, least: int = 0, most: int = 3, side: int = 4, smallest: int = 1) -> tuple[int, ...]:
        """A shape of least..most axes of sizes smallest..side."""
        return tuple(self.draw(st.lists(st.integers(smallest, side), min_size=least, max_size=most)))

    def size(self, least: int = 1, most: int = 4) -> int:
        return self.draw(st.integers(least, most))

    def bit(self) -> bool:
        return self.draw(st.booleans())

    def choice(self, *options: Any) -> Any:
        return self.draw(st.sampled_from(options))

    def axis(self, rank: int, negative: bool = True) -> int:
        """An axis of a tensor of that rank, counted from either end if this version may."""
        return self.draw(st.integers(-rank if negative else 0, rank - 1))

    def ints(self, *values: int) -> Array:
        return np.array(values, np.int64)

    def ask(
        self,
        inputs: Sequence[Array | None],
        opset: int,
        attributes: Mapping[str, Any] | None = None,
        op: str | None = None,
    ) -> None:
        """Let the judge say what a node of a later version means that is written differently and means the same."""
        model = node_model(op or self.op, inputs, opset, attributes, self.outputs, (), self.domain)
        with np.errstate(all="ignore"):
            self.expected = self.judge(model, [array for array in inputs if array is not None])

    def ask_wide(
        self, inputs: Sequence[Array | None], attributes: Mapping[str, Any] | None = None, op: str | None = None
    ) -> None:
        """The same in the newest version and in float32 for what is half as wide, with one rounding at the end.

        For operators that the evaluator computes in half precision step by step, or not at all.
        """
        first = next(array.dtype for array in inputs if array is not None)
        wide = [a if a is None or not is_half(a.dtype) else a.astype(np.float32) for a in inputs]
        newest = onnx.defs.get_schema(op or self.op, self.domain).since_version
        self.ask(wide, newest, self.attributes if attributes is None else attributes, op)
        assert self.expected is not None
        if is_half(first):
            self.expected = [a.astype(first) if a.dtype == np.float32 else a for a in self.expected]


def numpy_type(name: str) -> np.dtype[Any] | None:
    """The element type of `tensor(float)` and its like; None for strings, float6 and what is no tensor."""
    kind, _, inner = name.rstrip(")").partition("(")
    if kind != "tensor" or inner == "string" or inner.startswith("float6"):
        return None
    return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(onnx.TensorProto.DataType.Value(inner.upper())))


def onnx_type(dtype: npt.DTypeLike) -> int:
    """The number by which attributes name an element type."""
    return int(onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


def is_half(dtype: np.dtype[Any]) -> bool:
    """True for the floating-point types of 16 bits."""
    return dtype.name in ("float16", "bfloat16")
