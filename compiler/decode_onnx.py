"""A whole greedy decode as one ONNX graph: a step that is stored once and called for every token.

The step becomes a local function of the model, and its weights become arguments, so a decoder of 75 positions is
75 calls of one function over one set of initializers. `unrolled` writes the calls out, each with exactly the
tokens that its position has; `engine-loop` puts one call into an ONNX Loop that ends when every row has.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from onnx_ir.tape import Tape

from artifacts.dtype import DType
from artifacts.errors import TargetError
from artifacts.schedule import Decode, Engine, Generation, Unrolled
from artifacts.spec import Signature, TensorSpec
from compiler.emit_onnx import IR_VERSION, OnnxBody
from compiler.onnx_translations import OPSET

DOMAIN = "unspool"
"""The domain of local functions."""


@dataclass(frozen=True, eq=False)
class _Rows:
    """What goes from step to step: tokens [batch, t], still active [batch] bool, lengths int64 [batch]."""

    tokens: ir.Value
    active: ir.Value
    lengths: ir.Value


def emit_decode(step: OnnxBody, signature: Signature, schedule: Decode) -> tuple[OnnxBody, Signature]:
    """Compose the decode of a schedule whose step sees all tokens so far, and its signature.

    The signature is the step's inputs without the tokens, and `tokens` int64 [batch, n] (start token left out,
    end tokens kept, filled with pad) and `lengths` int64 [batch]. Raises TargetError if no input of the caller
    tells the number of rows.
    """
    composer = _Composer(step, signature, schedule)
    rows = composer.unrolled() if isinstance(schedule.control, Unrolled) else composer.looped()
    return composer.finish(rows)


class _Composer:
    """The graph that is being put together."""

    def __init__(self, step: OnnxBody, signature: Signature, schedule: Decode) -> None:
        assert isinstance(schedule.control, Engine | Unrolled), "the host and partitions need engines of their own"
        self.schedule = schedule
        self.rules: Generation = schedule.generation
        self.tape = Tape()
        self.weights = step.weights
        self.initializers: dict[str, ir.Value] = {}
        for name in step.weights:
            inner = step.model.graph.initializers[name]
            self.initializers[name] = ir.Value(name=name, type=inner.type, shape=inner.shape)
        self.callers = tuple(spec for spec in signature.inputs if spec.name != schedule.tokens)
        self.inputs = {spec.name: _value(spec) for spec in self.callers}
        self.outputs = [spec.name for spec in signature.outputs]
        self.order = [spec.name for spec in signature.inputs]
        self.token_type = _onnx_type(signature.input(schedule.tokens).dtype)
        self.vocabulary = signature.output(schedule.logits).shape[2]
        self.batch_symbol = signature.input(schedule.tokens).shape[0]
        self.step = _local_function(step, "step")

    def unrolled(self) -> _Rows:
        """One call per position."""
        rows = self._start(self.tape)
        for position in range(self.rules.max_new_tokens):
            forced = self.rules.forced_first if position == 0 else None
            if position == self.rules.max_new_tokens - 1 and self.rules.forced_last is not None:
                forced = self.rules.forced_last
            scores = None if forced is not None else self._scores(self.tape, rows.tokens)
            rows = self._append(self.tape, rows, scores, forced)
        return rows

    def looped(self) -> _Rows:
        """One call in the body of a Loop; forced tokens are chosen outside it or by position."""
        first = self._start(self.tape)
        most = self.rules.max_new_tokens
        if self.rules.forced_first is not None:
            first = self._append(self.tape, first, None, self.rules.forced_first)
            most -= 1
        tape = Tape()
        iteration, going = _scalar("iteration", ir.DataType.INT64), _scalar("going", ir.DataType.BOOL)
        carried = _Rows(
            ir.Value(name="tokens_so_far", type=ir.TensorType(self.token_type)),
            ir.Value(name="active_so_far", type=ir.TensorType(ir.DataType.BOOL)),
            ir.Value(name="lengths_so_far", type=ir.TensorType(ir.DataType.INT64)),
        )
        rows = self._append(tape, carried, self._scores(tape, carried.tokens), None, iteration, most - 1)
        any_active = tape.op("ReduceMax", [tape.op("Cast", [rows.active], {"to": ir.DataType.INT32})], {"keepdims": 0})
        goes_on = tape.op("Cast", [any_active], {"to": ir.DataType.BOOL})
        body = ir.Graph(
            [iteration, going, carried.tokens, carried.active, carried.lengths],
            [goes_on, rows.tokens, rows.active, rows.lengths],
            nodes=tape.nodes,
            name="step",
        )
        trips = self._constant(self.tape, np.int64(most))
        begin = self._constant(self.tape, np.bool_(True))
        results = self.tape.op_multi_out(
            "Loop", [trips, begin, first.tokens, first.active, first.lengths], {"body": body}, num_outputs=3
        )
        return _Rows(*results)

    def finish(self, rows: _Rows) -> tuple[OnnxBody, Signature]:
        """The model: tokens without the start token, and lengths."""
        one, end, axis = (self._constant(self.tape, np.array([n])) for n in (1, np.iinfo(np.int64).max, 1))
        tokens = self.tape.op("Slice", [rows.tokens, one, end, axis])
        tokens = self.tape.op("Cast", [tokens], {"to": ir.DataType.INT64})
        lengths = self.tape.op("Identity", [rows.lengths])
        signature = Signature(
            inputs=self.callers,
            outputs=(
                TensorSpec(name="tokens", dtype=DType.INT64, shape=(self.batch_symbol, "generated")),
                TensorSpec(name="lengths", dtype=DType.INT64, shape=(self.batch_symbol,)),
            ),
        )
        for value, spec in zip((tokens, lengths), signature.outputs, strict=True):
            value.name = spec.name
            value.dtype, value.shape = ir.DataType.INT64, ir.Shape(spec.shape)
        graph = ir.Graph(
            list(self.inputs.values()),
            [tokens, lengths],
            nodes=self.tape.nodes,
            initializers=list(self.initializers.values()),
            opset_imports={"": OPSET, DOMAIN: 1},
            name="decode",
        )
        _name_nodes(graph, {*self.inputs, *self.initializers, "tokens", "lengths"})
        model = ir.Model(graph, ir_version=IR_VERSION, producer_name="unspool", functions=[self.step])
        return OnnxBody(model, self.weights), signature

    def _start(self, tape: Tape) -> _Rows:
        found = next(
            (
                (spec.name, axis)
                for spec in self.callers
                for axis, dim in enumerate(spec.shape)
                if isinstance(dim, str) and dim == self.batch_symbol
            ),
            None,
        )
        if found is None:
            hint = "use --schedule loop"
            raise TargetError.of("emit", self.schedule.step, "no input but the tokens tells the number of rows", hint)
        name, axis = found
        batch = tape.op("Shape", [self.inputs[name]], {"start": axis, "end": axis + 1})
        column = tape.op("Concat", [batch, self._constant(tape, np.array([1]))], {"axis": 0})
        start = self._token(tape, self.rules.start)
        active = tape.op("Expand", [self._constant(tape, np.array([True])), batch])
        lengths = tape.op("Expand", [self._constant(tape, np.array([0])), batch])
        return _Rows(tape.op("Expand", [start, column]), active, lengths)

    def _scores(self, tape: Tape, tokens: ir.Value) -> ir.Value:
        """Scores [batch, vocabulary] of the next token."""
        given = {**self.inputs, self.schedule.tokens: tokens}
        arguments = [*(given[name] for name in self.order), *self.initializers.values()]
        results = tape.op_multi_out("step", arguments, domain=DOMAIN, num_outputs=len(self.outputs))
        logits = results[self.outputs.index(self.schedule.logits)]
        scores = tape.op("Gather", [logits, self._constant(tape, np.int64(-1))], {"axis": 1})
        if not self.rules.suppressed:
            return scores
        mask = np.zeros(int(self.vocabulary), np.bool_)
        mask[[token for token in self.rules.suppressed if token < len(mask)]] = True
        lowest = tape.op("CastLike", [self._constant(tape, np.float32(-np.inf)), scores])
        return tape.op("Where", [self._constant(tape, mask), lowest, scores])

    def _append(
        self,
        tape: Tape,
        rows: _Rows,
        scores: ir.Value | None,
        forced: int | None,
        iteration: ir.Value | None = None,
        last: int = -1,
    ) -> _Rows:
        """The rows after one more token, by the rules that artifacts/runtime/greedy.py follows on the host."""
        pad = self._token(tape, self.rules.pad)
        if scores is None:
            assert forced is not None
            chosen = self._token(tape, forced)
        else:
            best = tape.op("ArgMax", [scores], {"axis": 1, "keepdims": 0})
            chosen = tape.op("Cast", [best], {"to": self.token_type})
        if iteration is not None and self.rules.forced_last is not None:
            is_last = tape.op("Equal", [iteration, self._constant(tape, np.int64(last))])
            chosen = tape.op("Where", [is_last, self._token(tape, self.rules.forced_last), chosen])
        token = tape.op("Where", [rows.active, chosen, pad])
        lengths = tape.op("Add", [rows.lengths, tape.op("Cast", [rows.active], {"to": ir.DataType.INT64})])
        active = rows.active
        for end in self.rules.eos:
            ended = tape.op("Equal", [token, self._token(tape, end)])
            active = tape.op("And", [active, tape.op("Not", [ended])])
        column = tape.op("Unsqueeze", [token, self._constant(tape, np.array([1]))])
        tokens = tape.op("Concat", [rows.tokens, column], {"axis": 1})
        for value, like in ((tokens, self.token_type), (active, ir.DataType.BOOL), (lengths, ir.DataType.INT64)):
            value.dtype = like
        return _Rows(tokens, active, lengths)

    def _token(self, tape: Tape, token: int) -> ir.Value:
        return self._constant(tape, np.array([token], self.token_type.numpy()))

    @staticmethod
    def _constant(tape: Tape, array: np.ndarray | np.generic) -> ir.Value:
        value = tape.op("Constant", [], {"value": ir.tensor(np.asarray(array))})
        value.dtype = ir.DataType.from_numpy(np.asarray(array).dtype)
        return value


def _local_function(body: OnnxBody, name: str) -> ir.Function:
    """The step as a function: weights become inputs after its own, small constants become nodes."""
    graph = body.model.graph
    for constant_name in [n for n in graph.initializers if n not in body.weights]:
        value = graph.initializers.pop(constant_name)
        node = ir.node("Constant", [], {"value": value.const_value})
        node.outputs[0].name, node.outputs[0].type = value.name, value.type
        graph.insert_before(graph[0], node) if len(graph) else graph.append(node)
        value.replace_all_uses_with(node.outputs[0])
    for weight_name in body.weights:
        graph.inputs.append(graph.initializers.pop(weight_name))
    return ir.Function(DOMAIN, name, graph=graph, attributes=[])


def _name_nodes(graph: ir.Graph, taken: set[str]) -> None:
    counts: dict[str, int] = {}
    for node in ir.traversal.RecursiveGraphIterator(graph):
        number = counts[node.op_type] = counts.get(node.op_type, -1) + 1
        node.name = f"decode.{node.op_type}_{number}"
        for position, output in enumerate(node.outputs):
            if output.name not in taken:  # outputs of the graph have their names
                output.name = node.name if position == 0 else f"{node.name}.{position}"


def _value(spec: TensorSpec) -> ir.Value:
    return ir.Value(name=spec.name, type=ir.TensorType(_onnx_type(spec.dtype)), shape=ir.Shape(spec.shape))


def _onnx_type(dtype: DType) -> ir.DataType:
    return ir.DataType.from_numpy(dtype.numpy)


def _scalar(name: str, dtype: ir.DataType) -> ir.Value:
    return ir.Value(name=name, type=ir.TensorType(dtype), shape=ir.Shape([]))
