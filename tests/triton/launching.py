"""One step of a list of tensors by the Triton kernels alone: rows of scalars are made on the host, of the reference's."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import torch
from torch import Tensor

from qlangevin import reference, reference_rules
from qlangevin.triton_kernels import squares, tables
from qlangevin.triton_kernels import step as kernels
from qlangevin.triton_kernels.folds import make_folds
from qlangevin.triton_kernels.scalars import Scalars

from ..core.kernels import Job, Step

# Of a rule's own scalars, by kernel.
RULE_FORMATS = {"plain": "f", "momentum": "3f?3x", "rmsprop": "4f?3x", "adam": "7f2?2x", "adadelta": "5f?3x"}
RULE_FORMATS |= {"adam_amsgrad": RULE_FORMATS["adam"], "rmsprop_centered": RULE_FORMATS["rmsprop"]}
RULE_FORMATS |= dict.fromkeys(("rmsprop_momentum", "rmsprop_centered_momentum"), "5f?3x")


def make_rows(kernel: str, rows: Sequence[reference.Row]) -> Tensor:
    """The table of scalars."""
    layout = struct.Struct(f"<{tables.NUMBERS.value}f3i4?{RULE_FORMATS[kernel]}2I")
    packed = bytearray(layout.size * len(rows))
    for i, row in enumerate(rows):
        values = [getattr(row.common, name) for name in Scalars._fields]
        codes = [tables.NOISE_CODES[values[10]], *(tables.ROUNDING_CODES[name] for name in values[11:13])]
        own = row.rule.values()
        layout.pack_into(packed, i * layout.size, *values[:10], *codes, *values[13:], *own, row.step, row.chain)
    return torch.frombuffer(packed, dtype=torch.int32).view(len(rows), -1)


def make_tables(step: Step, jobs: Sequence[Job], found_inf: float = 0.0) -> kernels.Tables:
    """The tables of one step."""
    rule = reference_rules.RULES[step.rule]
    rows, parts = [], []
    for job in jobs:
        row = reference.make_row(rule, step.hypers[job.group], step.multipliers[job.group], int(job.steps) + 1, step.chain)
        common = reference.replace(row.common, compensation=job.compensation)
        rows.append(reference.replace(row, common=common))
        states = [state.data_ptr() for state in job.states]
        parts.append(tables.Part(job.param.data_ptr(), job.param.numel(), job.offset, job.key, job.group, job.noise, states))
    return kernels.Tables(
        tables.make_chunks([(part.size, part.offset) for part in parts]),
        tables.make_tensors(parts),
        torch.tensor([job.grad.data_ptr() for job in jobs], dtype=torch.int64),
        make_rows(kernels.KERNELS[step.rule], rows),
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


def fold_chunks(values: Tensor, jobs: Sequence[Job]) -> Tensor:
    """The numbers of each job from those of each chunk, (chunks, width)."""
    folds, last_folds, segments = make_folds([(job.param.numel(), job.offset) for job in jobs])
    width = values.shape[1]
    sums = torch.full((len(jobs) + segments, width), float("nan"), dtype=torch.float64)
    for source, some in ((values, folds), (sums, last_folds)):
        squares.launch_fold(source, sums, torch.zeros(1), some, squares.Shape(width, width, width))
    return sums[: len(jobs)]


def watch_triton(step: Step, jobs: Sequence[Job], stores: bool) -> list[list[float]]:
    """The statistics of each job, stepped if `stores`."""
    made = make_tables(step, jobs)
    statistics = torch.full((made.chunks.shape[0], len(reference.STATISTICS)), float("nan"), dtype=torch.float64)
    kernels.launch_step(step.rule, dtypes_of(jobs[0]), made, statistics, stores)
    for job in jobs:
        job.steps += int(stores)
    return fold_chunks(statistics, jobs).tolist()


def square_triton(step: Step, jobs: Sequence[Job]) -> list[float]:
    """The sum of squares of each job's gradient."""
    made = make_tables(step, jobs)
    sums = torch.full((made.chunks.shape[0], 1), float("nan"), dtype=torch.float64)
    squares.launch_squares(jobs[0].grad.dtype if jobs else torch.float32, made, sums)
    return fold_chunks(sums, jobs)[:, 0].tolist()
