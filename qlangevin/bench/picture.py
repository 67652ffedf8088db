"""Draws the figures: a panel a list, a bar a case."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from .measure import Figures, ListResult
from .report import Report, fused_ms

PICTURES = (".png", ".svg", ".pdf")
# Okabe and Ito's palette, readable with every common colour blindness.
COLORS = {"torch": "#7F7F7F", "eager": "#D55E00", "qlangevin": "#0072B2", "rival": "#CC79A7"}
MEANINGS = {
    "torch": "torch.optim.SGD, momentum",
    "eager": "eager Langevin loop in torch",
    "qlangevin": "qlangevin",
    "rival": "other packages",
}
ROW_INCHES = 0.27
GAP = 0.3  # between dtypes, in bars
PAPER = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}  # behind a label, where the dashed line would cross it


def place_bars(result: ListResult) -> tuple[list[tuple[float, Figures]], list[tuple[float, str]]]:
    """Each case's height in the panel, from the top, grouped by dtype; and the heights of the groups' titles."""
    bars, titles, height = [], [], 0.0
    for dtype in dict.fromkeys(figures.case.dtype for figures in result.figures):
        titles.append((height, str(dtype).removeprefix("torch.")))
        height += 1
        for figures in result.figures:
            if figures.case.dtype == dtype:
                bars.append((height, figures))
                height += 1
        height += GAP
    return bars, titles


def case_names(result: ListResult) -> list[str]:
    """The rows of a panel."""
    return [figures.case.name for figures in result.figures]


def draw(report: Report, path: Path) -> None:
    """Draws ms a step of every case, a panel for each list with figures, into `path`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415  an extra
    from matplotlib.figure import Figure  # noqa: PLC0415
    from matplotlib.patches import Patch  # noqa: PLC0415

    results = [result for result in report.lists if result.figures]
    columns = min(2, len(results))
    rows = math.ceil(len(results) / columns)
    bars = max(len(result.figures) for result in results)
    size = (5.0 * columns + 3.0, rows * (ROW_INCHES * (bars + 3) + 0.6) + 1.2)
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, columns, squeeze=False).flatten()
    for at, (axes, result) in enumerate(zip(panels, results, strict=False)):
        draw_panel(axes, result)
        if at % columns and case_names(result) == case_names(results[at - 1]):
            axes.set_yticks([])  # the panel to the left has the same rows
    for axes in panels[len(results) :]:
        axes.set_axis_off()
    families = [family for family in COLORS if any(f.case.family == family for result in results for f in result.figures)]
    patches = [Patch(color=COLORS[family], label=MEANINGS[family]) for family in families]
    figure.legend(handles=patches, loc="outside lower center", ncols=len(patches), frameon=False)
    machine = report.machine
    place = machine["gpu"] or f"{machine['cpu']}, {machine['threads']} threads, {machine['cpu_path']}"
    versions = f"torch {machine['torch']}, qlangevin {machine['qlangevin']} {machine['commit'] or ''}".strip()
    heading = "Milliseconds of one optimizer step: shorter is faster"
    meaning = "speed and dashed line: relative to torch's fused SGD of the same dtype"
    figure.suptitle(f"{heading}\n{meaning}\n{place}; {versions}", fontsize=11)
    figure.savefig(path, dpi=130)


def draw_panel(axes: Any, result: ListResult) -> None:
    """One list: bars of median ms with the quartiles as whiskers, labelled with ms and speed relative to torch's fused SGD."""
    bars, titles = place_bars(result)
    longest = max(figures.ms.median for _, figures in bars)
    for height, figures in bars:
        ms = figures.ms
        whiskers = [[max(0.0, ms.median - ms.low)], [max(0.0, ms.high - ms.median)]]
        axes.barh(height, ms.median, height=0.78, color=COLORS[figures.case.family])
        axes.errorbar(ms.median, height, xerr=whiskers, color="black", linewidth=0.8, capsize=1.5)
        fused = fused_ms(result, figures)
        label = f"{ms.median:.2f} ms" if fused is None else f"{ms.median:.2f} ms, speed {fused / ms.median:.2f}"
        axes.text(ms.high + 0.015 * longest, height, label, va="center", fontsize=8, bbox=PAPER)
        if fused is not None:
            axes.plot([fused, fused], [height - 0.5, height + 0.5], color="black", linestyle=(0, (3, 2)), linewidth=0.8)
    for height, title in titles:
        axes.text(0.01 * longest, height, title, va="center", fontsize=9, fontweight="bold")
    axes.set_yticks([height for height, _ in bars], [figures.case.name for _, figures in bars], fontsize=8)
    axes.set_ylim(bars[-1][0] + 0.8, -0.8)  # the first row is at the top
    axes.set_xlim(0, 1.45 * longest)
    axes.set_title(f"{result.tensors.name}: {result.tensors.about}", fontsize=10, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=8)
