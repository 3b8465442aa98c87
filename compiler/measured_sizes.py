"""Which sizes of a model are one and the same, for files that call one size by several names or give none."""

from __future__ import annotations

from collections.abc import Sequence

from artifacts.samples import Array, Sample
from artifacts.spec import Dim, Signature, TensorSpec


def measured_signature(signature: Signature, samples: Sequence[Sample]) -> Signature:
    """The signature with one symbol for all sizes that are equal in every sample.

    A size of an output that is one number in all of them is that number, and an output declared without a rank gets
    one. Fewer than two samples tell nothing.
    """
    if len(samples) < 2:
        return signature
    names: dict[tuple[int, ...], str] = {}

    def measured(spec: TensorSpec, arrays: Sequence[Array], settled: bool) -> TensorSpec:
        if len({array.ndim for array in arrays}) > 1:
            return spec
        found: list[Dim] = []
        for axis, sizes in enumerate(zip(*(array.shape for array in arrays), strict=True)):
            declared = spec.shape[axis] if axis < spec.rank else f"{spec.name}_dim{axis}"
            if isinstance(declared, str):
                declared = sizes[0] if settled and len(set(sizes)) == 1 else names.setdefault(sizes, declared)
            found.append(declared)
        return spec.model_copy(update={"shape": tuple(found)})

    return Signature(
        inputs=tuple(measured(spec, [s.inputs[spec.name] for s in samples], False) for spec in signature.inputs),
        outputs=tuple(measured(spec, [s.outputs[spec.name] for s in samples], True) for spec in signature.outputs),
    )
