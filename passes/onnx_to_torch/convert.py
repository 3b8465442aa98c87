"""Convert: an ONNX model in, a Function and its weights out. The only step at which the types change."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import torch
import torch.fx.traceback
from torch.export import Dim, ExportedProgram

from artifacts.errors import Problem, SourceError, UnsupportedError
from artifacts.spec import Signature, TensorSpec
from artifacts.weights import WeightStore
from passes.bodies import copied_graph, dims, edited, without_long_sums, without_metadata
from passes.onnx_to_torch.gaps import find_gaps
from passes.onnx_to_torch.importer import SOURCE_KEY, Importer
from passes.onnx_to_torch.registry import Registry
from passes.onnx_to_torch.source import Source
from passes.onnx_to_torch.tensors import dtype_of
from passes.program import WEIGHT_KINDS, Function
from passes.subgraphs import all_graphs, sweep
from passes.torch_dtypes import HAS_TORCH_DTYPE, from_numpy, holds, logical_dtype, to_numpy

STAGE = "convert"


@dataclass(frozen=True, eq=False)
class Converted:
    """What a conversion gives: the function, the store that its weights are in, and things worth telling.

    `fixed` is true for a function that was recorded for the sizes of its sample only, whatever the source takes.
    """

    function: Function
    weights: WeightStore
    notices: tuple[str, ...] = ()
    fixed: bool = False


def convert(
    source: Source, name: str, inputs: Mapping[str, npt.NDArray[np.generic]], converters: Registry | None = None
) -> Converted:
    """Convert a model to a Function called `name`, with Unspool's own converters unless others are given.

    `inputs` is one sample by input name; every size declared symbolic must be at least 2 in it, because
    torch.export takes sizes 0 and 1 for constants. Raises UnsupportedError with every gap at once, SourceError
    with everything in which the sample does not fit, or SourceError naming the node at which the conversion failed.
    """
    UnsupportedError.raise_if(find_gaps(source.model, converters))
    declared = source_signature(source)
    check_sample(declared, inputs)
    importer = Importer(source.model, converters)
    body = export_module(importer, declared, inputs, source.path.name)
    sources = {**node_sources(body), **_weight_sources(body, importer)}
    return to_function(name, body, declared, sources, importer.mapped)


def source_inputs(source: Source) -> list[ir.Value]:
    """The graph inputs that a caller gives: old files list initializers among the inputs too."""
    graph = source.model.graph
    return [value for value in graph.inputs if value.name not in graph.initializers]


def source_signature(source: Source) -> Signature:
    """The signature as the file declares it; an unnamed symbolic dimension is called INPUT_dimN.

    Raises UnsupportedError, or SourceError, with every input and output that cannot be one.
    """
    problems: dict[Problem, type[SourceError]] = {}

    def specs(values: Iterable[ir.Value], output: bool) -> Iterator[TensorSpec]:
        for value in values:
            try:
                yield _declared(value, source, output)
            except SourceError as error:
                problems.update(dict.fromkeys(error.problems, type(error)))

    inputs, outputs = tuple(specs(source_inputs(source), False)), tuple(specs(source.model.graph.outputs, True))
    (UnsupportedError if set(problems.values()) == {UnsupportedError} else SourceError).raise_if(problems)
    return Signature(inputs=inputs, outputs=outputs)


def _declared(value: ir.Value, source: Source, output: bool) -> TensorSpec:
    name = value.name or "?"
    subject = f"{source.path.name}: {'output' if output else 'input'} {name!r}"
    if value.type is not None and not isinstance(value.type, ir.TensorType):
        raise UnsupportedError.of(STAGE, subject, f"is a {type(value.type).__name__}, not a tensor")
    if value.dtype is None:
        raise SourceError.of(STAGE, subject, "declares no element type")
    if value.shape is None and not output:
        raise SourceError.of(STAGE, subject, "declares no rank", "run ONNX shape inference, or export with shapes")
    shape = tuple(_size(dim, f"{name}_dim{axis}") for axis, dim in enumerate(value.shape or ()))
    return TensorSpec(name=name, dtype=dtype_of(value.dtype, subject), shape=shape)


def _size(dim: int | ir.SymbolicDim, unnamed: str) -> int | str:
    """A declared size. Exporters write an unknown one as 0, as -1, or as "?", and two of those are two sizes."""
    if isinstance(dim, int):
        return dim if dim > 0 else unnamed
    return dim.value if dim.value and any(map(str.isalnum, dim.value)) else unnamed


def check_sample(declared: Signature, inputs: Mapping[str, npt.NDArray[np.generic]]) -> None:
    """Raise SourceError with everything in which a sample cannot be traced with."""
    SourceError.raise_if(problem for spec in declared.inputs for problem in _sample_problems(spec, inputs))


def _sample_problems(spec: TensorSpec, inputs: Mapping[str, npt.NDArray[np.generic]]) -> Iterator[Problem]:
    subject = f"input {spec.name!r}"
    if spec.name not in inputs:
        yield Problem(STAGE, subject, "is missing in the sample", f"give {spec}")
        return
    array = inputs[spec.name]
    if not holds(array, spec.dtype) or array.ndim != spec.rank:
        yield Problem(STAGE, subject, f"is {array.dtype.name}{list(array.shape)} in the sample", f"give {spec}")
        return
    for axis, (size, declared) in enumerate(zip(array.shape, spec.shape, strict=True)):
        if isinstance(declared, str) and size < 2:
            hint = "torch.export takes 0 and 1 for constants: give a sample whose symbolic sizes are 2 or more"
            yield Problem(STAGE, subject, f"has size {size} on axis {axis} ({declared}) in the sample", hint)
        if isinstance(declared, int) and size != declared:
            yield Problem(STAGE, subject, f"has size {size} on axis {axis} in the sample", f"give {spec}")


def export_module(
    module: torch.nn.Module,
    declared: Signature,
    inputs: Mapping[str, npt.NDArray[np.generic]],
    subject: str,
    symbolic: bool = True,
) -> ExportedProgram:
    """Record a module that takes the inputs in order, symbolic where the signature is if `symbolic`.

    Raises SourceError about `subject`, or the one that the module raised.
    """
    arguments = tuple(from_numpy(inputs[spec.name], spec.dtype) for spec in declared.inputs)
    dynamic = tuple(
        {axis: Dim.AUTO if symbolic and isinstance(size, str) else Dim.STATIC for axis, size in enumerate(spec.shape)}
        for spec in declared.inputs
    )
    with warnings.catch_warnings(), torch.no_grad(), torch.fx.traceback.preserve_node_meta():
        warnings.filterwarnings("ignore", category=FutureWarning, module=r"copyreg|torch\..*")
        try:
            shapes = (dynamic,) if dynamic else None
            return torch.export.export(module, arguments, dynamic_shapes=shapes, strict=False)
        except (torch._dynamo.exc.UserError, RuntimeError) as error:
            if isinstance(error.__cause__, SourceError):
                raise error.__cause__ from error
            reason = str(error).strip().split("\n")[0]
            raise SourceError.of(STAGE, subject, f"torch.export: {reason}") from error


def _symbol_names(body: ExportedProgram, declared: Signature) -> dict[str, str]:
    """The source's name of each symbol: of an input's size, or of one that only an output has, if no other has it."""
    names: dict[str, str] = {}
    user_inputs = [spec.arg.name for spec in body.graph_signature.input_specs if spec.kind not in WEIGHT_KINDS]
    values = {node.name: node.meta.get("val") for node in body.graph.nodes}
    for symbol, name in _named_sizes([values[name] for name in user_inputs], declared.inputs):
        names.setdefault(symbol, name)
    results = [values.get(str(name)) for name in body.graph_signature.user_outputs]
    for symbol, name in _named_sizes(results, declared.outputs):
        if name not in names.values():
            names.setdefault(symbol, name)
    return names


def _named_sizes(values: Sequence[object], declared: Sequence[TensorSpec]) -> Iterator[tuple[str, str]]:
    """Each axis that is a symbol, with the name that it is declared with."""
    for value, spec in zip(values, declared, strict=True):
        shape = value.shape if isinstance(value, torch.Tensor) else ()
        for size, name in zip(shape, spec.shape, strict=False):
            if isinstance(size, torch.SymInt) and size.node.expr.is_Symbol and isinstance(name, str):
                yield str(size.node.expr), name


def node_sources(body: ExportedProgram) -> dict[str, str]:
    """For each node that says so in its metadata, the node of the source model that it came from."""
    found = {node.name: node.meta.get("custom", {}).get(SOURCE_KEY) for node in body.graph.nodes}
    return {name: source for name, source in found.items() if source is not None}


def _weight_sources(body: ExportedProgram, importer: Importer) -> dict[str, str]:
    """For each placeholder of a buffer, the source's name of the tensor in it."""
    names = importer.buffer_names
    return {s.arg.name: names[s.target] for s in body.graph_signature.input_specs if s.target in names}


