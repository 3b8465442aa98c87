"""The models that are measured, the requests that they answer, and their bundles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnx

from artifacts.errors import BundleError
from artifacts.samples import Arrays
from compiler.compile import compile_bundle
from compiler.options import CompileOptions, Existing, ModelFile
from tests.bench.reader import export_reader
from tests.support.bert import bert_file, minilm, random_bert
from tests.support.light_networks import randomized
from tests.support.models import OCR, PROJECT, normal, perceptron, saved
from tests.support.moderation import BASE, heads, moderation_model
from tests.support.ppocr import ppocr_file

BUILD = PROJECT / "build" / "bench"
"""Bundles and models made for the bench; kept from one run to the next."""

TOKENS = 128


@dataclass(frozen=True)
class Case:
    """A model whose bundle is timed against ONNX Runtime on its file, and the ratio that it may take at most."""

    name: str
    what: str
    file: Callable[[], Path]
    inputs: Arrays
    bound: float
    is_quick: bool = True


def resnet50() -> Path:
    """The resnet50 of ONNX's backend tests with seeded random weights, all of them inside the file (102 MB)."""
    path = BUILD / "models" / "resnet50.onnx"
    return path if path.exists() else saved(randomized("resnet50"), path)


def bert_base() -> Path:
    """BERT-base with its weights in a file beside the model's, as torch.onnx writes it."""
    return bert_file("bert_base", random_bert)


def bert_base_in_one_file() -> Path:
    """The same with its weights inside the model's file."""
    path = BUILD / "models" / "bert_base.onnx"
    return path if path.exists() else saved(onnx.load_model(bert_base()), path)


def shared_backbones() -> list[Path]:
    """Five models in files of their own that repeat two backbones: 2.3 GB, of which 781 MB are different weights."""
    folder = BUILD / "models" / "moderation"
    paths = [folder / f"{name}.onnx" for name in heads()]
    return [path if path.exists() else saved(moderation_model(path.stem, BASE), path) for path in paths]


def tiny() -> Path:
    """Two matrix products of 16x32 and 32x8: a call costs next to nothing."""
    return saved(perceptron(), BUILD / "models" / "tiny.onnx")


def ocr() -> Path:
    """The trained reader of lines that the demo compiles."""
    return OCR / "model.onnx"


def reader() -> Path:
    """An untrained reader of lines of 47 million weights, 75 tokens long (189 MB)."""
    path = BUILD / "models" / "reader.onnx"
    return path if path.exists() else export_reader(path)


def _text() -> Arrays:
    ids = np.random.default_rng(0).integers(1000, 30000, (1, TOKENS))
    return {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}


CASES = (
    Case("resnet50", "light_resnet50, 1x3x224x224", resnet50, {"gpu_0/data_0": normal(1, 3, 224, 224)}, 1.0),
    Case("ppocr_rec", "PP-OCRv4 rec, 1x3x48x320", partial(ppocr_file, "rec"), {"x": normal(1, 3, 48, 320)}, 1.0),
    Case("minilm", f"MiniLM-L6, 1x{TOKENS}", lambda: bert_file("minilm", minilm), _text(), 1.0),
    Case("bert_base", f"BERT-base, 1x{TOKENS}", bert_base, _text(), 1.0, is_quick=False),
)


def bundle_of(name: str, file: Path, options: CompileOptions | None = None) -> Path:
    """The bundle of a model, compiled anew unless it is up to date."""
    options = options or CompileOptions()
    bundle = BUILD / "bundles" / name
    bundle.parent.mkdir(parents=True, exist_ok=True)
    models = [ModelFile(name, file)]
    try:
        compile_bundle(models, bundle, options)
    except BundleError:  # made from something else
        compile_bundle(models, bundle, options, existing=Existing.REMAKE)
    return bundle
