"""A bad input to the native module is a named error before the first byte is written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from qlangevin import _native

from .kernels import Job, Step, bits_of, make_hyper, make_input, make_plan, run_plan, settings

SETTINGS = settings(temperature=1.0, momentum=0.9)
STEP = Step("momentum", [SETTINGS])


def new_jobs() -> list[Job]:
    return [Job(torch.ones(size), torch.ones(size), [torch.zeros(size)]) for size in (5, 0, 7)]


def fact(**changes: Any) -> dict[str, Any]:
    return {"param": 0, "states": [], "size": 0, "offset": 0, "key": 0, "noise": True, "group": 0, "step": 0} | changes


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: _native.CpuPlan("adamw", ["float32"] * 3, []), "rule 'adamw' is not one of: plain, momentum"),
        (lambda: _native.CpuPlan("plain", ["float64", "float32", "float32"], []), "storage type 'float64' is not one of"),
        (lambda: _native.CpuPlan("plain", ["float32"], []), "param, grad and state"),
        (lambda: _native.CpuPlan("momentum", ["float32", "float32", "float16"], []), "no kernel for these storage types"),
        (lambda: _native.CpuPlan("plain", ["float32"] * 3, [], "sse9"), "CPU path 'sse9' is not one of: auto"),
        (lambda: _native.CpuPlan("plain", ["float32"] * 3, [fact(size=-1)]), "must not be negative"),
        (lambda: _native.CpuPlan("plain", ["float32"] * 3, [fact(offset=-1)]), "must not be negative"),
        (lambda: _native.CpuPlan("plain", ["float32"] * 3, [fact(states=[0] * 5)]), "too many state tensors"),
        (lambda: _native.CpuPlan("adam", ["float32"] * 3, [fact(states=[64], size=3)]), "lacks a state of rule 'adam'"),
        (lambda: _native.Hyper(dict(SETTINGS, noise=1, grad_rounding=0, update_rounding=0, rule=[0.0] * 9)), "too many rule"),
    ],
)
def test_a_bad_plan_is_refused_with_what_is_valid(make: Callable[[], Any], words: str) -> None:
    with pytest.raises(ValueError) as caught:
        make()
    assert words in str(caught.value)


def step_with(jobs: list[Job], **changes: Any) -> None:
    plan = make_plan("momentum", jobs)
    arguments: dict[str, Any] = {
        "grads": [job.grad.data_ptr() for job in jobs],
        "hypers": [make_hyper("momentum", SETTINGS)],
        "grad_multipliers": [1.0],
        "compensations": [],
        "chain": 0,
        "threads": 1,
    }
    native_input = _native.StepInput(**arguments | changes)
    for take in (plan.look_ahead, plan.step_observed, plan.step):
        with pytest.raises((ValueError, OverflowError)) as caught:
            take(native_input)
    raise caught.value


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"grads": [0]}, "one gradient for each tensor"),
        ({"hypers": [], "grad_multipliers": []}, "names no group"),
        ({"grad_multipliers": [1.0, 1.0]}, "one multiplier for each group"),
        ({"compensations": [1.0]}, "one compensation for each tensor"),
    ],
)
def test_a_bad_step_changes_nothing(changes: dict[str, Any], words: str) -> None:
    jobs = new_jobs()
    with pytest.raises(ValueError, match=words):
        step_with(jobs, **changes)
    check_untouched(jobs, 0)


@pytest.mark.parametrize("steps", [-1, 2**32 - 1, 2**40])
def test_a_step_counter_out_of_range_changes_nothing(steps: int) -> None:
    jobs = new_jobs()
    jobs[2].steps.fill_(steps)
    with pytest.raises(OverflowError, match="step counter"):
        step_with(jobs)
    assert int(jobs[2].steps) == steps
    jobs[2].steps.zero_()
    check_untouched(jobs, 0)


def check_untouched(jobs: list[Job], steps: int) -> None:
    for job, fresh in zip(jobs, new_jobs(), strict=True):
        assert bits_of(job.param).equal(bits_of(fresh.param))
        assert bits_of(job.states[0]).equal(bits_of(fresh.states[0]))
        assert int(job.steps) == steps


def test_a_plan_knows_its_size_and_path() -> None:
    jobs = new_jobs()
    plan = make_plan("momentum", jobs, "portable")
    assert (len(plan), plan.path) == (3, "portable")
    run_plan(plan, STEP, jobs)
    assert [int(job.steps) for job in jobs] == [1, 1, 1]


@pytest.mark.parametrize("observes", [False, True])
def test_a_bad_input_of_the_last_plan_leaves_the_first_alone(observes: bool) -> None:
    first, last = new_jobs(), new_jobs()
    plans = [make_plan("momentum", jobs) for jobs in (first, last)]
    inputs = [make_input(STEP, first), make_input(STEP, last[:2])]
    with pytest.raises(ValueError, match="one gradient for each tensor"):
        _native.step_together(plans, inputs, observes)
    for job in first:
        assert int(job.steps) == 0 and torch.equal(job.param, torch.ones_like(job.param))
