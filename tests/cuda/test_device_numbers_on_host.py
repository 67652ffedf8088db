"""What only the device knows: lr and temperature in tensors, schedules by its own counters, scales, and steps it skips."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from tests.core.kernels import Job, Step, bits_of, compare_jobs, make_hyper, settings, step_reference

from .on_host import Plan, Shared, gpu, needs_gpu_on_host, number_at

pytestmark = needs_gpu_on_host

BASE = settings(lr=0.3, temperature=0.7, momentum=0.9, stochastic_param=True, stochastic_state=True)
RULES = ("plain", "momentum", "cool_momentum")
HUGE = 2**32 - 2  # the last value of a counter


def make_jobs(rule: str, groups: int = 2, steps: Sequence[int] = (0, 0, 5, 7)) -> list[Job]:
    """One tensor for each step counter, the groups in turn."""
    generator = torch.Generator().manual_seed(len(steps))
    found = []
    for i, step in enumerate(steps):
        param, grad, state = (torch.randn(300 + i, generator=generator).bfloat16() for _ in range(3))
        states = [] if rule == "plain" else [state]
        found.append(Job(param, grad, states, key=i, group=i % groups, steps=torch.tensor(step), offset=5 * i))
    return found


def check(
    rule: str,
    sent: Step,
    known: Step,
    facts: Sequence[dict[str, Any]],
    scale: float | None = None,
) -> None:
    """A step of which the device makes something equals one of which the host knows all.

    The tensors of a group are at different steps, or at the same one, where the host could make the scalars.
    """
    for steps, on_device in itertools.product(((0, 0, 5, 7), (4, 4, 4, 4)), (False, True)):
        jobs = make_jobs(rule, 2, steps)
        wanted = [job.clone() for job in jobs]
        plan = Plan(rule, jobs, 2, on_device)
        for observes in (False, True):
            Shared(scale).run([plan], [plan.make_input(sent, facts)], observes)
            step_reference(known, wanted)
            assert compare_jobs(jobs, wanted) == []


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("dtypes", list(itertools.product((torch.float32, torch.float64), repeat=2)))
def test_lr_and_temperature_are_read_from_the_device(rule: str, dtypes: tuple[torch.dtype, torch.dtype]) -> None:
    """In the type that they have there; a number that binary32 rounds differs in binary64."""
    lr, temperature = torch.tensor(0.1, dtype=dtypes[0]), torch.tensor(1.3, dtype=dtypes[1])
    facts = [{"lr": number_at(lr), "temperature": number_at(temperature)}, {"lr": number_at(lr)}]
    decayed = BASE | {"decoupled_weight_decay": 0.1}
    sent = Step(rule, [decayed | {"lr": 99.0, "temperature": 99.0}, decayed | {"lr": 99.0}], (1.0, -1.0))
    known = Step(rule, [decayed | {"lr": lr.item(), "temperature": temperature.item()}, decayed | {"lr": lr.item()}], (1.0, -1.0))
    check(rule, sent, known, facts)


@pytest.mark.parametrize("name", ["lr", "temperature"])
def test_one_number_of_one_group_is_enough_to_leave_its_scalars_to_the_device(name: str) -> None:
    """Nothing else of the step is on the device."""
    number = torch.tensor(0.125)
    facts = [{}, {name: number_at(number)}]
    sent = Step("momentum", [BASE, {**BASE, name: 99.0}], (1.0, 1.0))
    check("momentum", sent, Step("momentum", [BASE, {**BASE, name: 0.125}], (1.0, 1.0)), facts)


def test_the_numbers_may_change_from_step_to_step() -> None:
    lr = torch.tensor(0.0)
    jobs = make_jobs("momentum")
    wanted = [job.clone() for job in jobs]
    plan = Plan("momentum", jobs, 2, counts_on_device=True)
    native_input = plan.make_input(Step("momentum", [BASE, BASE], (1.0, 1.0)), [{"lr": number_at(lr)}, {}])
    for value in (0.25, 0.0, 1e-3):
        lr.fill_(value)
        Shared().run([plan], [native_input])
        step_reference(Step("momentum", [BASE | {"lr": lr.item()}, BASE], (1.0, 1.0)), wanted)
        assert compare_jobs(jobs, wanted) == []


class Schedule:
    """Hyper-parameters of consecutive steps in the device's memory."""

    def __init__(self, rule: str, steps: int) -> None:
        changes = [
            {"lr": 0.1 / (i + 1), "temperature": 0.1 * (steps - i), "update_resolution": 2.0 ** (i + 4)} for i in range(steps)
        ]
        self.hypers = [BASE | {"update_rounding": "nearest"} | change for change in changes]
        packed = gpu.pack_hypers([make_hyper(rule, h) for h in self.hypers])
        self.memory = torch.frombuffer(bytearray(packed), dtype=torch.uint8)
        self.facts = {"schedule": self.memory.data_ptr(), "schedule_steps": steps}

    def at(self, step: int) -> dict[str, Any]:
        """The hyper-parameters of a step; of the last one beyond the end."""
        return self.hypers[min(step, len(self.hypers)) - 1]