def to_function(
    name: str,
    body: ExportedProgram,
    declared: Signature,
    sources: Mapping[str, str],
    mapped: Mapping[int, npt.NDArray[Any]] = MappingProxyType({}),
) -> Converted:
    """A function of an exported program, its weights moved into a store.

    `declared` is the source's signature, whose order the program's inputs and outputs have; `sources` names the
    source's node or tensor for nodes of the program; `mapped` holds arrays that tensors of the program share the
    memory of, by its address: a tensor does not tell what file it is in. Raises SourceError if the outputs are not
    as many.
    """
    found, wanted = len(body.graph_signature.user_outputs), len(declared.outputs)
    if found != wanted:
        raise SourceError.of(STAGE, name, f"the converted program has {found} outputs, the model has {wanted}")
    symbols = _symbol_names(body, declared)
    graph, _ = copied_graph(body)
    # torch's assertions have no users and go with the rest: the session checks its inputs, the graph need not.
    modules, _ = sweep(graph, body.graph_module)
    weight_specs = {s.arg.name: s for s in body.graph_signature.input_specs if s.kind in WEIGHT_KINDS}
    for node in [n for n in graph.nodes if n.op == "placeholder" and n.name in weight_specs and not n.users]:
        graph.erase_node(node)
    kept = [node for node in graph.nodes if node.op == "placeholder" and node.name in weight_specs]
    for inner in all_graphs(graph, modules):
        without_long_sums(inner)
        without_metadata(inner.nodes)
    tensors = [_stored(body, str(weight_specs[node.name].target)) for node in kept]
    store, refs = WeightStore().with_tensors(
        (_array_of(tensor, mapped), logical_dtype(tensor.dtype)) for tensor in tensors
    )
    final = edited(body, graph, modules)
    function = Function(
        name=name,
        signature=_traced_signature(final, declared, symbols, {node.name for node in kept}),
        body=final,
        weights={node.name: ref for node, ref in zip(kept, refs, strict=True)},
        symbols=symbols,
        sources={node.name: sources[node.name] for node in graph.nodes if node.name in sources},
    )
    return Converted(function, store, _notices(declared, function.signature))


