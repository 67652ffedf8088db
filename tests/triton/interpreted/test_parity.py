"""Triton = reference, bit for bit, over all pairs of small factors (tier T3), in Triton's interpreter.

200 random points besides; QLANGEVIN_FULL=1 takes 3,000.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor
from triton.runtime.interpreter import InterpretedFunction

from qlangevin.triton_kernels import memory, step

from ...core.cases import FACTORS, FULL, Case, all_pairs
from ...core.kernels import Job, Step, bits_of, compare_jobs, settings, step_reference
from ...core.test_parity import GUARD, NAN_PATTERNS, guard
from ..launching import dtypes_of, make_tables, step_triton

BLOCKS = 8
RANDOM_CASES = 3000 if FULL else 200
SMALL: dict[str, tuple[Any, ...]] = {name: values for name, values in FACTORS.items() if name != "threads"} | {
    "size": (1, 8, 9, 255, 256, 257, 600),
    "offset": (0, 5, 8, 4093, 2**35 - 40, 2**51 - 2**20),
    "misalignment": (0, 0, 3),
}


@cache
def cases() -> tuple[Case, ...]:
    rows = all_pairs(SMALL)
    for seed in range(RANDOM_CASES):
        draw = random.Random(seed)
        rows.append({name: draw.choice(values) for name, values in SMALL.items()})
    return tuple(Case(1000 * seed, row, large=300) for seed, row in enumerate(rows))


def guard_job(job: Job, misalignment: int) -> tuple[list[Tensor], Job]:
    """The job, its gradient too, in guarded buffers where groups of 8 lie on 16 bytes, or `misalignment` elements beside that."""
    tensors = [job.param, job.grad, *job.states]
    buffers, insides = zip(*(guard(values, job.offset % 8 + misalignment) for values in tensors), strict=True)
    moved = replace(job.clone(), param=insides[0], grad=insides[1], states=list(insides[2:]))
    return list(buffers), moved


def check_guards(buffers: Sequence[Tensor], job: Job, grad: Tensor) -> list[str]:
    """What was written besides parameters and states."""
    found = []
    for buffer, inside in zip(buffers, (job.param, job.grad, *job.states), strict=True):
        start = inside.storage_offset()
        outside = torch.cat([bits_of(buffer)[:start], bits_of(buffer)[start + inside.numel() :]])
        if not bool((outside == NAN_PATTERNS[buffer.dtype]).all()):
            found.append("memory beside a tensor was written")
    if not bits_of(job.grad).equal(bits_of(grad)):
        found.append("a gradient was written")
    return found


def check_case(case: Case) -> list[str]:
    """What Triton does differently from the reference."""
    step, fresh = case.make_step(), case.make_jobs()
    wanted = [job.clone() for job in fresh]
    step_reference(step, wanted)
    buffers, jobs = zip(*(guard_job(job, case["misalignment"]) for job in fresh), strict=True)
    step_triton(step, jobs)
    problems = compare_jobs(jobs, wanted)
    for one, job, before in zip(buffers, jobs, fresh, strict=True):
        problems += check_guards(one, job, before.grad)
    return [f"{case}: {problem}" for problem in problems]


@pytest.mark.parametrize("block", range(BLOCKS))
def test_triton_equals_the_reference(block: int) -> None:
    problems = [problem for case in cases()[block::BLOCKS] for problem in check_case(case)]
    assert not problems, f"{len(problems)} problems, the first:\n" + "\n".join(problems[:5])


def test_the_kernel_is_interpreted_and_takes_both_ways_to_memory() -> None:
    assert isinstance(step.step_kernel, InterpretedFunction)
    assert GUARD * 2 % 16 == 0
    taken = []
    job = Job(torch.zeros(256 + 8), torch.ones(256 + 8), [torch.zeros(256 + 8)])
    with (
        mock.patch.object(memory, "load_aligned", lambda *a: taken.append("aligned") or load_aligned(*a)),
        mock.patch.object(memory, "load_partial", lambda *a: taken.append("partial") or load_partial(*a)),
    ):
        step_triton(Step("momentum", [settings(momentum=0.5)]), [job])
    assert taken == ["aligned"] * 3 + ["partial"] * 3
    assert bool((job.param == -0.125).all())


load_aligned, load_partial = memory.load_aligned, memory.load_partial


def test_nothing_is_done_where_found_inf_is_set() -> None:
    job = Job(torch.ones(300), torch.ones(300), [torch.ones(300)])
    for found_inf in (1.0, float("nan")):
        made = make_tables(Step("momentum", [settings(momentum=0.5)]), [job], found_inf)
        step.launch_step("momentum", dtypes_of(job), made)
        assert bool((job.param == 1).all()) and bool((job.states[0] == 1).all())


def test_a_list_of_empty_tensors_is_no_launch() -> None:
    with mock.patch.object(step, "step_kernel", None):
        step_triton(Step("plain", [settings()]), [Job(torch.zeros(0), torch.zeros(0))])
