"""TorchScript files that are the same for the same model, wherever and after whatever they are written."""

from __future__ import annotations

import io
import zipfile

import pytest
import torch

from compiler.torchscript.archive import canonical
from compiler.torchscript.parts import quiet, saved


def traced(factor: float, module: str = "unspool.whole") -> torch.jit.ScriptModule:
    class Part(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("w0", torch.full((3, 3), factor))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x @ self.get_buffer("w0")

    Part.__module__ = module
    with quiet(), torch.no_grad():
        made: torch.jit.ScriptModule = torch.jit.trace(Part().eval(), (torch.ones(2, 3),), check_trace=False)  # type: ignore[no-untyped-call]
        return made


class Both(torch.nn.Module):
    def __init__(self, first: str, second: str) -> None:
        super().__init__()
        self.first, self.second = traced(1.0, first), traced(2.0, second)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = self.second(self.first(x))
        return made


def both(first: str, second: str) -> torch.jit.ScriptModule:
    with quiet():
        module: torch.jit.ScriptModule = torch.jit.trace(Both(first, second), (torch.ones(2, 3),), check_trace=False)  # type: ignore[no-untyped-call]
        return module


def test_a_model_that_is_written_again_is_the_same() -> None:
    first, again = saved(traced(0.5)), saved(traced(0.5))
    assert first == again
    assert first != saved(traced(0.25))
    with quiet():
        loaded = torch.jit.load(io.BytesIO(again))  # type: ignore[no-untyped-call]
    assert torch.equal(loaded(torch.ones(2, 3)), torch.full((2, 3), 1.5))


def test_nothing_of_this_machine_is_in_it() -> None:
    with zipfile.ZipFile(io.BytesIO(saved(both("unspool.encoder", "unspool.step")))) as archive:
        content = b"".join(archive.read(name) for name in archive.namelist())
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    assert __file__.encode() not in content
    assert b"site-packages" not in content
    assert b"mangle" not in content


def test_classes_that_would_be_one_are_refused() -> None:
    module, buffer = both("unspool.step", "unspool.step"), io.BytesIO()
    with quiet():
        torch.jit.save(module, buffer)
    with pytest.raises(ValueError, match="would hold two classes"):
        canonical(buffer.getvalue())
