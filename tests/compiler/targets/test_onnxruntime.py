from __future__ import annotations

from importlib import metadata

import pytest

from artifacts.dtype import DType
from artifacts.weights import WeightRef
from compiler.targets.onnxruntime import INLINE_BYTES, TARGET


def ref(nbytes: int) -> WeightRef:
    return WeightRef(digest=f"{nbytes:064x}", dtype=DType.UINT8, shape=(nbytes,))


def test_all_but_small_weights_are_stored() -> None:
    refs = [ref(0), ref(INLINE_BYTES), ref(INLINE_BYTES + 1), ref(10**6)]
    assert TARGET.stored(refs) == refs[2:]


def test_usable_where_the_runtime_is_installed() -> None:
    available = TARGET.availability()
    assert available.usable
    assert available.version == metadata.version("onnxruntime")


def test_missing_where_it_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    available = TARGET.availability()
    assert not available.usable
    assert "onnxruntime" in available.hint
