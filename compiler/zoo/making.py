"""Make one bundle of a zoo, and tell what it came to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from artifacts.bundle import Bundle
from artifacts.report import BuildReport
from artifacts.shard_store.shelf import Shelf
from artifacts.shard_store.store import ShardStore
from compiler.build_log import BuildLog
from compiler.compile import Circumstances, Compiled, compile_bundle
from compiler.key import Ingredients, compilation_key
from compiler.options import Existing
from compiler.parts.reading import read_model
from compiler.present import Unchanged, find_present
from compiler.serving import served_anew
from compiler.zoo.work import Made, Work
from passes.memo import Memo


def make(work: Work, memo: Memo, log: BuildLog) -> tuple[Made, bool]:
    """The bundle of a job is in its place; True if it had been made before, here or elsewhere. Raises UnspoolError."""
    shelf = Shelf(ShardStore.open(work.store, create=True))
    known = None if shelf.is_empty() else _taken(work, shelf, log)
    if known is not None:
        return known, True
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
    made = made_of(compiled)
    if not compiled.up_to_date:
        with log.stage("keep", "in the store"):
            shelf.put(made.key, compiled.bundle)
    return made, compiled.up_to_date


def _taken(work: Work, shelf: Shelf, log: BuildLog) -> Made | None:
    """The bundle of a job from the store, if somebody made it before and there is none in its place yet."""
    with log.stage("look", "for the bundle in the store"):
        read = {model.name: read_model(model) for model in work.models}
        about = Circumstances.of(work.models, work.options)
        found = about.ingredients({name: model.digest for name, model in read.items()}, shared=True)
        key = compilation_key(found)
        if find_present(work.destination, key, or_none=True) is not None:
            return None
        bundle = shelf.take(key, work.destination)
        report = None if bundle is None else bundle.report()
    if bundle is None or report is None:
        return None
    if bundle.manifest.serving != (None if about.serving is None else work.options.serving):
        bundle = served_anew(bundle, work.options.serving)
    return _made(bundle, report, found, metrics_of(bundle, report))


def made_of(compiled: Compiled) -> Made:
    """What is known of a bundle that was just made, or found."""
    return _made(compiled.bundle, compiled.report, compiled.ingredients, metrics_of(compiled.bundle, compiled.report))


def made_of_unchanged(found: Unchanged) -> Made:
    """What is known of a bundle that was there already."""
    return _made(found.bundle, found.report, found.ingredients, metrics_of(found.bundle, found.report))


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
