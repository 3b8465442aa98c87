"""The chart of a tuning: what a decode costs by where its partitions end, how long decodes are, what steps cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from compiler.options import ScheduleName
from compiler.plotly_module import import_plotly
from compiler.tuning.choose import TAIL, equal_parts
from compiler.tuning.costs import StepCost
from compiler.tuning.tune import Tuned

_TWO, _THREE, _CHOSEN, _THIRDS, _GREY = "#1f5fa8", "#c4501b", "#111111", "#9a7d0a", "#70757a"
_FORMS = {ScheduleName.LOOP: "#2b7a4b", ScheduleName.ENGINE_LOOP: "#7b3fa0", ScheduleName.UNROLLED: _GREY}
_UNIT = "ms"


def page(model: str, tuned: Tuned) -> str:
    """One HTML file that loads nothing: the library that draws is inside it. Raises MissingToolError."""
    go, make_subplots = import_plotly("tune")
    lengths, limit = tuned.lengths, tuned.limit
    figure = make_subplots(
        rows=3, cols=1, shared_xaxes=True, vertical_spacing=0.07, row_heights=[0.56, 0.22, 0.22],
        subplot_titles=("Expected cost of a request", "How long decodes are", "What the step at a position costs"),
    )  # fmt: skip
    for trace in _costs(go, tuned):
        figure.add_trace(trace, row=1, col=1)
    shown = [100 * part for part in lengths.probabilities[1:]]
    tokens = list(range(1, len(shown) + 1))
    bars = go.Bar(x=tokens, y=shown, marker_color=_GREY, name="lengths", showlegend=False)
    bars.hovertemplate = "%{x} tokens: %{y:.2f} %<extra></extra>"
    figure.add_trace(bars, row=2, col=1)
    for trace in _steps(go, tuned):
        figure.add_trace(trace, row=3, col=1)
    tail = lengths.quantile(TAIL)
    figure.add_vline(x=tail, row=2, col=1, line={"color": _THREE, "width": 1.5, "dash": "dash"})
    note = {"text": f"95 % have at most {tail}", "x": tail, "y": max(shown), "xanchor": "left", "xshift": 6}
    figure.add_annotation(**note, showarrow=False, font={"size": 12, "color": _THREE}, row=2, col=1)
    _mark(figure, equal_parts(limit, min(3, limit)), "equal thirds", {"color": _THIRDS, "dash": "dot"}, 0.02)
    _mark(figure, _chosen(tuned), "best cuts", {"color": _CHOSEN, "dash": "solid"}, 0.98)
    for row, title in ((1, _UNIT), (2, "% of decodes"), (3, _UNIT)):
        figure.update_yaxes(title_text=title, rangemode="tozero", row=row, col=1)
    figure.update_xaxes(range=[0, limit + 1], showticklabels=True)
    figure.update_xaxes(title_text="tokens", row=3, col=1)
    best = tuned.rows[0].choice
    summary = f"best: {best.form}, {best.mean:.2f} {_UNIT} in the mean and {best.p95:.2f} {_UNIT} for 95 % predicted"
    figure.update_layout(
        title={"text": f"{model}: where to cut the decoder<br><sub>{summary}</sub>", "x": 0.02},
        template="plotly_white", height=960, bargap=0.15, hovermode="x",
        legend={"orientation": "v", "x": 1.01, "y": 1}, margin={"t": 110, "r": 330},
    )  # fmt: skip
    html: str = figure.to_html(include_plotlyjs=True, full_html=True, div_id="chart", config={"displaylogo": False})
    return html


def _chosen(tuned: Tuned) -> Sequence[int]:
    """The boundaries of the best form that has any, which need not be the best of all forms."""
    forms = (row.choice.form for row in tuned.rows)
    return next((form.boundaries for form in forms if form.boundaries), ())


def _costs(go: Any, tuned: Tuned) -> Iterator[Any]:
    """Costs by where the first partition ends, and those of forms that have no boundary as level lines."""
    kinds = (("two partitions", _TWO), ("three, the second cut where it is best", _THREE))
    for (name, color), curve in zip(kinds, tuned.curves, strict=False):
        for what, dash in (("mean", "solid"), ("p95", "dash")):
            yield go.Scatter(
                x=[choice.form.boundaries[0] for choice in curve],
                y=[getattr(choice, what) for choice in curve],
                customdata=[",".join(map(str, choice.form.boundaries)) for choice in curve],
                hovertemplate=f"{what} %{{y:.2f}} {_UNIT}, cut at %{{customdata}}<extra></extra>",
                name=f"{name}, {what}",
                line={"color": color, "dash": dash},
            )
    for form, mean in ((row.choice.form, row.choice.mean) for row in tuned.rows):
        color = _FORMS.get(form.schedule, _CHOSEN if form.boundaries == _chosen(tuned) else _THIRDS)
        style = {"color": color, "width": 1.2, "dash": "dashdot"}
        yield go.Scatter(x=[0, tuned.limit + 1], y=[mean, mean], mode="lines", line=style, name=f"{form}, mean")


def _steps(go: Any, tuned: Tuned) -> Iterator[Any]:
    costs, positions = tuned.costs, list(range(tuned.limit))
    kinds: tuple[tuple[ScheduleName, StepCost | None], ...] = (
        (ScheduleName.LOOP, costs.loop),
        (ScheduleName.ENGINE_LOOP, costs.engine_loop),
        (ScheduleName.PARTITIONED, costs.partition),
    )
    for name, step in kinds:
        if step is not None:
            call = f" and {step.call:.3g} a call" if step.call else ""
            yield go.Scatter(
                x=[position + 1 for position in positions],
                y=[step.step + step.growth * position for position in positions],
                hovertemplate=f"{name} %{{y:.3g}} {_UNIT}<extra></extra>",
                name=f"step, {name}{call}",
                line={"color": _FORMS.get(name, _TWO)},
            )


def _mark(figure: Any, boundaries: Sequence[int], what: str, line: dict[str, Any], height: float) -> None:
    """Upright lines where partitions end, through costs and lengths; the first is named."""
    for row in (1, 2):
        for boundary in boundaries:
            figure.add_vline(x=boundary, row=row, col=1, line={"width": 1.2, **line}, layer="below")
    if boundaries:
        label = f"{what} {','.join(map(str, boundaries))}"
        place = {"x": boundaries[0], "xref": "x", "y": height, "yref": "y domain", "xanchor": "left", "xshift": 4}
        style = {"font": {"size": 12, "color": line["color"]}, "bgcolor": "white"}
        figure.add_annotation(text=label, showarrow=False, **style, **place)
