"""A thousand steps of the optimizers beside independent restatements of the published rules, on a quadratic with mini-batches.

Parameters are binary64 on the reference backend. The two programs differ by their roundings, 2^-53 a term, which a contracting
quadratic forgets; a rounding to the grid would tell them apart only where Q u is within 1e-11 of a tie, with probability 1e-6.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch.nn import Parameter

from qlangevin import CoolMomentum, QuantizedSGD
from qlangevin.quantizers import Compensation, Grid, LogResolution
from qlangevin.schedules import COOLINGS, Cooling
from tests.tolerances import bound

from .published import Array, CoolingRule, QuantizedRule

SIZE, STEPS, BATCHES, LR = 12, 1000, 16, 0.0078125


class MiniBatches:
    """U = (x - c)' A (x - c) / 2, a centre c for each of 16 batches; A's eigenvalues are 1/2 to 20."""

    def __init__(self) -> None:
        draw = np.random.default_rng(3)
        basis, _ = np.linalg.qr(draw.normal(size=(SIZE, SIZE)))
        self.curvature = basis @ np.diag(np.linspace(0.5, 20.0, SIZE)) @ basis.T
        self.centres = draw.normal(size=(BATCHES, SIZE))
        self.start = draw.normal(size=SIZE) * 3

    def gradient(self, x: Array, step: int) -> Array:
        return np.asarray(self.curvature @ (x - self.centres[step % BATCHES]))


def run(optimizer: torch.optim.Optimizer, problem: MiniBatches, steps: int) -> Iterator[Array]:
    """The parameters after every step of an optimizer of one parameter."""
    (param,) = optimizer.param_groups[0]["params"]
    for step in range(steps):
        param.grad = torch.from_numpy(problem.gradient(param.detach().numpy(), step))
        optimizer.step()
        yield param.detach().numpy().copy()


def check(rule: QuantizedRule | CoolingRule, optimizer: torch.optim.Optimizer, problem: MiniBatches, steps: int = STEPS) -> None:
    pairs = zip(run(optimizer, problem, steps), rule.follow(problem.start, problem.gradient), strict=False)
    for step, (got, wanted) in enumerate(pairs, 1):
        assert np.abs(got - wanted).max() <= bound("trajectory"), f"step {step}"


@pytest.mark.parametrize("paper", [False, True], ids=["eta 2^19", "eta^2 2^19"])
@pytest.mark.parametrize("envelope", ["", "tanh", "sigmoid"])
@pytest.mark.parametrize("rounding", ["nearest", "floor"])
def test_the_learning_equation(rounding: str, envelope: str, paper: bool) -> None:
    problem = MiniBatches()
    rule = QuantizedRule(LR, BATCHES, 0.5 if rounding == "nearest" else 0.0, envelope, tau0=20.0, kappa=0.25, paper=paper)
    schedule = LogResolution.of_the_paper(BATCHES) if paper else LogResolution(BATCHES)
    optimizer = QuantizedSGD(
        [Parameter(torch.from_numpy(problem.start.copy()))],
        LR,
        update_quantizer=Grid(schedule, rounding),
        compensation=Compensation(20.0, BATCHES, slope=0.25, envelope=envelope) if envelope else None,
        backend="reference",
    )
    check(rule, optimizer, problem)


@pytest.mark.parametrize("warm_up", [0, 100])
@pytest.mark.parametrize("form", COOLINGS)
def test_cool_momentum(form: str, warm_up: int) -> None:
    problem = MiniBatches()
    optimizer = CoolMomentum(
        [Parameter(torch.from_numpy(problem.start.copy()))],
        LR,
        momentum=Cooling(total_steps=STEPS, form=form, warmup_steps=warm_up),
        backend="reference",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the cooling is over
        check(CoolingRule(LR, STEPS, form, warm_up=warm_up), optimizer, problem, STEPS + 20)
