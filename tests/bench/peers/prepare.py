"""What contestants open: models in all their forms, and our bundles of them."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import onnx

from artifacts.bundle import Bundle
from artifacts.manifest import MANIFEST_FILE, FileEntry
from compiler.generation import TokenFlags
from compiler.options import CompileOptions, Precision
from compiler.targets import find_target
from tests.bench.cases import bundle_of
from tests.bench.limits import TRIPS, limit
from tests.bench.peers.bundle import folder_name
from tests.bench.peers.contestants import OURS, OURS_INT8, Contestant
from tests.bench.peers.models import LENGTHS, MODEL_FILE, PeerModel
from tests.bench.peers.process import FOLDER, run_in_peers

_MADE_FROM = ("export.py", "models.py", "vocabulary.py", "requirements.txt")


def our_contestants() -> tuple[Contestant, ...]:
    """Those whose precision the target can do."""
    precisions = find_target(CompileOptions().target).precisions
    return tuple(found for found in (OURS, OURS_INT8) if Precision(found.form) in precisions)


def prepare(model: PeerModel) -> None:
    """Make what is not there, or was made by other code."""
    folder = FOLDER / model.name
    _export(model, folder)
    for contestant in our_contestants():
        _compile(model, contestant, folder)


def _export(model: PeerModel, folder: Path) -> None:
    here = Path(__file__).parent
    digest = hashlib.sha256(b"".join((here / name).read_bytes() for name in _MADE_FROM)).hexdigest()
    ready = folder / "made-from"
    if not ready.exists() or ready.read_text() != digest:
        shutil.rmtree(folder, ignore_errors=True)
        run_in_peers("tests.bench.peers.export", model.name, folder)
        ready.write_text(digest)


def _compile(model: PeerModel, contestant: Contestant, folder: Path) -> None:
    options = CompileOptions(precision=Precision(contestant.form), tokens=TokenFlags(max_new_tokens=LENGTHS[-1]))
    bundle = bundle_of(f"peers-{model.name}-{contestant.form}", folder / MODEL_FILE, options)
    for length in LENGTHS:
        shortened(bundle, folder / folder_name(contestant.form, length), length)


def shortened(bundle: Path, folder: Path, length: int) -> None:
    """The same bundle with Loops that end after that many tokens: compiled once, it decodes every length.

    Of the files all but the engine and the manifest are shared with it.
    """
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(bundle, folder, copy_function=os.link)
    manifest = Bundle.open(bundle).manifest
    (engine,) = manifest.engines.values()
    model = onnx.load_model(bundle / engine.source, load_external_data=False)
    limit(model.graph)
    model.graph.initializer.append(onnx.helper.make_tensor(TRIPS, onnx.TensorProto.INT64, [], [length]))
    content = model.SerializeToString()
    entry = FileEntry(sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))
    changed = manifest.model_copy(update={"files": {**manifest.files, engine.source: entry}})
    for path, data in ((engine.source, content), (MANIFEST_FILE, changed.to_bytes())):
        (folder / path).unlink()
        (folder / path).write_bytes(data)
