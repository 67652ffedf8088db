"""Draws the figures: a panel a list, a bar a case."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from .measure import Figures, ListResult
from .report import Report, beside_ms, is_noisy

# Okabe and Ito's palette, readable with every common colour blindness.
COLORS = {"torch": "#7F7F7F", "eager": "#D55E00", "qlangevin": "#0072B2", "rival": "#CC79A7"}
MEANINGS = {
    "torch": "torch.optim",
    "eager": "eager Langevin loop in torch",
    "qlangevin": "qlangevin",
    "rival": "other packages",
}
ROW_INCHES = 0.27
GAP = 0.3  # between dtypes, in bars
SLOW = ("eager", "rival")  # whose bars are cut where they are much longer than the others
CUT_FROM, CUT_AT = 1.5, 1.15  # in units of the longest bar of the others
LABEL_ROOM = 1.4  # the axis' length in units of the longest bar
DASHES: dict[str, Any] = {"color": "black", "linestyle": (0, (3, 2)), "linewidth": 0.8}
WHISKERS: dict[str, Any] = {"color": "black", "linewidth": 0.8, "capsize": 1.5}
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
    from matplotlib.figure import Figure  # noqa: PLC0415  an extra
    from matplotlib.lines import Line2D  # noqa: PLC0415  an extra
    from matplotlib.patches import Patch  # noqa: PLC0415  an extra

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
    line = Line2D([], [], label="torch's own step of the same kind and dtype", **DASHES)
    figure.legend(handles=[*patches, line], loc="outside lower center", ncols=len(patches) + 1, frameon=False, fontsize=9)
    machine = report.machine
    place = machine["gpu"] or f"{machine['cpu']}, {machine['threads']} threads, {machine['cpu_path']}"
    versions = f"torch {machine['torch']}, qlangevin {machine['qlangevin']}" + (
        f", commit {machine['commit']}" if machine["commit"] else ""
    )
    heading = "Milliseconds of one optimizer step: shorter is faster"
    meaning = "speed: relative to torch's own step of the same kind and dtype (dashed line); whiskers: quartiles"
    figure.suptitle(f"{heading}\n{meaning}\n{place}; {versions}", fontsize=11)
    figure.savefig(path, dpi=130)


def choose_limit(result: ListResult) -> float:
    """The ms at which bars are cut: eager loops take so much longer that the bars of the others would all look alike."""
    longest = max(figures.ms.high for figures in result.figures)
    others = max((figures.ms.high for figures in result.figures if figures.case.family not in SLOW), default=longest)
    return longest if longest <= CUT_FROM * others else CUT_AT * others


def format_ms(ms: float) -> str:
    """Three digits or more."""
    return f"{ms:.{2 if ms < 10 else 1 if ms < 100 else 0}f} ms"


def draw_panel(axes: Any, result: ListResult) -> None:
    """One list: bars of median ms with the quartiles as whiskers, labelled with ms and speed relative to torch's."""
    bars, titles = place_bars(result)
    limit = choose_limit(result)
    for height, figures in bars:
        ms, beside = figures.ms, beside_ms(result, figures)
        label = format_ms(ms.median) + ("" if beside is None else f", speed {beside / ms.median:.2f}")
        axes.barh(height, min(ms.median, limit), height=0.78, color=COLORS[figures.case.family])
        if ms.high > limit:
            axes.text(0.985 * limit, height, f"{label}: bar cut", ha="right", va="center", fontsize=8, color="white")
        else:
            axes.errorbar(ms.median, height, xerr=[[ms.median - ms.low], [ms.high - ms.median]], **WHISKERS)
            axes.text(ms.high + 0.015 * limit, height, label, va="center", fontsize=8, bbox=PAPER)
        if beside is not None:
            axes.plot([beside, beside], [height - 0.5, height + 0.5], **DASHES)
    for height, title in titles:
        axes.text(0.01 * limit, height, title, va="center", fontsize=9, fontweight="bold")
    axes.set_yticks([height for height, _ in bars], [figures.case.name for _, figures in bars], fontsize=8)
    axes.set_ylim(bars[-1][0] + 0.8, -0.8)  # the first row is at the top
    axes.set_xlim(0, LABEL_ROOM * limit)
    noise = f"\nNOISY: others used {result.other_cores:.1f} cores" if is_noisy(result) else ""
    axes.set_title(f"{result.tensors.name}: {result.tensors.about}{noise}", fontsize=10, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=8)
