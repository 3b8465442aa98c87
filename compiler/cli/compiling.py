"""`unspool compile` and `unspool convert`: from model files."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from artifacts.errors import UsageError
from compiler.cli.engines import engines_document, print_engines
from compiler.cli.output import JsonFlag, print_json
from compiler.flags.compiling import AtolFlag, CompileFlags, RtolFlag
from compiler.flags.converting import ConverterFlag, CustomOpsFlag
from compiler.flags.group import with_flags

if TYPE_CHECKING:
    from collections.abc import Sequence

    from compiler.compile import Compiled
    from compiler.options import ModelFile

_NAME = re.compile(r"^(?P<name>[A-Za-z0-9_][A-Za-z0-9_.+-]*)=(?P<path>.+)$")


@with_flags
def compile_command(  # noqa: PLR0913 - one parameter a flag
    output: Annotated[Path, typer.Option("-o", "--output", metavar="BUNDLE", help="Folder to make.")],
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME=]MODEL.onnx|FOLDER...",
            help="Models to compile into one bundle; a folder holds the parts of one.",
        ),
    ] = None,
    part: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ROLE=FILE.onnx",
            help="A part of one model: encoder, decoder, decoder-with-past. Give each with a --part of its own.",
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="What the model of --part is called in the bundle; model if left out.")
    ] = None,
    *,
    flags: CompileFlags,
    force: Annotated[bool, typer.Option("--force", help="Build again and replace the bundle that is there.")] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace a bundle of other inputs; one of the same inputs stays.")
    ] = False,
    depfile: Annotated[Path | None, typer.Option(metavar="FILE.d", help="Write a make rule of what was read.")] = None,
    store: Annotated[
        str | None,
        typer.Option(metavar="STORE", envvar="UNSPOOL_STORE", help="Share weights through this folder or URL."),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Compile models into a bundle that is verified against them.

    unspool compile model.onnx -o build/model

    unspool compile text=spam.onnx image=nsfw.onnx -o build/moderation

    unspool compile ocr.onnx --bos 1 --eos 2 --pad 0 --max-length 75 -o build/ocr

    unspool compile --part encoder=encoder.onnx --part decoder=decoder.onnx -o build/model

    unspool compile ocr.onnx --bos 1 --eos 2 --partitions 25,50,75 -o build/ocr

    unspool compile ocr.onnx --bos 1 --eos 2 --tune lengths.csv -o build/ocr

    unspool compile translate.onnx --bos 1 --eos 2 --precision int8 -o build/translate-int8

    unspool compile classify.onnx --precision auto --tolerance 0.01 -o build/classify

    unspool compile summarize.onnx --schedule loop --beams 4 --length-penalty 2 -o build/summarize

    unspool compile spam.onnx -o zoo/spam --store zoo/store

    unspool compile bert.onnx --target tensorrt-rtx --compute-capabilities 8.6,8.9 --min-shapes ids:1x8,mask:1x8
    --opt-shapes ids:8x64,mask:8x64 --max-shapes ids:32x512,mask:32x512 -o build/bert

    unspool compile bert.onnx --target neuronx --opt-shapes ids:2x16 --neuron-target trn1 --model-type transformer
    -o build/bert-neuron

    unspool compile bert.onnx --target neuronx --opt-shapes ids:1x16,mask:1x16 --opt-shapes ids:1x64,mask:1x64
    -o build/bert-neuron

    Compiling again onto the same bundle does nothing if nothing changed.

    In make, name BUNDLE/manifest.json as the target.
    """
    from compiler.build_log import BuildLog
    from compiler.compile import compile_bundle
    from compiler.options import Existing

    options = flags.options()
    existing = Existing.REMAKE if force else Existing.REPLACE if replace else Existing.KEEP
    files = _model_files(models or [], part or [], name)
    log = BuildLog()
    with log.interrupts.listening():
        compiled = compile_bundle(
            files, output, options, existing=existing, store=store, seconds=flags.compiler_timeout, log=log
        )
    if depfile is not None:
        from compiler.depfile import write_depfile

        write_depfile(depfile, output, compiled.files, options)
    if json:
        print_json(_document(compiled))
    else:
        _print(compiled, log.notices)


