"""Inspect: what is in a bundle, an ONNX model, a shard or what Neuron compiled, as one document and as tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from artifacts.bundle import Bundle
from artifacts.devices import plan_header
from artifacts.errors import UsageError
from artifacts.manifest import MANIFEST_FILE, EngineEntry
from artifacts.plan_build import PlanBuild
from artifacts.report import BucketChoice, DecodeCost, DerivedWeights, EngineSize, Movement, WeightCost, WeightsReport
from artifacts.shards import read_shard
from artifacts.spec import Signature
from artifacts.tensorrt_plan import PlanHeader
from compiler.inspect_flags import flags_sections
from compiler.inspect_neff import inspect_neff, inspect_traced
from compiler.inspect_schedule import schedule_rows
from compiler.inspect_serving import serving_section
from compiler.parts.folder import holds_model, model_at
from compiler.sections import Inspection, Section

if TYPE_CHECKING:
    from passes.onnx_to_torch.source import Source

SHOWN_TENSORS = 20

_NEURON: Mapping[str, Callable[[Path], Inspection]] = {".neff": inspect_neff, ".pt": inspect_traced}
"""Files that AWS Neuron's tools wrote."""


def inspect(path: Path) -> Inspection:
    """Look into a thing by what it is. Raises UnspoolError if it is none of what can be looked into."""
    if path.is_dir() and not (path / MANIFEST_FILE).exists() and holds_model(path):
        return _model(path)
    if path.is_dir():
        return _bundle(path)
    if path.suffix == ".safetensors":
        return _shard(path)
    if path.is_file() and path.suffix in _NEURON:
        return _NEURON[path.suffix](path)
    if path.is_file():
        return _model(path)
    raise UsageError.of(
        "inspect",
        str(path),
        "does not exist",
        "name a bundle, an ONNX model, a folder of its parts, a safetensors file, a NEFF or a traced .pt",
    )


def _bundle(path: Path) -> Inspection:
    bundle = Bundle.open(path)
    manifest, report = bundle.manifest, bundle.report()
    sections = []
    for name, model in manifest.models.items():
        rows = _signature_rows(model.signature)
        rows += schedule_rows(model)
        rows.append(["source", model.source, ""])
        sections.append(Section(f"Model {name}", ["", "", ""], rows))
    engines = [
        [
            name,
            engine.kind,
            engine.status,
            _megabytes(manifest.files[engine.source].bytes),
            ", ".join(engine.runs_on),
            _access(engine),
        ]
        for name, engine in manifest.engines.items()
    ]
    sections.append(Section("Engines", ["engine", "kind", "status", "size", "runs on", "weights"], engines))
    sections += [] if manifest.serving is None else [serving_section(manifest.serving)]
    headers = {name: plan_header(bundle, engine) for name, engine in manifest.engines.items()}
    plans = {name: header for name, header in headers.items() if header is not None}
    sections += [_plans(plans)] if plans else []
    profiles = _profiles(manifest.engines)
    sections += [profiles] if profiles.rows else []
    sections += flags_sections(manifest.engines)
    held = {shard: len(read_shard(bundle.root, shard.path, verify=False)[0]) for shard in manifest.weights.shards}
    weights = [[shard.path, str(count), _megabytes(shard.bytes)] for shard, count in held.items()]
    sections.append(Section("Weights", ["shard", "tensors", "size"], weights))
    made = [[name, version] for name, version in manifest.tools.items()]
    made += [["pass", f"{step.name} {step.options or ''}".strip()] for step in manifest.passes]
    sections.append(Section("Made with", ["", ""], made))
    if report is not None:
        worst: dict[tuple[str, str], float] = {}
        for item in report.numerics:
            key = (item.model, item.after)
            worst[key] = max(worst.get(key, 0.0), item.max_abs if item.max_abs is not None else float("inf"))
        numerics = [[model, after, f"{value:.3g}"] for (model, after), value in worst.items()]
        sections.append(Section("Numerics", ["model", "after", "largest difference"], numerics))
        sections += _plan_contents(report.engines)
        sections += _instructions(report.engines)
        sections += [] if report.weights is None else [_saved(report.weights)]
        sections += [_decode_costs(report.decode_costs)] if report.decode_costs else []
        sections += [_weight_costs(report.weight_costs)] if report.weight_costs else []
        sections += [_movements(report.movements)] if report.movements else []
        sections += [_bucket_choice(found) for found in report.buckets]
    document = {
        "kind": "bundle",
        "manifest": manifest.model_dump(mode="json"),
        "digest": manifest.digest,
        "bytes": sum(file.bytes for file in manifest.files.values()),
        "plans": {name: {**asdict(plan), "version": plan.version_text} for name, plan in plans.items()},
        "report": report.model_dump(mode="json") if report is not None else None,
    }
    return document, sections


