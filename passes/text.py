"""The canonical text of functions and programs, and the fingerprint that is a hash of it.

Names in the text are derived from the structure, so two graphs that differ only in node names print alike; the
same text stands in the golden files of the tests. Weights print by digest: a fingerprint covers their content.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from itertools import count

import sympy
import torch
from torch.fx.node import Argument

from artifacts.spec import TensorSpec
from passes.bodies import dim, dims
from passes.program import Function, Program
from passes.torch_dtypes import logical_dtype


def program_text(program: Program) -> str:
    """The whole program: every model's schedule, then every function, in the order of their names."""
    parts = [
        f"model @{name}{_signature(model.signature.inputs, model.signature.outputs)}\n"
        f"  schedule {model.schedule.model_dump_json()}\n"
        for name, model in sorted(program.models.items())
    ]
    parts += [function_text(function) for _, function in sorted(program.functions.items())]
    return "\n".join(parts)


def fingerprint(program: Program) -> str:
    """SHA-256 of the program's text."""
    return hashlib.sha256(program_text(program).encode()).hexdigest()


def function_text(function: Function) -> str:
    """One function, a line for each weight and each computation."""
    return "\n".join(_lines(function)) + "\n"


def _lines(function: Function) -> Iterator[str]:
    names = _names(function)
    inputs = ", ".join(
        f"{names[node]}: {_spec_type(spec)}"
        for node, spec in zip(function.input_nodes, function.signature.inputs, strict=True)
    )
    outputs = ", ".join(f"{spec.name}: {_spec_type(spec)}" for spec in function.signature.outputs)
    time = f" time [{', '.join(sorted(function.time))}]" if function.time else ""
    yield f"func @{function.name}({inputs}) -> ({outputs}){time} {{"
    for node in function.weight_nodes:
        ref = function.weights[node.name]
        offset = f"+{ref.offset}" if ref.offset else ""
        yield f"  {names[node]} = weight {ref.digest[:16]}{offset} : {ref.dtype}[{', '.join(map(str, ref.shape))}]"
    for node in function.computations:
        arguments = [_argument(a, names, function.symbols) for a in node.args]
        arguments += [f"{key}={_argument(a, names, function.symbols)}" for key, a in sorted(node.kwargs.items())]
        result = _type(node.meta.get("val"), function.symbols)
        yield f"  {names[node]} = {_target(node)}({', '.join(arguments)}) : {result}"
    yield f"  return {', '.join(_argument(result, names, function.symbols) for result in function.results)}"
    yield "}"


def _signature(inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> str:
    return f"({', '.join(map(str, inputs))}) -> ({', '.join(map(str, outputs))})"


def _spec_type(spec: TensorSpec) -> str:
    return f"{spec.dtype}[{', '.join(map(str, spec.shape))}]"


def _names(function: Function) -> dict[torch.fx.Node, str]:
    names = {node: f"%{spec.name}" for node, spec in zip(function.input_nodes, function.signature.inputs, strict=True)}
    # A caller may call an input "add_0": numbers that would make a name twice are left out.
    taken = set(names.values())
    stems = [(node, "w") for node in function.weight_nodes]
    stems += [(node, f"{_operator(node)}_") for node in function.computations]
    numbers: dict[str, Iterator[int]] = defaultdict(count)
    for node, stem in stems:
        names[node] = next(name for number in numbers[stem] if (name := f"%{stem}{number}") not in taken)
    return names


def _operator(node: torch.fx.Node) -> str:
    *namespace, name = _target(node).split(".")  # "aten.add.Tensor", the last part being the overload, or "getitem"
    return namespace[-1] if namespace else name


def _target(node: torch.fx.Node) -> str:
    target = node.target
    if isinstance(target, torch._ops.OpOverload):
        return str(target)
    return getattr(target, "__name__", str(target))


def _argument(argument: Argument, names: Mapping[torch.fx.Node, str], symbols: Mapping[str, str]) -> str:
    if isinstance(argument, torch.fx.Node):
        return names[argument]
    if isinstance(argument, list | tuple):
        return f"[{', '.join(_argument(a, names, symbols) for a in argument)}]"
    if isinstance(argument, torch.dtype):
        return str(logical_dtype(argument))
    return repr(argument)


def _type(value: object, symbols: Mapping[str, str]) -> str:
    if isinstance(value, torch.Tensor):
        return f"{logical_dtype(value.dtype)}[{', '.join(map(str, dims(value, symbols)))}]"
    if isinstance(value, torch.SymInt):
        return f"size {dim(value, symbols)}"
    if isinstance(value, torch.SymBool | torch.SymFloat):
        return str(
            value.node.expr.xreplace(
                {s: sympy.Symbol(symbols.get(str(s), str(s))) for s in value.node.expr.free_symbols}
            )
        )
    if isinstance(value, list | tuple):
        return f"({', '.join(_type(item, symbols) for item in value)})"
    return type(value).__name__
