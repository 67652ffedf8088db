"""Draw the curves of the comparisons, a row of panels for each."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qlangevin.demo.loop import RunResult
from qlangevin.demo.report import group_by_run
from qlangevin.demo.tasks import Score

# Okabe and Ito's palette, readable with every common colour blindness; dashes and markers for grey prints.
_STYLES = (
    {"color": "#000000", "linestyle": "-", "marker": "o"},
    {"color": "#D55E00", "linestyle": "--", "marker": "s"},
    {"color": "#0072B2", "linestyle": "-", "marker": "^"},
    {"color": "#009E73", "linestyle": ":", "marker": "D"},
    {"color": "#CC79A7", "linestyle": "-.", "marker": "v"},
    {"color": "#E69F00", "linestyle": "--", "marker": "P"},
    {"color": "#56B4E9", "linestyle": "-", "marker": "X"},
)


@dataclass(frozen=True)
class Curves:
    """What is drawn of one comparison.

    Args:
        name: of the data.
        score: what was measured.
        steps_per_epoch: of every run.
        results: of every run and seed.
    """

    name: str
    score: Score
    steps_per_epoch: int
    results: Sequence[RunResult]


def draw_curves(rows: Sequence[Curves], path: Path) -> None:
    """Draw for each comparison the training loss, the score and the unmoved weights of every run over the epochs."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415  an extra
    from matplotlib.figure import Figure  # noqa: PLC0415

    figure = Figure(figsize=(13.5, 4.4 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    for curves, part in zip(rows, figure.subfigures(len(rows), 1, squeeze=False)[:, 0], strict=True):
        _draw_row(part, curves)
    figure.savefig(path, dpi=130)


def _draw_row(part: Any, curves: Curves) -> None:
    left, middle, right = part.subplots(1, 3)
    groups = group_by_run(curves.results)
    seeds = len(next(iter(groups.values())))
    for at, group in enumerate(groups.values()):
        style = _STYLES[at % len(_STYLES)]
        width = 3.2 if at == 0 else 1.6  # the others run on top of the first one, which must stay visible
        _draw_losses(left, curves.steps_per_epoch, group, {**style, "linewidth": width, "marker": ""})
        marks = range(1, len(group[0].scores) + 1)
        scores = average([[curves.score.factor * value for value in one.scores] for one in group])
        middle.plot(marks, scores, label=group[0].name, linewidth=width, **style)
        unmoved = average([[100 * value for value in one.unmoved] for one in group])
        right.plot(marks, unmoved, linewidth=width, **style)
    _label(left, middle, right, curves)
    part.legend(*middle.get_legend_handles_labels(), loc="outside lower center", ncols=min(4, len(groups)), frameon=False)
    shared = "same initial weights, same mini-batches" + ("" if seeds == 1 else f"; mean of {seeds} seeds")
    part.suptitle(f"{curves.name}: {shared}")


def _draw_losses(axes: Any, steps_per_epoch: int, group: Sequence[RunResult], style: dict[str, Any]) -> None:
    window = choose_window(steps_per_epoch)
    smooth = smooth_losses(average([one.losses for one in group]), window)
    axes.plot([(step + window) / steps_per_epoch for step in range(len(smooth))], smooth, **style)


def _label(left: Any, middle: Any, right: Any, curves: Curves) -> None:
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter  # noqa: PLC0415  an extra

    left.set(ylabel=f"training loss (nats, mean of {choose_window(curves.steps_per_epoch)} steps)", yscale="log")
    left.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 2.5, 3, 4, 5, 7)))
    left.yaxis.set_major_formatter("{x:g}")
    left.yaxis.set_minor_formatter(NullFormatter())
    middle.set(ylabel=f"{curves.score.name} after the epoch ({curves.score.unit})")
    right.set(ylabel="weights unmoved in the epoch (%)", ylim=(-4, 104))
    for axes in (middle, right):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in (left, middle, right):
        axes.set(xlabel="epoch")
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)


def average(series: Sequence[Sequence[float]]) -> list[float]:
    """Return the mean of equally long series, point by point."""
    return [statistics.fmean(values) for values in zip(*series, strict=True)]


def choose_window(steps_per_epoch: int) -> int:
    """Return over how many steps losses are smoothed."""
    return max(1, steps_per_epoch // 8)


def smooth_losses(losses: Sequence[float], window: int) -> list[float]:
    """Return the mean of each full window of `window` consecutive losses."""
    total, sums = 0.0, [0.0]
    for loss in losses:
        total += loss
        sums.append(total)
    return [(sums[at] - sums[at - window]) / window for at in range(window, len(sums))]
