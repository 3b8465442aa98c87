"""What a build made, as a page to look at: sizes, times and differences by job, its builds, and how each job ended."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from compiler.plotly_module import import_plotly
from compiler.zoo.ledger import Build, Result, State

_BLUE, _RUST, _GREY, _GREEN, _RED = "#1f5fa8", "#c4501b", "#9aa0a6", "#2b7a4b", "#b3261e"
_STAGES = ("#7b3fa0", "#1f5fa8", "#2b7a4b", "#9a7d0a", "#c4501b", "#70757a", "#4a7fa5", "#a0527f", "#5d6d1e", "#333333")
_ROW = 24
"""Pixels of one job."""

_STATES = {State.FAILED: _RED, State.SKIPPED: _GREY}


def page(
    title: str, builds: Sequence[Build], results: Sequence[Result], figures: Mapping[str, Mapping[str, float]]
) -> str:
    """One HTML file that loads nothing. `builds` are all, the shown one first; `figures` are those of its jobs.

    Raises MissingToolError.
    """
    settings = {"full_html": False, "config": {"displaylogo": False}}
    parts = [
        drawing.to_html(include_plotlyjs=number == 0, div_id=f"part-{number}", **settings)
        for number, drawing in enumerate(drawings(title, builds, results, figures))
    ]
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title>'
    return f"<!DOCTYPE html>\n<html><head>{head}</head><body>\n{''.join(parts)}</body></html>\n"


def drawings(
    title: str, builds: Sequence[Build], results: Sequence[Result], figures: Mapping[str, Mapping[str, float]]
) -> tuple[Any, Any, Any]:
    """The page's parts as plotly's figures: bars a job, bars a build, a table of results."""
    go, make_subplots = import_plotly("zoo")
    counts = Counter(result.state.value for result in results)
    told = ", ".join(f"{count} {state}" for state, count in counts.items())
    summary = f"build {builds[0].id} of {builds[0].started}, {builds[0].status}: {told}"
    charts = _by_job(go, make_subplots, results, figures)
    charts.update_layout(title={"text": f"{html.escape(title)}<br><sub>{html.escape(summary)}</sub>", "x": 0.02})
    return charts, _builds(go, builds), _table(go, results, figures)


def _by_job(go: Any, make_subplots: Any, results: Sequence[Result], figures: Mapping[str, Mapping[str, float]]) -> Any:
    """Bars a job: bytes by kind, seconds by stage, the largest difference from the source."""
    jobs = [result.job for result in results if figures.get(result.job)][::-1]  # the first is on top
    titles = ("MB", "seconds", "largest difference from the source")
    figure = make_subplots(
        rows=1, cols=3, shared_yaxes=True, horizontal_spacing=0.03, column_widths=[0.4, 0.36, 0.24],
        subplot_titles=titles,
    )  # fmt: skip
    for name, color in (("weights", _BLUE), ("engines", _RUST)):
        sizes = [figures[job].get(f"bytes.{name}", 0.0) / 1e6 for job in jobs]
        figure.add_trace(_bars(go, jobs, sizes, name, color, "MB"), row=1, col=1)
    rest = [
        (
            figures[job].get("bytes", 0.0)
            - sum(figures[job].get(f"bytes.{kind}", 0.0) for kind in ("weights", "engines"))
        )
        / 1e6
        for job in jobs
    ]
    figure.add_trace(_bars(go, jobs, rest, "samples and the rest", _GREY, "MB"), row=1, col=1)
    stages = list(dict.fromkeys(name for job in jobs for name in figures[job] if name.startswith("seconds.")))
    for number, stage in enumerate(stages):
        seconds = [figures[job].get(stage, 0.0) for job in jobs]
        name = f"stage {stage.removeprefix('seconds.')}"
        figure.add_trace(_bars(go, jobs, seconds, name, _STAGES[number % len(_STAGES)], "s"), row=1, col=2)
    worst = [_worst(figures[job]) for job in jobs]
    points = go.Scatter(
        x=worst, y=jobs, mode="markers", marker={"color": _GREEN, "size": 9}, showlegend=False,
        hovertemplate="%{y}: %{x:.3g}<extra></extra>",
    )  # fmt: skip
    figure.add_trace(points, row=1, col=3)
    figure.update_xaxes(type="log", exponentformat="e", dtick=1, row=1, col=3)
    figure.update_layout(
        barmode="stack", template="plotly_white", height=260 + _ROW * len(jobs), bargap=0.25,
        legend={"orientation": "h", "traceorder": "normal", "y": -60 / (200 + _ROW * len(jobs))},
        margin={"t": 110, "l": 20},
    )  # fmt: skip
    figure.update_yaxes(automargin=True)
    return figure


def _bars(go: Any, jobs: Sequence[str], values: Sequence[float], name: str, color: str, unit: str) -> Any:
    hover = f"%{{y}}, {name}: %{{x:.3g}} {unit}<extra></extra>"
    return go.Bar(x=values, y=jobs, orientation="h", name=name, marker_color=color, hovertemplate=hover)


def _worst(figures: Mapping[str, float]) -> float | None:
    """The largest difference; one of nothing has no place on a scale of powers."""
    return max((value for name, value in figures.items() if name.startswith("numerics.")), default=0.0) or None


def _builds(go: Any, builds: Sequence[Build]) -> Any:
    ended = [build for build in reversed(builds) if build.seconds is not None]
    bars = go.Bar(
        x=[f"build {build.id}" for build in ended],
        y=[build.seconds for build in ended],
        marker_color=[_BLUE if build.status == "ended" else _RED for build in ended],
        customdata=[f"{build.started}, {build.status}, {build.engine}" for build in ended],
        hovertemplate="%{x}: %{y:.1f} s, %{customdata}<extra></extra>",
    )
    figure = go.Figure(bars)
    figure.update_layout(title={"text": "Builds, in seconds", "x": 0.02}, template="plotly_white", height=280)
    return figure


def _table(go: Any, results: Sequence[Result], figures: Mapping[str, Mapping[str, float]]) -> Any:
    columns = ("job", "ended", "why it was made", "MB", "seconds", "peak MB", "what failed")
    rows = [
        (
            result.job,
            result.state.value,
            result.why,
            _shown(figures.get(result.job, {}).get("bytes"), 1e6),
            _shown(figures.get(result.job, {}).get("seconds"), 1.0),
            _shown(result.peak_bytes, 1e6),
            "; ".join(attempt.reason for attempt in result.attempts),
        )
        for result in sorted(results, key=lambda each: (each.state is not State.FAILED, each.job))
    ]
    colors = [_STATES.get(State(row[1]), "#111111") for row in rows]
    figure = go.Figure(
        go.Table(
            header={"values": [f"<b>{column}</b>" for column in columns], "align": "left"},
            cells={
                "values": [[html.escape(row[number]) for row in rows] for number in range(len(columns))],
                "align": "left",
                "font": {"color": [colors]},
            },
            columnwidth=[30, 10, 40, 8, 8, 8, 40],
        )
    )
    figure.update_layout(height=160 + _ROW * min(40, len(rows)), margin={"t": 30})
    return figure


def _shown(value: float | None, unit: float) -> str:
    return "" if value is None else f"{value / unit:.1f}"
