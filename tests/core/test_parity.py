"""Native = reference, bit for bit, over a pairwise matrix and random points of it (tier T2), on every usable CPU path.

QLANGEVIN_FULL=1 runs 20,000 points instead of 1,500.
"""

from __future__ import annotations

import itertools
from functools import cache

import pytest
import torch
from torch import Tensor

from .cases import CASES, FACTORS, Case, all_pairs, list_cases
from .kernels import PATHS, USABLE_PATHS, Job, bits_of, compare_jobs, step_native, step_reference

GUARD = 80  # elements before and after a tensor; more than a tile of any path
BLOCK = 100
NAN_PATTERNS = {torch.float32: 0x7FA5A5A5, torch.bfloat16: 0x7FA5, torch.float16: 0x7DA5}


@cache
def cases() -> tuple[Case, ...]:
    return tuple(list_cases())


def guard(values: Tensor, misalignment: int) -> tuple[Tensor, Tensor]:
    """A buffer of NaNs and, inside it, a copy of the values that is aligned to nothing but its own elements."""
    buffer = torch.empty(values.numel() + 2 * GUARD + misalignment, dtype=values.dtype)
    bits_of(buffer).fill_(NAN_PATTERNS[values.dtype])
    inside = buffer[GUARD + misalignment : GUARD + misalignment + values.numel()]
    inside.copy_(values)
    return buffer, inside


def guard_job(job: Job, misalignment: int) -> tuple[list[Tensor], Job]:
    """The job in guarded buffers."""
    buffers, insides = zip(*(guard(values, misalignment + k) for k, values in enumerate((job.param, *job.states))), strict=True)
    moved = job.clone()
    moved.param, moved.states = insides[0], list(insides[1:])
    return list(buffers), moved


def check_guards(buffers: list[Tensor], job: Job) -> list[str]:
    """Which guards were written to."""
    found = []
    for buffer, inside in zip(buffers, (job.param, *job.states), strict=True):
        start = inside.storage_offset()
        outside = torch.cat([bits_of(buffer)[:start], bits_of(buffer)[start + inside.numel() :]])
        if not bool((outside == NAN_PATTERNS[buffer.dtype]).all()):
            found.append("memory beside a tensor was written")
    return found


def check_case(case: Case) -> list[str]:
    """What any usable path does differently from the reference."""
    step, fresh = case.make_step(), case.make_jobs()
    wanted = [job.clone() for job in fresh]
    grads = [job.grad.clone() for job in fresh]
    step_reference(step, wanted)
    found = []
    for number, path in enumerate(USABLE_PATHS):
        buffers, jobs = zip(*(guard_job(job, (case.seed // 1000 + number) % 9) for job in fresh), strict=True)
        step_native(step, jobs, path, case["threads"])
        problems = compare_jobs(jobs, wanted)
        for one, job in zip(buffers, jobs, strict=True):
            problems += check_guards(one, job)
        problems += ["a gradient was written" for a, b in zip(grads, fresh, strict=True) if not bits_of(a).equal(bits_of(b.grad))]
        found += [f"{path}: {problem}" for problem in problems]
    return [f"{case}: {problem}" for problem in found]


@pytest.mark.parametrize("block", range(-(-CASES // BLOCK)))
def test_native_equals_reference(block: int) -> None:
    problems = [problem for case in cases()[block * BLOCK : (block + 1) * BLOCK] for problem in check_case(case)]
    assert not problems, f"{len(problems)} problems, the first:\n" + "\n".join(problems[:5])


def test_the_cases_hold_all_pairs() -> None:
    seen = {frozenset(pair) for case in cases() for pair in itertools.combinations(case.values.items(), 2)}
    for (a, firsts), (b, seconds) in itertools.combinations(FACTORS.items(), 2):
        assert all(frozenset([(a, first), (b, second)]) in seen for first in firsts for second in seconds), (a, b)
    assert len(all_pairs(FACTORS)) < CASES / 2


@pytest.mark.parametrize("path", PATHS)
def test_every_path_is_usable_here(path: str) -> None:
    if PATHS[path]:
        pytest.skip(PATHS[path])
    assert path in USABLE_PATHS


@pytest.mark.parametrize("path", USABLE_PATHS)
def test_the_number_of_threads_changes_no_bit(path: str) -> None:
    sizes = (150_001, 3, 0, 70_000, 16_384, 16_385, 1, 200_000)
    row = next(row for row in all_pairs(FACTORS) if row["row"] == "momentum" and row["lr"] > 0 and row["temperature"] > 0)
    case = Case(
        5,
        row | {"param": "bfloat16", "state": "bfloat16", "stochastic_param": True, "stochastic_state": True, "values": "normal"},
    )
    results = []
    for threads in (1, 2, 5):
        generator = torch.Generator().manual_seed(9)
        jobs = []
        for i, size in enumerate(sizes):
            values = [torch.randn(size, generator=generator).to(torch.bfloat16) for _ in range(3)]
            jobs.append(Job(values[0], values[1], [values[2]], key=77 + i, offset=3 * i, group=i % 2))
        step = case.make_step()
        grads = [job.grad.float().to(getattr(torch, row["grad"])) for job in jobs]
        for job, grad in zip(jobs, grads, strict=True):
            job.grad = grad
        step_native(step, jobs, path, threads)
        results.append(jobs)
    assert compare_jobs(results[1], results[0]) == []
    assert compare_jobs(results[2], results[0]) == []
