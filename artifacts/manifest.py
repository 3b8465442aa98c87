"""The manifest: what a bundle is, in one JSON document that a server can read without Unspool.

It holds no times, no host and no absolute path, so that the same compilation gives the same bytes. The
document carries a digest of itself beside the digests of every other file: any changed byte of a bundle is
noticed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import ConfigDict, Discriminator, Field, JsonValue, Tag, ValidationError, model_validator

from artifacts.canonical import canonical_json, sha256_bytes
from artifacts.dimensions import signature_at
from artifacts.dtype import DType
from artifacts.errors import BundleError, Problem
from artifacts.manifest_faults import manifest_faults
from artifacts.names import EngineName, Name, RelativePath, Sha256
from artifacts.neuron_options import NeuronOptions
from artifacts.neuron_serving import NeuronServing
from artifacts.noun import Noun, fault_problems
from artifacts.padding import Padding
from artifacts.plan_build import PlanBuild
from artifacts.schedule import Schedule
from artifacts.shards import Shard
from artifacts.spec import Signature
from artifacts.tolerances import Tolerance
from artifacts.weights import Size, WeightRef

SCHEMA_VERSION: Literal[6] = 6
MANIFEST_FILE = "manifest.json"
REPORT_FILE = "build.json"
UNLISTED_FILES = (MANIFEST_FILE, REPORT_FILE)
"""The files that a bundle's `files` table leaves out: one holds the table, the other differs every time."""

Text = Annotated[str, Field(min_length=1)]
Scalar = bool | int | Annotated[float, Field(allow_inf_nan=False)] | str

Status = Literal["emitted", "hlo-verified", "built", "verified"]
STATUSES: tuple[Status, ...] = get_args(Status)
"""How far an engine got, ascending: source only; the compiler's input proven on the CPU; a real compiler
made the plan; it ran here and agreed with the source model."""

Access = Literal["prepacked", "mapped", "cached", "embedded", "refit", "stripped", "separate"]
"""A way in which an engine takes its weights.

prepacked   from the shards, into copies of its own in the order in which its products read them
mapped      from the shards, as they lie there: pages of a file, which all processes share
cached      from a file of prepacked weights on the host, outside the bundle, which all processes share
embedded    inside its plan
refit       inside its plan, replaced from the shards when it is loaded
stripped    from the shards, into a plan that was built without them
separate    from the shards, beside a plan that takes them as inputs
"""


def _is_nothing(found: object) -> bool:
    return not found


class FileEntry(Noun):
    """Digest and size of one file of the bundle."""

    sha256: Sha256
    bytes: Size


class Need(Noun):
    """What the next status takes: a thing (a GPU, an SDK) and the exact command to run with it."""

    what: Text
    command: Text


class SampleFiles(Noun):
    """One request: .npz files of the inputs by name, of the source's outputs, and of what it decodes.

    `decoded` holds `tokens` int64 [batch, n] and `lengths` int64 [batch], at most n tokens of the source's
    greedy decoding; None for a model that is called once.
    """

    inputs: RelativePath
    outputs: RelativePath
    decoded: RelativePath | None = None

    @property
    def paths(self) -> tuple[str, ...]:
        """The files that there are."""
        return tuple(path for path in (self.inputs, self.outputs, self.decoded) if path is not None)


Functions = dict[EngineName, Annotated[tuple[EngineName, ...], Field(min_length=1)]]
"""The engines that hold each function: several where they call it for one partition each, in calling order."""


class Bucket(Noun):
    """Engines for one set of sizes.

    `sizes` are by symbol of the model's signature: all symbols of what a caller gives.
    """

    sizes: Annotated[dict[Text, Size], Field(min_length=1)]
    functions: Annotated[Functions, Field(min_length=1)]

    def holds(self, sizes: Mapping[str, int]) -> bool:
        """Whether a request of these sizes can be padded to the bucket's."""
        return all(size <= self.sizes[symbol] for symbol, size in sizes.items() if symbol in self.sizes)


