"""Say what the comparison has shown: table, curves, JSON, and the floors below which the demo fails."""

from __future__ import annotations

import json
import math
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from qlangevin.demo.data import CIFAR10, DIGITS, FASHION_MNIST
from qlangevin.demo.loop import RunResult

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
class Floor:
    """An accuracy that a run must reach.

    Args:
        run: name of the run.
        accuracy: in [0, 1]; or, with `below`, how much the run may lie under that other run.
        below: name of the other run, or None.
    """

    run: str
    accuracy: float
    below: str | None = None


_CLOSE = Floor("sgld-bf16-stochastic", 0.01, below="sgd-fp32")
FLOORS: Mapping[str, Sequence[Floor]] = {
    FASHION_MNIST: (Floor("sgd-fp32", 0.85), _CLOSE),
    CIFAR10: (Floor("sgd-fp32", 0.55),),
    DIGITS: (Floor("sgd-fp32", 0.90),),
}


def check_floors(data_name: str, results: Sequence[RunResult]) -> tuple[list[str], bool]:
    """Compare the final accuracies with the floors of this data set.

    Returns:
        one line per floor, and whether all that could be checked hold.
    """
    lines, passed = [], True
    reached = {result.name: result.accuracies[-1] for result in results}
    for floor in FLOORS[data_name]:
        needed = [name for name in (floor.run, floor.below) if name is not None]
        absent = [name for name in needed if name not in reached]
        if absent:
            lines.append(f"floor not checked: {floor.run} (needs the run {', '.join(absent)})")
            continue
        least = floor.accuracy if floor.below is None else reached[floor.below] - floor.accuracy
        why = "" if floor.below is None else f", {100 * floor.accuracy:g} points below {floor.below}"
        # In whole images of any test set here, 1e-9 is nothing; it forgives the subtraction's rounding.
        holds = reached[floor.run] >= least - 1e-9
        passed = passed and holds
        word = "floor holds" if holds else "FLOOR FAILED"
        lines.append(f"{word}: {floor.run} {100 * reached[floor.run]:.2f} % >= {100 * least:.2f} %{why}")
    if not passed:
        lines.append("(the floors are meant for the default settings; --no-floors leaves them out)")
    return lines, passed


def format_table(results: Sequence[RunResult]) -> str:
    """Return the table of the comparison as text."""
    heads = ("run", "test accuracy", "training loss", "bytes/param", "optimizer ms/step")
    rows = [heads]
    for result in results:
        loss = statistics.fmean(_last_epoch(result))
        accuracy, size = f"{100 * result.accuracies[-1]:.2f} %", f"{result.bytes_per_param:.2f}"
        rows.append((result.name, accuracy, f"{loss:.4f}", size, f"{statistics.median(result.step_ms):.3f}"))
    widths = [max(len(row[at]) for row in rows) for at in range(len(heads))]
    aligned = [[row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])] for row in rows]
    lines = ["  ".join(cells) for cells in aligned]
    lines.insert(1, "  ".join("-" * width for width in widths))
    lines.append("accuracy and loss: last epoch; bytes: stored weights + optimizer states, without gradients and")
    lines.append("without the fp32 working copy in which every run computes; ms: median of optimizer.step().")
    return "\n".join(lines)


def _last_epoch(result: RunResult) -> list[float]:
    return result.losses[-(len(result.losses) // len(result.accuracies)) :]


def smooth_losses(losses: Sequence[float], window: int) -> list[float]:
    """Return the mean of each full window of `window` consecutive losses."""
    total, sums = 0.0, [0.0]
    for loss in losses:
        total += loss
        sums.append(total)
    return [(sums[at] - sums[at - window]) / window for at in range(window, len(sums))]


def draw_curves(results: Sequence[RunResult], data_name: str, steps_per_epoch: int, path: Path) -> None:
    """Draw training loss (smoothed) and test accuracy of every run over the epochs into `path`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415  an extra
    from matplotlib.figure import Figure  # noqa: PLC0415
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter  # noqa: PLC0415

    figure = Figure(figsize=(11, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    window = max(1, steps_per_epoch // 8)
    for at, result in enumerate(results):
        style = _STYLES[at % len(_STYLES)]
        width = 3.2 if at == 0 else 1.6  # the others run on top of the first one, which must stay visible
        smooth = smooth_losses(result.losses, window)
        epochs = [(step + window) / steps_per_epoch for step in range(len(smooth))]
        left.plot(epochs, smooth, color=style["color"], linestyle=style["linestyle"], linewidth=width)
        marks = range(1, len(result.accuracies) + 1)
        right.plot(marks, [100 * value for value in result.accuracies], label=result.name, linewidth=width, **style)
    left.set(xlabel="epoch", ylabel=f"training loss (nats, mean of {window} steps)", yscale="log")
    left.yaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
    left.yaxis.set_major_formatter("{x:g}")
    left.yaxis.set_minor_formatter(NullFormatter())
    right.set(xlabel="epoch", ylabel="test accuracy after the epoch (%)")
    right.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    right.legend(frameon=False, loc="lower right")
    figure.suptitle(f"{data_name}: same initial weights, same mini-batches")
    figure.savefig(path, dpi=150)


def write_json(path: Path, results: Sequence[RunResult], config: dict[str, Any]) -> None:
    """Write configuration, versions and the numbers of every run; a loss that is not finite becomes null."""
    runs = [
        {
            "name": result.name,
            "test_accuracy": result.accuracies,
            "bytes_per_param": result.bytes_per_param,
            "optimizer_ms_median": statistics.median(result.step_ms),
            "weights_digest": result.weights_digest,
            "loss": [loss if math.isfinite(loss) else None for loss in result.losses],
        }
        for result in results
    ]
    versions = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "machine": platform.machine(),
    }
    path.write_text(json.dumps({"config": config, "versions": versions, "runs": runs}, indent=1) + "\n")
