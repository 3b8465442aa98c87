"""Compile a trained reader of one-line images, then read 256 of them with the bundle that comes out.

    python examples/ocr/demo.py [--model FOLDER] [--output BUNDLE]

FOLDER holds `model.onnx`, `generation_config.json` (so the compiler knows the tokens to start and end with)
and `eval.npz` (images float16 [n, 1, 16, 320]; targets int64 [n, t]: glyphs, the end token, padding).
Exits with 1 unless every line is read exactly.
"""

import argparse
import io
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import track

from artifacts.runtime import Session

END, FIRST_GLYPH = 2, 3  # 0 is padding, 1 the start token
ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"
GLYPH_WIDTH = 4
SHOWN_LINES, SHOWN_GLYPHS = (
    6,
    range(8, 19),
)  # words enough to judge; a drawing of 18 glyphs is 72 columns wide


def text_of(tokens: npt.NDArray[Any]) -> str:
    """The text of integer tokens [t] up to the end token; a token that is no glyph shows as `?`."""
    ends = np.flatnonzero(tokens == END)
    glyphs = tokens[: ends[0]] if len(ends) else tokens
    known = range(FIRST_GLYPH, FIRST_GLYPH + len(ALPHABET))
    return "".join(ALPHABET[t - FIRST_GLYPH] if t in known else "?" for t in glyphs.tolist())


def drawing(image: npt.NDArray[np.floating]) -> list[str]:
    """An image [h, w] of ink 0 to 1 as h/2 lines of w characters, each two pixels high."""
    upper, lower = image[0::2] > 0.4, image[1::2] > 0.4
    return ["".join(" ▀▄█"[dots] for dots in row) for row in (upper + 2 * lower).tolist()]


def counted(total: int, console: Console) -> Iterator[int]:
    """0 to total - 1, with a progress bar in a terminal and now and then a line elsewhere."""
    if console.is_terminal:
        yield from track(range(total), "Reading", console=console, transient=True)
        return
    for i in range(total):
        yield i
        if (i + 1) % 64 == 0:
            console.print(f"  {i + 1} of {total} lines read")


def read_lines(session: Session, images: npt.NDArray[np.float32], console: Console) -> tuple[list[str], list[float]]:
    """Read images float32 [n, 1, 16, 320] one by one, as requests come in; texts, and the seconds of each."""
    texts, seconds = [], []
    for i in counted(len(images), console):
        started = time.perf_counter()
        outputs = session.run({"image": images[i : i + 1]})
        seconds.append(time.perf_counter() - started)
        texts.append(text_of(outputs["tokens"][0, : outputs["lengths"][0]]))
    return texts, seconds


def show_some(images: npt.NDArray[np.float32], known: Sequence[str], read: Sequence[str]) -> None:
    """Draw one short line with the glyphs' names under it, and print a few texts beside the known ones."""
    shown = [i for i, text in enumerate(known) if len(text) in SHOWN_GLYPHS][:SHOWN_LINES]
    for i in shown[:1]:
        print(f"\nLine {i} as the model gets it, noise and all, and what it reads:\n")
        print("\n".join("  " + row for row in drawing(images[i, 0, :, : len(known[i]) * GLYPH_WIDTH])))
        print("  " + "".join(f" {glyph}  " for glyph in read[i]))
    print("\n  known               read")
    for i in shown:
        print(f"  {known[i]:<18}  {read[i]}")


def main() -> int:
    """Compile, read, compare; 0 if all lines are exact."""
    here = Path(__file__).resolve().parent
    beside = here.relative_to(Path.cwd()) if here.is_relative_to(Path.cwd()) else here
    parser = argparse.ArgumentParser(description="Compile the OCR example and read its lines of text.")
    parser.add_argument("--model", type=Path, default=beside, help="folder of the model and its lines")
    parser.add_argument("--output", type=Path, default=Path("build/demo/ocr"), help="bundle to write")
    options = parser.parse_args()
    # Half blocks are not in every encoding; a question mark is better than a crash.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")

    command = ["compile", str(options.model / "model.onnx"), "-o", str(options.output), "--force"]
    print("$ unspool " + " ".join(command), flush=True)
    if status := subprocess.run([sys.executable, "-m", "compiler.cli.main", *command], check=False).returncode:
        return status

    with np.load(options.model / "eval.npz") as lines:
        images, known = lines["images"].astype(np.float32), [text_of(row) for row in lines["targets"]]
    print(f"\nReading {len(images)} lines of text from their images, one at a time", flush=True)
    read, seconds = read_lines(Session.open(options.output), images, Console())
    show_some(images, known, read)

    wrong = [i for i in range(len(known)) if read[i] != known[i]]
    for i in wrong[:SHOWN_LINES]:
        print(f"\n  line {i} is wrong\n    known  {known[i]}\n    read   {read[i]}")
    print(f"\n{len(known) - len(wrong)} of {len(known)} lines exact")
    glyphs = sum(map(len, known)) / len(known)
    print(f"{1000 * median(seconds):.1f} ms a line (the median; {glyphs:.0f} glyphs a line on average)")
    print(f"The bundle is in {options.output}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
