"""`unspool emit`: plans of the engine sources that a bundle carries. No torch is imported."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from compiler.cli.engines import engines_document, print_engines
from compiler.cli.output import JsonFlag, print_json
from compiler.flags import neuron

StatusFlag = Literal["emitted", "hlo-verified", "built", "verified"]


def emit_command(  # noqa: PLR0913, PLR0917 - one parameter a flag
    source: Annotated[Path, typer.Option("--from", metavar="BUNDLE", help="Bundle whose engine sources to take.")],
    target: Annotated[str, typer.Option(help="Whose builder makes the plans: see `unspool targets`.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="BUNDLE2", help="Folder to make.")],
    compute_capabilities: Annotated[
        str, typer.Option(metavar="8.6,8.9", help="NVIDIA GPUs to build for, in place of those that the bundle is for.")
    ] = "",
    neuron_target: neuron.NeuronTargetFlag = None,
    model_type: neuron.ModelTypeFlag = None,
    auto_cast: neuron.AutoCastFlag = None,
    auto_cast_type: neuron.AutoCastTypeFlag = None,
    optlevel: neuron.OptlevelFlag = None,
    logical_nc_config: neuron.LogicalFlag = None,
    fast_loading: neuron.FastLoadingFlag = None,
    neuronx_cc_arg: neuron.FurtherFlag = None,
    compiler_timeout: neuron.CompilerTimeoutFlag = None,
    require: Annotated[StatusFlag | None, typer.Option(help="Fail if an engine reaches less than this.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Build again and replace the bundle that is there.")] = False,
    store: Annotated[
        str | None,
        typer.Option(metavar="STORE", envvar="UNSPOOL_STORE", help="Share weights through this folder or URL."),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Make plans of the engine sources that a bundle carries, on the machine that can. The model is not needed.

    unspool emit --from build/ocr --target tensorrt -o build/ocr-gpu

    unspool emit --from build/ocr --target tensorrt-rtx --compute-capabilities 12.0 -o build/ocr-5090

    unspool emit --from build/ocr-neuron --target neuronx --optlevel 3 -o build/ocr-neff
    """
    from compiler.build_log import BuildLog
    from compiler.emit import Anew, emit_bundle
    from compiler.tensorrt.capabilities import parse_capabilities

    log = BuildLog()
    anew = Anew(parse_capabilities(compute_capabilities), neuron.said(locals()), compiler_timeout)
    with log.interrupts.listening():
        emitted = emit_bundle(source, target, output, anew=anew, require=require, force=force, store=store, log=log)
    manifest = emitted.bundle.manifest
    if json:
        result = "up to date" if emitted.up_to_date else "emitted"
        print_json({"result": result, "bundle": str(output), "engines": engines_document(manifest)})
        return
    for notice in log.notices:
        print(f"note: {notice}", file=sys.stderr)
    if emitted.up_to_date:
        print(f"{output}: up to date")
        return
    print_engines(manifest)
    print(f"{output}: {sum(file.bytes for file in manifest.files.values()) / 1e6:.1f} MB")


COMMANDS = (emit_command,)
