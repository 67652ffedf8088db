"""Says what was measured: tables and JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .admission import LeftOut
from .measure import Figures, ListResult

HEADS = ("case", "ms", "quartiles", "x torch", "GB/s", "of copy", "host us/tensor", "bytes/param", "temporaries MB")
NOISY_CORES = 0.1  # what a desktop at rest stays below
LEGEND = """\
ms, quartiles: a step, caches cold.  x torch: speed relative to torch's own step of the same kind and dtype: fused SGD
or AdamW; foreach RMSprop, Adagrad or Adadelta, which it does not fuse; above 1 is faster.
GB/s: bytes that the step must move (parameter, gradient, states read; parameter, states written) over its time.
of copy: GB/s relative to a large copy_ timed before each step; above 100 % is possible: a copy also fetches what it overwrites.
host: a step over as many tensors of one element, per tensor.  bytes/param: parameter, gradient and states.
temporaries: growth of the peak memory in a step."""


@dataclass
class Report:
    """Everything that a run has found so far."""

    machine: dict[str, Any]
    lists: list[ListResult] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    failed: list[LeftOut] = field(default_factory=list)
    complete: bool = False


def beside_ms(result: ListResult, figures: Figures) -> float | None:
    """Milliseconds of torch's row of the same dtype that a case stands beside; None if it was not timed."""
    own = figures.case
    for other in result.figures:
        case = other.case
        if case.family == "torch" and case.name.startswith(own.beside) and case.dtype == own.dtype:
            return other.ms.median
    return None


def is_noisy(result: ListResult) -> bool:
    """Whether other processes ran while a list was timed."""
    return result.other_cores is not None and result.other_cores > NOISY_CORES


def format_machine(machine: dict[str, Any]) -> str:
    """One line: machine and versions."""
    place = machine["gpu"] or f"{machine['cpu']}, {machine['threads']} threads of {machine['cores']} cores, {machine['cpu_path']}"
    commit = f", commit {machine['commit']}" if machine["commit"] else ""
    versions = f"torch {machine['torch']}, Python {machine['python']}, qlangevin {machine['qlangevin']}"
    return f"{place}; {versions} (numerics version {machine['numerics_version']}{commit}); load {machine['load']:.1f}"


def format_list(result: ListResult) -> str:
    """The table of one list as text, and below it what is not in it."""
    tensors = result.tensors
    lines = [f"{tensors.name} ({tensors.about}): {len(tensors.shapes):,} tensors, {tensors.elements:,} elements"]
    if result.figures:
        lines[0] += f"; {result.rounds} rounds; copy {result.copy_gb_per_s:.1f} GB/s"
        rows = [HEADS, *(format_row(result, figures) for figures in result.figures)]
        widths = [max(len(row[at]) for row in rows) for at in range(len(HEADS))]
        aligned = [[row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])] for row in rows]
        aligned.insert(1, ["-" * width for width in widths])
        lines += ["  " + "  ".join(cells) for cells in aligned]
    else:
        lines.append("  nothing was timed")
    if is_noisy(result):
        # OpenMP's threads spin at barriers: beside one busy process a step of torch's was seen to take 100 times as long.
        lines.append(f"  NOISY: other processes used {result.other_cores:.1f} cores meanwhile. Do not rely on these figures,")
        lines.append("  least of all on torch's: threads that wait for each other lose most. Measure again on an idle machine.")
    lines += format_omissions(result.left_out, result.failed)
    return "\n".join(lines)


def format_row(result: ListResult, figures: Figures) -> tuple[str, ...]:
    """One case as cells."""
    beside = beside_ms(result, figures)
    return (
        figures.case.name,
        f"{figures.ms.median:.3f}",
        f"{figures.ms.low:.3f} - {figures.ms.high:.3f}",
        "-" if beside is None else f"{beside / figures.ms.median:.2f}",
        f"{figures.gb_per_s:.1f}",
        f"{100 * figures.copy_share:.0f} %",
        f"{figures.host_us_per_tensor:.2f}",
        f"{figures.bytes_per_param:.2f}",
        "not measured" if figures.temporaries_mb is None else f"{figures.temporaries_mb:.1f}",
    )


def format_omissions(left_out: Sequence[LeftOut], failed: Sequence[LeftOut]) -> list[str]:
    """A line for everything that was not timed."""
    lines = [f"  left out: {entry.what}: {entry.why}" for entry in left_out]
    return lines + [f"  FAILED: {entry.what}: {entry.why}" for entry in failed]


def to_json(report: Report) -> dict[str, Any]:
    """The report as plain values."""
    return {
        "complete": report.complete,
        "machine": report.machine,
        "left_out": [asdict(entry) for entry in report.left_out],
        "failed": [asdict(entry) for entry in report.failed],
        "lists": {result.tensors.name: list_to_json(result) for result in report.lists},
    }


def list_to_json(result: ListResult) -> dict[str, Any]:
    """One list's figures as plain values."""
    return {
        "tensors": len(result.tensors.shapes),
        "elements": result.tensors.elements,
        "rounds": result.rounds,
        "copy_gb_per_s": result.copy_gb_per_s,
        "other_cores": result.other_cores,
        "left_out": [asdict(entry) for entry in result.left_out],
        "failed": [asdict(entry) for entry in result.failed],
        "cases": {
            figures.case.name: {
                "family": figures.case.family,
                "dtype": str(figures.case.dtype).removeprefix("torch."),
                "ms": asdict(figures.ms),
                "gb_per_s": figures.gb_per_s,
                "copy_share": figures.copy_share,
                "host_us_per_tensor": figures.host_us_per_tensor,
                "bytes_per_param": figures.bytes_per_param,
                "temporaries_mb": figures.temporaries_mb,
            }
            for figures in result.figures
        },
    }


def write_json(path: Path, report: Report) -> None:
    """Writes the report; a run that is killed meanwhile leaves the former file whole."""
    partial = path.with_name(path.name + ".part")
    partial.write_text(json.dumps(to_json(report), indent=1) + "\n")
    os.replace(partial, path)
