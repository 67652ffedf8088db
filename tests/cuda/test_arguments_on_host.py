"""How a step's scalars and gradients reach the kernels: among the arguments, or in tables that are written when they change.

What the plan's memory holds tells which: it stands for the device's, and only uploads and kernels write it. The steps are
compared with the CPU's, whose equality to the reference's tests/core has tested.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from tests.core.kernels import Job, Step, compare_jobs, settings, step_native

from .on_host import CAPTURING, Plan, Shared, needs_gpu_on_host

pytestmark = needs_gpu_on_host

FEW_GROUPS = 4  # their rows fit among the arguments (3,840 bytes), as do their inputs
SOME_GROUPS = 40  # the rows fit (some 90 bytes each), the inputs of the kernel that makes them (some 250) do not
MANY_GROUPS = 60  # neither
FEW_TENSORS, MANY_TENSORS, MOST_TENSORS = 8, 600, 4100  # 480 addresses fit; one upload takes 4,064 words


def make_step(groups: int, chain: int = 0) -> Step:
    """Groups that all differ."""
    hypers = [settings(lr=0.01 * (i + 1), temperature=0.5 * (i % 3), momentum=0.9 - 0.01 * i) for i in range(groups)]
    return Step("momentum", hypers, [1.0 - 0.5 * (i % 4) for i in range(groups)], chain)


def make_jobs(tensors: int, groups: int, steps: int = 0) -> list[Job]:
    """Small tensors, the groups in turn."""
    generator = torch.Generator().manual_seed(tensors)
    memory = torch.randn(3, tensors, 3, generator=generator)
    return [
        Job(p, g, [s], key=i, group=i % groups, steps=torch.tensor(steps), offset=i % 5)
        for i, (p, g, s) in enumerate(zip(*(one.clone().unbind() for one in memory), strict=True))
    ]


def take(plan: Plan, step: Step, stream: int = 0, observes: bool = False) -> bytes:
    """Steps a plan; what its memory held before."""
    before = plan.memory.numpy().tobytes()
    Shared(stream=stream).run([plan], [plan.make_input(step)], observes)
    return before


def is_untouched(plan: Plan, before: bytes) -> bool:
    return plan.memory.numpy().tobytes() == before


@pytest.mark.parametrize("counts_on_device", [False, True])
@pytest.mark.parametrize("tensors", [FEW_TENSORS, MANY_TENSORS, MOST_TENSORS])
@pytest.mark.parametrize("groups", [1, FEW_GROUPS, SOME_GROUPS, MANY_GROUPS])
def test_few_and_many_groups_and_tensors(groups: int, tensors: int, counts_on_device: bool) -> None:
    jobs = make_jobs(tensors, groups)
    wanted = [job.clone() for job in jobs]
    plan = Plan("momentum", jobs, groups, counts_on_device)
    for chain in (0, 7):
        step = make_step(groups, chain)
        before = take(plan, step)
        step_native(step, wanted)
        assert compare_jobs(jobs, wanted) == []
        if chain == 0:
            assert is_untouched(plan, before) == (tensors == FEW_TENSORS and groups <= SOME_GROUPS and not counts_on_device)


@pytest.mark.parametrize("counts_on_device", [False, True])
@pytest.mark.parametrize("tensors", [FEW_TENSORS, MANY_TENSORS])
def test_tensors_of_one_group_at_different_steps(tensors: int, counts_on_device: bool) -> None:
    """Their rows differ: of each, the step and the first gradient's factor."""
    jobs = make_jobs(tensors, 2)
    for i, job in enumerate(jobs):
        job.steps.fill_(i // 2 % 3)
    wanted = [job.clone() for job in jobs]
    plan = Plan("momentum", jobs, 2, counts_on_device)
    step = make_step(2)
    dampened = Step("momentum", [{**h, "dampening": 0.25} for h in step.hypers], step.multipliers)
    for _ in range(3):
        before = take(plan, dampened)
        step_native(dampened, wanted)
        assert compare_jobs(jobs, wanted) == []
        assert not is_untouched(plan, before)


def test_the_steps_of_different_groups_may_differ_among_the_arguments() -> None:
    jobs = make_jobs(FEW_TENSORS, 2)
    for job in jobs:
        job.steps.fill_(5 * job.group)
        job.group *= 2  # of the second group there is no tensor
    wanted = [job.clone() for job in jobs]
    plan = Plan("momentum", jobs, 3)
    before = take(plan, make_step(3))
    step_native(make_step(3), wanted)
    assert compare_jobs(jobs, wanted) == [] and is_untouched(plan, before)


@pytest.mark.parametrize("tensors", [FEW_TENSORS, MANY_TENSORS, MOST_TENSORS])
def test_gradients_that_move_from_step_to_step_and_back(tensors: int) -> None:
    jobs = make_jobs(tensors, 1)
    wanted = [job.clone() for job in jobs]
    plan, step = Plan("momentum", jobs), make_step(1)
    homes = [[job.grad for job in jobs], [job.grad * 2 for job in jobs], [job.grad - 1 for job in jobs]]
    homes.append([*homes[0][:-1], homes[1][-1]])  # only the last one moves
    written = []
    for home in (0, 0, 1, 0, 0, 2, 1, 1, 3, 0):
        for job, other, grad in zip(jobs, wanted, homes[home], strict=True):
            job.grad = other.grad = grad
        written.append(not is_untouched(plan, take(plan, step)))
        step_native(step, wanted)
        assert compare_jobs(jobs, wanted) == []
    moves = [True, False, True, True, False, True, True, False, True, True]
    assert written == (moves if tensors > FEW_TENSORS else [False] * len(moves))


def overwrite(plan: Plan, jobs: Sequence[Job], addresses: Sequence[int]) -> None:
    """What the replay of a captured graph does: the table holds the addresses that it was captured with."""
    words = plan.memory[: plan.memory.numel() // 8 * 8].view(torch.int64)
    first = (words == jobs[0].grad.data_ptr()).nonzero().flatten().tolist()
    (at,) = [i for i in first if words[i : i + len(jobs)].tolist() == [job.grad.data_ptr() for job in jobs]]
    words[at : at + len(jobs)] = torch.tensor(addresses)


@pytest.mark.parametrize("stream", [0, CAPTURING])
def test_after_a_capture_the_table_of_gradients_is_written_in_every_step(stream: int) -> None:
    jobs = make_jobs(MANY_TENSORS, 1)
    wanted = [job.clone() for job in jobs]
    plan, step = Plan("momentum", jobs), make_step(1)
    take(plan, step)
    before = take(plan, step, stream)  # the same gradients: only a graph needs the upload
    assert is_untouched(plan, before)
    captured = [job.grad * 3 for job in jobs]
    overwrite(plan, jobs, [grad.data_ptr() for grad in captured])
    take(plan, step)
    for _ in range(2):
        step_native(step, wanted)
    if stream == CAPTURING:
        step_native(step, wanted)
        assert compare_jobs(jobs, wanted) == []
    else:  # what would happen if a plan did not know that it was captured
        for job, grad in zip(wanted, captured, strict=True):
            job.grad = grad
        step_native(step, wanted)
        assert compare_jobs(jobs, wanted) == []


@pytest.mark.parametrize("observes", [False, True])
@pytest.mark.parametrize("counts_on_device", [False, True])
def test_empty_tensors_and_no_tensors(counts_on_device: bool, observes: bool) -> None:
    jobs = [Job(torch.zeros(0), torch.zeros(0), [torch.zeros(0)], offset=i) for i in range(3)]
    for some in (jobs, []):
        plan = Plan("momentum", some, 1, counts_on_device)
        shared = Shared()
        shared.run([plan], [plan.make_input(make_step(1))], observes)
        if observes and some:
            assert plan.tensor_statistics() == [[0.0] * 10] * 3
        facts: list[dict[str, Any]] = [{"max_grad_norm": 1.0, "compensates": True}]
        shared.run([plan], [plan.make_input(make_step(1), facts)], observes)
    assert [int(job.steps) for job in jobs] == [2, 2, 2]
    Shared().run([], [])


@pytest.mark.parametrize("counts_on_device", [False, True])
@pytest.mark.parametrize("state", ["float32", "bfloat16"])
def test_lr_0_leaves_parameters_and_moves_states(state: str, counts_on_device: bool) -> None:
    """Patterns that are no number's shortest form, too: nothing is written."""
    jobs = make_jobs(1, 1)
    jobs[0].param = torch.tensor([0x7FA5, -0x8000, 0x0001], dtype=torch.int16).view(torch.bfloat16)
    jobs[0].states = [jobs[0].states[0].to(getattr(torch, state))]
    wanted = [job.clone() for job in jobs]
    plan = Plan("momentum", jobs, 1, counts_on_device)
    step = Step("momentum", [settings(lr=0.0, temperature=1.0, momentum=0.5, stochastic_param=True)])
    for observes in (False, True):
        take(plan, step, observes=observes)
        step_native(step, wanted)
    assert jobs[0].param.view(torch.int16).tolist() == [0x7FA5, -0x8000, 0x0001]
    assert compare_jobs(jobs, wanted) == [] and int(jobs[0].steps) == 2
