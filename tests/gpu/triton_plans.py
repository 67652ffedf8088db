"""Steps at kernel level by the Triton plans, over the same jobs and memory as those of the CUDA plans."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from qlangevin.backends.plan import StepInput
from qlangevin.backends.triton import TritonBackend
from qlangevin.buckets import Bucket, Item
from qlangevin.reference_rules import RULES
from tests.core.kernels import Job, Step

from .device import DEVICE


class TritonJobs:
    """A Triton plan of jobs; makes and takes what DevicePlan does."""

    def __init__(self, rule: str, jobs: Sequence[Job], groups: int, counts_on_device: bool) -> None:
        first, names = jobs[0], RULES[rule].states
        dtypes = first.param.dtype, first.grad.dtype, first.states[0].dtype if first.states else torch.float32
        bucket = Bucket(rule, DEVICE, dtypes, names, groups, counts_on_device)
        for order, job in enumerate(jobs):
            state = {"step": job.steps, **dict(zip(names, job.states, strict=True))}
            bucket.items.append(Item(job.param, str(order), job.key, job.group, order, state, job.noise, job.offset))
        self.jobs, self.plan = jobs, TritonBackend().make_plan(bucket)

    def make_input(self, step: Step, compensates: bool = True) -> StepInput:
        """A step's input, nothing of which is left to the device."""
        hypers = [{**h, "max_grad_norm": None, "compensation_norm": "tensor"} for h in step.hypers]
        grads, given = [job.grad for job in self.jobs], [job.compensation for job in self.jobs]
        compensations = given if compensates and any(given) else []
        pointers = [grad.data_ptr() for grad in grads]
        return StepInput(grads, pointers, hypers, step.multipliers, step.chain, compensations=compensations)

    def step(self, step: Step, observes: bool = False) -> list[list[float]]:
        """Steps every job once; with `observes` the statistics of each."""
        statistics = self.plan.step(self.make_input(step), observes)
        return [] if statistics is None else statistics.tolist()  # type: ignore[no-any-return]

    def look_ahead(self, step: Step) -> list[list[float]]:
        """The statistics of the coming displacement of each job."""
        self.plan.look_ahead(self.make_input(step, compensates=False))
        return self.plan.of_tensors("ahead").tolist()  # type: ignore[attr-defined,no-any-return]

    def square_grads(self, step: Step) -> list[float]:
        """The sum of squares of each gradient."""
        return self.plan.square_grads(self.make_input(step))