def _plans(plans: Mapping[str, PlanHeader]) -> Section:
    """What the plans of engines say of themselves."""
    rows = [
        [name, f"TensorRT-RTX {plan.version_text}", ", ".join(plan.capabilities), _megabytes(plan.bytes)]
        for name, plan in plans.items()
    ]
    return Section("Plans", ["engine", "made by", "loads on", "size"], rows)


def _profiles(engines: Mapping[str, EngineEntry]) -> Section:
    """The sizes that plans are built for."""
    rows = [
        [name, str(number), value, *("x".join(map(str, shape)) for shape in (sizes.least, sizes.usual, sizes.most))]
        for name, engine in engines.items()
        if isinstance(engine.build, PlanBuild)
        for number, profile in enumerate(engine.build.profiles)
        for value, sizes in profile.items()
    ]
    return Section("Optimization profiles", ["engine", "profile", "input", "smallest", "usual", "largest"], rows)


def _plan_contents(engines: Sequence[EngineSize]) -> list[Section]:
    """What the plans of engines hold, as it was found when they were made."""
    rows = []
    for engine in engines:
        if (plan := engine.plan) is None:
            continue
        kernels, weights = plan.kernels, plan.weights
        found = weights.once_bytes + weights.turned_bytes + weights.joined_bytes
        rows.append(
            [
                engine.name,
                _megabytes(plan.bytes),
                f"{_megabytes(kernels.bytes)} in {kernels.texts}, {kernels.distinct} distinct",
                _megabytes(plan.program_bytes),
                f"{_megabytes(weights.bytes)} given, {_megabytes(found)} found",
                _megabytes(weights.held_bytes - weights.once_bytes),
                _megabytes(plan.rest_bytes),
            ]
        )
    columns = ["engine", "size", "kernel texts", "programs", "weights", "of them again", "the rest"]
    return [Section("What plans hold", columns, rows)] if rows else []


def _instructions(engines: Sequence[EngineSize]) -> list[Section]:
    """How many instructions the modules have that an accelerator's compiler is handed."""
    rows = [[engine.name, str(engine.instructions)] for engine in engines if engine.instructions is not None]
    return [Section("Instructions of modules", ["engine", "instructions"], rows)] if rows else []


def _access(engine: EngineEntry) -> str:
    """How an engine takes its weights, and how else it can."""
    others = ", ".join(sorted(engine.weights.ways.keys() - {engine.weights.default}))
    return f"{engine.weights.default} (or {others})" if others else engine.weights.default


def _weight_costs(costs: Sequence[WeightCost]) -> Section:
    """What each way to take the weights was seen to cost when the bundle was made."""
    rows = [
        [
            cost.model,
            cost.way,
            f"{cost.milliseconds:.2f} ms",
            "" if cost.own_bytes is None else _megabytes(cost.own_bytes),
        ]
        for cost in costs
    ]
    return Section("Weights in memory", ["model", "taken", "to answer its samples", "memory of its own"], rows)


def _saved(weights: WeightsReport) -> Section:
    """How many bytes of weights went in and came out, and which of them are not the source's."""
    rows = [
        ["in the source files", "", _megabytes(weights.source_bytes), ""],
        ["stored once", "", _megabytes(weights.unique_bytes), ""],
        ["of them the source's", "", _megabytes(weights.unique_bytes - weights.derived_bytes), ""],
    ]
    rows += [[f"of them made by {d.reason}", str(d.tensors), _megabytes(d.bytes), _some(d)] for d in weights.derived]
    rows.append(["source tensors that another one stands for", str(weights.merged), "", ""])
    rows += [
        [f"computed when an engine opens: {made.reason}", str(made.tensors), _megabytes(made.bytes), _some(made)]
        for made in weights.computed_at_open
    ]
    return Section("Where the weights come from", ["", "tensors", "size", "names"], rows)


def _some(weights: DerivedWeights) -> str:
    more = weights.tensors - len(weights.names)
    return ", ".join(weights.names) + (f" and {more} more" if more else "")


