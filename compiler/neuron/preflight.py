"""What neuronx-cc would refuse, or compute otherwise, found in an HLO module before the compiler is called.

The rules and their codes are those that AWS documents for the compiler of the Neuron SDK 2.32. A module in which
nothing is found may be refused nevertheless: what is written down is not all that there is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal

from artifacts.errors import Problem
from artifacts.noun import Noun
from compiler.hlo.instructions import Instruction, instructions

_INT32 = (-(2**31), 2**31 - 1)


class Finding(Noun):
    """One thing that a module has: an `error` the compiler documents to refuse, a `warning` may be one.

    `code` is the compiler's own, "" where it has none; `source` is the source model's node, "" if none is known.
    """

    severity: Literal["error", "warning"]
    code: str
    instruction: str
    source: str
    message: str

    def __str__(self) -> str:
        where = f"{self.instruction} (source node {self.source!r})" if self.source else self.instruction
        return f"{where}: {self.message}" + (f" [{self.code}]" if self.code else "")


Preflight = Callable[[bytes], Sequence[Finding]]
"""Finds in a serialized HloModuleProto what a compiler is documented to refuse."""


def preflight(data: bytes) -> tuple[Finding, ...]:
    """Everything that is found in a module, in the order of its instructions."""
    every = instructions(data)
    roots = {found.computation: found for found in every if found.is_root}
    return tuple(finding for found in every for finding in _findings(found, roots))


def errors_of(engine: str, findings: Sequence[Finding]) -> list[Problem]:
    """A problem for each finding that the compiler documents to refuse."""
    hint = "write the model with other operators, or compile for another --target"
    return [
        Problem("preflight", f"engine {engine}", str(finding), hint)
        for finding in findings
        if finding.severity == "error"
    ]


def warnings_of(engine: str, findings: Sequence[Finding]) -> list[str]:
    """A sentence for each kind of warning: how often there is one, and the first."""
    alike: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        if finding.severity == "warning":
            alike.setdefault((finding.code, finding.message), []).append(finding)
    return [f"engine {engine}: {len(each)} times, first at {each[0]}" for each in alike.values()]


def _findings(found: Instruction, roots: dict[str, Instruction]) -> Iterator[Finding]:
    def finding(severity: Literal["error", "warning"], code: str, message: str) -> Finding:
        return Finding(severity=severity, code=code, instruction=found.name, source=found.source, message=message)

    for severity, code, message, holds in _RULES:
        if holds(found):
            yield finding(severity, code, message)
    wide = _beyond_32_bits(found)
    if wide is not None:
        yield finding("error", "NCC_ESFH002", f"the constant {wide} does not fit into 32 bits")
    target = re.search(r'custom_call_target="([^"]*)"', found.text)
    if found.opcode == "custom-call" and (target is None or not _is_known_call(target[1])):
        yield finding(
            "error", "NCC_EVRF015", f"calls {target[1] if target else 'something'!r}, which is not documented"
        )
    if _adds_whole_numbers(found, roots):
        yield finding("warning", "NCC_EVRF060", f"a scatter that combines whole numbers {_IN_FLOAT32} scatter")
    if by := odd_reducer(found, roots):
        yield finding("warning", "", f"reduces by {by}; documented are minimum, maximum, add and multiply")


def odd_reducer(found: Instruction, roots: Mapping[str, Instruction]) -> str:
    """By what an instruction reduces, if that is not documented; "" if it is. `roots` are those of computations."""
    reducer = re.search(r"to_apply=%?([\w.-]+)", found.text)
    if found.opcode not in {"reduce", "reduce-window"} or reducer is None:
        return ""
    root = roots.get(reducer[1])
    if root is None or root.opcode == "tuple":
        return "several operations"
    return "" if root.opcode in _REDUCERS else root.opcode


def _adds_whole_numbers(found: Instruction, roots: Mapping[str, Instruction]) -> bool:
    """Whether a scatter combines whole numbers with those that are there; one that overwrites computes nothing."""
    by = re.search(r"to_apply=%?([\w.-]+)", found.text)
    if found.opcode != "scatter" or by is None or not re.search(r"= [su](8|16|32)\[", found.text):
        return False
    root = roots.get(by[1])
    return root is None or root.opcode != "parameter"


def _beyond_32_bits(found: Instruction) -> str | None:
    if found.opcode != "constant" or not re.search(r"= [su]64\[", found.text):
        return None
    values = re.search(r"constant\((.*)\)", found.text)
    numbers = re.findall(r"-?\d+", values[1] if values else "")
    return next((number for number in numbers if not _INT32[0] <= int(number) <= _INT32[1]), None)


def _is_known_call(target: str) -> bool:
    return target.startswith(("AwsNeuron", "NeuronBoundaryMarker")) or target in {
        "ResizeNearest",
        "ResizeBilinear",
        "ResizeNearestGrad",
    }


_REDUCERS = frozenset({"minimum", "maximum", "add", "multiply"})
_UNSUPPORTED = frozenset({"sort", "fft", "cholesky", "triangular-solve", "topk"})


def has_dynamic_size(found: Instruction) -> bool:
    """Whether a size that an instruction takes or gives is only bounded."""
    return bool(re.search(r"\[[^\]]*<=", found.text))


def has_type(*types: str) -> Callable[[Instruction], bool]:
    """Whether an instruction gives one of these element types, or takes one, in HLO's spelling."""
    pattern = re.compile(rf"(?<![\w])(?:{'|'.join(types)})\[")
    return lambda found: bool(pattern.search(found.text.split("),")[0]))


