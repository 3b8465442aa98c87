"""`unspool launch`: a script that starts instances of a server over one bundle. No torch is imported."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from compiler.cli.bundles import BundleArgument
from compiler.cli.output import JsonFlag, print_json, write_file


def launch_command(
    bundle: BundleArgument,
    command: Annotated[
        list[str] | None, typer.Argument(metavar="-- COMMAND...", help="What to start, and what it is given.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="File to write, executable.")
    ] = None,
    instances: Annotated[
        int | None, typer.Option(min=1, max=4096, help="How many to start; as the bundle says, or 1, if left out.")
    ] = None,
    cores: Annotated[
        str | None,
        typer.Option(metavar="0-3", help="Cores to share out, NeuronCores if the bundle is for those; also 0,2."),
    ] = None,
    json: JsonFlag = False,
) -> None:
    """Print a shell script that starts instances of a command, each with its share of the cores, and waits for them.

    unspool launch build/bert-neuron --instances 4 --cores 0-7 -o serve.sh -- python serve.py

    unspool launch build/bert --instances 2 -- python serve.py | sh

    A command finds the bundle in UNSPOOL_BUNDLE, and its number, from 0 on, in UNSPOOL_INSTANCE. Sessions have the
    threads of UNSPOOL_THREADS, which is its share of the processors.
    """
    from artifacts.bundle import Bundle
    from artifacts.launch import cpu_script, neuron_script
    from compiler.serving import cores_of, serving_of

    opened = Bundle.open(bundle, verify=False)
    named = cores_of("--cores", cores)
    root, words, serving = opened.root.resolve(), command or [], opened.manifest.serving
    if serving is None:
        count = instances or 1
        script = cpu_script(root, words, count, named)
    else:
        serving = serving_of(serving, instances=instances, visible_cores=named)
        count = serving.instances
        script = neuron_script(root, words, serving)
    # Words may hold bytes that are no text, which come in, and go out, by the encoding of file names.
    data = os.fsencode(script)
    if output is not None:
        write_file("launch", output, data)
        mode = output.stat().st_mode
        output.chmod(mode | (mode & 0o444) >> 2)
    if json:
        shown = {"file": str(output)} if output is not None else {"script": script}
        print_json({"bundle": str(bundle), "instances": count, **shown})
    elif output is None:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
    else:
        print(f"{output}: starts {count} of {words[0]}")


COMMANDS = (launch_command,)
