"""Hypothesis strategies for the nouns of a manifest: any that the validators accept."""

from __future__ import annotations

from typing import Any, get_args

from hypothesis import strategies as st

from artifacts.dtype import DType
from artifacts.manifest import (
    STATUSES,
    Access,
    Bucket,
    Buckets,
    EngineEntry,
    FileEntry,
    Manifest,
    ModelEntry,
    Need,
    Numerics,
    PassEntry,
    SampleFiles,
    Verdict,
    WeightAccess,
    Weights,
)
from artifacts.neuron_options import NeuronOptions
from artifacts.neuron_serving import NeuronServing
from artifacts.padding import Padding
from artifacts.plan_build import PlanBuild, Sizes
from artifacts.schedule import (
    CacheSlot,
    Control,
    Decode,
    Engine,
    Generation,
    Host,
    Partitioned,
    Schedule,
    Single,
    Unrolled,
)
from artifacts.shards import Shard
from artifacts.spec import Signature, TensorSpec
from artifacts.tolerances import Tolerance
from artifacts.weights import WeightRef

NAMES = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,6}", fullmatch=True)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)
DIGESTS = st.binary(min_size=32, max_size=32).map(bytes.hex)
DTYPES = st.sampled_from(list(DType))
COUNTS = st.integers(1, 9)
BUILDS = (
    None,
    PlanBuild(dtypes=(DType.FLOAT16,), profiles=({"x": Sizes(least=(1,), usual=(2,), most=(3,))},)),
    NeuronOptions(auto_cast="all", extra=("--verbose=info",)),
)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.booleans() | st.integers() | FINITE | TEXT
JSON: st.SearchStrategy[Any] = st.none() | SCALARS | st.lists(SCALARS, max_size=2)

SPECS = st.builds(
    TensorSpec,
    name=TEXT,
    dtype=DTYPES,
    shape=st.lists(st.integers(0, 9) | TEXT, max_size=3).map(tuple),
    carrier=st.none() | DTYPES,
)
SERVINGS = st.builds(
    lambda instances, each, timeout, **more: NeuronServing(
        instances=instances, num_cores=each and instances * each, exec_timeout=timeout, **more
    ),
    instances=COUNTS,
    each=st.none() | COUNTS,
    timeout=st.none() | COUNTS,
    loading=st.sampled_from([None, "lazy", "async"]),
)
SIDES = st.lists(SPECS, max_size=3, unique_by=lambda spec: spec.name).map(tuple)
SIGNATURES = st.builds(Signature, inputs=SIDES, outputs=SIDES)
TOLERANCES = st.builds(Tolerance, atol=st.floats(0, 1), rtol=st.floats(0, 1))


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    if draw(st.booleans()):
        return Single(function=draw(NAMES))
    count = draw(COUNTS)
    controls: st.SearchStrategy[Control] = st.sampled_from(
        [Host(), Engine(), Unrolled(), Partitioned(boundaries=(count,))]
    )
    slot = CacheSlot(input="past", output="present", axis=1, batch_axis=0, init="empty")
    cached = draw(st.booleans())
    return Decode(
        encoder=draw(st.none() | NAMES),
        first=draw(st.none() | NAMES),
        step=draw(NAMES),
        tokens="tokens",
        logits="logits",
        position=draw(st.sampled_from([None, "position"])),
        state="cached" if cached else draw(st.sampled_from(["recompute", "padded"])),
        control=draw(controls),
        slots=(slot,) if cached else (),
        generation=Generation(start=1, eos=(2,), pad=0, max_new_tokens=count),
    )


SHARDS = st.lists(DIGESTS, max_size=3, unique=True).map(
    lambda digests: tuple(Shard(path=f"weights/{d[:16]}.safetensors", sha256=d, bytes=32) for d in digests)
)


@st.composite
def accesses(draw: st.DrawFn) -> WeightAccess:
    ways = draw(st.dictionaries(st.sampled_from(get_args(Access)), TEXT, min_size=1, max_size=3))
    return WeightAccess(default=draw(st.sampled_from(sorted(ways))), ways=ways)


