"""What a device could do at best: its copy bandwidth, measured, and the instructions that it can issue."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch

from .meter import Meter, Step

TABLES = Path(__file__).resolve().parents[1] / "results" / "instructions"
LANES = {"total": 128, "integer": 64, "alu": 64}  # of a multiprocessor: instructions it issues a clock, by column of the table


@dataclass(frozen=True)
class Bounds:
    """Of a device.

    Args:
        copy_gb_per_s: bytes read and written by a large copy.
        clock_mhz: of the multiprocessors, while they work; None: not known.
        multiprocessors: how many there are.
        table: instructions for an element, by kernel and path; empty where there are none for the device.
    """

    copy_gb_per_s: float
    clock_mhz: float | None
    multiprocessors: int
    table: dict[str, dict[str, dict[str, float]]]

    def memory_seconds(self, moved: float) -> float:
        """The time that it takes to move so many bytes."""
        return moved / self.copy_gb_per_s / 1e9

    def issue_seconds(self, kernel: str, path: str, elements: int) -> float | None:
        """The time that it takes to issue a kernel's instructions; None where they are not known."""
        counts = self.table.get(kernel, {}).get(path)
        if counts is None or self.clock_mhz is None:
            return None
        clocks = max(count / LANES[name] for name, count in counts.items())
        return elements * clocks / self.multiprocessors / (self.clock_mhz * 1e6)


def read_table(device: torch.device, small: bool = False, prefix: str = "") -> dict[str, dict[str, dict[str, float]]]:
    """The table of instructions for a device; empty where there is none. prefix: of the file; "triton_" for Triton's kernels."""
    if device.type != "cuda" and not small:
        return {}
    capability = torch.cuda.get_device_capability(device) if device.type == "cuda" else (9, 0)
    file = TABLES / f"{prefix}sm_{capability[0]}{capability[1]}.json"
    if not file.is_file():
        return {}
    found = json.loads(file.read_text())
    places = {name: i for i, name in enumerate(found["columns"]) if name in LANES}
    return {
        kernel: {path: {name: row[at] for name, at in places.items()} for path, row in facts["paths"].items()}
        for kernel, facts in found["kernels"].items()
    }


def measure_clock(meter: Meter, work: Step) -> float:
    """MHz of the multiprocessors right after some work: a kernel counts so many of its clocks."""
    clocks = 20_000_000
    for _ in range(100):
        work()
    # torch leaves the constructor of its events untyped.
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    torch.cuda._sleep(clocks)
    end.record()
    meter.synchronize()
    return clocks / (1e3 * float(begin.elapsed_time(end)))


def measure_bounds(meter: Meter) -> Bounds:
    """Copies 4 GiB, 8 GiB of traffic, many times."""
    elements = (1 << 20) if meter.small else (1 << 30)
    source, target = (torch.ones(elements, device=meter.device) for _ in range(2))
    copy = meter.on_device(lambda: target.copy_(source), seconds=1.0)
    speed = 2 * 4 * elements / copy.median / 1e9
    table = read_table(meter.device, meter.small)
    if meter.device.type != "cuda":
        return Bounds(speed, None, 1, table)
    count = torch.cuda.get_device_properties(meter.device).multi_processor_count
    return Bounds(speed, measure_clock(meter, lambda: target.copy_(source)), count, table)