class Buckets(Noun):
    """Sets of engines for several sizes, the cheapest first: a request goes to the first that holds it, padded."""

    each: Annotated[tuple[Bucket, ...], Field(min_length=1)]
    padding: Padding

    @model_validator(mode="after")
    def _each_is_of_use(self) -> Buckets:
        symbols = self.each[0].sizes.keys()
        if any(bucket.sizes.keys() != symbols for bucket in self.each):
            raise ValueError("buckets have sizes of unlike symbols")
        for number, bucket in enumerate(self.each):
            if any(earlier.holds(bucket.sizes) for earlier in self.each[:number]):
                raise ValueError(f"bucket {number} is never chosen: one before it holds all that it does")
        if self.padding.rows is not None and self.padding.rows not in symbols:
            raise ValueError(f"rows are counted by {self.padding.rows!r}, of which buckets have no size")
        return self

    def place_of(self, sizes: Mapping[str, int]) -> int | None:
        """Which bucket a request of these sizes goes to; None if none holds it."""
        return next((number for number, bucket in enumerate(self.each) if bucket.holds(sizes)), None)


class ModelEntry(Noun):
    """One model: where it came from, how it is called, and which engines hold each of its functions.

    `source` is the digest of the source graph and its weights, `signature` the source model's own. The engines are in
    `functions`, or in `buckets` if there are some for each of several sizes.
    """

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": ["functions"]}, {"required": ["buckets"]}]})

    source: Sha256
    signature: Signature
    schedule: Schedule
    functions: Functions = Field(default_factory=dict, exclude_if=_is_nothing)
    buckets: Buckets | None = Field(default=None, exclude_if=_is_nothing)
    samples: tuple[SampleFiles, ...] = ()

    @model_validator(mode="after")
    def _engines_are_in_one_place(self) -> ModelEntry:
        if bool(self.functions) == (self.buckets is not None):
            raise ValueError("a model has either functions or buckets")
        return self

    @property
    def held(self) -> tuple[Functions, ...]:
        """The engines of each function: once, or for each bucket."""
        return (self.functions,) if self.buckets is None else tuple(bucket.functions for bucket in self.buckets.each)

    @property
    def engines(self) -> frozenset[str]:
        """The names of all its engines."""
        return frozenset(name for functions in self.held for names in functions.values() for name in names)

    def at(self, bucket: Bucket) -> ModelEntry:
        """The model as one that takes the sizes of a bucket and no others."""
        return ModelEntry(
            source=self.source,
            signature=signature_at(self.signature, bucket.sizes),
            schedule=self.schedule,
            functions=bucket.functions,
            samples=self.samples,
        )


class WeightAccess(Noun):
    """How an engine takes its weights: by `default`, unless another of its `ways` is asked for.

    Each way comes with what two openings of the engine cannot share when they take it.
    """

    default: Access
    ways: dict[Access, Text]

    @model_validator(mode="after")
    def _default_is_a_way(self) -> WeightAccess:
        if self.default not in self.ways:
            raise ValueError(f"the default {self.default!r} is none of the ways")
        return self

    def by(self, way: Access) -> WeightAccess:
        """The same with another default. Raises ValueError (pydantic's) if that is none of the ways."""
        return WeightAccess(default=way, ways=self.ways)


def _builder(build: Any) -> str:
    """Whose build it is, so that faults are told of that alone: a plan's has types, which have no default."""
    named = build if isinstance(build, dict) else dict(build) if isinstance(build, Noun) else {}
    return "plan" if "dtypes" in named else "neuronx-cc"


Build = Annotated[
    Annotated[PlanBuild, Tag("plan")] | Annotated[NeuronOptions, Tag("neuronx-cc")], Discriminator(_builder)
]
"""What the maker of an engine's plan is told: a builder of NVIDIA's, or AWS Neuron's compiler."""


class EngineEntry(Noun):
    """One engine: what was handed to the vendor's compiler, what that made of it, and how to run it.

    `kind` names the runner (artifacts/engines), `target` the maker. `session` holds the runtime's own
    options. `bindings` maps engine inputs or initializers to the weights that they hold, `weights` says how it takes
    them. `build` is what the maker of its plan is told, whether it made one yet or not. `aliases` names the output
    that is written over an input, by the input's name: what was given is gone after a run.
    """

    kind: Name
    target: Name
    signature: Signature
    source: RelativePath
    plan: RelativePath | None = None
    build: Build | None = None
    status: Status
    needs: tuple[Need, ...] = ()
    runs_on: tuple[Text, ...] = ()
    session: dict[Text, Scalar] = Field(default_factory=dict)
    bindings: dict[Text, WeightRef] = Field(default_factory=dict)
    aliases: dict[Text, Text] = Field(default_factory=dict)
    weights: WeightAccess

    @model_validator(mode="after")
    def _aliases_are_of_one_kind(self) -> EngineEntry:
        made = {spec.name: spec for spec in self.signature.outputs}
        given = {spec.name: spec for spec in self.signature.inputs}
        for taken, result in self.aliases.items():
            one, other = given.get(taken), made.get(result)
            if one is None or other is None or (one.shape, one.dtype) != (other.shape, other.dtype):
                raise ValueError(f"{result!r} is written over {taken!r}, and they are not of one shape and type")
        if len(set(self.aliases.values())) < len(self.aliases):
            raise ValueError("one output is written over several inputs")
        return self


