"""Damage to tensors and types: shapes, element types, bytes, and where the bytes are said to lie."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import numpy as np
from onnx import ModelProto, SparseTensorProto, TensorProto, numpy_helper

from tests.fuzz.graph_mutations import ModelMutation, every_node, value_infos
from tests.support.mutations import ODD_NAMES, ODD_SIZES, pick

LOCATIONS = (
    "",
    ".",
    "..",
    "../outside.bin",
    "./weights.bin",
    "sub/../weights.bin",
    "/dev/zero",
    "/etc/passwd",
    "/proc/self/mem",
    "model.onnx",
    "link",
    "missing.bin",
    "C:\\weights.bin",
    "file:///etc/passwd",
    "*/_ORT_MEM_ADDR_/*",
    "weights.bin\0.txt",
    "a" * 300,
)
"""Places for external data; `link` is a link that leads out of the model's folder."""


def tensors(model: ModelProto) -> list[TensorProto]:
    held = [a.t for node in every_node(model) for a in node.attribute if a.HasField("t")]
    return [*model.graph.initializer, *held]


def set_dims(random: Random, model: ModelProto) -> None:
    tensor = pick(random, tensors(model))
    if tensor is not None:
        how = random.choice(("one", "more", "fewer", "zero-and-huge"))
        if how == "one" and tensor.dims:
            tensor.dims[random.randrange(len(tensor.dims))] = random.choice(ODD_SIZES)
        elif how == "more":
            tensor.dims.extend(random.choice(([1], [1] * 70, [2], [1 << 62, 1 << 62])))
        elif how == "zero-and-huge":
            tensor.dims[:] = random.choice(([0, 1 << 62, 1 << 62], [1 << 62, 0], [0], [0, -1]))
            if random.random() < 0.7:
                tensor.raw_data = b""
        elif tensor.dims:
            tensor.dims.pop()


def set_element_type(random: Random, model: ModelProto) -> None:
    tensor = pick(random, tensors(model))
    if tensor is not None:
        tensor.data_type = random.choice((*range(27), -1, 100, 1 << 30))


def set_raw_data(random: Random, model: ModelProto) -> None:
    tensor = pick(random, tensors(model))
    if tensor is not None:
        tensor.raw_data = random.choice(
            (b"", tensor.raw_data[:-1], tensor.raw_data * 2, random.randbytes(len(tensor.raw_data)))
        )


def move_to_field(random: Random, model: ModelProto) -> None:
    """Values in a typed field, in the wrong one, or both there and raw."""
    tensor = pick(random, tensors(model))
    if tensor is None:
        return
    count = min(int(np.prod([max(dim, 0) for dim in tensor.dims])), 1000)
    fields: tuple[Any, ...] = (tensor.float_data, tensor.int32_data, tensor.int64_data, tensor.double_data)
    random.choice(fields).extend([random.choice((0, 1, 300))] * count)
    if random.random() < 0.7:
        tensor.ClearField("raw_data")


def make_strings(random: Random, model: ModelProto) -> None:
    tensor = pick(random, tensors(model))
    if tensor is not None:
        tensor.data_type = TensorProto.STRING
        tensor.ClearField("raw_data")
        tensor.string_data.extend([b"\xff\xfe\0"] * min(int(np.prod(tensor.dims)), 1000))


def set_values(random: Random, model: ModelProto) -> None:
    """Other numbers: sizes that cannot be, NaN, infinities."""
    tensor = pick(random, [tensor for tensor in tensors(model) if tensor.raw_data])
    if tensor is None:
        return
    array = numpy_helper.to_array(tensor).copy()
    if array.size:
        at = random.randrange(array.size)
        if array.dtype.kind == "f":
            array.flat[at] = random.choice((np.nan, np.inf, -np.inf, 0, 1e38, -1e-45))
        elif array.dtype.kind in "iu":
            limits = np.iinfo(array.dtype)
            array.flat[at] = min(max(random.choice(ODD_SIZES), limits.min), limits.max)
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def make_external(random: Random, model: ModelProto) -> None:
    tensor = pick(random, model.graph.initializer)
    if tensor is None:
        return
    tensor.data_location = TensorProto.EXTERNAL
    if random.random() < 0.5:
        tensor.ClearField("raw_data")
    if random.random() < 0.3:
        del tensor.external_data[:]
    entries = {entry.key: entry for entry in tensor.external_data}
    for key, values in (("location", LOCATIONS), ("offset", ODD_SIZES), ("length", ODD_SIZES), ("checksum", ("0",))):
        if random.random() < 0.5:
            entry = entries[key] if key in entries and random.random() < 0.8 else tensor.external_data.add(key=key)
            entry.value = str(random.choice((*values, *values, "1e3", "0x10", "\u0663", " 7 ", "1" * 5000, "1_0")))


def make_sparse(random: Random, model: ModelProto) -> None:
    tensor = pick(random, model.graph.initializer)
    if tensor is not None:
        indices = numpy_helper.from_array(np.array([random.choice(ODD_SIZES)], np.int64))
        model.graph.sparse_initializer.append(SparseTensorProto(values=tensor, indices=indices, dims=tensor.dims))
        if random.random() < 0.5:
            model.graph.initializer.remove(tensor)


def set_declared_type(random: Random, model: ModelProto) -> None:
    """What inputs and outputs are declared to be."""
    value = pick(random, value_infos(model))
    if value is None:
        return
    how = random.choice(
        ("element", "dim", "symbol", "rank", "no-shape", "none", "sequence", "optional", "map", "sparse")
    )
    shape = value.type.tensor_type.shape
    if how == "element":
        value.type.tensor_type.elem_type = random.choice((*range(27), -1, 1 << 20))
    elif how in {"dim", "symbol"} and shape.dim:
        dim = random.choice(shape.dim)
        if how == "dim":
            dim.dim_value = random.choice(ODD_SIZES)
        else:
            dim.dim_param = random.choice((*ODD_NAMES, "batch", "batch + 1", "-1", "__import__('os')", "a-b", "2*n"))
    elif how == "rank":
        shape.dim.add().dim_value = random.choice((1, 2))
    elif how == "no-shape":
        value.type.tensor_type.ClearField("shape")
    elif how == "none":
        value.ClearField("type")
    elif how == "sequence":
        value.type.sequence_type.elem_type.tensor_type.elem_type = TensorProto.FLOAT
    elif how == "optional":
        value.type.optional_type.elem_type.tensor_type.elem_type = TensorProto.FLOAT
    elif how == "map":
        value.type.map_type.key_type = TensorProto.STRING
    elif how == "sparse":
        value.type.sparse_tensor_type.elem_type = TensorProto.FLOAT


def declare_inside(random: Random, model: ModelProto) -> None:
    """A claim about a value inside the graph that is not so."""
    node = pick(random, [node for node in model.graph.node if node.output])
    if node is not None:
        value = model.graph.value_info.add(name=node.output[0])
        value.type.tensor_type.elem_type = random.choice((1, 7, 8, 10))
        value.type.tensor_type.shape.dim.add().dim_value = random.choice((1, 3, -5, 1 << 40))


def mutations() -> Iterator[ModelMutation]:
    yield from (set_dims, set_element_type, set_raw_data, move_to_field, make_strings, set_values, make_external)
    yield from (make_external, make_sparse, set_declared_type, set_declared_type, declare_inside)
