"""Real architectures as torch's two exporters write them, against what the PyTorch modules computed."""

from __future__ import annotations

import numpy as np
import pytest

from artifacts.bundle import Bundle
from artifacts.runtime import Session
from tests.support.cli import unspool
from tests.support.models import DATA, EXPORTS, BundleCache, known_io, normal, source_outputs

SYMBOLS = {
    "bert_tiny/model": {"batch", "seq"},
    "bert_tiny/model_dynamo": {"batch", "seq"},
    "ocr_conformer/model": {"batch", "width", "tgt_len"},
    "ocr_conformer/model_dynamo": {"batch", "tgt_len"},
}


@pytest.mark.parametrize("export", EXPORTS)
class TestExport:
    def test_the_bundle_computes_what_the_module_did(self, cache: BundleCache, export: str) -> None:
        io = known_io(export)
        with Session.open(cache.export(export)) as session:
            inputs = {spec.name: io[spec.name] for spec in session.signature.inputs}
            outputs = session.run(inputs)
        assert set(inputs) | set(outputs) == set(io)
        for name, found in outputs.items():
            np.testing.assert_allclose(found, io[name], rtol=1e-4, atol=1e-4)

    def test_every_declared_size_is_free(self, cache: BundleCache, export: str) -> None:
        with Session.open(cache.export(export)) as session:
            signature = session.signature
            assert set(signature.symbols) == SYMBOLS[export]
            for batch, length, width in ((1, 1, 64), (3, 17, 160), (2, 40, 96)):
                sizes = {"batch": batch, "seq": length, "tgt_len": length, "width": width}
                inputs = {
                    spec.name: normal(*shape) if spec.dtype.is_float else np.ones(shape, np.int64)
                    for spec in signature.inputs
                    for shape in [tuple(sizes[dim] if isinstance(dim, str) else dim for dim in spec.shape)]
                }
                expected = source_outputs(DATA / f"{export}.onnx", inputs)
                for name, found in session.run(inputs).items():
                    np.testing.assert_allclose(found, expected[name], rtol=1e-4, atol=1e-4)

    def test_verify_agrees_with_the_source(
        self, capsys: pytest.CaptureFixture[str], cache: BundleCache, export: str
    ) -> None:
        against = ("--against", DATA / f"{export}.onnx")
        for arguments in ((), against, (*against, "--inputs", (DATA / export).with_name("test_io.npz"))):
            found = unspool(capsys, "verify", cache.export(export), *arguments, "--json")
            assert found.status == 0
            assert all(check["max_abs"] < 1e-4 for check in found.document["checks"])

    def test_weights_are_the_sources_own_or_made_by_a_pass_that_means_to(self, cache: BundleCache, export: str) -> None:
        """What conversion transposes or duplicates would show as derived, or as more bytes than the source has."""
        report = Bundle.open(cache.export(export)).report()
        assert report is not None
        assert report.weights is not None
        assert {derived.reason for derived in report.weights.derived} <= {"fold-constants", "pack-projections"}
        assert report.weights.unique_bytes <= (DATA / f"{export}.onnx").stat().st_size


def test_both_exporters_give_the_same_answers(cache: BundleCache) -> None:
    for model in ("bert_tiny", "ocr_conformer"):
        with (
            Session.open(cache.export(f"{model}/model")) as legacy,
            Session.open(cache.export(f"{model}/model_dynamo")) as dynamo,
        ):
            io = known_io(f"{model}/model")
            inputs = {spec.name: io[spec.name] for spec in legacy.signature.inputs}
            for name, found in legacy.run(inputs).items():
                np.testing.assert_allclose(found, dynamo.run(inputs)[name], rtol=1e-4, atol=1e-4)
