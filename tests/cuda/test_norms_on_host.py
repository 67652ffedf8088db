"""Norms that the device takes, and what it makes of them, = the host's and the reference's, bit for bit."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from qlangevin.reference import STATISTICS
from qlangevin.reference_numbers import clip_coefficient, compensation_factor, sum_squares, total_norm
from qlangevin.scalar_values import LARGEST
from tests.core.cases import SPECIALS
from tests.core.kernels import DTYPES, Job, Step, compare_jobs, make_input, make_plan, settings, step_native, step_reference
from tests.core.test_norms import SIZES, new_jobs
from tests.core.test_statistics import equal, observe_reference

from .on_host import Plan, Shared, gpu, needs_gpu_on_host, square_grads

pytestmark = needs_gpu_on_host

SQUARES = STATISTICS.index("displacement_squares")
NOISY = settings(temperature=1.0, momentum=0.9, stochastic_param=True, stochastic_state=True)
STEP = Step("momentum", [NOISY, NOISY | {"lr": 0.5, "noise": "uniform"}], (1.0, -1.0), chain=3)
BARE = Step("plain", [settings()])


def make_job(dtype: str, size: int, seed: int, offset: int = 0) -> Job:
    generator = torch.Generator().manual_seed(seed)
    param, grad, state = (torch.randn(size, generator=generator).to(DTYPES[dtype]) for _ in range(3))
    state = state.float() if dtype == "float16" else state
    return Job(param, grad, [state], key=seed, offset=offset, group=seed % 2, steps=torch.tensor(seed % 3))


def make_buckets() -> list[list[Job]]:
    """The tensors of three plans, some of them empty."""
    shapes = {"bfloat16": ((5000, 0), (17, 4090), (0, 0)), "float32": ((300, 7), (1, 0)), "float16": ((4097, 1), (0, 3), (64, 0))}
    seed = iter(range(100))
    return [[make_job(dtype, size, next(seed), offset) for size, offset in some] for dtype, some in shapes.items()]


def shuffle_places(buckets: Sequence[Sequence[Job]]) -> list[list[int]]:
    """Places of all tensors among one another, those of no bucket in a row."""
    places = list(range(sum(map(len, buckets))))
    random.Random(5).shuffle(places)
    return [[places.pop() for _ in bucket] for bucket in buckets]


def by_place(buckets: Sequence[Sequence[Job]], places: Sequence[Sequence[int]]) -> list[Job]:
    pairs = [pair for bucket, some in zip(buckets, places, strict=True) for pair in zip(some, bucket, strict=True)]
    return [job for _, job in sorted(pairs, key=lambda pair: pair[0])]


def clip(step: Step, jobs: Sequence[Job], limits: Sequence[float], inverse: float = 1.0) -> Step:
    """The step as a host clips it that knows every norm; jobs by place, a limit of 0 is none."""
    norm = total_norm([sum_squares(job.grad, job.offset).item() for job in jobs]) * inverse
    pairs = zip(step.multipliers, limits, strict=True)
    return Step(step.rule, step.hypers, [m * inverse * clip_coefficient(norm, limit or None) for m, limit in pairs], step.chain)


def compensate(step: Step, jobs: Sequence[Job], shares: Sequence[float], globally: Sequence[bool]) -> None:
    """Gives the jobs, by place, the compensations that a host makes that knows every norm."""
    squares = [row[SQUARES] for row in observe_reference(step, [job.clone() for job in jobs], stores=False)]
    for job, own in zip(jobs, squares, strict=True):
        norm = total_norm(squares) if globally[job.group] else total_norm([own])
        job.compensation = compensation_factor(shares[job.group] * step.hypers[job.group]["lr"], norm)


def check(step: Step, facts: Sequence[dict[str, Any]], shares: Sequence[float], scale: float | None = None) -> list[str]:
    """What the device does otherwise than a host that makes multipliers and compensations itself."""
    found = []
    for on_device, observes in ((False, False), (True, False), (True, True)):
        buckets = make_buckets()
        wanted = [[job.clone() for job in bucket] for bucket in buckets]
        places = shuffle_places(buckets)
        known = clip(step, by_place(wanted, places), [one.get("max_grad_norm", 0.0) for one in facts], 1 / (scale or 1.0))
        compensate(known, by_place(wanted, places), shares, [one.get("compensation_global", False) for one in facts])
        for bucket in wanted:
            step_reference(known, bucket)
        plans = [Plan("momentum", bucket, 2, on_device, some) for bucket, some in zip(buckets, places, strict=True)]
        hypers = [dict(h, compensation=share) for h, share in zip(step.hypers, shares, strict=True)]
        sent = Step(step.rule, hypers, step.multipliers, step.chain)
        Shared(scale).run(plans, [plan.make_input(sent, facts) for plan in plans], observes)
        for bucket, other in zip(buckets, wanted, strict=True):
            found += compare_jobs(bucket, other)
    return found


@pytest.mark.parametrize("on_device", [False, True])
@pytest.mark.parametrize("kind", ["normal", "wide", "subnormal", "zero", "special"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_sums_of_squares_are_the_cpu_s_and_the_reference_s(dtype: str, kind: str, on_device: bool) -> None:
    jobs = new_jobs(dtype, kind)
    plan = Plan("plain", jobs, 1, on_device)
    got = square_grads(plan, plan.make_input(BARE))
    native = make_plan("plain", jobs).square_grads([job.grad.data_ptr() for job in jobs], 2)
    assert all(map(equal, got, native))
    assert all(map(equal, got, [sum_squares(job.grad).item() for job in jobs]))


@pytest.mark.parametrize("size", SIZES)
def test_a_shard_s_squares_are_summed_where_they_lie(size: int) -> None:
    offsets = (1, 8, 255, 257, 4095, 4096, 2**40 + 4000)
    jobs = [make_job("bfloat16", size, 1, offset) for offset in offsets]
    plan = Plan("momentum", jobs, 2)
    assert square_grads(plan, plan.make_input(STEP)) == [sum_squares(job.grad, job.offset).item() for job in jobs]


@pytest.mark.parametrize("blocks", [4095, 4096, 4097])
def test_squares_of_a_tensor_with_as_many_blocks_as_one_sum_takes(blocks: int) -> None:
    """Small integers in a gradient that is 0 elsewhere: every sum is exact, but where the order says that it is not."""
    jobs = [make_job("bfloat16", 5, 0), Job(torch.zeros(()), torch.zeros(blocks * 4096, dtype=torch.bfloat16)[3:-1], offset=3)]
    jobs[0].states, long = [], jobs[1]
    long.param = torch.zeros_like(long.grad)
    long.grad[::4099] = torch.arange(len(long.grad[::4099])).remainder(255).to(torch.bfloat16)
    long.grad[7] = 2.0**30
    plan = Plan("plain", jobs, 2)
    got = square_grads(plan, plan.make_input(Step("plain", [settings()] * 2, (1.0, 1.0))))
    assert got == [sum_squares(job.grad, job.offset).item() for job in jobs]


LIMITS = {"one group": (0.7, 0.0), "each its own": (0.7, 30.0), "none is reached": (1e9, 1e8), "only the second": (0.0, 1e-3)}


@pytest.mark.parametrize("limits", LIMITS.values(), ids=LIMITS)
def test_clipping_on_the_device_is_the_host_s(limits: tuple[float, float]) -> None:
    assert check(STEP, [{"max_grad_norm": limit} for limit in limits], (0.0, 0.0)) == []


@pytest.mark.parametrize("scale", [1.0, 1024.0, 3.0, 1e-30])
def test_the_gradients_scale_is_divided_out_before_clipping(scale: float) -> None:
    scale = torch.tensor(scale).item()  # what the device reads is binary32
    assert check(STEP, [{}, {}], (0.0, 0.0), scale) == []
    assert check(STEP, [{"max_grad_norm": 0.5}, {}], (0.0, 0.0), scale) == []


GLOBALLY = {"each tensor": (False, False), "all": (True, True), "by group": (False, True)}


@pytest.mark.parametrize("limit", [0.0, 0.3])
@pytest.mark.parametrize("shares", [(0.1, 0.1), (0.0, 1.5)])
@pytest.mark.parametrize("globally", GLOBALLY.values(), ids=GLOBALLY)
def test_compensation_on_the_device_is_the_host_s(globally: tuple[bool, bool], shares: tuple[float, float], limit: float) -> None:
    """With a grid for the update, whose displacement ahead of it is what counts; after clipping, if that is on too."""
    grid = {"update_rounding": "stochastic", "update_resolution": 64.0}
    step = Step(STEP.rule, [{**h, **grid} for h in STEP.hypers], STEP.multipliers, STEP.chain)
    facts = [
        {"max_grad_norm": limit, "compensates": share > 0, "compensation_global": one}
        for share, one in zip(shares, globally, strict=True)
    ]
    assert check(step, facts, shares) == []
    assert check(step, facts, shares, 8.0) == []


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 3e38])
def test_gradients_that_are_not_finite_or_whose_norm_is_not(value: float, monkeypatch: pytest.MonkeyPatch) -> None:
    make = make_buckets

    def spoilt() -> list[list[Job]]:
        buckets = make()
        buckets[0][0].grad[4500] = value
        buckets[1][0].grad[100] = value
        return buckets

    monkeypatch.setitem(globals(), "make_buckets", spoilt)
    clipped, compensated = {"max_grad_norm": 0.5}, {"compensates": True, "compensation_global": True}
    both = clipped | compensated
    quiet = Step(STEP.rule, [{**h, "temperature": 0.0} for h in STEP.hypers], STEP.multipliers)
    for facts in (
        [{"max_grad_norm": 0.5}] * 2,
        [both | {"max_grad_norm": 0.0}] * 2,
        [both, both | {"compensation_global": False}],
    ):
        assert check(quiet, facts, [0.1 * one.get("compensates", 0) for one in facts]) == []


def test_gradients_that_are_all_0() -> None:
    """Nothing is clipped, and no displacement is compensated, whatever its length would be."""
    jobs = [Job(torch.ones(300), torch.zeros(300), [torch.zeros(300)], group=i) for i in range(2)]
    quiet = Step("momentum", [dict(h, temperature=0.0, compensation=0.5) for h in STEP.hypers], (1.0, 1.0))
    plan = Plan("momentum", jobs, 2)
    facts = [{"max_grad_norm": 0.5, "compensates": True, "compensation_global": i == 1} for i in range(2)]
    Shared().run([plan], [plan.make_input(quiet, facts)])
    assert all(torch.equal(job.param, torch.ones(300)) for job in jobs)


def test_the_norm_of_more_tensors_than_one_sum_takes() -> None:
    """And, in the same step, more displacements. As the CPU sees and steps them; tests/core has tested that."""
    jobs = [make_job("float32", 1 + i % 3, i) for i in range(4097)]
    wanted = [job.clone() for job in jobs]
    plan = make_plan("momentum", wanted)
    norm = total_norm(plan.square_grads([job.grad.data_ptr() for job in wanted], 1))
    known = Step(STEP.rule, STEP.hypers, [m * clip_coefficient(norm, 2.0) for m in STEP.multipliers], STEP.chain)
    whole = total_norm(plan.look_ahead(make_input(known, wanted))[SQUARES :: len(STATISTICS)])
    for job in wanted:
        job.compensation = compensation_factor(0.25 * known.hypers[job.group]["lr"], whole)
    step_native(known, wanted)
    sent = Step(STEP.rule, [dict(h, compensation=0.25) for h in STEP.hypers], STEP.multipliers, STEP.chain)
    facts = [{"max_grad_norm": 2.0, "compensates": True, "compensation_global": True}] * 2
    device = Plan("momentum", jobs, 2, counts_on_device=True)
    Shared().run([device], [device.make_input(sent, facts)])
    assert compare_jobs(jobs, wanted) == []


def numbers() -> list[float]:
    """Special values, powers of ten, and random patterns of binary64."""
    draw = random.Random(3)
    patterns = torch.tensor([draw.getrandbits(63) for _ in range(300)]).view(torch.float64).tolist()
    tiny = [5e-324, 2.0**-1022, 2.0**-149, 2.0**-126, 1e-12, 1e12, 1e300, LARGEST]
    return [abs(x) for x in (*SPECIALS, *tiny, *patterns)] + [10.0 ** draw.uniform(-45, 45) for _ in range(300)]


def test_the_norm_s_formula_is_the_reference_s() -> None:
    for squares in numbers():
        assert equal(gpu.norm_of(squares), total_norm([squares])), squares


def test_the_other_formulas_are_the_reference_s() -> None:
    draw = random.Random(4)
    values = numbers()
    for _ in range(20_000):
        first, second = draw.choice(values), draw.choice(values)
        if first > 0:
            assert equal(gpu.clip_coefficient(second, first), clip_coefficient(second, first)), (second, first)
        if not math.isnan(first):
            assert equal(gpu.compensation_factor(first, second), compensation_factor(first, second)), (first, second)