def convert_command(  # noqa: PLR0913, PLR0917 - one parameter a flag
    model: Annotated[str, typer.Argument(metavar="MODEL.onnx", help="The model to convert.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="MODEL.pt2", help="File to write.")],
    opt_shapes: Annotated[
        str, typer.Option(metavar="ids:8x64,...", help="Input sizes to trace with, 2 or more each.")
    ] = "",
    samples: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, metavar="IN.npz", help="Inputs by name to trace and verify with."),
    ] = None,
    converter: ConverterFlag = "unspool",
    custom_ops: CustomOpsFlag = None,
    atol: AtolFlag = None,
    rtol: RtolFlag = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it is there.")] = False,
    json: JsonFlag = False,
) -> None:
    """Convert an ONNX model to PyTorch and no further: a torch.export program, verified against the source.

    unspool convert model.onnx -o model.pt2

    python -c "import torch; print(torch.export.load('model.pt2'))"
    """
    from compiler.build_log import BuildLog
    from compiler.convert import convert_to_file
    from compiler.options import CompileOptions, ConverterName
    from compiler.shapes import parse_shapes

    options = CompileOptions(
        opt_shapes=parse_shapes(opt_shapes, "--opt-shapes"),
        samples=samples,
        atol=atol,
        rtol=rtol,
        converter=ConverterName(converter),
        custom_ops=tuple(custom_ops or ()),
    )
    log = BuildLog()
    with log.interrupts.listening():
        signature, worst = convert_to_file(model_file(model), output, options, force=force, log=log)
    for notice in log.notices:
        print(f"note: {notice}", file=sys.stderr)
    if json:
        print_json({"output": str(output), "signature": signature.model_dump(mode="json"), "max_abs": worst})
    else:
        print(f"{output}: {signature}\nlargest difference from the source: {worst:.3g}")


COMMANDS = (compile_command, convert_command)


def model_file(text: str) -> ModelFile:
    """`NAME=PATH`, or a path whose stem becomes the name with what a name may not hold replaced by `_`.

    The path is that of a file, or of the folder in which one model's parts lie.
    """
    from compiler.parts.folder import model_at

    named = _NAME.match(text)
    if named and not Path(text).exists():
        name, path = named["name"], Path(named["path"])
    else:
        path = Path(text)
        stem = path.resolve().name if path.is_dir() else path.stem
        name = re.sub(r"[^A-Za-z0-9_.+-]", "_", stem).lstrip(".+-") or "model"
    return model_at(name, path)


def _model_files(models: list[str], parts: list[str], name: str | None) -> list[ModelFile]:
    from artifacts.names import NAME_PATTERN
    from compiler.parts.folder import model_of_parts

    if name is not None and not parts:
        hint = "write NAME=MODEL.onnx"
        raise UsageError.of("options", f"--name {name}", "is of --part, and there is none", hint)
    if name is not None and not re.fullmatch(NAME_PATTERN, name):
        hint = "a name has letters, digits, `_`, `.`, `+` and `-`, and begins with one of the first three"
        raise UsageError.of("options", f"--name {name}", "is no name of a model", hint)
    if not models and not parts:
        hint = "name a file, a folder, or parts with --part"
        raise UsageError.of("options", "MODEL.onnx", "is missing: there is nothing to compile", hint)
    return [*map(model_file, models), *([model_of_parts(name or "model", parts)] if parts else [])]


def _result(compiled: Compiled) -> str:
    if compiled.up_to_date:
        return "settings changed" if compiled.served_anew else "up to date"
    return "compiled"


def _document(compiled: Compiled) -> dict[str, object]:
    manifest = compiled.bundle.manifest
    return {
        "result": _result(compiled),
        "bundle": str(compiled.bundle.root),
        "models": {name: entry.schedule.model_dump(mode="json") for name, entry in manifest.models.items()},
        "engines": engines_document(manifest),
        "report": compiled.report.model_dump(mode="json"),
    }


def _print(compiled: Compiled, notices: Sequence[str]) -> None:
    manifest = compiled.bundle.manifest
    root = compiled.bundle.root
    for notice in notices:
        print(f"note: {notice}", file=sys.stderr)
    if compiled.up_to_date:
        print(f"{root}: {_result(compiled)}")
        return
    for name, entry in manifest.models.items():
        worst = max((n.max_abs or 0.0 for n in compiled.report.numerics if n.model == name), default=0.0)
        print(f"{name}: {entry.schedule.kind}, largest difference from the source {worst:.3g}")
    print_engines(manifest)
    size = sum(file.bytes for file in manifest.files.values())
    print(f"{root}: {size / 1e6:.1f} MB in {compiled.report.seconds:.1f} s")
