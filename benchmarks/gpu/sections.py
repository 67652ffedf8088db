"""The parts of the benchmark; each gives plain values and the goals that it checks."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from qlangevin import SGLD
from qlangevin.backends import cuda
from qlangevin.backends.plan import StepInput
from qlangevin.bench.cases import BF16, F32, LR, MOMENTUM, SR, STILL, WARM, ours, torch_sgd
from qlangevin.bench.measure import count_state_bytes, moved_bytes, wrap_params
from qlangevin.bench.memory import available_bytes
from qlangevin.bench.shapes import Shape, gpt, repeat
from qlangevin.buckets import Bucket, Item

from .bounds import Bounds, measure_bounds
from .meter import Arena, Meter, draw
from .rows import Row, list_rows, short_name

# Width and layers of networks like GPT-2, by elements in billions.
SIZES = {0.2: (1024, 12), 1.0: (1792, 24), 3.0: (2560, 36), 10.0: (4096, 48)}
SPARE = 2e9  # bytes of memory that are left alone


@dataclass
class Findings:
    """Everything found so far; goals: what, value, limit, whether at least or at most. end: when nothing more is begun."""

    end: float = math.inf
    bounds: Bounds | None = None
    sections: dict[str, Any] = field(default_factory=dict)
    goals: list[dict[str, Any]] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def check(self, what: str, value: float | None, at_most: float | None = None, at_least: float | None = None) -> None:
        """Notes a goal and whether it is met; None where it was not measured."""
        met = None
        if value is not None:
            met = (at_most is None or value <= at_most) and (at_least is None or value >= at_least)
        self.goals.append({"what": what, "value": value, "at_most": at_most, "at_least": at_least, "met": met})

    def seconds_left(self) -> float:
        """How long something may still be begun; negative when it may not."""
        return self.end - time.monotonic()


def shapes_of(billions: float, small: bool) -> list[Shape]:
    """The shapes of a network of about so many elements."""
    if small:
        return list(gpt(16, 2, 50, 20))
    return list(gpt(*SIZES[billions]))


def measure_copy(meter: Meter, findings: Findings) -> None:
    """The copy bandwidth and the clock."""
    bounds = findings.bounds = measure_bounds(meter)
    facts = {"gb_per_s": bounds.copy_gb_per_s, "clock_mhz": bounds.clock_mhz, "multiprocessors": bounds.multiprocessors}
    findings.sections["copy"] = {**facts, "instructions_known": bool(bounds.table)}


def time_row(meter: Meter, row: Row, arena: Arena, filled: float = 0.6) -> tuple[dict[str, Any], float]:
    """Figures of one row, and the bytes it moves. filled: seconds of steps to time."""
    stepper = row.case.make(arena.params())
    seconds = meter.on_device(stepper.step, filled)
    itemsize, states = row.case.dtype.itemsize, count_state_bytes(stepper)
    moved = moved_bytes(arena.elements, itemsize, states)
    moved += {"": 0, "grad": arena.elements * itemsize, "all": 2 * arena.elements * itemsize + states}[row.again]
    figures = {
        "ms": 1e3 * seconds.median,
        "low": 1e3 * seconds.low,
        "high": 1e3 * seconds.high,
        "bytes_per_element": moved / arena.elements,
        "gb_per_s": moved / seconds.median / 1e9,
    }
    return figures, moved


def measure_rows(dtype: torch.dtype) -> Callable[[Meter, Findings], None]:
    """Every optimizer over 1 B elements of a dtype."""

    def measure(meter: Meter, findings: Findings) -> None:
        assert findings.bounds is not None
        arena = Arena(shapes_of(1.0, meter.small), dtype, meter.device)
        known = findings.sections.setdefault("rows", {})
        for row in list_rows(dtype):
            meter.release()
            figures, moved = time_row(meter, row, arena)
            add_bounds(figures, row, findings.bounds, arena.elements, moved)
            if row.twin:
                figures |= {"twin": row.twin, "over_twin": figures["ms"] / known[row.twin]["ms"]}
            known[row.case.name] = {**figures, "family": row.case.family}
            if row.bounded:
                findings.check(f"{row.case.name}: share of the lower bound", figures["share_of_bound"], at_least=0.9)
            if row.goal is not None:
                findings.check(f"{row.case.name}: time over {row.twin}", figures["over_twin"], at_most=row.goal)
        eager, noise = (f"{short_name(dtype)} {what}" for what in ("eager Langevin loop", "plain + noise"))
        findings.check(f"{noise}: times as fast as the eager loop", known[eager]["ms"] / known[noise]["ms"], at_least=15.0)

    return measure


def add_bounds(figures: dict[str, Any], row: Row, bounds: Bounds, elements: int, moved: float) -> None:
    """How near a row comes to what the device could do at best."""
    memory, issue = bounds.memory_seconds(moved), bounds.issue_seconds(row.kernel, row.path, elements)
    figures["share_of_copy"] = 1e3 * memory / figures["ms"]
    figures["issue_ms"] = None if issue is None else 1e3 * issue
    figures["share_of_bound"] = 1e3 * max(memory, issue or 0.0) / figures["ms"]


def time_whole(meter: Meter, step: Callable[[], object]) -> dict[str, float]:
    """Microseconds of whole steps on the wall clock, and the host's part of them."""
    wall, host = meter.on_wall(step), meter.on_host(step, 3 if meter.small else 50)
    return {"us": 1e6 * wall.median, "low": 1e6 * wall.low, "high": 1e6 * wall.high, "host_us": 1e6 * host.median}


