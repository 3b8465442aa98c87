"""The models that the neuronx target is shown to make engines of, and the table of what was seen of each.

python -m tests.support.neuron_models FOLDER [NAME ...]
"""

from __future__ import annotations

import datetime
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from artifacts.bundle import Bundle
from tests.support.commands import unspool
from tests.support.light_networks import light_network
from tests.support.models import DATA, OCR


@dataclass(frozen=True)
class NeuronModel:
    """A model file and the flags that it is compiled with."""

    file: Path
    flags: tuple[str, ...] = ()

    def arguments(self, bundle: Path) -> list[str | Path]:
        """The command that compiles it."""
        return ["compile", f"m={self.file}", "--target", "neuronx", *self.flags, "-o", bundle]


_READER = ("--max-length", "75", "--opt-shapes", "image:2x1x16x320")
_WORDS = ("--bos", "2", "--eos", "3", "--pad", "0", "--max-length", "20", "--opt-shapes", "graphemes:2x9")

MODELS: Mapping[str, NeuronModel] = {
    "ocr_lines, loop": NeuronModel(OCR / "model.onnx", _READER),
    "ocr_lines, unrolled": NeuronModel(OCR / "model.onnx", ("--schedule", "unrolled", *_READER)),
    "ocr_lines, partitioned": NeuronModel(
        OCR / "model.onnx", ("--schedule", "partitioned", "--partitions", "25,50,75", *_READER)
    ),
    "bert_tiny": NeuronModel(DATA / "bert_tiny" / "model_dynamo.onnx", ("--opt-shapes", "input_ids:2x16")),
    "light_resnet50": NeuronModel(light_network("resnet50")),
    "t5_tiny, loop": NeuronModel(
        DATA / "t5_tiny" / "model_dynamo.onnx", ("--max-length", "24", "--opt-shapes", "input_ids:2x16")
    ),
    "t5_tiny, unrolled": NeuronModel(
        DATA / "t5_tiny" / "model_dynamo.onnx",
        ("--schedule", "unrolled", "--max-length", "8", "--opt-shapes", "input_ids:2x16"),
    ),
    "g2p_en, loop": NeuronModel(DATA / "g2p_en" / "g2p.onnx", _WORDS),
    "g2p_en, unrolled": NeuronModel(DATA / "g2p_en" / "g2p.onnx", ("--schedule", "unrolled", *_WORDS)),
    "g2p_en, partitioned": NeuronModel(
        DATA / "g2p_en" / "g2p.onnx", ("--schedule", "partitioned", "--partitions", "5,10,20", *_WORDS)
    ),
}


def engines_of(bundle: Path) -> dict[str, bytes]:
    """The sources of a bundle's engines, by name."""
    return {
        name: (bundle / engine.source).read_bytes() for name, engine in Bundle.open(bundle).manifest.engines.items()
    }


def rows(folder: Path, names: list[str]) -> Iterator[str]:
    """A row of the table for each model, compiled in a process of its own."""
    for number, name in enumerate(names):
        target = folder / str(number)
        seconds = unspool(*MODELS[name].arguments(target)).seconds
        bundle = Bundle.open(target)
        report = bundle.report()
        assert report is not None
        counted = {size.name: size.instructions or 0 for size in report.engines}
        found = [notice for notice in report.notices if "times, first at" in notice]
        instructions = ", ".join(f"{engine.removeprefix('m.')} {count:,}" for engine, count in counted.items())
        statuses = ", ".join(sorted({engine.status for engine in bundle.manifest.engines.values()}))
        findings = "; ".join(found) or "none"
        yield f"| {name} | {len(counted)} | {instructions} | {statuses} | {seconds:.0f} | {findings} |"


if __name__ == "__main__":
    where, *chosen = sys.argv[1:]
    print(f"Seen on {datetime.datetime.now(tz=datetime.UTC).date()}:\n")
    print("| model, schedule | engines | instructions | status | seconds | findings |")
    print("| --- | --- | --- | --- | --- | --- |")
    for row in rows(Path(where), chosen or list(MODELS)):
        print(row, flush=True)
