"""Damage to what nodes say: operators, domains, versions, attributes, and results of absurd sizes."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from random import Random

import numpy as np
import onnx.defs
from onnx import AttributeProto, ModelProto, helper, numpy_helper

from tests.fuzz.graph_mutations import ModelMutation, call_at_output, every_node
from tests.support.mutations import ODD_NAMES, ODD_SIZES, pick


@cache
def operator_names() -> tuple[str, ...]:
    """ONNX's own operators."""
    return tuple(sorted({schema.name for schema in onnx.defs.get_all_schemas() if not schema.domain}))


def change_operator(random: Random, model: ModelProto) -> None:
    """Another operator on the same inputs: known, unknown, or of somebody else's domain."""
    node = pick(random, every_node(model))
    if node is not None:
        node.op_type = random.choice((random.choice(operator_names()), *ODD_NAMES[:4], "Frobnicate"))
        node.domain = random.choice(("", "", "", "ai.onnx", "com.microsoft", "ai.onnx.ml", "evil/../x", "local"))


def change_operator_only(random: Random, model: ModelProto) -> None:
    node = pick(random, every_node(model))
    if node is not None:
        node.op_type = random.choice(operator_names())


def set_opset(random: Random, model: ModelProto) -> None:
    how = random.choice(("version", "version", "drop", "twice", "domain"))
    if how == "version" and model.opset_import:
        random.choice(model.opset_import).version = random.choice((*range(1, 30), 0, -1, 99, 1 << 40))
    elif how == "drop":
        del model.opset_import[:]
    elif how == "twice":
        model.opset_import.add(domain="", version=random.choice((1, 11, 21)))
    else:
        model.opset_import.add(
            domain=random.choice(("ai.onnx", "com.microsoft", "", "x")), version=random.choice((1, 20))
        )


def set_ir_version(random: Random, model: ModelProto) -> None:
    model.ir_version = random.choice((-1, 0, 1, 2, 3, 4, 12, 13, 14, 99, 1 << 40))


def set_attribute(random: Random, model: ModelProto) -> None:
    """Another value of the same type."""
    attribute = pick(random, [a for node in every_node(model) for a in node.attribute])
    if attribute is not None:
        attribute.i = random.choice((*ODD_SIZES, 2, -2, 7))
        attribute.f = random.choice((float("nan"), float("inf"), -1.0, 0.0, 1e38))
        attribute.s = random.choice(ODD_NAMES).encode() + random.choice((b"", b"\xff"))
        if attribute.ints:
            how = random.choice(("one", "more", "none"))
            if how == "one":
                attribute.ints[random.randrange(len(attribute.ints))] = random.choice(ODD_SIZES)
            elif how == "more":
                attribute.ints.append(random.choice(ODD_SIZES))
            else:
                del attribute.ints[:]


def confuse_attribute(random: Random, model: ModelProto) -> None:
    """An attribute whose type is another one's, or none, or that refers to an attribute of a function."""
    attribute = pick(random, [a for node in every_node(model) for a in node.attribute])
    if attribute is not None:
        how = random.choice(("type", "name", "reference", "value"))
        if how == "type":
            attribute.type = random.choice(list(AttributeProto.AttributeType.values()))
        elif how == "name":
            attribute.name = random.choice((*ODD_NAMES, "axis", "alpha", "value"))
        elif how == "reference":
            attribute.ref_attr_name = random.choice(("slope", "missing", attribute.name))
        else:
            value: object = random.choice((1, 1.5, "text", [1, 2], [0.5], ["a"], numpy_helper.from_array(np.ones(2))))
            attribute.CopyFrom(helper.make_attribute(attribute.name, value))


def edit_attributes(random: Random, model: ModelProto) -> None:
    """Attributes that are missing, there twice, or foreign."""
    node = pick(random, every_node(model))
    if node is not None:
        how = random.choice(("drop", "clear", "twice", "foreign"))
        if how == "clear":
            del node.attribute[:]
        elif how == "foreign":
            name = random.choice(("axis", "to", "body", "then_branch", "value", "mode", "k", *ODD_NAMES[:3]))
            value: object = random.choice((0, -7, 1 << 40, 0.5, "text", [1, 2, 3], [[]][0] or [1], model.graph))
            node.attribute.append(helper.make_attribute(name, value))
        elif node.attribute and how == "drop":
            del node.attribute[random.randrange(len(node.attribute))]
        elif node.attribute:
            node.attribute.append(random.choice(node.attribute))


