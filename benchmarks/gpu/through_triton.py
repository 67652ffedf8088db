"""The same steps through Triton, beside those of the native backend."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from qlangevin import SGLD
from qlangevin.backends import explain_backends
from qlangevin.bench.admission import what_fails
from qlangevin.bench.cases import BF16, F32, STILL, WARM, ours
from qlangevin.bench.shapes import repeat

from .bounds import read_table
from .meter import Arena, Meter
from .rows import list_rows, short_name
from .sections import Findings, add_bounds, shapes_of, time_row, time_whole

ROOT = Path(__file__).resolve().parents[2]
BACKEND = "triton"
FILLED = 0.3  # seconds of steps for each row
GRACE = 15.0  # seconds that a process may take beyond the end
Section = Callable[[Meter, Findings], None]


def list_sections(device: torch.device, findings: Findings) -> Iterator[tuple[str, Section]]:
    """What is measured of Triton; nothing where it cannot be used or is wrong, which it then says."""
    if findings.seconds_left() < 0:
        findings.left_out.append("Triton: no time was left")
        return
    why = explain_backends(device, (F32,) * 3)[BACKEND] or what_fails(BACKEND, device)
    if why is not None:
        findings.left_out.append(f"Triton: {why}")
        return
    yield "Triton, many small", measure_many
    yield "Triton, first step", measure_first_step
    yield "Triton, bf16", measure_rows(BF16)
    yield "Triton, float32", measure_rows(F32)


def measure_rows(dtype: torch.dtype) -> Section:
    """The rows of this package over 1 B elements again, as long as there is time."""

    def measure(meter: Meter, findings: Findings) -> None:
        assert findings.bounds is not None
        known: dict[str, dict[str, Any]] = findings.sections["rows"]
        bounds = replace(findings.bounds, table=read_table(meter.device, meter.small, "triton_"))
        arena, left_out = Arena(shapes_of(1.0, meter.small), dtype, meter.device), []
        for row in list_rows(dtype, BACKEND):
            name = row.case.name
            if row.case.family != "qlangevin":
                continue
            if findings.seconds_left() < 0:
                left_out.append(name)
                continue
            meter.release()
            figures, moved = time_row(meter, row, arena, FILLED)
            add_bounds(figures, row, bounds, arena.elements, moved)
            known[name][BACKEND] = {**figures, "over_native": figures["ms"] / known[name]["ms"]}
        if left_out:
            findings.left_out.append(f"Triton, no time was left: {', '.join(left_out)}")
        name = f"{short_name(dtype)} momentum + noise"
        found = known[name].get(BACKEND, {})
        findings.check(f"{name}, Triton: share of the lower bound", found.get("share_of_bound"), at_least=0.85)
        findings.check(f"{name}, Triton: time over the native backend's", found.get("over_native"), at_most=1.1)

    return measure


def measure_many(meter: Meter, findings: Findings) -> None:
    """1,000 tensors of 1,024 elements again: whole steps on the wall clock, and the host's part."""
    known = findings.sections["many"]
    arena = Arena(list(repeat(known["tensors"], known["elements_each"])()), F32, meter.device)
    for name, options in (("momentum", STILL), ("momentum + noise", WARM)):
        found = known[f"{name}, Triton"] = time_whole(meter, ours(SGLD, BACKEND, **options)(arena.params()).step)
        over_fused = found["us"] / known["torch SGD momentum fused"]["us"]
        findings.check(f"1,000 x 1,024, {name}, Triton: whole step over torch's fused", over_fused, at_most=1 / 3)


def measure_first_step(meter: Meter, findings: Findings) -> None:
    """Two fresh processes: the first finds no compiled kernels, the second those of the first."""
    if meter.device.type != "cuda":
        findings.left_out.append("Triton, first step: needs a GPU")
        return
    found = findings.sections["first_step"] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in ("nothing compiled before", "compiled before"):
            try:
                found[name] = run_first_step(folder, findings.seconds_left() + GRACE)
            except subprocess.TimeoutExpired:
                findings.left_out.append(f"Triton, first step, {name}: no time was left")
                return
            findings.check(f"Triton, first step of a process, {name}: s", found[name]["seconds"], at_most=5.0)
    compiled = found["nothing compiled before"]["compiled"]
    findings.check("Triton: kernels of a run over bf16 weights and float32 norms", len(compiled), at_most=3)


def run_first_step(folder: str, seconds: float) -> dict[str, Any]:
    """What a process finds that keeps its kernels in a folder."""
    words, env = [sys.executable, "-m", "benchmarks.gpu.first_step"], {**os.environ, "TRITON_CACHE_DIR": folder}
    done = subprocess.run(words, cwd=ROOT, env=env, capture_output=True, text=True, timeout=seconds, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"the first step through Triton failed: {done.stderr.strip().splitlines()[-1:]}")
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]  # as first_step writes it
