"""Measures what the goals of the GPU kernels need, and writes FOLDER/bench.json.

Usage: python -m benchmarks.gpu --out FOLDER [--seconds N] [--small]
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from qlangevin.backends.cuda import find_module
from qlangevin.bench.admission import describe_error, why_no_kernels
from qlangevin.bench.machine import describe_machine

from .meter import Meter
from .sections import SECTIONS, Findings
from .through_triton import list_sections


def find_device() -> torch.device:
    """The GPU; the CPU under QLANGEVIN_GPU_ON_HOST=1, to test the benchmark."""
    return torch.device("cpu") if os.environ.get("QLANGEVIN_GPU_ON_HOST") == "1" else torch.device("cuda", 0)


def write(file: Path, machine: dict[str, object], findings: Findings, failed: Sequence[str], complete: bool) -> None:
    """Everything found so far."""
    facts = {
        "complete": complete,
        "machine": machine,
        **findings.sections,
        "goals": findings.goals,
        "left_out": findings.left_out,
        "failed": list(failed),
    }
    file.write_text(json.dumps(facts, indent=1) + "\n")


def measure(meter: Meter, seconds: float, file: Path) -> list[str]:
    """Runs the sections that time is left for; returns what failed."""
    start, machine = time.monotonic(), describe_machine(meter.device)
    findings = Findings(start + seconds)
    failed: list[str] = []
    for name, section in itertools.chain(SECTIONS.items(), list_sections(meter.device, findings)):
        if findings.seconds_left() < 0:
            findings.left_out.append(f"{name}: no time was left")
            continue
        try:
            section(meter, findings)
        except Exception as error:  # the other sections may still be measured
            failed.append(f"{name}: {describe_error(error)}")
            print(f"FAILED {failed[-1]}", flush=True)
        meter.release()
        write(file, machine, findings, failed, complete=False)
        print(f"{name}: {time.monotonic() - start:.0f} s", flush=True)
    write(file, machine, findings, failed, complete=True)
    measured = [goal for goal in findings.goals if goal["met"] is not None]
    for goal in findings.goals:
        word = {True: "met ", False: "MISSED", None: "not measured"}[goal["met"]]
        limit = f"<= {goal['at_most']:.3g}" if goal["at_most"] is not None else f">= {goal['at_least']:.3g}"
        print(f"  {word:<7} {'' if goal['value'] is None else format(goal['value'], '8.3f')} {limit}  {goal['what']}")
    for line in (*findings.left_out, *failed):
        print(f"  not measured: {line}")
    print(f"{sum(goal['met'] for goal in measured)} of {len(measured)} goals are met")
    return failed


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures; the exit status is 1 where a section failed or the kernels may not be timed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="a folder, such as benchmarks/results/nvidia-h200")
    parser.add_argument("--seconds", type=float, default=200.0, help="no section is begun later (default 200)")
    parser.add_argument("--small", action="store_true", help="tiny sizes, to test the benchmark")
    args = parser.parse_args(arguments)
    device = find_device()
    if (device.type == "cuda" and not torch.cuda.is_available()) or find_module(device) is None:
        print("there is no GPU")
        return 1
    why, _ = why_no_kernels(device)
    if why is not None:
        print(why)
        return 1
    args.out.mkdir(parents=True, exist_ok=True)
    return int(bool(measure(Meter(device, args.small), args.seconds, args.out / "bench.json")))


if __name__ == "__main__":
    sys.exit(main())