@pytest.mark.parametrize("counts_on_device", [False, True])
@pytest.mark.parametrize("rule", RULES)
def test_a_schedule_is_read_where_all_are_at_one_step(rule: str, counts_on_device: bool) -> None:
    """And the host could make the scalars, were it not for the schedule."""
    schedule, jobs = Schedule(rule, 6), make_jobs(rule, 1, (2, 2))
    wanted = [job.clone() for job in jobs]
    plan = Plan(rule, jobs, 1, counts_on_device)
    Shared().run([plan], [plan.make_input(Step(rule, [BASE]), [schedule.facts])])
    step_reference(Step(rule, [schedule.at(3)]), wanted)
    assert compare_jobs(jobs, wanted) == []


@pytest.mark.parametrize("counts_on_device", [False, True])
@pytest.mark.parametrize("rule", RULES)
def test_a_schedule_is_read_at_each_tensor_s_own_step(rule: str, counts_on_device: bool) -> None:
    """Past its end the last row counts, and a flag says so; it stays."""
    schedule, steps = Schedule(rule, 6), (0, 0, 2, 3)
    jobs = make_jobs(rule, 2, steps)
    wanted = [job.clone() for job in jobs]
    plan = Plan(rule, jobs, 2, counts_on_device)
    other = BASE | {"lr": 0.01}
    overruns = []
    for _ in range(6):
        shared = Shared()
        shared.run([plan], [plan.make_input(Step(rule, [other, other], (1.0, 1.0)), [schedule.facts, {}])])
        overruns.append(shared.overrun)
        for job in wanted:
            h = schedule.at(int(job.steps) + 1)
            step_reference(Step(rule, [h, other], (1.0, 1.0)), [job])
        assert compare_jobs(jobs, wanted) == []
    assert overruns == [0, 0, 0, 0, 1, 1]  # the tensor of the scheduled group that is furthest takes step 2 + 5 > 6


def test_an_overrun_is_not_taken_back() -> None:
    schedule, jobs = Schedule("plain", 1), make_jobs("plain", 1, (0, 1))
    plan = Plan("plain", jobs)
    flag = torch.ones((), dtype=torch.int32)
    memory = Shared().make_memory(2) | {"overrun": flag}
    jobs[1].steps.zero_()
    part = (plan.plan, plan.make_input(Step("plain", [BASE]), [schedule.facts]), 0, 0)
    gpu.cuda_step_together([part], Shared().make_common(memory))
    assert int(flag) == 1


def test_lr_from_a_tensor_stands_above_the_schedule_s() -> None:
    """As it does on the host: the schedule has what else changes."""
    schedule, lr = Schedule("momentum", 3), torch.tensor(0.05, dtype=torch.float64)
    jobs = make_jobs("momentum", 1, (1, 1))
    wanted = [job.clone() for job in jobs]
    plan = Plan("momentum", jobs, 1, counts_on_device=True)
    facts = schedule.facts | {"lr": number_at(lr)}
    Shared().run([plan], [plan.make_input(Step("momentum", [BASE]), [facts])])
    step_reference(Step("momentum", [schedule.at(2) | {"lr": 0.05}]), wanted)
    assert compare_jobs(jobs, wanted) == []


