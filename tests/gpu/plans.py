"""Steps at kernel level by the CUDA plans, over tensors of the device in one guarded piece of memory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from qlangevin.backends.cuda import stream_of
from qlangevin.reference import STATISTICS
from tests.core.kernels import Job, Step, describe, make_hyper, name_of
from tests.core.test_parity import guard

from .device import DEVICE, module

ALIGNMENT = 16  # of the vectors that the kernels load
SHIFTS = 16  # bytes of ALIGNMENT over those of the smallest element, and as many again: a guard's parity must not matter
JUNK = 0xA5


class Memory:
    """The tensors of jobs between guards, as an image on the host and a copy on the device.

    shift: of the first tensor from 16-byte alignment, in elements; the other tensors of a job have others. None: each tensor
    lies so that its blocks of 4,096 begin on 16 bytes.
    """

    def __init__(self, jobs: Sequence[Job], shift: int | None, counts_on_device: bool) -> None:
        self.fresh, self.counts_on_device = jobs, counts_on_device
        self.pieces: list[Tensor] = []
        self.used = 0
        self.places = [self.lay_out(job, None if shift is None else shift + 5 * number) for number, job in enumerate(jobs)]
        self.image = torch.cat(self.pieces) if self.pieces else torch.zeros(0, dtype=torch.uint8)
        self.on_device = self.image.to(DEVICE, copy=True)
        self.jobs = self.view(self.on_device)

    def lay_out(self, job: Job, shift: int | None) -> list[tuple[int, Tensor]]:
        """Where in the memory each tensor of a job begins."""
        values = [job.param, job.grad, *job.states]
        shifts = [job.offset if shift is None else shift + 3 * k for k in range(len(values))]
        places = [(self.take(value, one % SHIFTS), value) for value, one in zip(values, shifts, strict=True)]
        counter = job.steps.reshape(1)
        return [*places, (self.append(counter.view(torch.uint8)), counter)]

    def take(self, values: Tensor, shift: int) -> int:
        """A guarded copy of some values."""
        buffer, inside = guard(values, shift)
        return self.append(buffer.view(torch.uint8)) + inside.storage_offset() * values.element_size()

    def append(self, piece: Tensor) -> int:
        """Appends bytes at an aligned place."""
        begin = self.used
        padding = -len(piece) % ALIGNMENT
        self.pieces += [piece, torch.full((padding,), JUNK, dtype=torch.uint8)]
        self.used += len(piece) + padding
        return begin

    def view(self, memory: Tensor) -> list[Job]:
        """The jobs with their tensors in a copy of the image."""
        jobs = []
        for job, places in zip(self.fresh, self.places, strict=True):
            tensors = [memory[at : at + value.nbytes].view(value.dtype) for at, value in places]
            counter = tensors[-1].view(()) if self.counts_on_device else job.steps.clone()
            moved = Job(tensors[0], tensors[1], tensors[2:-1], job.key, job.offset, job.noise, job.group, counter)
            moved.compensation = job.compensation
            jobs.append(moved)
        return jobs

    def fetch(self) -> tuple[list[Job], list[str]]:
        """The jobs as they are now, on the host, and which of the memory that must not change did."""
        image = self.on_device.cpu()
        changed = image != self.image
        for places in self.places:
            for number, (at, value) in enumerate(places):
                if number != 1:  # the gradient
                    changed[at : at + value.nbytes] = False
        jobs = self.view(image)
        if not self.counts_on_device:
            for job, moved in zip(jobs, self.jobs, strict=True):
                job.steps = moved.steps
        count = int(changed.sum())
        return jobs, [f"{count} bytes beside the tensors, or of gradients, were written"] if count else []


class DevicePlan:
    """A CUDA plan of jobs, and its memory on the device."""

    def __init__(self, rule: str, jobs: Sequence[Job], groups: int, counts_on_device: bool) -> None:
        storage = [name_of(jobs[0].param), name_of(jobs[0].grad), name_of(jobs[0].states[0]) if jobs[0].states else "float32"]
        self.rule, self.jobs, self.module = rule, jobs, module()
        facts = [describe(job, place) for place, job in enumerate(jobs)]
        self.plan = self.module.CudaPlan(rule, storage, facts, DEVICE.index or 0, groups, counts_on_device)
        self.memory = torch.empty(self.plan.bytes, dtype=torch.uint8, device=DEVICE)
        if os.environ.get("QLANGEVIN_GPU_SANITIZED") != "1":  # which knows what has not been written
            self.memory.fill_(JUNK)
        self.plan.place(self.memory.data_ptr(), stream_of(DEVICE))
        self.statistics = self.new_numbers(self.plan.statistics_numbers)
        self.norms = self.new_numbers(2 * self.module.count_norms(len(jobs)))

    @staticmethod
    def new_numbers(count: int) -> Tensor:
        """Memory for binary64 numbers, none of which is right yet."""
        return torch.full((count,), torch.nan, dtype=torch.float64, device=DEVICE)

    def make_input(self, step: Step, compensates: bool = True) -> Any:
        """The native form of a step's input."""
        hypers = [make_hyper(self.rule, h) for h in step.hypers]
        compensations = [job.compensation for job in self.jobs] if compensates else []
        grads = [job.grad.data_ptr() for job in self.jobs]
        given = compensations if any(compensations) else []
        return self.module.CudaStepInput(grads, hypers, list(step.multipliers), [], given, step.chain)

    def make_common(self) -> Any:
        """What the plans of a step share."""
        known = {"grad_scale": 0, "found_inf": 0, "overrun": 0, "norms": self.norms.data_ptr(), "places": len(self.jobs)}
        return self.module.CudaCommon(stream=stream_of(DEVICE), **known)

    def step(self, step: Step, observes: bool = False) -> list[list[float]]:
        """Steps every job once; with `observes` the statistics of each."""
        part = (self.plan, self.make_input(step), 0, self.statistics.data_ptr() if observes else 0)
        self.module.cuda_step_together([part], self.make_common())
        if not observes:
            return []
        numbers = self.statistics[self.plan.statistics_at :][: len(self.jobs) * len(STATISTICS)].cpu()
        return numbers.view(-1, len(STATISTICS)).tolist()  # type: ignore[no-any-return]

    def look_ahead(self, step: Step) -> list[list[float]]:
        """The statistics of the coming displacement of each job."""
        part = (self.plan, self.make_input(step, compensates=False), self.statistics.data_ptr(), 0)
        flat = self.module.cuda_look_ahead(part, self.make_common())
        return [flat[at : at + len(STATISTICS)] for at in range(0, len(flat), len(STATISTICS))]

    def square_grads(self, step: Step) -> list[float]:
        """The sum of squares of each gradient."""
        return list(self.module.cuda_square_grads((self.plan, self.make_input(step), 0, 0), self.make_common()))
