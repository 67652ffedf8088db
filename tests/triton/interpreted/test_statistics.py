"""What Triton's kernels see of a step = the reference's statistics, bit for bit, in Triton's interpreter."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch

from qlangevin.reference import STATISTICS
from qlangevin.triton_kernels import step as kernels

from ...core.cases import FULL, Case, all_pairs
from ...core.kernels import Job, Step, compare_jobs, settings
from ...core.test_statistics import equal, observe_reference
from ..launching import dtypes_of, make_tables, watch_triton
from .test_parity import SMALL, check_guards, guard_job

BLOCKS = 4
RANDOM_CASES = 2000 if FULL else 60
CHUNK = 4096
MATRIX: dict[str, tuple[Any, ...]] = SMALL | {
    "size": (1, 8, 255, 257, 600),
    "offset": (0, 5, 4093, 2**35 - 40),
}
GRID = settings(lr=0.5, temperature=1.0, update_rounding="stochastic", update_resolution=100.0, stochastic_param=True)
GRID |= {"momentum": 0.9}


@cache
def cases() -> tuple[Case, ...]:
    rows, draw = all_pairs(MATRIX, 5), random.Random(5)
    rows += [{name: draw.choice(values) for name, values in MATRIX.items()} for _ in range(RANDOM_CASES)]
    return tuple(Case(1000 * seed, row, large=300) for seed, row in enumerate(rows))


def check(step: Step, fresh: list[Job], stores: bool, misalignment: int = 0) -> list[str]:
    """What the kernel sees otherwise than the reference, or does to the tensors and beside them."""
    if not stores:  # it is what the compensation is made from
        fresh = [replace(job, compensation=0.0) for job in fresh]
    wanted = [job.clone() for job in fresh]
    statistics = observe_reference(step, wanted, stores)
    buffers, jobs = zip(*(guard_job(job, misalignment) for job in fresh), strict=True)
    found = []
    for i, (got, row) in enumerate(zip(watch_triton(step, jobs, stores), statistics, strict=True)):
        pairs = zip(STATISTICS, got, row, strict=True)
        found += [f"tensor {i} {name}: got {a!r}, wanted {b!r}" for name, a, b in pairs if not equal(a, b)]
    for one, job, before in zip(buffers, jobs, fresh, strict=True):
        found += check_guards(one, job, before.grad)
    return found + compare_jobs(jobs, wanted)


@pytest.mark.parametrize("stores", [True, False])
@pytest.mark.parametrize("block", range(BLOCKS))
def test_the_statistics_are_the_reference_s(block: int, stores: bool) -> None:
    problems = [
        f"{case}: {problem}"
        for case in cases()[block::BLOCKS]
        for problem in check(case.make_step(), case.make_jobs(), stores, case["misalignment"])
    ]
    assert not problems, f"{len(problems)} problems, the first:\n" + "\n".join(problems[:5])


def new_job(size: int, offset: int, seed: int = 0, dtype: torch.dtype = torch.bfloat16) -> Job:
    generator = torch.Generator().manual_seed(size + seed)
    param, grad, state = (torch.randn(size, generator=generator).to(dtype) for _ in range(3))
    return Job(param, grad, [state], key=99 + seed, offset=offset)


@pytest.mark.parametrize("stores", [True, False])
def test_tensors_of_several_chunks_and_of_none(stores: bool) -> None:
    jobs = [new_job(2 * CHUNK + 77, 5), new_job(0, 3), new_job(CHUNK, 2**35 - 40), new_job(9, 4093), new_job(CHUNK + 1, CHUNK)]
    assert check(Step("momentum", [GRID], chain=5), jobs, stores) == []


def test_no_statistic_is_another() -> None:
    """Else one in another's place would not be seen."""
    coarse = GRID | {"update_resolution": 30.0, "decoupled_weight_decay": 0.01}
    (found,) = watch_triton(Step("momentum", [coarse]), [new_job(600, 0)], stores=True)
    assert len({abs(number) for number in found}) == len(STATISTICS) and 0.0 not in found


@pytest.mark.parametrize("value", [0.0, -0.0, math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("stores", [True, False])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_values_that_are_not_usual(value: float, stores: bool, dtype: torch.dtype) -> None:
    job = new_job(700, 11, dtype=dtype)
    job.grad[[3, 500, -11, -1]] = value
    job.param[[4, 500]] = value
    assert check(Step("momentum", [GRID]), [job], stores) == []
    job.grad.fill_(value)
    assert check(Step("momentum", [GRID]), [job], stores) == []


@pytest.mark.parametrize("stores", [True, False])
def test_the_largest_displacement_is_found_although_nan_comes_after_it(stores: bool) -> None:
    """In its thread, in others, in other chunks; NaN is left out, infinity is not."""
    param, grad = torch.zeros(2 * CHUNK), torch.full((2 * CHUNK,), 0.25)
    grad[64:128], grad[512:1024], grad[CHUNK:] = 2.0, math.nan, math.nan
    step = Step("plain", [settings(lr=1.0, update_rounding="nearest", update_resolution=4.0)])
    largest = STATISTICS.index("largest_displacement")
    assert watch_triton(step, [Job(param.clone(), grad)], stores)[0][largest] == 2.0
    grad[-1] = -math.inf
    assert watch_triton(step, [Job(param.clone(), grad)], stores)[0][largest] == math.inf
    assert watch_triton(step, [Job(param.clone(), torch.full_like(grad, math.nan))], stores)[0][largest] == 0.0


@pytest.mark.parametrize("stores", [True, False])
def test_nothing_is_seen_where_found_inf_is_set(stores: bool) -> None:
    job = new_job(300, 0)
    statistics = torch.full((1, len(STATISTICS)), 7.0, dtype=torch.float64)
    kernels.launch_step("momentum", dtypes_of(job), make_tables(Step("momentum", [GRID]), [job], 1.0), statistics, stores)
    assert bool((statistics == 7).all()) and bool((job.param == new_job(300, 0).param).all())


def test_looking_ahead_needs_memory_for_what_is_seen() -> None:
    job = new_job(3, 0)
    with pytest.raises(ValueError, match="statistics"):
        kernels.launch_step("momentum", dtypes_of(job), make_tables(Step("momentum", [GRID]), [job]), stores=False)