@pytest.mark.parametrize("scale", [1.0, 65536.0, 3.0, 0.1])
@pytest.mark.parametrize("rule", RULES)
def test_gradients_are_unscaled_on_the_device(rule: str, scale: float) -> None:
    scale = torch.tensor(scale).item()
    inverse = 1.0 / scale
    check(rule, Step(rule, [BASE] * 2, (1.0, -0.5)), Step(rule, [BASE] * 2, (inverse, -0.5 * inverse)), [], scale)


def watch_memory(jobs: Sequence[Job]) -> list[torch.Tensor]:
    return [bits_of(one).clone() for job in jobs for one in (job.param, *job.states)]


SETTINGS: dict[str, dict[str, Any]] = {
    "usual": {},
    "clipped": {"max_grad_norm": 0.5},
    "compensated": {"compensates": True},
    "both": {"max_grad_norm": 0.5, "compensates": True, "compensation_global": True},
}


@pytest.mark.parametrize("value", [1.0, 3.5, float("nan")])
@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("rule", RULES)
def test_a_step_that_found_inf_writes_nothing(rule: str, name: str, value: float) -> None:
    """No tensor, counter or statistic; then the next step is as if there had been none."""
    jobs = make_jobs(rule)
    wanted = [job.clone() for job in jobs]
    for one in jobs:
        one.grad[7] = float("inf")
    before = watch_memory(jobs)
    plan = Plan(rule, jobs, 2, counts_on_device=True)
    step = Step(rule, [BASE | {"compensation": 0.5}] * 2, (1.0, 1.0))
    native_input = plan.make_input(step, [SETTINGS[name]] * 2)
    Shared(found_inf=value, grad_scale=2.0).run([plan], [native_input], observes=True)
    assert all(a.equal(b) for a, b in zip(before, watch_memory(jobs), strict=True))
    assert [int(job.steps) for job in jobs] == [0, 0, 5, 7]
    assert bool(plan.statistics.isnan().all()), "a statistic was written"
    if name == "usual":
        Shared(found_inf=0.0).run([plan], [native_input], observes=True)
        for job, other in zip(jobs, wanted, strict=True):
            other.grad = job.grad
        step_reference(step, wanted)
        assert compare_jobs(jobs, wanted) == []
        assert not bool(plan.statistics.isnan().all())


def test_a_schedule_that_is_at_its_end_is_not_noticed_in_a_step_that_found_inf() -> None:
    schedule, jobs = Schedule("plain", 1), make_jobs("plain", 1, (4,))
    plan = Plan("plain", jobs, 1, counts_on_device=True)
    shared = Shared(found_inf=1.0)
    shared.run([plan], [plan.make_input(Step("plain", [BASE]), [schedule.facts])])
    assert shared.overrun == 0


def test_a_counter_on_the_device_reaches_its_last_value() -> None:
    jobs = make_jobs("momentum", 1, (HUGE - 1,))
    wanted = [job.clone() for job in jobs]
    plan = Plan("momentum", jobs, 1, counts_on_device=True)
    for _ in range(2):
        Shared().run([plan], [plan.make_input(Step("momentum", [BASE], chain=2**32 - 1))])
        step_reference(Step("momentum", [BASE], chain=2**32 - 1), wanted)
        assert compare_jobs(jobs, wanted) == []


def test_chains_differ_and_the_host_s_rows_know_theirs() -> None:
    for on_device in (False, True):
        results = []
        for chain in (0, 1, 2**32 - 1):
            jobs = make_jobs("momentum", 2, (1, 1, 1))
            wanted = [job.clone() for job in jobs]
            plan, step = Plan("momentum", jobs, 2, on_device), Step("momentum", [BASE] * 2, (1.0, 1.0), chain)
            Shared().run([plan], [plan.make_input(step)])
            step_reference(step, wanted)
            assert compare_jobs(jobs, wanted) == []
            results.append(jobs[0].param)
        assert not results[0].equal(results[1]) and not results[1].equal(results[2])
