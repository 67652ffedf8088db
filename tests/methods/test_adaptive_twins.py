"""At temperature 0 with nearest rounding the optimizers with a preconditioner, and SGHMC, are torch.optim's to the roundings."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import Parameter

import qlangevin
from qlangevin.reference_rules import RULES

from .twins import LIMITS, Before, param_limit

STEPS, SIZE = 100, 64
SMALLEST = 2.0**-126  # a result below is a subnormal number, whose roundings are not relative
NO_GRID: dict[str, Any] = {"update_quantizer": None, "compensation": None}
DECAY = {"weight_decay": 0.1}
ADAM: list[dict[str, Any]] = [
    {},
    {"amsgrad": True},
    {"betas": (0.5, 0.9), "eps": 1e-3},
    {"betas": (0.0, 0.99), "lr": 1.0},
    {**DECAY, "maximize": True},
    {**DECAY, "amsgrad": True, "eps": 1e-12},
]
ADAMW: list[dict[str, Any]] = [{**DECAY, "lr": 0.3}, {**DECAY, "maximize": True, "amsgrad": True}]
# Our optimizer's name, its twin's, the options of both with torch's names, and what ours is given besides.
TWINS: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    *(("LangevinAdam", "Adam", options, {}) for options in ADAM),
    *(("LangevinAdam", "AdamW", options, {"decoupled_weight_decay": True}) for options in ADAMW),
    *(("LangevinAdamW", "AdamW", options, {}) for options in ADAMW),
    *(("QuantizedAdam", "Adam", options, NO_GRID) for options in ADAM),
    *(("QuantizedAdamW", "AdamW", options, NO_GRID) for options in ADAMW),
    *(
        ("LangevinRMSprop", "RMSprop", {"alpha": 0.99, **options}, {})
        for options in ({}, {"alpha": 0.5, "eps": 1e-3}, {**DECAY, "maximize": True})
    ),
    *(
        ("LangevinRMSprop", "RMSprop", {"alpha": alpha, **options, **form}, {})
        for form in ({"centered": True}, {"momentum": 0.9}, {"centered": True, "momentum": 0.5})
        for alpha, options in ((0.99, {}), (0.7, {"eps": 1e-3}), (0.95, {**DECAY, "maximize": True}))
    ),
    *(
        ("LangevinAdagrad", "Adagrad", options, {})
        for options in ({}, {"lr_decay": 0.1}, {"initial_accumulator_value": 0.5, "lr_decay": 1e-3}, {**DECAY, "maximize": True})
    ),
    *(
        ("LangevinAdadelta", "Adadelta", {"lr": 1.0, "rho": 0.9, "eps": 1e-6, **options}, {})
        for options in ({}, {"lr": 0.3}, {"lr": 7.0, "rho": 0.5, "eps": 1e-3}, {**DECAY, "maximize": True})
    ),
    *(
        ("SGHMC", "SGD", {"momentum": 1.0 - friction, **options}, {"friction": friction, "temperature": 0.0})
        for friction, options in ((0.1, {}), (0.01, {**DECAY, "lr": 1.3}), (0.9, {**DECAY, "maximize": True}))
    ),
]


class Pair:
    """The twin, and ours with the same options."""

    def __init__(self, ours: str, theirs: str, options: dict[str, Any], given: dict[str, Any]) -> None:
        """Makes both; the elements' gradients are of magnitudes from 1e-7 to 1e5, so that eps prevails or the moments."""
        self.theirs, self.mine = (Parameter(torch.linspace(-2.0, 2.0, SIZE)) for _ in range(2))
        self.options = {"lr": 0.03, **({} if theirs == "SGD" else {"eps": 1e-8}), **options}
        self.twin = getattr(torch.optim, theirs)([self.theirs], **self.options)
        taken = {name: value for name, value in self.options.items() if theirs != "SGD" or name != "momentum"}
        nearest = {"param_rounding": "nearest", "state_rounding": "nearest"}
        self.ours: Any = getattr(qlangevin, ours)([self.mine], **nearest, **taken, **given)
        self.limits, self.options["decoupled"] = LIMITS[theirs], theirs == "AdamW"
        self.states = RULES[self.ours.rule_of(self.ours.param_groups[0])].states

    def read_states(self, optimizer: torch.optim.Optimizer, param: Parameter) -> dict[str, Tensor]:
        """Those of the twin or of ours, in our unit: SGHMC's velocity includes lr."""
        unit = self.options["lr"] if isinstance(optimizer, torch.optim.SGD) else 1.0
        begun = torch.full_like(param, self.options.get("initial_accumulator_value", 0.0), requires_grad=False)
        return {name: unit * optimizer.state[param].get(name, begun).double() for name in self.states}

    def step(self, step: int, grad: Tensor) -> dict[str, float]:
        """How far both are apart after a step from the twin's state, as shares of what they may be."""
        states = self.read_states(self.twin, self.theirs)
        with torch.no_grad():
            self.theirs[::4] = 0.0  # where the new parameter is the displacement
            self.mine.copy_(self.theirs)
            for name, value in states.items() if step > 1 else ():
                self.ours.state[self.mine][name].copy_(value)
        at = Before(self.theirs.detach().double(), grad.double(), states, step)
        for optimizer, param in ((self.twin, self.theirs), (self.ours, self.mine)):
            param.grad = grad.clone()
            optimizer.step()
        limits = self.limits(self.options, at)
        got, wanted = self.read_states(self.ours, self.mine), self.read_states(self.twin, self.theirs)
        got["param"], wanted["param"] = self.mine.detach().double(), self.theirs.detach().double()
        got["displacement"], wanted["displacement"] = got["param"][::4], wanted["param"][::4]
        limits["param"] = param_limit(self.options, at, wanted["param"], limits["displacement"])
        limits["displacement"] = limits["displacement"][::4]
        assert limits.keys() == got.keys()
        assert all(bool(value.isfinite().all()) for value in wanted.values())
        apart = {name: (got[name] - wanted[name]).abs() for name in got}
        return {name: float((apart[name] / limits[name].clamp(min=SMALLEST)).max()) for name in got}


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize(("ours", "theirs", "options", "given"), TWINS, ids=lambda value: str(value)[:60])
def test_one_step_from_the_twin_s_own_state(
    ours: str, theirs: str, options: dict[str, Any], given: dict[str, Any], backend: str
) -> None:
    pair = Pair(ours, theirs, options, {**given, "backend": backend})
    draw = torch.Generator().manual_seed(6)
    magnitude = 10.0 ** torch.linspace(-7.0, 5.0, SIZE)[torch.randperm(SIZE, generator=draw)]
    for step in range(1, STEPS + 1):
        shares = pair.step(step, torch.randn(SIZE, generator=draw) * magnitude)
        assert max(shares.values()) <= 1.0, (step, shares)


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_one_step_with_gradients_that_hardly_vary(momentum: float, backend: str) -> None:
    """Their mean is 10 deviations, so that the variance is a hundredth of the second moment."""
    options = {"alpha": 0.9, "centered": True, "momentum": momentum}
    pair = Pair("LangevinRMSprop", "RMSprop", options, {"backend": backend})
    draw = torch.Generator().manual_seed(7)
    for step in range(1, STEPS + 1):
        shares = pair.step(step, 1.0 + 0.1 * torch.randn(SIZE, generator=draw))
        assert max(shares.values()) <= 1.0, (step, shares)
    state = pair.ours.state[pair.mine]
    assert float((1.0 - state["grad_avg"] ** 2 / state["square_avg"]).median()) < 0.02
