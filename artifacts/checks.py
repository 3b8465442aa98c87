"""One output compared with the source model's: the unit in which every stage is held to its source."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from artifacts.dtype import DType
from artifacts.errors import NumericsError, Problem
from artifacts.samples import Arrays, Sample
from artifacts.spec import Signature
from artifacts.tolerances import EXACT, TOLERANCES, Array, Comparison, Tolerance, compare, tolerance_for


@dataclass(frozen=True)
class Tolerances:
    """Which tolerance an element type has: the table of tolerances.py, with overrides on top.

    `reduced` is what computing in fewer bits than the source may cost an output of floating-point numbers; None if
    nothing does.
    """

    overrides: tuple[tuple[DType, Tolerance], ...] = ()
    reduced: Tolerance | None = None

    @classmethod
    def of(cls, atol: float | None, rtol: float | None) -> Tolerances:
        """The table with bounds replaced for every floating-point type.

        A bound that is given makes the comparison numpy's own, with no normwise term; None leaves the other bound
        as it is in the table.
        """
        if atol is None and rtol is None:
            return cls()
        return cls(
            tuple(
                (
                    dtype,
                    Tolerance(atol=default.atol if atol is None else atol, rtol=default.rtol if rtol is None else rtol),
                )
                for dtype, default in TOLERANCES.items()
            )
        )

    @classmethod
    def recorded(cls, tolerances: Mapping[DType, Tolerance], exact_tokens: bool) -> Tolerances:
        """What a bundle was held to when it was made."""
        return cls(tuple(tolerances.items()), None if exact_tokens else EXACT)

    def for_dtype(self, dtype: DType) -> Tolerance:
        """The tolerance of one element type."""
        default = tolerance_for(dtype)
        if self.reduced is not None and dtype.is_float:
            default = default.or_looser(self.reduced)
        return dict(self.overrides).get(dtype) or default

    def loosened(self, reduced: Tolerance) -> Tolerances:
        """The same for what also computes in fewer bits. Bounds that the user gave stay as they are."""
        return replace(self, reduced=reduced if self.reduced is None else self.reduced.or_looser(reduced))

    @property
    def exact_tokens(self) -> bool:
        """True if a decode has to give the source's tokens: fewer bits may turn a near tie, and what follows it."""
        return self.reduced is None


@dataclass(frozen=True)
class OutputCheck:
    """One output of one sample of one model, compared with the source's.

    What is not `required` is told, and passes whatever it is.
    """

    model: str
    sample: int
    output: str
    comparison: Comparison
    required: bool = True

    @property
    def passed(self) -> bool:
        """True unless the output differs and may not."""
        return self.comparison.passed or not self.required


def check_outputs(
    model: str, signature: Signature, number: int, sample: Sample, actual: Arrays, tolerances: Tolerances
) -> Iterator[OutputCheck]:
    """Compare all outputs of a signature, each by its element type."""
    for spec in signature.outputs:
        tolerance = tolerances.for_dtype(spec.dtype)
        found = compare(sample.outputs[spec.name], actual[spec.name], tolerance, spec.dtype)
        yield OutputCheck(model, number, spec.name, found)


def check_decoded(
    model: str, number: int, sample: Sample, actual: Arrays, tolerances: Tolerances
) -> Iterator[OutputCheck]:
    """Compare decoded tokens and lengths: they must be equal, unless fewer bits than the source's chose them."""
    for output, expected in sample.decoded.items():
        both = (expected, actual[output])
        left, right = both if tolerances.exact_tokens else _of_one_width(*both)
        yield OutputCheck(model, number, output, compare(left, right, EXACT), required=tolerances.exact_tokens)


def _of_one_width(*decodes: Array) -> tuple[Array, ...]:
    """Tokens [batch, n] padded to the longest, so that those that differ can be counted."""
    width = max(decode.shape[-1] for decode in decodes)
    if any(decode.ndim != 2 for decode in decodes):
        return decodes
    return tuple(np.pad(d, ((0, 0), (0, width - d.shape[1])), constant_values=_NO_TOKEN) for d in decodes)


_NO_TOKEN = -1


def require_equal(checks: Sequence[OutputCheck], stage: str, after: str, detail: str = "") -> None:
    """Raise NumericsError with every output that moved past its tolerance. `detail` says where it began."""
    NumericsError.raise_if(
        Problem(
            stage,
            f"{check.model}: output {check.output!r}, sample {check.sample}",
            f"differs from the source model after {after}: {check.comparison}{detail}",
            _what_would_pass(check.comparison),
        )
        for check in checks
        if not check.passed
    )


def _what_would_pass(comparison: Comparison) -> str:
    if not math.isfinite(comparison.required):
        return ""
    # An absolute bound passes whatever else is given: the flags take away the table's normwise term.
    return f"--atol {1.01 * comparison.max_abs:.2e} would pass"
