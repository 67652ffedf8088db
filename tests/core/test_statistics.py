"""What a pass gathers besides the step: native = reference, bit for bit, on every usable path; observing changes no bit."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from qlangevin import reference, reference_rules
from qlangevin.reference import STATISTICS
from qlangevin.reference_numbers import flatten

from .cases import Case, list_cases
from .kernels import USABLE_PATHS, Job, Step, bits_of, compare_jobs, make_input, make_plan

EVERY = 4  # of the parity matrix
CASES = list(list_cases())[::EVERY]
BLOCK = 100
ZERO = torch.zeros((), dtype=torch.float64)


def observe_reference(step: Step, jobs: list[Job], stores: bool) -> list[list[float]]:
    """The statistics of each job, stepped if `stores`."""
    rule = reference_rules.RULES[step.rule]
    found = []
    for job in jobs:
        row = reference.make_row(rule, step.hypers[job.group], step.multipliers[job.group], int(job.steps) + 1, step.chain)
        part = reference.Part(job.key, job.offset, job.noise, job.compensation)
        known: dict[str, Any] = {}
        if job.param.numel() and stores:
            old = flatten(job.param).clone()
            element = reference.step_tensor(rule, row, part, job.param, job.grad, job.states)
            assert element is not None
            known = reference.observe(rule, row, part, old, element)
        elif job.param.numel():
            bare = replace(part, compensation=0.0)  # it is what the compensation is made from
            known = reference.look_ahead(reference.run_tensor(rule, row, bare, job.param, job.grad, job.states), job.offset)
        job.steps += int(stores)
        found.append([known.get(name, ZERO).item() for name in STATISTICS])
    return found


def equal(a: float, b: float) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b))


def check_case(case: Case, stores: bool) -> list[str]:
    step, fresh = case.make_step(), case.make_jobs()
    wanted = [job.clone() for job in fresh]
    statistics = observe_reference(step, wanted, stores)
    found = []
    for path in USABLE_PATHS:
        jobs = [job.clone() for job in fresh]
        plan, native_input = make_plan(step.rule, jobs, path), make_input(step, jobs, case["threads"])
        flat = plan.step_observed(native_input) if stores else plan.look_ahead(native_input)
        found += [f"{path}: {problem}" for problem in compare_jobs(jobs, wanted)]
        for i, wanted_row in enumerate(statistics):
            row = flat[i * len(STATISTICS) : (i + 1) * len(STATISTICS)]
            pairs = zip(STATISTICS, row, wanted_row, strict=True)
            found += [f"{path}: tensor {i} {name}: got {a!r}, wanted {b!r}" for name, a, b in pairs if not equal(a, b)]
    return [f"{case}: {problem}" for problem in found]


@pytest.mark.parametrize("stores", [True, False])
@pytest.mark.parametrize("block", range(-(-len(CASES) // BLOCK)))
def test_native_statistics_are_the_reference_s(block: int, stores: bool) -> None:
    problems = [problem for case in CASES[block * BLOCK : (block + 1) * BLOCK] for problem in check_case(case, stores)]
    assert not problems, f"{len(problems)} problems, the first:\n" + "\n".join(problems[:5])


def test_looking_ahead_writes_nothing_and_sees_what_the_step_then_does() -> None:
    case = next(case for case in CASES if case["compensation"] and case["update_rounding"] == "nearest" and case["lr"] > 0)
    step, jobs = case.make_step(), case.make_jobs()
    before = [job.clone() for job in jobs]
    plan, native_input = make_plan(step.rule, jobs), make_input(step, jobs)
    first = plan.look_ahead(native_input)
    assert first == plan.look_ahead(native_input) or any(map(math.isnan, first))
    for job, old in zip(jobs, before, strict=True):
        assert bits_of(job.param).equal(bits_of(old.param)) and int(job.steps) == int(old.steps)
        assert all(bits_of(a).equal(bits_of(b)) for a, b in zip(job.states, old.states, strict=True))


@pytest.mark.parametrize("path", USABLE_PATHS)
def test_a_sum_depends_on_the_place_of_its_elements_not_on_chunks_or_threads(path: str) -> None:
    size, key = 70_000, 7
    generator = torch.Generator().manual_seed(1)
    param, grad = torch.randn(size, generator=generator), torch.randn(size, generator=generator)
    step = Step("plain", [dict(CASES[0].make_step().hypers[0], lr=0.1, grad_rounding="off", update_rounding="off")])
    for offset in (0, 4096, 4095, 12_345):
        rows = []
        for threads in (1, 3):
            job = Job(param.clone(), grad, key=key, offset=offset)
            rows.append(make_plan("plain", [job], path).step_observed(make_input(step, [job], threads)))
        assert rows[0] == rows[1]
        wanted = observe_reference(step, [Job(param.clone(), grad, key=key, offset=offset)], stores=True)
        assert rows[0] == wanted[0]


@pytest.mark.parametrize("path", USABLE_PATHS)
@pytest.mark.parametrize("stores", [True, False])
def test_the_largest_displacement_is_found_although_nan_comes_after_it(path: str, stores: bool) -> None:
    """A lane that has seen NaN still knows what was largest before."""
    param, grad = torch.zeros(4096), torch.full((4096,), 0.25)
    grad[64:128], grad[1024:2048] = 2.0, math.nan
    grid = {"update_rounding": "nearest", "update_resolution": 4.0}
    step = Step("plain", [dict(CASES[0].make_step().hypers[0], lr=1.0, grad_rounding="off", **grid)])
    job = Job(param, grad, key=1)
    plan, native_input = make_plan("plain", [job], path), make_input(step, [job])
    found = plan.step_observed(native_input) if stores else plan.look_ahead(native_input)
    assert found[STATISTICS.index("largest_displacement")] == 2.0
