"""A model of more than 2 GiB: rows of a table through two layers, its weights in two files with holes in them.

A hole takes no room on disk and reads as zeros. So what is not zero is laid out thinly, and both sides of the byte
2^31, where a signed 32-bit offset ends, have some of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper

from tests.support.models import Array, floats, graph_model, ints, saved


@dataclass(frozen=True)
class Weight:
    """A float32 weight in a file beside the model: `shape` from byte `offset` on, every `step`-th row not zero."""

    name: str
    file: str
    offset: int
    shape: tuple[int, int]
    step: int

    @property
    def nbytes(self) -> int:
        """Bytes of its elements."""
        return math.prod(self.shape) * 4

    def mapped(self, folder: Path) -> Array:
        """Its elements, float32, as they lie in the file."""
        return np.memmap(folder / self.file, np.float32, "r+", self.offset, self.shape)

    def tensor(self) -> TensorProto:
        """The initializer that refers to it."""
        tensor = TensorProto(name=self.name, data_type=TensorProto.FLOAT, dims=self.shape)
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", self.file), ("offset", self.offset), ("length", self.nbytes)):
            tensor.external_data.add(key=key, value=str(value))
        return tensor


_WIDTH, _INNER, _ROWS = 1024, 32768, 540_000

TABLE = Weight("table", "table.bin", 0, (_ROWS, _WIDTH), 1000)
UP = Weight("up", "layers.bin", 0, (_WIDTH, _INNER), 64)
DOWN = Weight("down", "layers.bin", UP.nbytes, (_INNER, _WIDTH), 64)
WEIGHTS = (TABLE, UP, DOWN)

NBYTES = sum(weight.nbytes for weight in WEIGHTS)
"""Bytes of all weights: 2.48e9, of which the table alone has 2.21e9."""


def large_model(folder: Path) -> Path:
    """The model's file in a folder: ids int64 [batch, t] -> relu(table[ids] @ up) @ down, float32 [batch, t, 1024]."""
    folder.mkdir(parents=True)
    for weight in WEIGHTS:
        _make_room(folder / weight.file, weight.offset + weight.nbytes)
        filled = weight.mapped(folder)[:: weight.step]
        filled[:] = np.random.default_rng(weight.step).standard_normal(filled.shape) / math.sqrt(len(filled))
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["rows"]),
        helper.make_node("MatMul", ["rows", "up"], ["raised"]),
        helper.make_node("Relu", ["raised"], ["inner"]),
        helper.make_node("MatMul", ["inner", "down"], ["y"]),
    ]
    model = graph_model(nodes, [ints("ids", "batch", "t")], [floats("y", "batch", "t", _WIDTH)])
    model.graph.initializer.extend(weight.tensor() for weight in WEIGHTS)
    return saved(model, folder / "model.onnx")


def expected(folder: Path, ids: Array) -> Array:
    """What the model answers, in numpy from the files: ids int64 [batch, t] -> float32 [batch, t, 1024]."""
    table, up, down = (weight.mapped(folder) for weight in WEIGHTS)
    return np.asarray(np.maximum(table[ids] @ up, 0) @ down)


def filled_rows(count: int) -> Array:
    """Rows of the table that are not zero, from its first to its last, int64 [count]."""
    last = (_ROWS - 1) // TABLE.step
    return np.linspace(0, last, count).round().astype(np.int64) * TABLE.step


def _make_room(path: Path, size: int) -> None:
    path.touch()
    if path.stat().st_size < size:
        with path.open("r+b") as file:
            file.truncate(size)