class Weights(Noun):
    """Where the weights are: in the engines (`inline`), or once in shards that engines refer to (`store`)."""

    layout: Literal["inline", "store"]
    shards: tuple[Shard, ...] = ()


class PassEntry(Noun):
    """A pass that ran, with every option that it had."""

    name: Text
    options: dict[Text, JsonValue] = Field(default_factory=dict)


class Verdict(Noun):
    """One comparison with the source model: what was compared, and how it ended."""

    compared: Text
    passed: bool


class Numerics(Noun):
    """The tolerances that were used, and each model's comparisons under them, in order.

    `exact_tokens` is false where fewer bits than the source's choose tokens: they are compared, and may differ.
    """

    tolerances: dict[DType, Tolerance] = Field(default_factory=dict)
    exact_tokens: bool = True
    verdicts: dict[Name, tuple[Verdict, ...]] = Field(default_factory=dict)


class Manifest(Noun):
    """A whole bundle.

    `serving` says how engines for AWS Neuron are served, and is null for others. `settings` are the environment
    variables that every process which serves the bundle has: those of `serving` and no others, so that a bundle names
    nothing to its host but what is declared there. `files` lists every file but the manifest itself and build.json.
    """

    schema_version: Literal[6] = SCHEMA_VERSION
    unspool: Text
    models: Annotated[dict[Name, ModelEntry], Field(min_length=1)]
    engines: Annotated[dict[EngineName, EngineEntry], Field(min_length=1)]
    weights: Weights
    passes: tuple[PassEntry, ...] = ()
    tools: dict[Text, Text] = Field(default_factory=dict)
    numerics: Numerics = Numerics()
    serving: NeuronServing | None = None
    settings: dict[Text, str] = Field(default_factory=dict)
    files: dict[RelativePath, FileEntry]

    @model_validator(mode="after")
    def _parts_agree(self) -> Manifest:
        found = tuple(manifest_faults(self, UNLISTED_FILES))
        if found:
            raise ValueError("; ".join(found))
        return self

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical document without its own digest: the identity of the bundle's contents."""
        return sha256_bytes(canonical_json(self.model_dump(mode="json")))

    def to_bytes(self) -> bytes:
        """The bytes of manifest.json: the canonical document with its digest."""
        return canonical_json({**self.model_dump(mode="json"), "digest": self.digest})

    @classmethod
    def from_bytes(cls, data: bytes) -> Manifest:
        """Read manifest.json.

        Raises BundleError, with every fault at once, unless it is exactly what `to_bytes` writes.
        """
        try:
            document = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise _unreadable(f"not JSON: {error}") from error
        if not isinstance(document, dict):
            raise _unreadable("not a JSON object")
        version = document.get("schema_version")
        if version != SCHEMA_VERSION:
            hint = "open the bundle with the version of Unspool that wrote it, or compile it again"
            raise _unreadable(f"schema version {version!r}, this version reads {SCHEMA_VERSION}", hint)
        document.pop("digest", None)
        try:
            # Through JSON once more: strict validation takes arrays for tuples in JSON input only.
            manifest = cls.model_validate_json(json.dumps(document))
        except UnicodeEncodeError as error:
            raise _unreadable(f"not Unicode: {error}") from error
        except ValidationError as error:
            raise BundleError(*fault_problems("manifest", MANIFEST_FILE, error)) from error
        if manifest.to_bytes() != data:
            raise _unreadable("its bytes are not the ones that were written: the file was changed or damaged")
        return manifest


def manifest_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of manifest.json, from the types above."""
    schema = Manifest.model_json_schema(mode="serialization")
    digest = {"type": "string", "pattern": "^[0-9a-f]{64}$", "title": "Digest", "description": _DIGEST_TEXT}
    return {
        **schema,
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "properties": {**schema["properties"], "digest": digest},
        "required": [*schema["required"], "digest"],
    }


_DIGEST_TEXT = (
    "SHA-256 of this document without this member, as UTF-8 JSON with sorted keys, no spaces between tokens, "
    "non-ASCII characters unescaped and a final newline."
)


def _unreadable(message: str, hint: str = "") -> BundleError:
    return BundleError(Problem("manifest", MANIFEST_FILE, message, hint))
