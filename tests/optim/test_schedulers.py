"""The schedulers of torch.optim.lr_scheduler drive an SGLD as they drive torch.optim.SGD."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch

from .problems import Problem, make_problem, make_sgld
from .scheduler_table import SCHEDULERS, list_schedulers
from .snapshots import assert_same

STEPS = 7


def advance(name: str, scheduler: Any) -> None:
    if name == "ReduceLROnPlateau":
        scheduler.step(1.0)
    else:
        scheduler.step()


def drive(name: str, optimizer: torch.optim.Optimizer, problem: Problem) -> list[tuple[float, float]]:
    """(lr, momentum) of each step."""
    scheduler = SCHEDULERS[name](optimizer)
    used = []
    for step in range(1, STEPS + 1):
        group = optimizer.param_groups[0]
        used.append((float(group["lr"]), float(group["momentum"])))
        problem.run(optimizer, [step])
        advance(name, scheduler)
    return used


def test_the_table_holds_every_scheduler() -> None:
    # BatchSizeScheduler and the like of later torch versions do not set an lr; they have no row until one is needed.
    assert list_schedulers() == set(SCHEDULERS)


@pytest.mark.parametrize("tensor", [False, True])
@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_scheduler_drives_the_step(name: str, tensor: bool) -> None:
    problem, twin, manual = make_problem(), make_problem(), make_problem()
    lr: Any = torch.tensor(0.1, dtype=torch.float64) if tensor else 0.1
    optimizer = make_sgld(problem.named(), lr=lr, momentum=0.9, temperature=0.2)
    used = drive(name, optimizer, problem)
    wanted = drive(name, torch.optim.SGD(twin.list(), 0.1, momentum=0.9), twin)
    assert len({lr for lr, _ in used}) > 1, "the lr never moved"
    assert all(math.isclose(a, b, rel_tol=1e-12, abs_tol=1e-15) for a, b in zip(sum(used, ()), sum(wanted, ()), strict=True))
    hand = make_sgld(manual.named(), lr=0.1, momentum=0.9, temperature=0.2)
    for step, (lr, momentum) in enumerate(used, 1):
        hand.param_groups[0].update(lr=lr, momentum=momentum)
        manual.run(hand, [step])
    assert_same(problem.values(), manual.values())
    if tensor:
        assert isinstance(optimizer.param_groups[0]["lr"], torch.Tensor)


@pytest.mark.parametrize("name", ["CyclicLR", "OneCycleLR"])
def test_a_cycled_momentum_may_begin_at_zero(name: str) -> None:
    problem = make_problem()
    optimizer = make_sgld(problem.named(), lr=0.1)
    drive(name, optimizer, problem)
    assert all(int(optimizer.state[param]["step"]) == STEPS for param in problem.list())
    assert all("momentum_buffer" in optimizer.state[param] for param in problem.list())


@pytest.mark.parametrize("name", SCHEDULERS)
def test_scheduler_and_optimizer_resume_together(name: str) -> None:
    whole, parts = make_problem(), make_problem()
    options = {"lr": 0.1, "momentum": 0.9, "temperature": 0.2}
    drive(name, make_sgld(whole.named(), **options), whole)
    optimizer = make_sgld(parts.named(), **options)
    scheduler = SCHEDULERS[name](optimizer)
    for step in range(1, STEPS + 1):
        if step == 4:
            saved, saved_scheduler = copy.deepcopy(optimizer.state_dict()), copy.deepcopy(scheduler.state_dict())
            optimizer = make_sgld(parts.named(), **options)
            scheduler = SCHEDULERS[name](optimizer)
            scheduler.load_state_dict(saved_scheduler)
            optimizer.load_state_dict(saved)
        parts.run(optimizer, [step])
        advance(name, scheduler)
    assert_same(parts.values(), whole.values())
