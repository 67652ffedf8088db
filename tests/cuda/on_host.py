"""Steps at kernel level by the CUDA backend's own source, run on the host by loops over blocks and threads (tier T4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from qlangevin import _native  # registers the types that the other module takes
from qlangevin.reference import STATISTICS
from tests.core.kernels import Job, Step, describe, make_hyper, name_of

try:
    from qlangevin import _gpu_on_host as gpu

    missing = None
except ImportError:
    gpu: Any = None  # type: ignore[no-redef]
    missing = "the CUDA kernels were not compiled for the host; `make test` builds with -DQLANGEVIN_TEST_PATHS=ON"

assert _native
needs_gpu_on_host = pytest.mark.skipif(missing is not None, reason=missing or "")

NOTHING_ON_DEVICE = {
    "lr": (0, ""),
    "temperature": (0, ""),
    "schedule": 0,
    "schedule_steps": 0,
    "max_grad_norm": 0.0,
    "compensates": False,
    "compensation_global": False,
}
JUNK = 0xA5
CAPTURING = 1  # the stream of which the host's runtime says that it is being captured


def number_at(tensor: Tensor) -> tuple[int, str]:
    """A number that the device reads."""
    return tensor.data_ptr(), name_of(tensor)


def new_numbers(count: int) -> Tensor:
    """Memory for binary64 numbers, none of which is right yet."""
    return torch.full((count,), torch.nan, dtype=torch.float64)


class Plan:
    """A CUDA plan of jobs, and the memory that stands for the device's."""

    def __init__(
        self,
        rule: str,
        jobs: Sequence[Job],
        groups: int = 1,
        counts_on_device: bool = False,
        places: Sequence[int] | None = None,
        placed: bool = True,
    ) -> None:
        facts = [describe(job, place) for job, place in zip(jobs, range(len(jobs)) if places is None else places, strict=True)]
        self.rule, self.jobs, self.counts_on_device = rule, jobs, counts_on_device
        self.plan = gpu.CudaPlan(rule, storage_of(jobs), facts, 0, groups, counts_on_device)
        self.memory = torch.full((self.plan.bytes,), JUNK, dtype=torch.uint8)
        if placed:
            self.plan.place(self.memory.data_ptr(), 0)
        self.statistics = new_numbers(self.plan.statistics_numbers)
        self.ahead = new_numbers(self.plan.statistics_numbers)

    def make_input(self, step: Step, on_device: Sequence[dict[str, Any]] = (), **changes: Any) -> Any:
        """The native form of a step's input."""
        compensations = [job.compensation for job in self.jobs]
        extras = [gpu.OnDevice({**NOTHING_ON_DEVICE, **facts}) for facts in on_device]
        known = {
            "grads": [job.grad.data_ptr() for job in self.jobs],
            "hypers": [make_hyper(self.rule, h) for h in step.hypers],
            "grad_multipliers": list(step.multipliers),
            "on_device": extras,
            "compensations": compensations if any(compensations) else [],
            "chain": step.chain,
        }
        return gpu.CudaStepInput(**{**known, **changes})

    def tensor_statistics(self) -> list[list[float]]:
        """The statistics of the last observed step, one list for each tensor."""
        begin = self.plan.statistics_at
        count = len(STATISTICS)
        found: list[list[float]] = self.statistics[begin : begin + count * len(self.jobs)].view(-1, count).tolist()
        return found


def storage_of(jobs: Sequence[Job]) -> list[str]:
    """The storage types of parameter, gradient and state."""
    if not jobs:
        return ["float32"] * 3
    first = jobs[0]
    return [name_of(first.param), name_of(first.grad), name_of(first.states[0]) if first.states else "float32"]


@dataclass
class Shared:
    """What the plans of a step share. overrun: became 1 in the last step if a schedule was at its end."""

    grad_scale: float | None = None
    found_inf: float | None = None
    stream: int = 0
    overrun: int = 0

    def run(self, plans: Sequence[Plan], inputs: Sequence[Any], observes: bool = False) -> None:
        """One step of all plans."""
        memory = self.make_memory(sum(len(plan.jobs) for plan in plans))
        parts = [
            (plan.plan, one, plan.ahead.data_ptr(), plan.statistics.data_ptr() if observes else 0)
            for plan, one in zip(plans, inputs, strict=True)
        ]
        gpu.cuda_step_together(parts, self.make_common(memory))
        self.overrun = int(memory["overrun"])

    def make_memory(self, places: int) -> dict[str, Tensor]:
        """What the device reads and writes, by name."""
        memory = {"norms": new_numbers(2 * gpu.count_norms(places)), "overrun": torch.zeros((), dtype=torch.int32)}
        numbers = {"grad_scale": self.grad_scale, "found_inf": self.found_inf}
        memory |= {name: torch.tensor(value, dtype=torch.float32) for name, value in numbers.items() if value is not None}
        return memory | {"places": torch.tensor(places)}

    def make_common(self, memory: dict[str, Tensor]) -> Any:
        """The native form, which points into the memory."""
        places = int(memory["places"])
        return make_common(places, stream=self.stream, **{k: v.data_ptr() for k, v in memory.items() if k != "places"})


def make_common(places: int = 0, **facts: int) -> Any:
    """What the plans of a step share; addresses by name."""
    known = {"stream": 0, "grad_scale": 0, "found_inf": 0, "norms": 0, "places": places, "overrun": 0}
    return gpu.CudaCommon(**{**known, **facts})


def step_on_host(step: Step, jobs: Sequence[Job], counts_on_device: bool = False, observes: bool = False) -> Plan:
    """Steps every job once."""
    plan = Plan(step.rule, jobs, len(step.hypers), counts_on_device)
    Shared().run([plan], [plan.make_input(step)], observes)
    return plan


def look_ahead(plan: Plan, native_input: Any) -> list[list[float]]:
    """The statistics of each tensor's displacement, before the step."""
    shared = Shared()
    memory = shared.make_memory(len(plan.jobs))
    part = (plan.plan, native_input, plan.ahead.data_ptr(), 0)
    flat = gpu.cuda_look_ahead(part, shared.make_common(memory))
    count = len(STATISTICS)
    return [flat[i : i + count] for i in range(0, len(flat), count)]


def square_grads(plan: Plan, native_input: Any) -> list[float]:
    """The sum of squares of each gradient."""
    shared = Shared()
    memory = shared.make_memory(len(plan.jobs))
    found: list[float] = gpu.cuda_square_grads((plan.plan, native_input, 0, 0), shared.make_common(memory))
    return found
