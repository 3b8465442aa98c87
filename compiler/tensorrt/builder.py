"""Build a plan from an engine's ONNX, with the builder of TensorRT or of TensorRT-RTX: one interface, two modules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from artifacts.errors import Problem, TargetError
from compiler.tensorrt.profiles import Profile

STAGE = "build"


def build_plan(
    trt: Any,
    name: str,
    source: bytes,
    root: Path,
    profile: Profile,
    capabilities: Sequence[str],
    nodes: Mapping[str, str],
) -> bytes:
    """The plan of one engine, the same bytes every time.

    `trt` is the module of the builder, `root` the folder that weights are named from, `nodes` the source model's names
    of the graph's nodes. Computes in the types that the graph has. Raises TargetError with every node that the parser
    refuses at once, or with what the builder says.
    """
    said = _Said.of(trt)
    builder = trt.Builder(said)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, said)
    # Weights are looked for beside the path; nothing is read from it.
    if not parser.parse(source, str(root / "engine.onnx")):
        errors = [parser.get_error(number) for number in range(parser.num_errors)]
        TargetError.raise_if(_refused(name, error, nodes) for error in errors)
        raise TargetError.of(STAGE, f"engine {name}", f"the parser refuses it: {said.last()}")
    config = builder.create_builder_config()
    config.num_compute_capabilities = len(capabilities)
    for number, capability in enumerate(capabilities):
        config.set_compute_capability(getattr(trt.ComputeCapability, capability.upper()), number)
    if profile:
        shapes = builder.create_optimization_profile()
        for value, (least, usual, most) in profile.items():
            shapes.set_shape(value, least, usual, most)
        config.add_optimization_profile(shapes)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise TargetError.of(STAGE, f"engine {name}", f"the builder fails: {said.last()}", _BUILD_HINT)
    return bytes(plan)


_BUILD_HINT = "can the model do with the sizes of the profile, and the GPUs with its types?"


def _refused(name: str, error: Any, nodes: Mapping[str, str]) -> Problem:
    node, operator = error.node_name(), error.node_operator()
    source = f" (source node {nodes[node]!r})" if node in nodes else ""
    said = [line for line in error.desc().strip().split("\n") if not line.startswith("Invalid Node")]
    reason = said[0] if said else error.desc().strip()
    return Problem(
        STAGE,
        f"engine {name}, node {node!r}{source}",
        f"the parser refuses {operator}: {reason}",
        "write the model with other operators, or compile for --target onnxruntime",
    )


class _Said:
    """What a builder said was wrong. Its own logger prints to standard output, where a caller may have a document."""

    errors: list[str]

    def last(self) -> str:
        """The last of it, in one line."""
        return self.errors[-1].strip().split("\n")[0] if self.errors else "it does not say why"

    @staticmethod
    def of(trt: Any) -> Any:
        """An object that is a logger to this module."""

        class Logger(_Said, trt.ILogger):  # type: ignore[misc] # the module is not known before it is imported
            def __init__(self) -> None:
                trt.ILogger.__init__(self)
                self.errors = []

            def log(self, severity: Any, message: str) -> None:
                if severity in {trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR}:
                    self.errors.append(message)

        return Logger()
