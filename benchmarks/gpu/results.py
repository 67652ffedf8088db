"""Writes FOLDER/README.md and FOLDER/bench.png from FOLDER/bench.json and FOLDER/verdict.json.

Usage: python -m benchmarks.gpu.results --out FOLDER
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .chart import draw

Facts = dict[str, Any]


def read(file: Path) -> Facts:
    """A JSON file's values; none where there is no file."""
    return json.loads(file.read_text()) if file.is_file() else {}  # type: ignore[no-any-return]  # a dict by how it was written


def number(value: float | None, digits: int = 2) -> str:
    """A figure; "-" for none."""
    return "-" if value is None else f"{value:,.{digits}f}"


def percent(value: float | None) -> str:
    """A share; "-" for none."""
    return "-" if value is None else f"{100 * value:.0f} %"


def format_head(bench: Facts, verdict: Facts) -> Iterator[str]:
    """The machine and the stages."""
    machine = bench.get("machine", {})
    place = machine.get("gpu") or machine.get("cpu") or "unknown device"
    yield f"# {place}\n"
    names = ("driver", "cuda", "torch", "python", "qlangevin", "numerics_version", "commit", "date")
    yield ", ".join(f"{name.replace('_', ' ')} {machine.get(name)}" for name in names) + "."
    yield f"Host: {machine.get('cpu')}, {machine.get('cores')} cores."
    yield "Written by `make gpu`; all figures are in bench.json, and log.txt is of the same run.\n"
    yield "| stage | verdict | seconds | |\n|---|---|---:|---|"
    for stage, facts in verdict.items():
        yield f"| {stage} | {facts['status']} | {facts['seconds']:.0f} | {facts['text'].replace('|', '/')} |"
    if any(verdict.get(stage, {}).get("status") != "passed" for stage in ("parity", "contract")):
        yield "\n**Parity or contract did not pass in this run: these are no benchmarks of right results.**"


def format_goals(bench: Facts) -> Iterator[str]:
    """Every goal and what was reached."""
    yield "\n## Goals\n\n| goal | reached | limit | |\n|---|---:|---:|---|"
    for goal in bench.get("goals", []):
        limit = f"<= {goal['at_most']:.3g}" if goal["at_most"] is not None else f">= {goal['at_least']:.3g}"
        word = {True: "met", False: "**missed**", None: "not measured"}[goal["met"]]
        yield f"| {goal['what']} | {number(goal['value'], 3)} | {limit} | {word} |"


def format_rows(bench: Facts) -> Iterator[str]:
    """The table over 1 B elements."""
    copy = bench.get("copy", {})
    clock = f"; {copy['clock_mhz']:.0f} MHz" if copy.get("clock_mhz") else ""
    yield f"\n## 1 B elements\n\nA list like GPT-2's; a copy moves {number(copy.get('gb_per_s'), 0)} GB/s{clock}. "
    yield "bound: the longer of the times to move the bytes and to issue the instructions, where their number is known."
    yield "On the right the same step through Triton, and its time over the native backend's.\n"
    yield (
        "| optimizer | ms | bytes/element | GB/s | of copy | bound by instructions, ms | of bound | time over | "
        "| Triton, ms | GB/s | of copy | of bound | over native |"
    )
    yield "|---" + 7 * "|---:" + "|---" + 5 * "|---:" + "|"
    for name, row in bench.get("rows", {}).items():
        cells = [number(row["ms"], 3), number(row["bytes_per_element"], 0), number(row["gb_per_s"], 0)]
        cells += [percent(row["share_of_copy"]), number(row["issue_ms"], 3), percent(row["share_of_bound"])]
        cells += [number(row.get("over_twin")), row.get("twin", ""), *format_triton(row.get("triton"))]
        yield f"| {name} | {' | '.join(cells)} |"


def format_triton(row: Facts | None) -> list[str]:
    """A row's cells of Triton."""
    if row is None:
        return ["-"] * 5
    shares = [percent(row["share_of_copy"]), percent(row["share_of_bound"])]
    return [number(row["ms"], 3), number(row["gb_per_s"], 0), *shares, number(row["over_native"])]


def format_others(bench: Facts) -> Iterator[str]:
    """Many small tensors, growth, alignment, and what was left out."""
    many = {name: row for name, row in bench.get("many", {}).items() if isinstance(row, dict)}
    if many:
        yield "\n## 1,000 tensors of 1,024\n\n| float32 | us a step | quartiles | us of the host | us in a row |"
        yield "|---|---:|---|---:|---:|"
    for name, row in many.items():
        spread = f"{row['low']:.1f} - {row['high']:.1f}"
        yield f"| {name} | {row['us']:.1f} | {spread} | {number(row.get('host_us'), 1)} | {number(row.get('us_in_a_row'), 1)} |"
    if bench.get("growth"):
        yield "\n## Growth (bfloat16, momentum, noise, stochastic rounding)\n"
        yield "| elements | ms | ns an element |\n|---:|---:|---:|"
    for point in bench.get("growth", []):
        yield f"| {point['elements']:,} | {point['ms']:.3f} | {point['ns_per_element']:.6f} |"
    if "misaligned" in bench:
        yield f"\n## Alignment ({bench['misaligned']['elements']:,} elements in bfloat16)\n\n| | ms |\n|---|---:|"
        for name, ms in bench["misaligned"]["ms"].items():
            yield f"| {name} | {ms:.3f} |"
    for name, found in bench.get("first_step", {}).items():
        kernels = f"{len(found['compiled'])} kernels in a run over bf16 weights and float32 norms"
        yield f"\nTriton, {name}: {found['seconds']:.2f} s to the end of a process's first step; {kernels}."
    left_out = [*bench.get("left_out", []), *bench.get("failed", [])]
    if left_out:
        yield "\n## Not measured\n"
        yield from (f"- {line}" for line in left_out)


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes both; the exit status is 1 without figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="a folder")
    out = parser.parse_args(arguments).out
    bench, verdict = read(out / "bench.json"), read(out / "verdict.json")
    parts = (format_head(bench, verdict), format_goals(bench), format_rows(bench), format_others(bench))
    picture = bool(bench.get("rows")) and importlib.util.find_spec("matplotlib") is not None
    lines = [line for part in parts for line in part] if bench else list(format_head(bench, verdict))
    if picture:
        draw(bench, out / "bench.png")
        lines.append("\n![Milliseconds of a step](bench.png)")
    (out / "README.md").write_text("\n".join(lines) + "\n")
    print("README.md" + (", bench.png" if picture else "; no picture: " + ("matplotlib is missing" if bench else "no figures")))
    return int(not bench)


if __name__ == "__main__":
    sys.exit(main())
