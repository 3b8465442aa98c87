"""The parts of the bench: what is measured, and how the report heads it. Each can be measured anew by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from tests.bench import batching, compiling, decoding, plans, sharing, speed, zoo
from tests.bench.figures import Figure
from tests.bench.peers.contest import Contest
from tests.bench.peers.race import against_peers


@dataclass(frozen=True)
class Part:
    """One table of the report. `measure` takes `quick`: few rounds, to try the bench itself."""

    title: str
    text: str
    measure: Callable[..., Iterator[Figure | Contest]]


PARTS: Mapping[str, Part] = MappingProxyType(
    {
        "speed": Part(
            "Answering a request",
            "The compiled bundle (`Session.run`) against ONNX Runtime on the source file, with the same inputs and\n"
            "the same number of threads. A ratio below 1 means that the bundle is faster.",
            speed.against_source,
        ),
        "overhead": Part(
            "What `Session.run` adds",
            "The checks of the inputs and what else is not the engine, on a model that takes next to no time itself.",
            speed.session_overhead,
        ),
        "compile": Part(
            "Compiling",
            "The whole command in a process of its own, the start of Python included; of several runs the fastest.",
            compiling.compile_times,
        ),
        "memory": Part(
            "Memory of a compilation",
            "The most that the command and its child processes had in memory at one time, mapped files included, over\n"
            "the bytes of the model's weights.",
            compiling.compile_memory,
        ),
        "decoding": Part(
            "Decoding",
            "One thread, seconds of the processor, the encoder counted in. The padded loop runs the source file on\n"
            "all 75 positions for every token, encoder and all: what a model is before anything is done to it. The\n"
            "one that keeps the encoder's answer runs the decoder alone on them, and the cached loop hands keys and\n"
            "values from step to step. All are a few lines of numpy around ONNX Runtime's `run`; every row compares\n"
            "forms that read the same tokens. The reader has 8 conformer and 6 decoder layers, 384 wide, and 6000\n"
            "tokens to choose from.",
            decoding.against_loops,
        ),
        "partitions": Part(
            "Partitions before they run",
            "The size is of the whole folder, samples and manifest included.",
            decoding.partitioned_bundles,
        ),
        "batching": Part(
            "Many lines together",
            "One thread, seconds of the processor. Where the host loops, rows of a batch that have ended are dropped\n"
            "once they are a quarter of it: between steps, or at boundaries. Batches by real length\n"
            "are what a perfect guess of the lengths would give (`Session.run_many(expected=...)`).",
            batching.of_many_lines,
        ),
        "sharing": Part(
            "Weights in memory",
            "Each figure from processes of their own on Linux. Private is what no other process can share: pages of\n"
            "no file (`Anonymous` in /proc/PID/smaps_rollup), as far as opening the engines added to them. Weights\n"
            "are `prepacked` into copies, `mapped` from the bundle, or mapped from the host's cache of packed ones\n"
            "(`cached`). Over one process are the proportional set sizes of four that a server forked before it\n"
            "opened the bundle, with that server, each after a line of text. Speed is processor time of one thread.",
            sharing.in_memory,
        ),
        "tensorrt": Part(
            "Plans of TensorRT-RTX",
            "Making a plan of a bundle's source (the preflight and the build), and all of `unspool emit`, which reads\n"
            "and writes bundles, against a bare call of the builder on that source: for one compute capability and\n"
            "the same sizes, taking turns. A plan's size is over that of its weights. Nothing runs: that takes a GPU.",
            plans.of_plans,
        ),
        "zoo": Part(
            "A zoo",
            "`unspool zoo build` of a hundred small models and six real ones of this project, the whole command. Each\n"
            "build is cold, into a folder and a store of its own, with one thread a worker. The memory is that of a\n"
            "worker and what it starts which is no file's, pages that it shares with the process that it was forked\n"
            "from included.",
            zoo.of_a_zoo,
        ),
        "peers": Part(
            "Against peers",
            "Greedy decoding to a length, 32 tokens read, the encoder counted in: seconds of the processor, every\n"
            "contestant in a process of its own with one thread, all of them taking turns. Weights are random,\n"
            "made from a configuration and a seed: Marian with 60M parameters (6+6 layers, 512 wide, vocabulary\n"
            "32000) and with 9M (small: 4+4, 256, 6000), T5 with 60M. The end token is suppressed. Contestants\n"
            "without loss compute in float32, and have to write the same tokens. Unspool is the bundle that\n"
            "`unspool compile` makes, with `--precision int8` in the other column; for shorter texts its Loops\n"
            "end earlier. ONNX Runtime steps through the three-file form of the same model, OpenVINO\n"
            "through the same with keys and values as state, transformers is `generate` in eager PyTorch.\n"
            "*Reading alone* reads as many bytes as the weights of a step have in float32, once a token: the\n"
            "roofline. A contestant that reads fewer bytes has a lower one of its own. Of one row Unspool guesses\n"
            "five tokens with a step in 8 bits and checks them in one call, so that it reads the weights in float32,\n"
            "but for the head, once for six tokens if all guesses are right: its own roofline counts that. How often\n"
            "they are right depends on the model and its texts; below the table is how often it was here. The\n"
            "weights of the small model fit into a processor's cache, and there its roofline is the\n"
            "cache's. How near to it a decoder comes depends on the processor: on one AMD EPYC ONNX Runtime's\n"
            "products of one row in float32 read memory at three quarters of what reading alone does, and its\n"
            "products of bytes at half; on another at 94 and 76 percent. Of eight rows of the small model\n"
            "CTranslate2's 8 bits are faster: ONNX Runtime's product in blocks takes 2.8 times as long for eight\n"
            "rows as for one where its product of whole columns takes 1.5 times, but the scale of that spans the\n"
            "batch.",
            against_peers,
        ),
    }
)
