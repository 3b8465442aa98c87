"""What the command line says of plans, held to what a target's builder can do."""

from __future__ import annotations

from artifacts.errors import Problem
from artifacts.plan_build import BuilderOptions
from compiler.options import CompileOptions
from compiler.targets import Target, all_targets
from compiler.tensorrt.capabilities import FLAG, unknown_problems


def plan_problems(options: CompileOptions, target: Target) -> list[Problem]:
    """A problem for every option that means nothing to a target."""
    problems = []
    if options.compute_capabilities and not target.capabilities:
        message, hint = f"target {target.name} builds for no GPU", _instead("capabilities")
        problems.append(Problem("options", FLAG, message, hint))
    elif options.compute_capabilities:
        problems += unknown_problems(options.compute_capabilities, target.capabilities)
    if options.further_ranges and not target.builder_options and not target.static_shapes:
        message = f"target {target.name} has neither profiles nor buckets, and several ranges of sizes are given"
        problems.append(Problem("options", "--min-shapes, --opt-shapes, --max-shapes", message, "give each once"))
    if options.weights is not None and target.builder_options:
        message = f"target {target.name} makes plans, which take their weights otherwise"
        hint = "give embedded, refit or stripped"
        problems.append(Problem("options", f"--weights {options.weights}", message, hint))
    return problems + builder_problems(options.builder, target)


def builder_problems(options: BuilderOptions, target: Target) -> list[Problem]:
    """A problem for every option of builders that the target's has not."""
    usual = BuilderOptions()
    return [
        Problem(
            "options",
            f"--{name.replace('_', '-')}",
            f"means nothing to target {target.name}",
            _instead("builder_options"),
        )
        for name in BuilderOptions.model_fields
        if getattr(options, name) != getattr(usual, name) and name not in target.builder_options
    ]


def _instead(what: str) -> str:
    names = [f"--target {name}" for name, target in all_targets().items() if getattr(target, what)]
    return f"leave it out, or give {' or '.join(names)}"
