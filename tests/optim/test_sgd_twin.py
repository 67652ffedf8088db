"""At temperature 0 with nearest rounding SGLD is torch.optim.SGD, within the roundings of one step."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.tolerances import bound

from .problems import Problem, make_problem, make_sgld

STEPS = 100
LR = 0.03
COMBINATIONS = [
    {"momentum": momentum, "dampening": dampening, "nesterov": nesterov, "weight_decay": decay, "maximize": maximize}
    for momentum, dampening, nesterov, decay, maximize in itertools.product(
        (0.0, 0.9), (0.0, 0.3), (False, True), (0.0, 0.1), (False, True)
    )
    if not (nesterov and (momentum == 0.0 or dampening)) and not (dampening and momentum == 0.0)
]


def magnitudes(options: dict[str, Any], step: int, param: Tensor, grad: Tensor, velocity: Tensor | None) -> tuple[Tensor, Tensor]:
    """In binary64 the sums of the absolute values of the terms of the new velocity, and of the displacement over lr."""
    g = grad.double().abs() + options["weight_decay"] * param.double().abs()
    if not options["momentum"]:
        return torch.zeros_like(g), g
    old = torch.zeros_like(g) if velocity is None else velocity.double().abs()
    factor = 1.0 if step == 1 else 1.0 - options["dampening"]
    new = options["momentum"] * old + factor * g
    return new, g + options["momentum"] * new if options["nesterov"] else new


def follow(
    problem: Problem, twin: torch.optim.SGD, state_dict: dict[str, Any] | None, backend: str, step: int, **options: Any
) -> None:
    """Takes the twin's next step from the twin's own state with SGLD, and compares."""
    copied = make_problem()
    for one, other in zip(copied.list(), problem.list(), strict=True):
        one.data.copy_(other)
    optimizer = make_sgld(copied.list(), lr=LR, backend=backend, param_rounding="nearest", state_rounding="nearest", **options)
    if state_dict is not None:
        optimizer.load_state_dict(state_dict)
    copied.run(optimizer, [step])
    before = [(p.detach().clone(), twin.state.get(p, {}).get("momentum_buffer")) for p in problem.list()]
    before = [(p, None if v is None else v.clone()) for p, v in before]
    problem.run(twin, [step])
    for mine, theirs, (param, velocity) in zip(copied.list(), problem.list(), before, strict=True):
        assert theirs.grad is not None
        of_velocity, of_update = magnitudes(options, step, param, theirs.grad, velocity)
        limit = bound("sgd_twin_param") * param.double().abs() + bound("sgd_twin_update") * LR * of_update
        assert bool(((mine.double() - theirs.double()).abs() <= limit).all()), step
        if options["momentum"]:
            difference = optimizer.state[mine]["momentum_buffer"].double() - twin.state[theirs]["momentum_buffer"].double()
            assert bool((difference.abs() <= bound("sgd_twin_velocity") * of_velocity).all()), step


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("options", COMBINATIONS, ids=lambda o: ",".join(f"{k}={v}" for k, v in o.items() if v) or "plain")
def test_one_step_from_the_twin_s_own_state(options: dict[str, Any], backend: str) -> None:
    problem = make_problem()
    twin = torch.optim.SGD(problem.list(), LR, **options)
    for step in range(1, STEPS + 1):
        follow(problem, twin, twin.state_dict() if step > 1 else None, backend, step, **options)


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_steps_without_rounding_are_equal(momentum: float, backend: str) -> None:
    # Small integers over powers of two: every operation of either program is exact, so that any order of them agrees.
    results = []
    for kind in ("twin", "ours"):
        param = torch.nn.Parameter(torch.arange(-8.0, 8.0))
        optimizer: Any = (
            torch.optim.SGD([param], 0.25, momentum=momentum)
            if kind == "twin"
            else make_sgld([param], lr=0.25, momentum=momentum, backend=backend)
        )
        for step in range(1, 6):
            param.grad = torch.arange(16.0) - 2.0 * step
            optimizer.step()
        results.append(param.detach())
    assert results[0].equal(results[1])
