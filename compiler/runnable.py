"""A bundle as it can run here: engines whose plans cannot, by the sources that they were made from.

What is checked so is the very graph that a builder was handed. Where it computes in bfloat16, that is written anew for
the check (`bfloat16_proof.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from artifacts.bundle import Bundle
from artifacts.dtype import DType
from artifacts.engine_sources import as_sources
from artifacts.manifest import Build, EngineEntry
from artifacts.plan_build import PlanBuild


@contextmanager
def runnable(bundle: Bundle) -> Iterator[Bundle]:
    """The bundle with engines that can run here, for as long as the context lasts; its folder is not written to.

    An engine that can run as it is keeps its entry. onnx is needed for one that computes in bfloat16 alone. Raises
    TargetError for a graph that cannot be written anew.
    """
    given = bundle.manifest.engines
    engines = as_sources(given)
    with TemporaryDirectory() as folder:
        for name, entry in engines.items():
            may_be_low = entry.build is None or _may_be_low(entry.build)
            if entry is not given[name] and entry.source.endswith(".onnx") and may_be_low:
                engines[name] = _in_float32(entry, bundle.root, Path(folder) / f"{name}.onnx")
        yield Bundle(bundle.root, bundle.manifest.model_copy(update={"engines": engines}))


def _may_be_low(build: Build) -> bool:
    return isinstance(build, PlanBuild) and DType.BFLOAT16 in build.dtypes


def _in_float32(entry: EngineEntry, root: Path, path: Path) -> EngineEntry:
    """The entry with its source at `path`, outside of the bundle; as it is if nothing there is of bfloat16."""
    import onnx_ir as ir

    from compiler.bfloat16_proof import in_float32

    model = ir.load(root / entry.source)
    if not in_float32(model):
        return entry
    path.write_bytes(ir.to_proto(model).SerializeToString())
    return entry.model_copy(update={"source": str(path)})