def _stored(body: ExportedProgram, target: str) -> torch.Tensor:
    tensor = body.state_dict[target] if target in body.state_dict else body.constants[target]
    assert isinstance(tensor, torch.Tensor)
    return tensor.detach()


def _array_of(tensor: torch.Tensor, mapped: Mapping[int, npt.NDArray[Any]]) -> npt.NDArray[Any]:
    array = to_numpy(tensor)
    held = mapped.get(array.ctypes.data)
    return array if held is None or held.nbytes != array.nbytes else held.view(array.dtype).reshape(array.shape)


def _traced_signature(
    body: ExportedProgram, declared: Signature, symbols: Mapping[str, str], weights: set[str]
) -> Signature:
    placeholders = [n for n in body.graph.nodes if n.op == "placeholder" and n.name not in weights]
    results: Sequence[torch.fx.Node] = next(iter(reversed(body.graph.nodes))).args[0]

    def spec(node: torch.fx.Node, source: TensorSpec) -> TensorSpec:
        value = node.meta["val"]
        found = logical_dtype(value.dtype)
        if source.dtype in HAS_TORCH_DTYPE or source.dtype.numpy != found.numpy:
            return TensorSpec(name=source.name, dtype=found, shape=dims(value, symbols))
        return TensorSpec(name=source.name, dtype=source.dtype, shape=dims(value, symbols), carrier=found)

    return Signature(
        inputs=tuple(spec(n, s) for n, s in zip(placeholders, declared.inputs, strict=True)),
        outputs=tuple(spec(n, s) for n, s in zip(results, declared.outputs, strict=True)),
    )


def _notices(declared: Signature, traced: Signature) -> tuple[str, ...]:
    return tuple(
        f"input {before.name!r}: the graph allows only {size} for its symbolic dimension {symbol!r}"
        for before, after in zip(declared.inputs, traced.inputs, strict=True)
        for symbol, size in zip(before.shape, after.shape, strict=True)
        if isinstance(symbol, str) and isinstance(size, int)
    )
