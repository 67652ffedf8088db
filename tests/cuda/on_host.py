"""Steps at kernel level by the CUDA backend's own source, run on the host by loops over blocks and threads (tier T4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from qlangevin import _native  # registers the types that the other module takes
from tests.core.kernels import Job, Step, make_hyper, name_of

try:
    from qlangevin import _gpu_on_host as gpu

    missing = None
except ImportError:
    missing = "the CUDA kernels were not compiled for the host; `make test` builds with -DQLANGEVIN_TEST_PATHS=ON"

assert _native

NOTHING_ON_DEVICE = {
    "lr": (0, ""),
    "temperature": (0, ""),
    "schedule": 0,
    "schedule_steps": 0,
    "max_grad_norm": 0.0,
    "compensates": False,
    "compensation_global": False,
}


class Plan:
    """A CUDA plan of jobs, and the memory that stands for the device's."""

    def __init__(self, rule: str, jobs: Sequence[Job], groups: int, counts_on_device: bool = False) -> None:
        first = jobs[0]
        storage = [name_of(first.param), name_of(first.grad), name_of(first.states[0]) if first.states else "float32"]
        facts = [
            {
                "param": job.param.data_ptr(),
                "states": [state.data_ptr() for state in job.states],
                "size": job.param.numel(),
                "offset": job.offset,
                "key": job.key,
                "noise": job.noise,
                "group": job.group,
                "step": job.steps.data_ptr(),
                "place": place,
            }
            for place, job in enumerate(jobs)
        ]
        self.rule, self.jobs = rule, jobs
        self.plan = gpu.CudaPlan(rule, storage, facts, 0, groups, counts_on_device)
        self.memory = torch.full((self.plan.bytes,), 0xA5, dtype=torch.uint8)
        self.plan.place(self.memory.data_ptr(), 0)
        self.statistics = torch.full((self.plan.statistics_numbers,), torch.nan, dtype=torch.float64)

    def make_input(self, step: Step, on_device: Sequence[dict[str, Any]] = ()) -> Any:
        """The native form of a step's input."""
        hypers = [make_hyper(self.rule, h) for h in step.hypers]
        compensations = [job.compensation for job in self.jobs] if any(job.compensation for job in self.jobs) else []
        grads = [job.grad.data_ptr() for job in self.jobs]
        extras = [gpu.OnDevice({**NOTHING_ON_DEVICE, **facts}) for facts in on_device]
        return gpu.CudaStepInput(grads, hypers, list(step.multipliers), extras, compensations, step.chain)

    def tensor_statistics(self) -> torch.Tensor:
        """The statistics of the last observed step, as (tensors, statistics)."""
        begin = self.plan.statistics_at
        return self.statistics[begin : begin + 10 * len(self.jobs)].view(len(self.jobs), 10)


def make_common(places: int = 0, **facts: int) -> Any:
    """What the plans of a step share; addresses by name."""
    known = {"stream": 0, "grad_scale": 0, "found_inf": 0, "norms": 0, "places": places, "overrun": 0}
    return gpu.CudaCommon(**{**known, **facts})


def step_on_host(step: Step, jobs: Sequence[Job], counts_on_device: bool = False, observes: bool = False) -> Plan:
    """Steps every job once."""
    plan = Plan(step.rule, jobs, len(step.hypers), counts_on_device)
    observed = plan.statistics.data_ptr() if observes else 0
    gpu.cuda_step_together([(plan.plan, plan.make_input(step), 0, observed)], make_common())
    return plan
