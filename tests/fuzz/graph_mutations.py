"""Damage to how a graph hangs together: names, nodes, wiring, what nests in what."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, ValueInfoProto, helper

from tests.support.mutations import ODD_NAMES, pick

ModelMutation = Callable[[Random, ModelProto], None]


def node_lists(model: ModelProto) -> list[Any]:
    """Every list of nodes: the graph's, those of subgraphs, those of functions."""
    pending = [model.graph.node, *(function.node for function in model.functions)]
    found = []
    while pending:
        nodes = pending.pop()
        found.append(nodes)
        pending += [attribute.g.node for node in nodes for attribute in node.attribute if attribute.HasField("g")]
    return found


def every_node(model: ModelProto) -> list[NodeProto]:
    return [node for nodes in node_lists(model) for node in nodes]


def value_infos(model: ModelProto) -> list[ValueInfoProto]:
    return [*model.graph.input, *model.graph.output, *model.graph.value_info]


def every_name(model: ModelProto) -> list[str]:
    names = {name for node in every_node(model) for name in (*node.input, *node.output)}
    return sorted(names | {tensor.name for tensor in model.graph.initializer} | {v.name for v in value_infos(model)})


def rewire_input(random: Random, model: ModelProto) -> None:
    """A node reads another value: a type clash, a cycle or nothing at all."""
    node = pick(random, [node for node in every_node(model) if node.input])
    if node is not None:
        node.input[random.randrange(len(node.input))] = random.choice((*every_name(model), "undefined"))


def rename_output(random: Random, model: ModelProto) -> None:
    node = pick(random, [node for node in every_node(model) if node.output])
    if node is not None:
        node.output[random.randrange(len(node.output))] = random.choice((*every_name(model), *ODD_NAMES))


def rename_everywhere(random: Random, model: ModelProto) -> None:
    """A consistent renaming to an odd name: a valid model, unless the name collides."""
    old, new = random.choice(every_name(model)), random.choice(ODD_NAMES)
    for node in every_node(model):
        for names in (node.input, node.output):
            names[:] = [new if name == old else name for name in names]
    for thing in (*model.graph.initializer, *value_infos(model)):
        thing.name = new if thing.name == old else thing.name


def rename_things(random: Random, model: ModelProto) -> None:
    """Names of nodes, graphs, functions and tensors, one by one."""
    things = [model.graph, *every_node(model), *model.functions, *model.graph.initializer, *value_infos(model)]
    random.choice(things).name = random.choice(ODD_NAMES)


def drop_node(random: Random, model: ModelProto) -> None:
    nodes = pick(random, [nodes for nodes in node_lists(model) if nodes])
    if nodes is not None:
        del nodes[random.randrange(len(nodes))]


def duplicate_node(random: Random, model: ModelProto) -> None:
    nodes = pick(random, [nodes for nodes in node_lists(model) if nodes])
    if nodes is not None:
        nodes.add().CopyFrom(random.choice(nodes))


def shuffle_nodes(random: Random, model: ModelProto) -> None:
    nodes = random.choice(node_lists(model))
    order = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    random.shuffle(order)
    del nodes[:]
    nodes.extend(order)


def make_cycle(random: Random, model: ModelProto) -> None:
    node = pick(random, [node for node in every_node(model) if node.input and node.output])
    later = pick(random, [node for node in every_node(model) if node.output])
    if node is not None and later is not None:
        node.input[random.randrange(len(node.input))] = random.choice((*node.output, *later.output))


def change_arity(random: Random, model: ModelProto) -> None:
    """Inputs or outputs that are missing, empty or too many."""
    node = random.choice(every_node(model) or [NodeProto()])
    names = random.choice((node.input, node.output))
    how = random.choice(("clear", "pop", "blank", "more", "many"))
    if how == "clear":
        del names[:]
    elif how == "pop" and names:
        names.pop()
    elif how == "blank" and names:
        names[random.randrange(len(names))] = ""
    elif how == "more":
        names.append(random.choice(every_name(model)))
    elif how == "many":
        names.extend([random.choice(every_name(model))] * 300)


