"""The CUDA kernels = the reference, bit for bit, over the parity matrix: every way that a plan can step, every alignment.

QLANGEVIN_GPU_SHARD=i/n takes every n-th case from the i-th on, so that processes can share the work.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from qlangevin import reference_rules
from qlangevin.reference import STATISTICS
from qlangevin.reference_numbers import sum_squares
from tests.core.cases import RULE_ROWS, Case, list_cases
from tests.core.kernels import Job, Step, compare_jobs, settings, step_reference
from tests.core.test_statistics import equal, observe_reference

from .device import SMALL, needs_device
from .plans import SHIFTS, DevicePlan, Memory

pytestmark = needs_device

SHARD, SHARDS = map(int, os.environ.get("QLANGEVIN_GPU_SHARD", "0/1").split("/"))
CASES = list(list_cases())[SHARD::SHARDS][:: 60 if SMALL else 1]
BLOCKS = 10
WAYS = list(itertools.product((False, True), repeat=2))  # counters on the device, observed
Make = Callable[[str, Sequence[Job], int, bool], Any]  # a plan as DevicePlan is one


def compare_statistics(got: list[list[float]], wanted: list[list[float]]) -> list[str]:
    """What differs, by tensor and name."""
    found = []
    for i, (row, other) in enumerate(zip(got, wanted, strict=True)):
        pairs = zip(STATISTICS, row, other, strict=True)
        found += [f"tensor {i} {name}: got {a!r}, wanted {b!r}" for name, a, b in pairs if not equal(a, b)]
    return found


def check_steps(step: Step, fresh: list[Job], shifts: Sequence[int | None], makers: Sequence[Make] = (DevicePlan,)) -> list[str]:
    """What any way to step does differently from the reference, in memory with the shift of its place."""
    wanted = [job.clone() for job in fresh]
    statistics = observe_reference(step, wanted, stores=True)
    found = []
    for make, ((counts, observes), shift) in itertools.product(makers, zip(WAYS, shifts, strict=True)):
        memory = Memory(fresh, shift, counts)
        plan = make(step.rule, memory.jobs, len(step.hypers), counts)
        got = plan.step(step, observes)
        jobs, problems = memory.fetch()
        problems += compare_jobs(jobs, wanted)
        problems += compare_statistics(got, statistics) if observes else []
        way = f"{make.__name__}, counters of the {'device' if counts else 'host'}, {'' if observes else 'not '}observed"
        found += [f"{way}: {problem}" for problem in problems]
    return found


def check_views(step: Step, fresh: list[Job], shift: int | None, make: Make = DevicePlan) -> list[str]:
    """What looking ahead and the squares of gradients do differently from the reference, or write."""
    memory = Memory(fresh, shift, counts_on_device=True)
    plan = make(step.rule, memory.jobs, len(step.hypers), True)
    ahead, squares = plan.look_ahead(step), plan.square_grads(step)
    jobs, problems = memory.fetch()
    problems += compare_jobs(jobs, fresh)
    found = [f"looking ahead: {problem}" for problem in problems]
    found += [f"ahead: {one}" for one in compare_statistics(ahead, observe_reference(step, [j.clone() for j in fresh], False))]
    wanted = [sum_squares(job.grad, job.offset).item() for job in fresh]
    found += [
        f"squares of {i}: got {a!r}, wanted {b!r}"
        for i, (a, b) in enumerate(zip(squares, wanted, strict=True))
        if not equal(a, b)
    ]
    return found


@pytest.mark.parametrize("block", range(BLOCKS))
def test_kernels_equal_the_reference(block: int) -> None:
    problems = []
    for number, case in list(enumerate(CASES))[block::BLOCKS]:
        step, fresh = case.make_step(), case.make_jobs()
        shift = number % SHIFTS
        problems += [f"{case}: {problem}" for problem in check_steps(step, fresh, range(shift, shift + len(WAYS)))]
        problems += [f"{case}: {problem}" for problem in check_views(step, fresh, shift)]
    assert not problems, f"{len(problems)} problems, the first:\n" + "\n".join(problems[:5])


def list_instantiations() -> list[tuple[str, str, str, str]]:
    """Every (rule, types of parameter, gradient, state) that kernels are compiled for."""
    types = ("float32", "bfloat16", "float16")
    return [
        (row, param, grad, state)
        for row, (rule, _) in RULE_ROWS.items()
        for param, grad in itertools.product(types, repeat=2)
        for state in (("float32", "bfloat16") if reference_rules.RULES[rule].states else ("float32",))
    ]


@pytest.mark.parametrize("shift", range(0, SHIFTS, 7) if SMALL else range(SHIFTS))
def test_every_instantiation_at_every_alignment(shift: int) -> None:
    """Sizes around the rows of 256 elements that a warp moves, beginning anywhere in a block of 4,096."""
    problems = []
    kinds = list_instantiations()[SHARD::SHARDS]
    for number, (row, param, grad, state) in list(enumerate(kinds))[:: 9 if SMALL else 1]:
        values = Case(1000 * number, next(iter(list_cases(1))).values).values | {
            "row": row, "param": param, "grad": grad, "state": state, "values": "normal", "lr": 0.1, "temperature": 1.0,
            "stochastic_param": True, "stochastic_state": True, "layout": "one", "offset": 4090 + number % 9,
            "size": 517 + 4 * shift,
            "update_rounding": "off" if number % 2 else "stochastic", "grad_rounding": "off", "noise": "gaussian",
        }  # fmt: skip
        case = Case(1000 * number, values)
        step, fresh = case.make_step(), case.make_jobs()
        found = check_steps(step, fresh, range(shift, shift + len(WAYS)))
        problems += [f"{row}, {param}, {grad}, {state}: {problem}" for problem in found]
    assert not problems, f"{len(problems)} problems, the first:\n" + "\n".join(problems[:5])


def make_many(count: int, groups: int, equal_steps: bool) -> list[Job]:
    """Tensors of 0 to 40 elements, their counters equal or not."""
    generator = torch.Generator().manual_seed(count)
    jobs = []
    for i in range(count):
        values = [torch.randn((7 * i) % 41, generator=generator) for _ in range(3)]
        steps = torch.tensor(5 if equal_steps else i % 11)
        jobs.append(Job(values[0], values[1].bfloat16(), [values[2].bfloat16()], 77 + i, i % 13, i % 5 > 0, i % groups, steps))
    return jobs


@pytest.mark.skipif(SHARD > 0, reason="the first shard's")
@pytest.mark.parametrize(("count", "groups"), [(300, 1), (470, 3), (490, 1), (1000, 40), (2100, 2)])
@pytest.mark.parametrize("equal_steps", [True, False])
def test_many_tensors_and_groups(count: int, groups: int, equal_steps: bool) -> None:
    """More gradients, groups and counters than a launch's arguments hold; steps one after another by the same plan."""
    count = min(count, 500) if SMALL else count
    plain = settings(lr=0.1, temperature=0.5, momentum=0.9, stochastic_state=True)
    step = Step("momentum", [plain | {"weight_decay": 0.01 * i} for i in range(groups)], [1.0] * groups, 3)
    fresh = make_many(count, groups, equal_steps)
    wanted = [job.clone() for job in fresh]
    for counts in (False, True):
        memory = Memory(fresh, 1, counts)
        plan = DevicePlan("momentum", memory.jobs, groups, counts)
        for _ in range(3):
            plan.step(step)
        jobs, problems = memory.fetch()
        if not counts:
            for _ in range(3):
                step_reference(step, wanted)
        assert problems + compare_jobs(jobs, wanted) == [], (counts, (problems + compare_jobs(jobs, wanted))[:3])


@pytest.mark.skipif(SHARD > 0, reason="the first shard's")
def test_a_plan_reads_the_gradients_that_it_is_given() -> None:
    """The table of addresses is uploaded again when the gradients of a later step lie elsewhere."""
    step = Step("momentum", [settings(lr=0.1, momentum=0.9)])
    fresh = make_many(60 if SMALL else 700, 1, equal_steps=True)
    memory, others = Memory(fresh, 0, False), Memory([replace(job, grad=-2 * job.grad) for job in fresh], 3, False)
    plan = DevicePlan("momentum", memory.jobs, 1, False)
    wanted = [job.clone() for job in fresh]
    grads = [job.grad for job in memory.jobs]
    for source in (grads, [job.grad for job in others.jobs], grads):
        for job, grad, reference_job in zip(memory.jobs, source, wanted, strict=True):
            job.grad, reference_job.grad = grad, grad.cpu()
        plan.step(step)
        step_reference(step, wanted)
    jobs, problems = memory.fetch()
    assert problems + compare_jobs(jobs, wanted) == []
