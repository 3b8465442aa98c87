"""Make one bundle of a zoo, and tell what it came to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from artifacts.bundle import Bundle
from artifacts.report import BuildReport
from compiler.build_log import BuildLog
from compiler.compile import Compiled, compile_bundle
from compiler.key import Ingredients, compilation_key
from compiler.options import Existing
from compiler.present import Unchanged
from compiler.zoo.work import Made, Work
from passes.memo import Memo


def make(work: Work, memo: Memo, log: BuildLog) -> tuple[Made, bool]:
    """The bundle of a job is in its place; True if it had been made before. Raises UnspoolError."""
    compiled = compile_bundle(
        work.models,
        work.destination,
        work.options,
        existing=Existing.REPLACE,
        store=work.store,
        seconds=work.seconds,
        log=log,
        memo=memo,
    )
    return made_of(compiled), compiled.up_to_date


def made_of(compiled: Compiled) -> Made:
    """What is known of a bundle that was just made, or found."""
    return _made(compiled.bundle, compiled.report, compiled.ingredients, metrics_of(compiled.bundle, compiled.report))


def made_of_unchanged(found: Unchanged) -> Made:
    """What is known of a bundle that was there already; its figures were told when it was made."""
    return _made(found.bundle, found.report, found.ingredients, {})


def _made(bundle: Bundle, report: BuildReport, ingredients: Ingredients, metrics: Mapping[str, float]) -> Made:
    serving = bundle.manifest.serving
    external = report.external.items()
    return Made(
        key=compilation_key(ingredients),
        ingredients={**ingredients, "serving": None if serving is None else serving.model_dump(mode="json")},
        external={model: {role: list(names) for role, names in roles.items()} for model, roles in external},
        metrics=metrics,
        notices=tuple(report.notices),
    )


def metrics_of(bundle: Bundle, report: BuildReport) -> dict[str, float]:
    """The figures of a bundle and of its build: bytes, seconds, differences from the source, operators."""
    files = bundle.manifest.files
    weights = {shard.path for shard in bundle.manifest.weights.shards}
    figures: dict[str, float] = {
        "bytes": sum(entry.bytes for entry in files.values()),
        "bytes.weights": sum(entry.bytes for path, entry in files.items() if path in weights),
        "bytes.engines": sum(entry.bytes for path, entry in files.items() if path.startswith("engines/")),
        "seconds": report.seconds,
    }
    for stage in report.stages:
        name = f"seconds.{stage.name}"
        figures[name] = figures.get(name, 0.0) + stage.seconds
    for found in report.numerics:
        if found.after == "engine" and found.max_abs is not None:
            figures[f"numerics.{found.model}.{found.output}"] = found.max_abs
    figures |= _operators(bundle)
    return figures


def _operators(bundle: Bundle) -> dict[str, float]:
    """How often each operator is in the engines that are ONNX, bodies and functions included."""
    import onnx_ir as ir

    counts: Counter[str] = Counter()
    for entry in bundle.manifest.engines.values():
        if entry.source.endswith(".onnx"):
            model = ir.load(bundle.root / entry.source)
            graphs = [model.graph, *(function.graph for function in model.functions.values())]
            counts.update(node.op_type for graph in graphs for node in graph.all_nodes())
    return (
        {"operators": counts.total(), **{f"operators.{name}": count for name, count in counts.items()}}
        if counts
        else {}
    )
