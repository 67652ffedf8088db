"""What a CUDA plan refuses, with a named error before the first byte is written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from tests.core.kernels import Job, Step, bits_of, make_hyper, settings

from .on_host import CAPTURING, Plan, Shared, describe, gpu, look_ahead, make_common, needs_gpu_on_host

pytestmark = needs_gpu_on_host

SETTINGS = settings(temperature=1.0, momentum=0.9)
STEP = Step("momentum", [SETTINGS])
FLOATS = ["float32"] * 3


def new_jobs() -> list[Job]:
    return [Job(torch.ones(size), torch.ones(size), [torch.zeros(size)]) for size in (5, 0, 7)]


def fact(**changes: Any) -> dict[str, Any]:
    return describe(Job(torch.zeros(1), torch.zeros(1), [torch.zeros(1)]), 0) | changes


def new_plan(rule: str, storage: list[str], facts: list[dict[str, Any]]) -> Any:
    return gpu.CudaPlan(rule, storage, facts, 0, 1, False)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: new_plan("adamw", FLOATS, []), "rule 'adamw' is not one of: plain, momentum"),
        (lambda: new_plan("plain", ["float64", "float32", "float32"], []), "storage type 'float64' is not one of"),
        (lambda: new_plan("plain", ["float32"], []), "param, grad and state"),
        (lambda: new_plan("momentum", ["float32", "float32", "float16"], []), "no kernel for these storage types"),
        (lambda: new_plan("plain", FLOATS, [fact(size=-1)]), "must not be negative"),
        (lambda: new_plan("plain", FLOATS, [fact(offset=-1)]), "must not be negative"),
        (lambda: new_plan("plain", FLOATS, [fact(size=2**36 + 1)]), "more than 2^36 elements"),
        (lambda: new_plan("plain", FLOATS, [fact(size=2**63 - 1)]), "more than 2^36 elements"),
        (lambda: new_plan("plain", FLOATS, [fact(offset=2**63 - 1)]), "an offset is too large"),
        (lambda: new_plan("plain", FLOATS, [fact(group=1)]), "names no group"),
        (lambda: new_plan("plain", FLOATS, [fact(group=-1)]), "names no group"),
        (lambda: new_plan("plain", FLOATS, [fact(states=[0] * 5)]), "too many state tensors"),
        (lambda: gpu.CudaPlan("plain", FLOATS, [fact(step=0)], 0, 1, True), "needs one counter"),
    ],
)
def test_a_bad_plan_is_refused_with_what_is_valid(make: Callable[[], Any], words: str) -> None:
    with pytest.raises(ValueError) as caught:
        make()
    assert words in str(caught.value)


def take_all(plan: Plan, native_input: Any, common: Any) -> list[Exception]:
    """What each way of using a plan raises."""
    part = (plan.plan, native_input, plan.ahead.data_ptr(), plan.statistics.data_ptr())
    calls: list[Callable[[], Any]] = [
        lambda: gpu.cuda_look_ahead(part, common),
        lambda: gpu.cuda_square_grads(part, common),
        lambda: gpu.cuda_step_together([part], common),
        lambda: gpu.cuda_step_together([(plan.plan, native_input, 0, 0)], common),
    ]
    found = []
    for call in calls:
        with pytest.raises((ValueError, OverflowError)) as caught:
            call()
        found.append(caught.value)
    return found


def check_untouched(plan: Plan, jobs: list[Job]) -> None:
    for job, fresh in zip(jobs, new_jobs(), strict=True):
        assert bits_of(job.param).equal(bits_of(fresh.param)) and bits_of(job.states[0]).equal(bits_of(fresh.states[0]))
        assert int(job.steps) == 0
    assert bool(plan.statistics.isnan().all()) and bool(plan.ahead.isnan().all())


@pytest.mark.parametrize("counts_on_device", [False, True])
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"grads": [0]}, "one gradient for each tensor"),
        ({"grads": []}, "one gradient for each tensor"),
        ({"hypers": [], "grad_multipliers": []}, "one input for each group"),
        ({"hypers": [make_hyper("momentum", SETTINGS)] * 2, "grad_multipliers": [1.0] * 2}, "one input for each group"),
        ({"compensations": [1.0]}, "one compensation for each tensor"),
        ({"hypers": [make_hyper("momentum", SETTINGS | {"noise": "levy"})]}, "no kernels of Levy noise"),
    ],
)
def test_a_bad_step_changes_nothing(changes: dict[str, Any], words: str, counts_on_device: bool) -> None:
    jobs = new_jobs()
    plan = Plan("momentum", jobs, 1, counts_on_device)
    before = plan.memory.clone()
    shared = Shared()
    memory = shared.make_memory(3)
    errors = take_all(plan, plan.make_input(STEP, **changes), shared.make_common(memory))
    assert all(words in str(error) for error in errors)
    check_untouched(plan, jobs)
    assert plan.memory.equal(before)


@pytest.mark.parametrize(("facts", "multipliers"), [([], [1.0, 1.0]), ([{}, {}], [1.0])])
def test_an_input_names_each_group_once(facts: list[dict[str, Any]], multipliers: list[float]) -> None:
    with pytest.raises(ValueError, match="one multiplier for each group"):
        Plan("momentum", new_jobs()).make_input(STEP, facts, grad_multipliers=multipliers)


@pytest.mark.parametrize("steps", [-1, 2**32 - 1, 2**40])
def test_a_counter_of_the_host_out_of_range_changes_nothing(steps: int) -> None:
    jobs = new_jobs()
    plan = Plan("momentum", jobs)
    jobs[2].steps.fill_(steps)
    assert not plan.plan.counters_fit()
    shared = Shared()
    memory = shared.make_memory(3)
    errors = take_all(plan, plan.make_input(STEP), shared.make_common(memory))
    assert all(isinstance(error, OverflowError) and "step counter" in str(error) for error in errors)
    assert int(jobs[2].steps) == steps
    jobs[2].steps.zero_()
    check_untouched(plan, jobs)


def test_the_last_step_of_a_counter_of_the_host_is_taken() -> None:
    jobs = new_jobs()
    for job in jobs:
        job.steps.fill_(2**32 - 2)
    plan = Plan("momentum", jobs)
    Shared().run([plan], [plan.make_input(STEP)])
    assert [int(job.steps) for job in jobs] == [2**32 - 1] * 3 and not plan.plan.counters_fit()


def test_the_host_s_counters_cannot_follow_a_step_that_the_device_may_skip() -> None:
    jobs = new_jobs()
    plan = Plan("momentum", jobs)
    for found in (0.0, 1.0):
        with pytest.raises(ValueError, match="may skip needs counters on the device"):
            Shared(found_inf=found).run([plan], [plan.make_input(STEP)])
    check_untouched(plan, jobs)


def test_a_plan_without_memory_steps_nothing() -> None:
    jobs = new_jobs()
    plan = Plan("momentum", jobs, placed=False)
    with pytest.raises(ValueError, match="no memory on the device yet"):
        Shared().run([plan], [plan.make_input(STEP)])
    check_untouched(plan, jobs)


def test_a_plan_is_not_placed_while_a_graph_is_captured() -> None:
    plan = Plan("momentum", new_jobs(), placed=False)
    before = plan.memory.clone()
    with pytest.raises(gpu.CudaError, match="while a graph is captured"):
        plan.plan.place(plan.memory.data_ptr(), CAPTURING)
    assert plan.memory.equal(before)
    with pytest.raises(ValueError, match="no memory"):
        Shared().run([plan], [plan.make_input(STEP)])


def test_a_bad_input_of_the_last_plan_leaves_the_first_alone() -> None:
    first, last = new_jobs(), new_jobs()
    plans = [Plan("momentum", jobs) for jobs in (first, last)]
    inputs = [plans[0].make_input(STEP), plans[1].make_input(STEP, grads=[0])]
    with pytest.raises(ValueError, match="one gradient for each tensor"):
        Shared().run(plans, inputs)
    check_untouched(plans[0], first)


CLIPPED, COMPENSATED, SCHEDULED = {"max_grad_norm": 1.0}, {"compensates": True}, {"schedule": 1 << 20, "schedule_steps": 1}


@pytest.mark.parametrize(
    ("facts", "missing", "words"),
    [
        (CLIPPED, {"norms": 0}, "norms need memory"),
        (COMPENSATED, {"norms": 0}, "norms need memory"),
        (CLIPPED, {"places": 4}, "all their tensors"),
        (CLIPPED, {"places": 2}, "not among those of the norms"),
        (COMPENSATED, {"ahead": 0}, "looking ahead needs memory"),
        (SCHEDULED, {"overrun": 0}, "a flag for its end"),
        (SCHEDULED | {"schedule_steps": 0}, {}, "needs a step"),
    ],
)
def test_a_step_without_what_its_norms_or_schedules_need_is_refused(
    facts: dict[str, Any], missing: dict[str, int], words: str
) -> None:
    jobs = new_jobs()
    plan = Plan("momentum", jobs)
    shared = Shared()
    memory = shared.make_memory(3)
    known = {"places": 3, "norms": memory["norms"].data_ptr(), "overrun": memory["overrun"].data_ptr()}
    ahead = missing.get("ahead", plan.ahead.data_ptr())
    common = make_common(**{name: missing.get(name, value) for name, value in known.items()})
    with pytest.raises(ValueError, match=words):
        gpu.cuda_step_together([(plan.plan, plan.make_input(STEP, [facts]), ahead, 0)], common)
    check_untouched(plan, jobs)


def test_looking_ahead_of_a_clipped_step_needs_its_coefficient() -> None:
    """From the host: alone, it takes no norms."""
    jobs = new_jobs()
    plan = Plan("momentum", jobs)
    with pytest.raises(ValueError, match="takes no norm of the gradients"):
        look_ahead(plan, plan.make_input(STEP, [CLIPPED]))
    check_untouched(plan, jobs)


@pytest.mark.parametrize("places", [[0, 1, 3], [0, 1, -1]])
def test_a_place_outside_of_the_norms_is_refused(places: list[int]) -> None:
    jobs = new_jobs()
    plan = Plan("momentum", jobs, places=places)
    with pytest.raises(ValueError, match="not among those of the norms"):
        Shared().run([plan], [plan.make_input(STEP, [CLIPPED])])
    check_untouched(plan, jobs)


def test_a_plan_knows_its_size_and_memory() -> None:
    """More tensors of more tasks need more of it; statistics are kept of each task, then of each tensor and segment."""
    plan = Plan("momentum", new_jobs())
    assert len(plan.plan) == 3 and plan.plan.statistics_at == 10 * 2
    assert plan.plan.statistics_numbers == 10 * (2 + 3) and plan.plan.bytes % 256 == 0


@pytest.mark.parametrize("offset", [0, 2**51 - 4097])
@pytest.mark.parametrize("size", [2**24 - 1, 2**24, 2**24 + 1, 2**31 + 5])
def test_the_tables_of_a_tensor_with_made_up_size(size: int, offset: int) -> None:
    plan = gpu.CudaPlan("plain", ["bfloat16"] * 3, [fact(size=size, offset=offset)], 0, 1, False)
    tasks = (offset + size - 1) // 4096 - offset // 4096 + 1
    segments = -(-tasks // 4096) if tasks > 4096 else 0
    assert plan.statistics_at == 10 * tasks
    assert plan.statistics_numbers == 10 * (tasks + 1 + segments)
    assert plan.bytes >= 8 * tasks * 2


@pytest.mark.parametrize("places", [0, 1, 2, 4096, 4097, 2**24, 2**24 + 1, 2**36 + 1])
def test_the_memory_of_norms_holds_every_level(places: int) -> None:
    levels = [max(places, 1)]
    while levels[-1] > 1:
        levels.append(-(-levels[-1] // 4096))
    assert gpu.count_norms(places) == sum(levels)