def _decode_costs(costs: Sequence[DecodeCost]) -> Section:
    """What decoding one row to the last token costs in each form."""
    rows = []
    for cost in costs:
        total = cost.total
        encoder = "in every step" if cost.encoder.instructions == 0 else _count(cost.encoder.flops)
        shapes = ", ".join(f"{name}:{'x'.join(map(str, shape))}" for name, shape in cost.inputs.items())
        rows.append(
            [
                cost.model,
                _FORMS[cost.state],
                str(cost.tokens),
                encoder,
                _count(total.flops),
                _count(total.elements),
                str(total.instructions),
                _megabytes(total.weight_bytes),
                _megabytes(total.cache_bytes),
                shapes,
            ]
        )
    columns = ["model", "form", "tokens", "encoder flops", "flops", "other elements", "instructions"]
    return Section("Decode costs", [*columns, "weights read", "cache moved", "for"], rows)


def _movements(movements: Sequence[Movement]) -> Section:
    """What one call of each function moves, as it was converted and after passes."""
    rows = [[found.function, found.after, str(found.operators), str(found.bytes)] for found in movements]
    return Section("Moved in one call", ["function", "after", "operators", "bytes"], rows)


def _bucket_choice(found: BucketChoice) -> Section:
    """What buckets were chosen by a histogram of sizes, and what is expected of them."""
    rows = [[str(size), f"{share:.1%}"] for size, share in zip(found.sizes, found.shares, strict=True)]
    rows.append(["padding, of what is computed", f"{found.padding:.1%}"])
    rows.append(["the same with one bucket", f"{found.padding_of_one:.1%}"])
    title = f"Buckets of {', '.join(found.symbols)} in {found.model}, as chosen"
    return Section(title, ["size", "share of the requests"], rows)


_FORMS = {"padded": "padded", "recompute": "exact length", "cached": "cached"}


def _shard(path: Path) -> Inspection:
    tensors, store = read_shard(path.parent, path.name, verify=False)
    rows = [[t.digest[:16], str(t.dtype), "x".join(map(str, t.shape)), str(t.offset), str(t.nbytes)] for t in tensors]
    title = f"{path.name}: {len(tensors)} tensors, {_megabytes(store.nbytes)}"
    document = {"kind": "weights", "tensors": [asdict(tensor) for tensor in tensors]}
    return document, [Section(title, ["digest", "dtype", "shape", "offset", "bytes"], rows)]


def _model(path: Path) -> Inspection:
    from compiler.parts.opening import opened_source

    with opened_source(model_at("model", path)) as source:
        return _source(path, source)


def _source(path: Path, source: Source) -> Inspection:
    import onnx_ir as ir

    from passes.onnx_to_torch.constant_nodes import constant_tensors
    from passes.onnx_to_torch.convert import source_signature
    from passes.onnx_to_torch.gaps import find_gaps

    signature = source_signature(source)
    operators = Counter(node.op_type for node in ir.traversal.RecursiveGraphIterator(source.model.graph))
    gaps = find_gaps(source.model)
    weights = sum(tensor.nbytes for tensor in {id(t): t for t in constant_tensors(source.model)}.values())
    opsets = {domain or "ai.onnx": version for domain, version in source.model.opset_imports.items()}
    rows = _signature_rows(signature)
    rows += [["opset", f"{domain} {version}", ""] for domain, version in opsets.items()]
    rows += [["weights", _megabytes(weights), ""], ["digest", source.digest, ""]]
    sections = [
        Section(f"ONNX model {path.name}", ["", "", ""], rows),
        Section("Operators", ["operator", "nodes"], [[name, str(count)] for name, count in operators.most_common()]),
    ]
    if gaps:
        sections.append(Section("Not convertible", ["operator", "reason"], [[g.subject, g.message] for g in gaps]))
    document = {
        "kind": "onnx",
        "signature": signature.model_dump(mode="json"),
        "opsets": opsets,
        "operators": dict(operators),
        "weights_bytes": weights,
        "digest": source.digest,
        "gaps": [{"subject": gap.subject, "message": gap.message} for gap in gaps],
    }
    return document, sections


def _signature_rows(signature: Signature) -> list[list[str]]:
    return [
        [side, spec.name, f"{spec.dtype}[{', '.join(map(str, spec.shape))}]"]
        for side, specs in (("input", signature.inputs), ("output", signature.outputs))
        for spec in specs
    ]


def _count(number: int) -> str:
    return f"{number / 1e6:.2f} M" if number < 1e9 else f"{number / 1e9:.2f} G"


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.2f} MB"
