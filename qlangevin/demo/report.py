"""Say what a comparison has shown: table, JSON, and the floors below which the demo fails."""

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

from qlangevin.demo.images import CIFAR10, DIGITS, FASHION_MNIST
from qlangevin.demo.loop import RunResult
from qlangevin.demo.tasks import Score
from qlangevin.demo.text import STANDARD_LIBRARY


@dataclass(frozen=True)
class Floor:
    """A score that a run must reach, as the mean of its seeds.

    Args:
        run: name of the run.
        score: the worst allowed; or, with `below`, by how much the run may be worse than that other run.
        below: name of the other run, or None.
    """

    run: str
    score: float
    below: str | None = None


_CLOSE = Floor("sgld-bf16-stochastic", 0.01, below="sgd-fp32")
FLOORS: Mapping[str, Sequence[Floor]] = {
    FASHION_MNIST: (Floor("sgd-fp32", 0.85), _CLOSE),
    CIFAR10: (Floor("sgd-fp32", 0.55),),
    DIGITS: (Floor("sgd-fp32", 0.90),),
    # The text differs between versions of Python. Rounding to nearest is worse by 0.05 and more.
    STANDARD_LIBRARY: (Floor("adamw-fp32", 2.6), Floor("langevin-adamw-bf16-stochastic", 0.015, below="adamw-fp32")),
}


def group_by_run(results: Sequence[RunResult]) -> dict[str, list[RunResult]]:
    """Return the results of each run, one for each seed, in order."""
    groups: dict[str, list[RunResult]] = {}
    for result in results:
        groups.setdefault(result.name, []).append(result)
    return groups


def check_floors(data_name: str, score: Score, results: Sequence[RunResult]) -> tuple[list[str], bool]:
    """Compare the final scores with the floors of this data set.

    Returns:
        one line per floor, and whether all that could be checked hold.
    """
    lines, passed = [], True
    direction, sign = (1.0, ">=") if score.higher_is_better else (-1.0, "<=")
    reached = {name: statistics.fmean(one.scores[-1] for one in group) for name, group in group_by_run(results).items()}
    for floor in FLOORS.get(data_name, ()):
        needed = [name for name in (floor.run, floor.below) if name is not None]
        absent = [name for name in needed if name not in reached]
        if absent:
            lines.append(f"floor not checked: {floor.run} (needs the run {', '.join(absent)})")
            continue
        worst = floor.score if floor.below is None else reached[floor.below] - direction * floor.score
        points = "points" if score.unit == "%" else score.unit
        why = "" if floor.below is None else f", {score.factor * floor.score:g} {points} from {floor.below}"
        # In whole images of any test set here, 1e-9 is nothing; it forgives the subtraction's rounding. NaN fails.
        holds = direction * reached[floor.run] >= direction * worst - 1e-9
        passed = passed and holds
        word = "floor holds" if holds else "FLOOR FAILED"
        found, limit = score.format(reached[floor.run]), score.format(worst)
        lines.append(f"{word}: {floor.run} {found} {score.unit} {sign} {limit} {score.unit}{why}")
    if not passed:
        lines.append("(the floors are meant for the default settings; --no-floors leaves them out)")
    return lines, passed


def format_table(score: Score, results: Sequence[RunResult]) -> str:
    """Return the table of a comparison as text."""
    heads = ("run", f"{score.name} ({score.unit})", "minus first", "training loss", "unmoved", "bytes/param", "optimizer ms/step")
    groups = group_by_run(results)
    first = next(iter(groups.values()))
    rows = [heads, *(_format_row(score, first, group) for group in groups.values())]
    widths = [max(len(row[at]) for row in rows) for at in range(len(heads))]
    aligned = [[row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])] for row in rows]
    lines = ["  ".join(cells) for cells in aligned]
    lines.insert(1, "  ".join("-" * width for width in widths))
    if len(first) > 1:
        lines.append(f"mean +- standard deviation of {len(first)} seeds; minus first: differences at equal seeds.")
    lines.append("scores, loss and unmoved: last epoch; unmoved: share of the stored weights that it left as they were;")
    lines.append("bytes: stored weights + optimizer states, without gradients and without the fp32 working copy in which")
    lines.append("every run computes; ms: median of optimizer.step().")
    return "\n".join(lines)


def _format_row(score: Score, first: Sequence[RunResult], group: Sequence[RunResult]) -> tuple[str, ...]:
    differences = [one.scores[-1] - other.scores[-1] for one, other in zip(group, first, strict=True)]
    return (
        group[0].name,
        _format_spread(score, [one.scores[-1] for one in group]),
        "" if group[0] is first[0] else _format_spread(score, differences, "+"),
        f"{statistics.fmean(loss for one in group for loss in _last_epoch(one)):.4f}",
        f"{100 * statistics.fmean(one.unmoved[-1] for one in group):.1f} %",
        f"{group[0].bytes_per_param:.2f}",
        f"{statistics.median(ms for one in group for ms in one.step_ms):.3f}",
    )


def _format_spread(score: Score, values: Sequence[float], sign: str = "") -> str:
    mean = score.format(statistics.fmean(values), sign)
    return mean if len(values) == 1 else f"{mean} +- {score.format(statistics.stdev(values))}"


def _last_epoch(result: RunResult) -> list[float]:
    return result.losses[-(len(result.losses) // len(result.scores)) :]


def result_to_json(score: Score, result: RunResult) -> dict[str, Any]:
    """Return the numbers of one run; what is not finite becomes null."""
    return {
        "name": result.name,
        "seed": result.seed,
        score.name.replace(" ", "_"): [_finite(value) for value in result.scores],
        "unmoved": result.unmoved,
        "bytes_per_param": result.bytes_per_param,
        "optimizer_ms_median": statistics.median(result.step_ms),
        "weights_digest": result.weights_digest,
        "loss": [_finite(loss) for loss in result.losses],
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def write_json(path: Path, studies: Mapping[str, dict[str, Any]]) -> None:
    """Write the versions and, of each kind of study, its configuration and the numbers of its runs."""
    versions = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "machine": platform.machine(),
    }
    path.write_text(json.dumps({"versions": versions, **studies}, indent=1) + "\n")