def make_enormous(random: Random, model: ModelProto) -> None:
    """A result that no memory holds, or a loop that no life is long enough for, from a few bytes."""
    if not model.graph.output:
        return
    size = random.choice((10**6, 10**9, 10**12, 1 << 45, (1 << 63) - 1))
    how = random.choice(("fill", "expand", "tile", "range", "one_hot", "pad", "resize", "loop", "reshape", "random"))
    value = helper.make_tensor
    constants = {
        "fill": value("size", 7, [2], [size, 1]),
        "expand": value("size", 7, [3], [size, 1, 1]),
        "tile": value("size", 7, [2], [size, 1]),
        "pad": value("size", 7, [4], [0, size, 0, size]),
        "one_hot": value("size", 7, [], [size]),
        "range": value("size", 7, [], [size]),
        "loop": value("size", 7, [], [size]),
        "reshape": value("size", 7, [2], [size, -1]),
    }
    if how in constants:
        model.graph.initializer.append(constants[how])
    if how == "fill":
        model.graph.node.append(helper.make_node("ConstantOfShape", ["size"], ["huge"]))
    elif how in {"expand", "tile", "pad", "reshape"}:
        model.graph.node.append(helper.make_node(how.capitalize(), [model.graph.output[0].name, "size"], ["huge"]))
    elif how == "range":
        model.graph.initializer.extend([value("from", 7, [], [0]), value("by", 7, [], [1])])
        model.graph.node.append(helper.make_node("Range", ["from", "size", "by"], ["huge"]))
    elif how == "one_hot":
        model.graph.initializer.extend([value("at", 7, [1], [0]), value("two", 1, [2], [0, 1])])
        model.graph.node.append(helper.make_node("OneHot", ["at", "size", "two"], ["huge"]))
    elif how == "random":
        shape = [size, random.choice((1, size))]
        model.graph.node.append(helper.make_node("RandomNormal", [], ["huge"], shape=shape))
    elif how == "resize":
        scales = value("scales", 1, [2], [float(size), 1.0])
        model.graph.initializer.append(scales)
        model.graph.node.append(helper.make_node("Resize", [model.graph.output[0].name, "", "scales"], ["huge"]))
    else:
        body = helper.make_graph(
            [helper.make_node("Identity", ["c"], ["d"]), helper.make_node("Identity", ["v"], ["w"])],
            "body",
            [helper.make_tensor_value_info(n, t, []) for n, t in (("n", 7), ("c", 9))]
            + [helper.make_empty_tensor_value_info("v")],
            [helper.make_tensor_value_info("d", 9, []), helper.make_empty_tensor_value_info("w")],
        )
        inputs = [random.choice(("size", "")), "", model.graph.output[0].name]
        model.graph.node.append(helper.make_node("Loop", inputs, ["huge"], body=body))
    if random.random() < 0.5:
        model.graph.node.append(helper.make_node("Shape", ["huge"], ["huge_size"]))
        model.graph.output.append(helper.make_tensor_value_info("huge_size", 7, [None]))
    else:
        model.graph.output.append(helper.make_empty_tensor_value_info("huge"))


def insert_operator(random: Random, model: ModelProto) -> None:
    """Any operator at all, between the first output and what made it."""
    call_at_output(
        model, random.choice(operator_names()), constants=random.choice(((), ("before",), ("before", "before")))
    )


def edit_metadata(random: Random, model: ModelProto) -> None:
    """Parts of the file that do not matter, or should not."""
    model.producer_name = random.choice(ODD_NAMES)
    model.doc_string = random.choice(("", "x" * 100_000))
    for key in random.choice((("a", "a"), ODD_NAMES)):
        model.metadata_props.add(key=key, value=random.choice(ODD_NAMES))
    if random.random() < 0.3:
        model.training_info.add().algorithm.CopyFrom(model.graph)
    if random.random() < 0.3:
        model.graph.quantization_annotation.add(tensor_name="x").quant_parameter_tensor_names.add(key="k", value="x")


def mutations() -> Iterator[ModelMutation]:
    yield from (change_operator, change_operator_only, change_operator_only, set_opset, set_ir_version)
    yield from (set_attribute, set_attribute, confuse_attribute, edit_attributes, make_enormous, insert_operator)
    yield edit_metadata
