"""How a model of a bundle is called, for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from artifacts.manifest import Functions, ModelEntry
from artifacts.runtime.buckets import told
from artifacts.schedule import Control, Decode, Generation, Partitioned


def schedule_rows(model: ModelEntry) -> Iterator[list[str]]:
    """Rows of three columns: what a step carries and who loops, the rules for tokens, the slots, the engines."""
    schedule = model.schedule
    yield ["schedule", schedule.kind, ""]
    if isinstance(schedule, Decode):
        ports = f"{schedule.tokens} -> {schedule.logits}"
        yield ["decode", f"{schedule.state}, loop by {_control(schedule.control)}", ports]
        yield from _generation_rows(schedule.generation)
        if schedule.choice is not None:
            yield ["choice", "in two stages, or by the full product where no bound proves it", ""]
        if schedule.draft is not None:
            guessed = f"{schedule.draft.count} tokens at a time, by {schedule.draft.step}"
            yield ["draft", guessed, f"checked by {schedule.draft.window}"]
        for slot in schedule.slots:
            yield ["slot", f"{slot.output} -> {slot.input}", f"{slot.init}, axis {slot.axis}"]
    if model.buckets is None:
        yield from _calls(model.functions)
        return
    for bucket in model.buckets.each:
        yield ["bucket", told(bucket.sizes), ""]
        yield from _calls(bucket.functions)
    padding = model.buckets.padding
    filled = ", ".join(f"{name} with {value}" for name, value in padding.fill.items() if value) or "with 0"
    rows = "" if padding.rows is None else f"; of {padding.rows}, copies of the last"
    yield ["padding", filled + rows, "exact, where it was tried" if padding.exact else "changes answers"]


def _calls(functions: Functions) -> Iterator[list[str]]:
    for function, engines in functions.items():
        held = (name if count == 1 else f"{name} ({count} times)" for name, count in Counter(engines).items())
        yield ["calls", function, f"in {', '.join(held)}"]


def _control(control: Control) -> str:
    if isinstance(control, Partitioned):
        return f"{control.kind}, ends at {', '.join(map(str, control.boundaries))}"
    return control.kind


def _generation_rows(rules: Generation) -> Iterator[list[str]]:
    tokens = f"start {rules.start}, end {list(rules.eos)}, pad {rules.pad}"
    yield ["tokens", tokens, f"at most {rules.max_new_tokens}"]
    forced = {"first": rules.forced_first, "last": rules.forced_last}
    for where, token in forced.items():
        if token is not None:
            yield ["forced", f"{where} token {token}", ""]
    if rules.beams is not None:
        beams = rules.beams
        how = f"length penalty {beams.length_penalty:g}, early stopping {str(beams.early_stopping).lower()}"
        yield ["beams", str(beams.width), how]
    if rules.suppressed:
        yield ["suppressed", ", ".join(map(str, rules.suppressed)), ""]