def _is(*opcodes: str) -> Callable[[Instruction], bool]:
    return lambda found: found.opcode in opcodes


def _window(found: Instruction, part: str) -> bool:
    """Whether a window is dilated in a way: lhs_dilate is of the input, rhs_dilate of the kernel."""
    window = re.search(r"window={([^}]*)}", found.text)
    sizes = re.search(rf"{part}=([\dx]+)", window[1]) if window else None
    return sizes is not None and any(int(size) != 1 for size in sizes[1].split("x"))


def _is_integer_product(found: Instruction) -> bool:
    return found.opcode == "dot" and bool(re.search(r"= [su](8|16|32)\[", found.text))


_IN_FLOAT32 = (
    "is computed in float32, exact below 2**24; newer compilers refuse it unless --implicit-integer-downcast names"
)

_Rule = tuple[Literal["error", "warning"], str, str, Callable[[Instruction], bool]]

_RULES: tuple[_Rule, ...] = (
    ("error", "NCC_EVRF001", "this operator is not supported", lambda found: found.opcode in _UNSUPPORTED),
    ("error", "NCC_EVRF004", "complex numbers are not supported", has_type("c64", "c128")),
    ("error", "NCC_ESPP004", "there is no code for float64", has_type("f64")),
    ("error", "NCC_EMOD025", "a size is dynamic", has_dynamic_size),
    (
        "error",
        "NCC_EVRF010",
        "a convolution dilates its input and its kernel",
        lambda found: found.opcode == "convolution" and _window(found, "lhs_dilate") and _window(found, "rhs_dilate"),
    ),
    (
        "error",
        "NCC_EVRF011",
        "a convolution with a stride dilates its input",
        lambda found: found.opcode == "convolution" and _window(found, "lhs_dilate") and _window(found, "stride"),
    ),
    (
        "error",
        "NCC_EVRF017",
        "a window reduction dilates its input",
        lambda found: found.opcode == "reduce-window" and _window(found, "lhs_dilate"),
    ),
    (
        "error",
        "NCC_EVRF018",
        "a window reduction dilates its window",
        lambda found: found.opcode == "reduce-window" and _window(found, "rhs_dilate"),
    ),
    (
        "error",
        "NCC_EVRF013",
        "the largest of whole numbers are not looked for",
        lambda found: bool(
            re.search(r"= \(?[su](8|16|32|64)\[.*custom_call_target=\"(TopK|AwsNeuronTopK)\"", found.text)
        ),
    ),
    (
        "warning",
        "NCC_EVRF035",
        f"a product of whole numbers {_IN_FLOAT32} dot, on Trn2",
        _is_integer_product,
    ),
    (
        "warning",
        "",
        "whether loops and branches are supported is not documented: see neuronx-cc list-operators --framework XLA",
        _is("while", "conditional"),
    ),
)
