"""Times all cases in alternation within one run and prints medians, ratios and the goals; --json FILE keeps them.

Usage: python -m benchmarks.ratios [--rounds 15] [--json FILE]
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import resource
import statistics
import subprocess
import time
from pathlib import Path
from typing import Any

import torch

import qlangevin
from qlangevin import selftest

from .cases import CASES, LISTS, make_params, sgld

# (list, case, other case, at most this ratio)
GOALS = (
    ("large", "momentum", "torch SGD fused", 1.1),
    ("large", "SGLD", "eager SGLD", 1 / 4),
    ("large", "SGLD bf16 SR", "eager SGLD bf16", 1 / 8),
    ("large", "momentum + noise + nearest grid", "momentum", 2.0),
    ("large", "momentum + noise + stochastic grid", "momentum", 2.0),
    ("large", "momentum bf16 + noise + nearest grid + 2 SR", "momentum bf16", 3.5),
    ("large", "momentum bf16 + noise + stochastic grid + 2 SR", "momentum bf16", 3.5),
    ("many-small", "momentum", "torch SGD fused", 1 / 3),
)


def time_alternating(shapes: tuple[int, int], rounds: int) -> dict[str, float]:
    """Median milliseconds of each case; one round times every case once."""
    steps = {case.name: case.make(make_params(shapes, case.dtype)) for case in CASES}
    times: dict[str, list[float]] = {name: [] for name in steps}
    for step in steps.values():
        step()
    for _ in range(rounds):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            times[name].append(time.perf_counter() - start)
    return {name: 1e3 * statistics.median(values) for name, values in times.items()}


def time_host(rounds: int) -> float:
    """Median microseconds of host work for each of 1,000 tensors: the step over tensors of a single element."""
    step = sgld()(make_params((1000, 1), torch.float32))
    step()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)


def measure_growth() -> float:
    """MB by which the peak resident memory grows in a step over tensors of 256 MB, states and plan already there."""
    step = sgld(temperature=1e-4, update_quantizer=qlangevin.quantizers.Grid(2.0**20))(make_params((1, 64 << 20), torch.float32))
    step()
    gc.collect()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    step()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def describe_machine() -> dict[str, Any]:
    """What the figures were measured on."""
    model = [
        line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")
    ]
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    return {
        "cpu": model[0] if model else platform.processor(),
        "threads": torch.get_num_threads(),
        "path": os.environ.get("QLANGEVIN_CPU", "auto"),
        "torch": str(torch.__version__),
        "qlangevin": qlangevin.__version__,
        "python": platform.python_version(),
        "commit": commit,
    }


def main() -> None:
    """Measures, prints, writes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if not all(selftest.check_backend("native").values()):
        raise SystemExit("the native backend fails its self-test: nothing is timed")
    growth = measure_growth()  # first: the peak only ever rises
    result: dict[str, Any] = {"machine": describe_machine(), "step_growth_mb": growth, "ms": {}, "goals": []}
    for name, shapes in LISTS.items():
        result["ms"][name] = time_alternating(shapes, arguments.rounds)
        print(f"\n{name}: {shapes[0]} tensors of {shapes[1]}")
        for case, ms in result["ms"][name].items():
            print(f"  {case:<50} {ms:9.3f} ms")
    print("\nratio, goal")
    for name, case, other, goal in GOALS:
        ratio = result["ms"][name][case] / result["ms"][name][other]
        result["goals"].append({"list": name, "case": case, "other": other, "ratio": ratio, "goal": goal})
        print(f"  {'met ' if ratio <= goal else 'OVER'} {ratio:6.3f} <= {goal:.3f}  {name}: {case} / {other}")
    result["host_us_per_tensor"] = time_host(arguments.rounds)
    print(f"  host: {result['host_us_per_tensor']:.3f} us a tensor (goal 1.0); growth of a 256 MB step: {growth:.1f} MB (goal 8)")
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
