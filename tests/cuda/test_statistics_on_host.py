"""What the CUDA kernels see of a step, executed on the host = the reference's statistics, bit for bit."""

from __future__ import annotations

import math

import pytest
import torch

from qlangevin.reference import STATISTICS
from tests.core.cases import Case, list_cases
from tests.core.kernels import Job, Step, bits_of, compare_jobs, settings
from tests.core.test_statistics import equal, observe_reference

from .on_host import Plan, look_ahead, needs_gpu_on_host, step_on_host

EVERY = 4  # of the parity matrix
CASES = list(list_cases())[::EVERY]
BLOCK = 100
TASK = 4096  # elements; as many tasks make one sum

pytestmark = needs_gpu_on_host

GRID = settings(lr=0.5, temperature=1.0, update_rounding="stochastic", update_resolution=100.0, stochastic_param=True)


def watch(step: Step, jobs: list[Job], stores: bool, counts_on_device: bool) -> list[list[float]]:
    """The statistics of each job, stepped if `stores`."""
    if stores:
        return step_on_host(step, jobs, counts_on_device, observes=True).tensor_statistics()
    plan = Plan(step.rule, jobs, len(step.hypers), counts_on_device)
    return look_ahead(plan, plan.make_input(step))


def check(step: Step, fresh: list[Job], stores: bool, counts_on_device: bool) -> list[str]:
    """What the kernels see otherwise than the reference, or do to the tensors."""
    wanted, jobs = [job.clone() for job in fresh], [job.clone() for job in fresh]
    statistics = observe_reference(step, wanted, stores)
    found = []
    for i, (got, row) in enumerate(zip(watch(step, jobs, stores, counts_on_device), statistics, strict=True)):
        pairs = zip(STATISTICS, got, row, strict=True)
        found += [f"tensor {i} {name}: got {a!r}, wanted {b!r}" for name, a, b in pairs if not equal(a, b)]
    return found + compare_jobs(jobs, wanted)


def check_case(case: Case, stores: bool) -> list[str]:
    on_device = case.seed // 1000 // EVERY % 2 == 1
    return [f"{case}: {problem}" for problem in check(case.make_step(), case.make_jobs(), stores, on_device)]


@pytest.mark.parametrize("stores", [True, False])
@pytest.mark.parametrize("block", range(-(-len(CASES) // BLOCK)))
def test_the_statistics_are_the_reference_s(block: int, stores: bool) -> None:
    problems = [problem for case in CASES[block * BLOCK : (block + 1) * BLOCK] for problem in check_case(case, stores)]
    assert not problems, f"{len(problems)} problems, the first:\n" + "\n".join(problems[:5])


def new_job(size: int, offset: int, seed: int = 0, dtype: torch.dtype = torch.bfloat16) -> Job:
    generator = torch.Generator().manual_seed(size + seed)
    param, grad, state = (torch.randn(size, generator=generator).to(dtype) for _ in range(3))
    return Job(param, grad, [state], key=99 + seed, offset=offset)


@pytest.mark.parametrize("stores", [True, False])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_shard_may_begin_and_end_anywhere_in_a_task(stores: bool, dtype: torch.dtype) -> None:
    """Beside rows and tasks, before them and after; in one task, over the edge of one, over several."""
    offsets = (0, 1, 7, 8, 255, 256, 257, TASK - 1, TASK, TASK + 1, 5 * TASK - 300, 2**40 + 4095)
    sizes = (1, 8, 255, 256, 513, TASK - 1, TASK, TASK + 1, 3 * TASK + 77)
    jobs = [new_job(size, offset, seed, dtype) for seed, (offset, size) in enumerate((o, s) for o in offsets for s in sizes)]
    for on_device in (False, True):
        assert check(Step("momentum", [GRID | {"momentum": 0.9}]), jobs, stores, on_device) == []


@pytest.mark.parametrize("value", [0.0, -0.0, math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("stores", [True, False])
def test_values_that_are_not_usual(value: float, stores: bool) -> None:
    job = new_job(2 * TASK + 5, 11)
    job.grad[[3, 700, TASK - 11, -1]] = value
    job.param[[4, 700]] = value
    assert check(Step("momentum", [GRID | {"momentum": 0.9}]), [job], stores, False) == []
    job.grad.fill_(value)
    assert check(Step("momentum", [GRID | {"momentum": 0.9}]), [job], stores, True) == []


@pytest.mark.parametrize("stores", [True, False])
def test_the_largest_displacement_is_found_although_nan_comes_after_it(stores: bool) -> None:
    """In its lane, in other lanes, in other tasks; NaN is left out, infinity is not."""
    param, grad = torch.zeros(3 * TASK), torch.full((3 * TASK,), 0.25)
    grad[64:128], grad[1024:2048], grad[2 * TASK :] = 2.0, math.nan, math.nan
    step = Step("plain", [settings(lr=1.0, update_rounding="nearest", update_resolution=4.0)])
    largest = STATISTICS.index("largest_displacement")
    assert watch(step, [Job(param.clone(), grad)], stores, False)[0][largest] == 2.0
    grad[-1] = -math.inf
    assert watch(step, [Job(param.clone(), grad)], stores, False)[0][largest] == math.inf
    assert watch(step, [Job(param.clone(), torch.full_like(grad, math.nan))], stores, False)[0][largest] == 0.0


def test_looking_ahead_writes_nothing_and_leaves_the_compensation_out() -> None:
    job = new_job(TASK + 100, 3)
    job.compensation = 0.5
    step = Step("momentum", [GRID | {"momentum": 0.9}])
    before = job.clone()
    for on_device in (False, True):
        assert check(step, [job], False, on_device) == []
        plan = Plan("momentum", [job], 1, on_device)
        first = look_ahead(plan, plan.make_input(step))
        assert first == look_ahead(plan, plan.make_input(step))
        assert bits_of(job.param).equal(bits_of(before.param)) and int(job.steps) == 0
        assert bits_of(job.states[0]).equal(bits_of(before.states[0]))


@pytest.mark.parametrize("tasks", [TASK, TASK + 1])
def test_sums_of_a_tensor_with_more_tasks_than_one_sum_takes(tasks: int) -> None:
    """The last task's only element is in a second segment; other tensors stand before and behind."""
    long = new_job((tasks - 1) * TASK, 4095, dtype=torch.bfloat16)
    jobs = [new_job(9, 0), long, new_job(TASK + 1, 5, 7)]
    assert check(Step("momentum", [GRID | {"momentum": 0.9, "temperature": 0.0}]), jobs, True, False) == []
