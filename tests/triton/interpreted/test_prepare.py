"""The rows of scalars that the device makes are the reference's, bit for bit, in Triton's interpreter."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
import torch
from torch import Tensor

from qlangevin import reference_rules
from qlangevin.triton_kernels.prepare import LANES, Request
from qlangevin.triton_kernels.step import launch_step
from qlangevin.triton_kernels.tables import COMMON_WORDS, NUMBERS

from ...core.cases import FULL
from ...core.kernels import Job, Step, compare_jobs, settings, step_reference
from ..launching import dtypes_of, make_tables
from ..preparing import JUNK, Group, Preparation

RULES = reference_rules.RULES
INF, NAN = math.inf, math.nan
LAST = 2**32 - 1  # of a step and a chain
MATERIALS: dict[str, tuple[Any, ...]] = {
    "lr": (0.0, 0.1, 1e-3, 1.0, 3e38, 1e-40, 1e-46, 1e300, 1e-320),
    "temperature": (0.0, 1.3, 1e-4, 1e-300, 1e300),
    "weight_decay": (0.0, 0.1, 1e-44, 1e39),
    "decoupled_weight_decay": (0.0, 0.01, 1e-39),
    "grad_resolution": (INF, 64.0, 1e4, 1e-310, 3.0, 1e300),
    "update_resolution": (INF, 1024.0, 1e4 / 3, 1e-39),
    "noise": ("gaussian", "uniform", "rademacher", "averaged_gaussian", "averaged_uniform", "averaged_rademacher"),
    "grad_rounding": ("off", "nearest", "stochastic", "floor", "dither"),
    "update_rounding": ("off", "nearest", "stochastic", "floor", "dither"),
    "stochastic_param": (False, True),
    "stochastic_state": (False, True),
    "corrected_param": (False, True),
    "grad_blocks": (False, True),
    "momentum": (0.0, 0.9, 0.99999999, 1 / 3, 1e-310),
    "dampening": (0.0, 0.3, 1.0),
    "nesterov": (False, True),
    "friction": (0.1, 1.0, 1 / 3),
    "noise_estimate": (0.0, 0.02, 0.1),
    "alpha": (0.0, 0.99, 1.0, 1e-40),
    "rho": (0.0, 0.9, 1 / 3),
    "lr_decay": (0.0, 0.01, 1e-300, 1e300),
    "eps": (0.0, 1e-8, 1e-46, 1e39),
    "beta1": (0.0, 0.9, 1 / 3, 1 - 2.0**-40, 1e-300),
    "beta2": (0.0, 0.999, 1 - 2.0**-53, 2 / 3),
    "epsilon_hat": (False, True),
    "momentum_in_drift": (False, True),
    "frozen_at": (0, 1, 2, 1000, 2**31, LAST - 1, 2**52),
    "compensation": (0.0, 0.5, 1e30),
}
FRACTIONS = ("momentum", "dampening", "friction", "noise_estimate", "alpha", "rho", "lr_decay", "eps", "beta1", "beta2")
STEPS = (1, 2, 3, 1000, 2**31 - 1, 2**31, LAST - 1, LAST)
SQUARES = (0.0, 1e-300, 5e-324, 0.3, 2.0, 1e90, INF, NAN)


def draw_hyper(draw: random.Random) -> dict[str, Any]:
    """Hyper-parameters of which each may be any; half of them not special."""
    found = {}
    for name, values in MATERIALS.items():
        usual = isinstance(values[0], float) and name not in FRACTIONS and draw.random() < 0.5
        found[name] = math.exp(draw.uniform(-9.0, 3.0)) if usual else draw.choice(values)
    return settings(**found)


def check(preparation: Preparation) -> Tensor:
    """Runs it; the rows are those that the reference makes, and NaN is NaN."""
    wanted = preparation.make_wanted()
    counted = {i: preparation.step_of(i) if preparation.request.counts else int(c) for i, c in preparation.counters.items()}
    got = preparation.run()
    words = torch.arange(got.shape[1])
    numbers = (words < NUMBERS.value) | (words >= COMMON_WORDS.value) & (words < len(words) - 2)
    same = (got == wanted) | (got.view(torch.float32).isnan() & wanted.view(torch.float32).isnan() & numbers)
    if not bool(same.all()):
        i, k = map(int, (~same).nonzero()[0])
        raise AssertionError(f"tensor {i}, word {k}: {int(got[i, k]):#x}, not {int(wanted[i, k]):#x}; {preparation}")
    assert {i: int(counter) for i, counter in preparation.counters.items()} == counted
    return got


def one(rule: str, request: Request, hyper: dict[str, Any] | None = None, **changes: Any) -> Preparation:
    """One tensor of one group."""
    facts = {name: changes.pop(name) for name in ("lr", "temperature", "schedule", "facts") if name in changes}
    return Preparation(rule, [Group(hyper or settings(**USUAL), **facts)], [0], request, **changes)


USUAL = {"lr": 0.3, "temperature": 0.7, "momentum": 0.9, "dampening": 0.25, "compensation": 0.5}


def draw_group(draw: random.Random) -> Group:
    """A group of any kind."""
    numbers = {}
    for name in ("lr", "temperature"):
        if draw.random() < 0.4:
            value, dtype = draw.choice(MATERIALS[name]), draw.choice((torch.float32, torch.float64))
            numbers[name] = torch.tensor(value, dtype=torch.float64).to(dtype)
    schedule = [draw_hyper(draw) for _ in range(draw.choice((0, 0, 1, 5)))]
    facts = {
        "grad_multiplier": draw.choice((1.0, -1.0, 0.37)),
        "max_grad_norm": draw.choice((0.0, 0.5, 1e-3, 1e30)),
        "compensates": draw.random() < 0.7,
        "compensation_global": draw.random() < 0.5,
    }
    return Group(draw_hyper(draw), numbers.get("lr"), numbers.get("temperature"), schedule, facts)


@pytest.mark.parametrize("seed", range(2000 if FULL else 70))
@pytest.mark.parametrize("rule", RULES)
def test_anything_at_once(rule: str, seed: int) -> None:
    """Blocks of 32 tensors and parts of one, of several groups, some with counters."""
    draw = random.Random(seed)
    groups, count = [draw_group(draw) for _ in range(draw.choice((1, 2, 5)))], draw.choice((1, 3, 31, 32, 33, 70))
    mode = draw.choice(("known", "steps", "counters"))
    request = Request(
        draw.choice((0, 1, 77, 2**31, LAST)),
        draw.choice(STEPS) if mode == "known" else 0,
        mode == "counters",
        draw.random() < 0.3,
        draw.random() < 0.7,
        draw.random() < 0.8,
    )
    check(
        Preparation(
            rule,
            groups,
            [draw.randrange(len(groups)) for _ in range(count)],
            request,
            [draw.choice((*STEPS, 4, 5, 6)) for _ in range(count)],
            {i: torch.tensor(draw.choice(STEPS) - 1) for i in range(count) if draw.random() < 0.5},
            torch.randn(count, generator=torch.Generator().manual_seed(seed)).tolist(),
            draw.choice((1.0, 65536.0, 3.0, 0.1, 1e-40, 0.0, INF, NAN)),
            grad_squares=draw.choice(SQUARES),
            displacement_squares=draw.choice(SQUARES),
            ahead=[draw.choice(SQUARES) for _ in range(count)],
        )
    )


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("rule", RULES)
def test_steps_and_chains_of_32_bits(rule: str, step: int) -> None:
    """The same row whoever says the step."""
    for chain in (0, 1, 2**31 - 1, 2**31, LAST):
        counter = torch.tensor(step - 1)
        rows = [
            check(one(rule, Request(chain, step))),
            check(one(rule, Request(chain), steps=[step])),
            check(one(rule, Request(chain, from_counters=True), counters={0: counter})),
        ]
        assert rows[0].equal(rows[1]) and rows[0].equal(rows[2]) and int(counter) == step
        assert [int(word) % 2**32 for word in rows[0][0, -2:]] == [step, chain]


def test_a_counter_is_written_whoever_says_the_step_unless_it_is_only_looked_at() -> None:
    requests = {9: Request(0, 9), 7: Request(0), 6: Request(0, from_counters=True), 5: Request(0, 9, counts=False)}
    for wanted, request in requests.items():
        counter = torch.tensor(5)
        check(one("momentum", request, steps=[7], counters={0: counter}))
        assert int(counter) == wanted


@pytest.mark.parametrize("found_inf", [1.0, -0.5, INF, NAN])
@pytest.mark.parametrize("rule", RULES)
def test_where_found_inf_is_set_nothing_is_written_or_counted(rule: str, found_inf: float) -> None:
    counter = torch.tensor(5)
    schedule = [settings()]
    preparation = one(rule, Request(0, from_counters=True), schedule=schedule, counters={0: counter}, found_inf=found_inf)
    assert bool((preparation.run() == JUNK).all()) and int(counter) == 5 and preparation.overrun == 0


@pytest.mark.parametrize("rule", RULES)
def test_a_schedule_is_read_at_each_step_and_its_last_row_beyond(rule: str) -> None:
    schedule = [settings(**USUAL | {"lr": 0.1 / (i + 1), "temperature": 1.0 * i}) for i in range(4)]
    factors = []
    for step, overrun in ((1, 0), (2, 0), (4, 0), (5, 1), (LAST, 1)):
        preparation = one(rule, Request(0, step), schedule=schedule)
        factors.append(check(preparation)[0, 2].item())
        assert preparation.overrun == overrun
    assert len(set(factors)) == 3 and factors[2] == factors[3] == factors[4]
    before = one(rule, Request(0), steps=[0], schedule=schedule).run()  # that the reference divides by 0 at, of some rules
    assert before[0, 2].item() == factors[0]


def test_only_a_scheduled_tensor_overruns_and_the_flag_is_not_taken_back() -> None:
    groups = [Group(settings(**USUAL)), Group(settings(), schedule=[settings(lr=0.5)])]
    for steps, before, overrun in (([2, 1], 0, 0), ([1, 2], 0, 1), ([2, 1], 1, 1)):
        preparation = Preparation("momentum", groups, [0, 1], Request(0), steps, overrun=before)
        check(preparation)
        assert preparation.overrun == overrun


def test_every_counter_counts_once() -> None:
    """Lanes beyond the last tensor repeat it, and must not."""
    count, request = LANES.value + 1, Request(0, from_counters=True)
    counters = {i: torch.tensor(i) for i in range(count)}
    check(Preparation("momentum", [Group(settings(**USUAL))], [0] * count, request, counters=counters))
    assert [int(counter) for counter in counters.values()] == list(range(1, count + 1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rule", RULES)
def test_numbers_on_the_device_stand_above_the_schedule_s(rule: str, dtype: torch.dtype) -> None:
    lr, temperature = torch.tensor(0.1, dtype=dtype), torch.tensor(1.3, dtype=dtype)
    schedule = [settings(**USUAL | {"weight_decay": 0.1, "decoupled_weight_decay": 0.01})] * 2
    for numbers in ({"lr": lr}, {"temperature": temperature}, {"lr": lr, "temperature": temperature}):
        for facts in ({}, {"schedule": schedule}):
            check(one(rule, Request(0, 2), **numbers, **facts))
    lr.zero_()
    row = check(one(rule, Request(0, 2), lr=lr))
    assert float(row.view(torch.float32)[0, 4]) == 0.0  # no noise where nothing moves


@pytest.mark.parametrize("squares", SQUARES)
@pytest.mark.parametrize("scale", [1.0, 65536.0, 3.0, 1e-40, INF])
def test_gradients_are_unscaled_and_clipped(squares: float, scale: float) -> None:
    for most in (0.0, 0.5, 1e30):
        for sign in (1.0, -1.0):
            facts = {"max_grad_norm": most, "grad_multiplier": sign}
            check(one("plain", Request(0, 1), facts=facts, grad_scale=scale, grad_squares=squares))


@pytest.mark.parametrize("squares", SQUARES)
@pytest.mark.parametrize("rule", RULES)
def test_compensations_of_each_kind(rule: str, squares: float) -> None:
    """The host's; the tensor's own; that of all; and none where the group has none or the step is looked at."""
    own = {"ahead": [squares], "displacement_squares": 4.0}
    shared = {"ahead": [4.0], "displacement_squares": squares}
    found = []
    for compensation in (0.5, 0.0, 1e30):
        h = settings(**USUAL | {"compensation": compensation})
        for request in (Request(0, 1, device_compensations=True), Request(0, 1, device_compensations=True, counts=False)):
            for facts in ({}, {"compensates": True}):
                found.append(check(one(rule, request, h, facts=facts, **own)))
                check(one(rule, request, h, facts={**facts, "compensation_global": True}, **shared))
        check(one(rule, Request(0, 1), h, facts={"compensates": True}, **own))
        check(one(rule, Request(0, 1, host_compensations=True), h, facts={"compensates": True}, compensations=[0.25], **own))
    made = [float(row.view(torch.float32)[0, 5]) for row in found]
    assert made[0] == made[2] == made[3] == 0.0 and (made[1] != 0.0 or squares not in (0.3, 2.0))


def test_no_tensors_are_no_launch() -> None:
    preparation = Preparation("plain", [Group(settings())], [], Request(0, 1), ahead=[])
    assert bool((preparation.run() == JUNK).all())


@pytest.mark.parametrize("rule", RULES)
def test_steps_of_which_the_host_makes_no_scalar(rule: str) -> None:
    """The rows go to the step as they are, and a counter on the device leads from one step to the next."""
    generator = torch.Generator().manual_seed(6)
    jobs = []
    for i, size in enumerate((300, 9)):
        param, grad, *states = (torch.randn(size, generator=generator).abs() for _ in range(2 + len(RULES[rule].states)))
        jobs.append(Job(param, grad, states, key=i, group=i, steps=torch.tensor(5 * i)))
    hypers = [settings(**USUAL | {"compensation": 0.0}), settings(lr=0.1, update_rounding="stochastic", update_resolution=64.0)]
    wanted, step = [job.clone() for job in jobs], Step(rule, hypers, (1.0, 1.0), chain=3)
    counters = {i: job.steps for i, job in enumerate(jobs)}
    for _ in range(2):
        step_reference(step, wanted)
        rows = Preparation(rule, list(map(Group, hypers)), [0, 1], Request(3, from_counters=True), counters=counters).run()
        launch_step(rule, dtypes_of(jobs[0]), make_tables(step, jobs)._replace(rows=rows))
        assert compare_jobs(jobs, wanted) == []