def measure_many(meter: Meter, findings: Findings) -> None:
    """1,000 tensors of 1,024 elements: whole steps on the wall clock, the host's part, and in a graph."""
    count = 20 if meter.small else 1000
    arena = Arena(list(repeat(count, 1024)()), F32, meter.device)
    steps = {
        "torch SGD momentum fused": torch_sgd(fused=True)(arena.params()).step,
        "momentum": ours(SGLD, **STILL)(arena.params()).step,
        "momentum + noise": ours(SGLD, **WARM)(arena.params()).step,
        "momentum + noise, capturable": ours(SGLD, **WARM, capturable=True)(arena.params()).step,
    }
    found: dict[str, Any] = {"tensors": count, "elements_each": 1024}
    found |= {name: time_whole(meter, step) for name, step in steps.items()}
    fused = found["torch SGD momentum fused"]["us"]
    for name in ("momentum", "momentum + noise"):
        findings.check(f"1,000 x 1,024, {name}: whole step over torch's fused", found[name]["us"] / fused, at_most=1 / 5)
    findings.sections["many"] = found
    if meter.device.type != "cuda":
        findings.left_out.append("1,000 x 1,024 in a graph: needs a GPU")
        return
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        steps["momentum + noise, capturable"]()
    wall = meter.on_wall(graph.replay)
    found["graph"] = {"us": 1e6 * wall.median, "low": 1e6 * wall.low, "high": 1e6 * wall.high}
    found["graph"]["us_in_a_row"] = 1e6 * meter.in_a_row(graph.replay)
    findings.check("1,000 x 1,024, momentum + noise in a graph: us of each of many", found["graph"]["us_in_a_row"], at_most=15.0)


def measure_growth(meter: Meter, findings: Findings) -> None:
    """The time of an element from 0.2 to 10 B elements; bfloat16, everything on."""
    found: list[dict[str, float]] = []
    for billions in SIZES:
        meter.release()
        shapes = shapes_of(billions, meter.small)
        elements = sum(map(math.prod, shapes))
        free, needed = available_bytes(meter.device), 6.1 * elements + SPARE
        if free is not None and free < needed and not meter.small:
            findings.left_out.append(f"{billions} B elements: need {needed / 1e9:.0f} GB, {free / 1e9:.0f} GB are free")
            continue
        arena = Arena(shapes, BF16, meter.device)
        stepper = ours(SGLD, **{**WARM, **SR})(arena.params())
        seconds = meter.on_device(stepper.step, 1.0)
        found.append({"elements": elements, "ms": 1e3 * seconds.median, "ns_per_element": 1e9 * seconds.median / elements})
        del arena, stepper
    findings.sections["growth"] = found
    times = [point["ns_per_element"] for point in found]
    spread = max(times) / min(times) - 1 if len(times) > 1 else None
    findings.check("bf16 momentum + noise, 0.2 to 10 B elements: spread of the time of an element", spread, at_most=0.05)


def make_plan_step(meter: Meter, shifts: tuple[int, int, int], offset: int, elements: int) -> Callable[[], object]:
    """A plan's step over one bfloat16 tensor whose parameter, gradient and velocity lie so many elements off alignment."""
    param, grad, velocity = (
        draw(elements + 8, BF16, meter.device, seed)[shift : shift + elements] for seed, shift in enumerate(shifts, 1)
    )
    state = {"step": torch.zeros((), dtype=torch.int64), "velocity": velocity}
    bucket = Bucket("momentum", param.device, (BF16,) * 3, ("velocity",))
    bucket.items.append(Item(param, "large", 12345, 0, 0, state, True, offset))
    plan = cuda.CudaPlan(bucket)
    optimizer = SGLD(wrap_params([(param, grad)]), lr=LR, seed=0, temperature=1e-4, momentum=MOMENTUM, **SR)
    hypers = [optimizer.resolve(optimizer.param_groups[0], 1)]
    return lambda: plan.step(StepInput([grad], [grad.data_ptr()], hypers, [1.0], 0), False)


def measure_misaligned(meter: Meter, findings: Findings) -> None:
    """Shards that begin anywhere: addresses 2 bytes off and an offset of 3, against aligned ones; bfloat16, everything on."""
    elements = (1 << 12) if meter.small else (1 << 28)
    ways = {"aligned": ((0, 0, 0), 0), "offset 3": ((0, 0, 0), 3)}
    ways |= {"2 bytes off, offset 3": ((1, 1, 1), 3), "each otherwise": ((1, 3, 5), 3)}
    found = {}
    for name, (shifts, offset) in ways.items():
        meter.release()
        found[name] = 1e3 * meter.on_device(make_plan_step(meter, shifts, offset, elements)).median
    findings.sections["misaligned"] = {"elements": elements, "ms": found}
    ratio = found["2 bytes off, offset 3"] / found["aligned"]
    findings.check("bf16 momentum + noise, address + 2 bytes, offset 3: time over aligned", ratio, at_most=1.3)


SECTIONS: dict[str, Callable[[Meter, Findings], None]] = {
    "copy": measure_copy,
    "many small": measure_many,
    "bf16": measure_rows(BF16),
    "float32": measure_rows(F32),
    "misaligned": measure_misaligned,
    "growth": measure_growth,
}
