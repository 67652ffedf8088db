"""One step of a list of tensors by the Triton kernel, over tables that are made as a backend makes them."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from qlangevin import reference, reference_rules
from qlangevin.triton_kernels import step as kernels
from qlangevin.triton_kernels import tables

from ..core.kernels import Job, Step


def make_tables(step: Step, jobs: Sequence[Job], found_inf: float = 0.0) -> kernels.Tables:
    """The tables of one step; every tensor has a row of scalars of its own."""
    rule = reference_rules.RULES[step.rule]
    rows, parts = [], []
    for i, job in enumerate(jobs):
        row = reference.make_row(rule, step.hypers[job.group], step.multipliers[job.group], int(job.steps) + 1, step.chain)
        common = reference.replace(row.common, compensation=job.compensation)
        rows.append(reference.replace(row, common=common))
        states = [state.data_ptr() for state in job.states]
        parts.append(tables.Part(job.param.data_ptr(), job.param.numel(), job.offset, job.key, i, job.noise, states))
    return kernels.Tables(
        tables.make_chunks([(part.size, part.offset) for part in parts]),
        tables.make_tensors(parts),
        torch.tensor([job.grad.data_ptr() for job in jobs], dtype=torch.int64),
        tables.make_rows(kernels.KERNELS[step.rule], rows),
        torch.tensor([found_inf]),
    )


def dtypes_of(job: Job) -> tuple[torch.dtype, torch.dtype, torch.dtype]:
    """The storage types of a job's parameter, gradient and states."""
    return job.param.dtype, job.grad.dtype, job.states[0].dtype if job.states else torch.float32


def step_triton(step: Step, jobs: Sequence[Job]) -> None:
    """Steps every job with the Triton kernel."""
    kernels.launch_step(step.rule, dtypes_of(jobs[0]), make_tables(step, jobs))
    for job in jobs:
        job.steps += 1