@st.composite
def buckets(
    draw: st.DrawFn,
    signature: Signature,
    functions: st.SearchStrategy[Any],
    engines: dict[str, EngineEntry],
) -> Buckets:
    """Buckets of one symbol, ascending, whose engines take nothing that the model does."""
    (symbol, *_), names = signature.symbols, [spec.name for spec in signature.inputs]
    for name, engine in engines.items():
        kept = tuple(spec for spec in engine.signature.inputs if spec.name not in names)
        outputs = engine.signature.outputs
        engines[name] = engine.model_copy(update={"signature": Signature(inputs=kept, outputs=outputs)})
    sizes = draw(st.lists(COUNTS, min_size=1, max_size=3, unique=True).map(sorted))
    return Buckets(
        each=tuple(Bucket(sizes={symbol: size}, functions=draw(functions)) for size in sizes),
        padding=Padding(
            rows=draw(st.sampled_from([None, symbol])),
            fill=draw(st.dictionaries(st.sampled_from(names), COUNTS, max_size=1)),
            exact=draw(st.booleans()),
        ),
    )


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    files = {
        f"files/{name}": FileEntry(sha256=draw(DIGESTS), bytes=draw(st.integers(0, 99)))
        for name in draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))
    }
    paths = st.sampled_from(sorted(files))
    stored = draw(SHARDS)
    refs = st.builds(
        WeightRef,
        digest=DIGESTS,
        dtype=st.just(DType.FLOAT16),
        shape=st.just((2,)),
        offset=st.integers(0, 20),
    )
    engines = {
        name: EngineEntry(
            kind=draw(NAMES),
            target=draw(NAMES),
            signature=draw(SIGNATURES),
            source=draw(paths),
            plan=draw(st.none() | paths),
            build=draw(st.sampled_from(BUILDS)),
            status=draw(st.sampled_from(STATUSES)),
            needs=draw(st.lists(st.builds(Need, what=TEXT, command=TEXT), max_size=1).map(tuple)),
            runs_on=draw(st.lists(TEXT, max_size=2).map(tuple)),
            session=draw(st.dictionaries(TEXT, SCALARS, max_size=2)),
            bindings=draw(st.dictionaries(TEXT, refs, max_size=2)) if stored else {},
            weights=draw(accesses()),
        )
        for name in draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))
    }
    models = {}
    for name in draw(st.lists(NAMES, min_size=1, max_size=2, unique=True)):
        schedule = draw(schedules())
        held = st.sampled_from(sorted(engines))
        count = len(getattr(getattr(schedule, "control", None), "boundaries", (0,)))
        found = st.fixed_dictionaries(
            {function: st.lists(held, min_size=count, max_size=count).map(tuple) for function in schedule.functions}
        )
        signature = draw(SIGNATURES)
        bucketed = bool(signature.symbols) and draw(st.booleans())
        models[name] = ModelEntry(
            source=draw(DIGESTS),
            signature=signature,
            schedule=schedule,
            **({"buckets": draw(buckets(signature, found, engines))} if bucketed else {"functions": draw(found)}),
            samples=draw(st.lists(st.builds(SampleFiles, inputs=paths, outputs=paths), max_size=1).map(tuple)),
        )
    serving = draw(st.none() | SERVINGS)
    verdicts = st.lists(st.builds(Verdict, compared=TEXT, passed=st.booleans()), max_size=2).map(tuple)
    return Manifest(
        unspool=draw(TEXT),
        models=models,
        engines=engines,
        weights=Weights(layout="store" if stored else "inline", shards=stored),
        passes=draw(
            st.lists(st.builds(PassEntry, name=TEXT, options=st.dictionaries(TEXT, JSON, max_size=2)), max_size=2).map(
                tuple
            )
        ),
        tools=draw(st.dictionaries(TEXT, TEXT, max_size=2)),
        numerics=Numerics(
            tolerances=draw(st.dictionaries(DTYPES, TOLERANCES, max_size=2)),
            verdicts=draw(st.dictionaries(st.sampled_from(sorted(models)), verdicts, max_size=1)),
        ),
        serving=serving,
        settings={} if serving is None else serving.settings,
        files=files | {shard.path: FileEntry(sha256=shard.sha256, bytes=shard.bytes) for shard in stored},
    )
