"""Tensors beyond 2^31 elements, and no memory left."""

from __future__ import annotations

import pytest
import torch

from qlangevin import SGLD
from qlangevin.bench.memory import available_bytes
from tests.core.kernels import Job, Step, compare_jobs, settings, step_reference
from tests.optim.snapshots import assert_same

from .device import BACKEND, CPU, DEVICE, ON_HOST, ORACLE, SMALL, needs_device, no_memory, synchronize
from .plans import DevicePlan
from .problems import make_device_problem
from .test_gpu_kernels import Make

pytestmark = needs_device

EDGE = 1 << (31 if not ON_HOST and not SMALL else 14 if BACKEND == "triton" else 16)
SIZE = EDGE + 4099
WINDOW = 3000


def new_large(seed: int) -> torch.Tensor:
    """Normal values in bfloat16."""
    generator = torch.Generator(DEVICE).manual_seed(seed)
    return torch.randn(SIZE, dtype=torch.bfloat16, device=DEVICE, generator=generator)


def list_windows() -> list[int]:
    """Where windows begin: head, tail, around powers of two, and some between."""
    near = [0, SIZE - WINDOW, EDGE - WINDOW // 2, EDGE // 2 - WINDOW // 2, EDGE - WINDOW - 1]
    return near + [(SIZE - WINDOW) * k // 7 for k in range(1, 7)]


def cut(job: Job, span: slice) -> Job:
    """A window of a tensor on the CPU, in memory of its own there too."""
    values = [tensor[span].to(CPU, copy=True) for tensor in (job.param, job.grad, *job.states)]
    return Job(values[0], values[1], values[2:], job.key, job.offset + span.start, steps=job.steps.clone())


def check_large(make: Make) -> None:
    """Windows of a tensor = shards of the reference at their offsets; the squares of its gradients are exact for ones."""
    free = available_bytes(DEVICE)
    if free is not None and free < 10 * SIZE:
        pytest.skip(f"{SIZE:,} elements in bfloat16 need {10 * SIZE / 1e9:.0f} GB; {free / 1e9:.0f} GB are free")
    job = Job(new_large(1), new_large(2), [new_large(3)], key=2**63 + 5, offset=3)
    options = {"update_rounding": "stochastic", "update_resolution": 1e4, "stochastic_param": True, "stochastic_state": True}
    step = Step("momentum", [settings(lr=0.1, temperature=0.5, momentum=0.9, **options)])
    spans = [slice(begin, begin + WINDOW) for begin in list_windows()]
    wanted = [cut(job, span) for span in spans]
    plan = make("momentum", [job], 1, False)
    for _ in range(2):
        plan.step(step)
        step_reference(step, wanted)
    assert compare_jobs([cut(job, span) for span in spans], wanted) == []
    job.grad.fill_(1.0)
    assert plan.square_grads(step) == [float(SIZE)]


def test_a_tensor_of_more_than_2_31_elements() -> None:
    check_large(DevicePlan)


def test_no_memory_for_states_is_an_error_that_changes_nothing() -> None:
    problem = make_device_problem(DEVICE)
    big = torch.nn.Parameter(torch.full((1 << (12 if ON_HOST else 24),), 0.5, device=DEVICE))
    big.grad = torch.ones_like(big)
    optimizer = SGLD([*problem.named(), ("big", big)], 0.05, temperature=0.3, momentum=0.9, seed=7, backend="native")
    problem.set_grads(1)
    before = problem.values()
    with no_memory(), pytest.raises(torch.OutOfMemoryError):
        optimizer.step()
    synchronize()
    assert not optimizer.state and bool((big == 0.5).all())
    assert_same(problem.values(), before)


def test_no_memory_for_a_plan_is_an_error_that_changes_nothing() -> None:
    """So many tensors that their tables do not fit into what is left of the allocator's blocks."""
    count = 100 if ON_HOST else 30_000
    values = torch.linspace(-1, 1, count, device=DEVICE)
    params = [torch.nn.Parameter(value.reshape(1)) for value in values.unbind(0)]
    for param, value in zip(params, values.clone().unbind(0), strict=True):
        param.grad = value.reshape(1)
    before = values.cpu().clone()
    optimizer = SGLD(params, 0.05, temperature=0.3, seed=7, backend="native")
    with no_memory(), pytest.raises(torch.OutOfMemoryError):
        optimizer.step()
    synchronize()
    assert not any(optimizer.state.values()) and torch.equal(values.cpu(), before)
    optimizer.step()
    others = [torch.nn.Parameter(value.reshape(1)) for value in before.clone().unbind(0)]
    for other, value in zip(others, before.unbind(0), strict=True):
        other.grad = value.reshape(1)
    SGLD(others, 0.05, temperature=0.3, seed=7, backend=ORACLE).step()
    assert_same({"values": values.cpu()}, {"values": torch.cat([other.detach() for other in others])})
