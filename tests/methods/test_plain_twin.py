"""QuantizedSGD that quantizes nothing and has no compensation is torch.optim.SGD, within the roundings of one step."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.nn import Parameter

from qlangevin import QuantizedSGD
from qlangevin.quantizers import Grid
from tests.tolerances import bound

LR = 0.03


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("grid", [None, Grid(math.inf)], ids=["off", "infinitely fine"])
def test_one_step_from_the_twin_s_own_state(grid: Grid | None, momentum: float, decay: float) -> None:
    draw = torch.Generator().manual_seed(6)
    theirs, mine = (Parameter(torch.linspace(-2, 2, 50)) for _ in range(2))
    options: dict[str, Any] = {"momentum": momentum, "weight_decay": decay}
    twin = torch.optim.SGD([theirs], LR, **options)
    ours = QuantizedSGD([mine], LR, update_quantizer=grid, compensation=None, **options)
    for step in range(100):
        grad = torch.randn(50, generator=draw)
        buffer = twin.state[theirs].get("momentum_buffer") if momentum else None
        old = torch.zeros(50) if buffer is None else buffer.clone()
        terms = momentum * old.double().abs() + grad.double().abs() + decay * theirs.detach().double().abs()
        with torch.no_grad():
            mine.copy_(theirs)
            if buffer is not None:
                ours.state[mine]["momentum_buffer"].copy_(old)
        theirs.grad, mine.grad = grad.clone(), grad.clone()
        twin.step()
        ours.step()
        limit = bound("sgd_twin_param") * theirs.detach().double().abs() + bound("sgd_twin_update") * LR * terms
        assert bool(((mine - theirs).detach().double().abs() <= limit).all()), step