def edit_ports(random: Random, model: ModelProto) -> None:
    """Graph inputs, outputs and initializers that are missing, there twice, or another one's."""
    graph = random.choice([model.graph, *(a.g for n in every_node(model) for a in n.attribute if a.HasField("g"))])
    ports: Any = random.choice((graph.input, graph.output, graph.initializer))
    how = random.choice(("drop", "twice", "swap", "clear"))
    if how == "clear":
        del ports[:]
    elif ports and how == "drop":
        del ports[random.randrange(len(ports))]
    elif ports and how == "twice":
        ports.add().CopyFrom(random.choice(ports))
    elif ports:
        random.choice(ports).name = random.choice(every_name(model))


def nest_deeply(random: Random, model: ModelProto) -> None:
    """An If within an If within an If: what walks graphs by recursion has to end."""
    inner = model.graph
    whole = GraphProto.FromString(model.graph.SerializeToString())
    depth = random.choice((1, 5, 20, 30))
    for level in range(depth):
        node = inner.node.add(op_type="If", name=f"if{level}", input=["yes"], output=[f"deep{level}"])
        graphs = [
            node.attribute.add(name=f"{branch}_branch", type=AttributeProto.GRAPH).g for branch in ("then", "else")
        ]
        for graph in graphs:
            graph.name = f"depth{level}"
            graph.output.extend(whole.output[:1])
        inner = random.choice(graphs)
    if depth < 30:
        inner.node.extend(whole.node)


def call_itself(random: Random, model: ModelProto) -> None:
    """A function that calls itself, two that call each other, or a long or widening chain of calls."""
    length, width = random.choice(((1, 1), (2, 1), (2, 2), (40, 2), (40, 1), (1500, 1)))
    closed = length < 3 or random.random() < 0.2
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("loop", 1)]
    for number in range(length):
        called = f"f{(number + 1) % length}" if closed or number + 1 < length else "Relu"
        domain = "" if called == "Relu" else "loop"
        nodes = [helper.make_node(called, ["a"], [f"b{i}"], domain=domain) for i in range(width)]
        nodes.append(helper.make_node("Sum", [f"b{i}" for i in range(width)], ["b"]))
        model.functions.append(helper.make_function("loop", f"f{number}", ["a"], ["b"], nodes, opsets))
    model.opset_import.append(helper.make_opsetid("loop", 1))
    call_at_output(model, "f0", "loop")


def call_at_output(
    model: ModelProto, op: str, domain: str = "", *, constants: tuple[str, ...] = (), **attributes: Any
) -> None:
    """Put an operator between the first output and what made it."""
    if model.graph.output:
        name = model.graph.output[0].name
        for node in model.graph.node:
            node.output[:] = ["before" if output == name else output for output in node.output]
            node.input[:] = ["before" if given == name else given for given in node.input]
        model.graph.node.append(helper.make_node(op, ["before", *constants], [name], domain=domain, **attributes))


def shadow_operator(random: Random, model: ModelProto) -> None:
    """A function that has the name of an operator that the model uses; ONNX says that the function wins."""
    node = pick(random, every_node(model))
    if node is not None:
        inputs, outputs = [f"i{i}" for i in range(len(node.input))], [f"o{i}" for i in range(len(node.output))]
        body = [helper.make_node("Identity", inputs[:1] or ["i0"], [output]) for output in outputs]
        opsets = [helper.make_opsetid("", 17)]
        model.functions.append(helper.make_function(node.domain, node.op_type, inputs, outputs, body, opsets))


def edit_functions(random: Random, model: ModelProto) -> None:
    function = pick(random, model.functions)
    if function is None:
        return
    how = random.choice(("drop", "twice", "inputs", "outputs", "opset", "attribute"))
    if how == "drop":
        model.functions.remove(function)
    elif how == "twice":
        model.functions.append(function)
    elif how == "opset":
        del function.opset_import[:]
    elif how == "attribute":
        function.attribute.append(random.choice(("slope", *ODD_NAMES)))
    else:
        names = function.input if how == "inputs" else function.output
        names.extend(random.choice((names[:1], ["extra"])))


def mutations() -> Iterator[ModelMutation]:
    yield from (rewire_input, rename_output, rename_everywhere, rename_things, drop_node, duplicate_node)
    yield from (shuffle_nodes, make_cycle, change_arity, edit_ports, nest_deeply, call_itself, shadow_operator)
    yield edit_functions
