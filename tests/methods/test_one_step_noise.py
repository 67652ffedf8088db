"""The noise of one step while the preconditioner adapts: variance 2 lr T P, P as the state's update of that step leaves it.

Gradients are prescribed and differ from step to step and from row to row; each step begins at x = 0, so that the parameter is
the displacement. Where P depends on the noise itself (Adadelta), every replica has its own.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import Parameter

from qlangevin import SGHMC, LangevinAdadelta, LangevinAdagrad, LangevinAdam, LangevinAdamW, LangevinRMSprop
from tests.tolerances import bound

from .preconditioners import EPS, Adadelta, Adagrad, Adam, MakeRule, RMSprop
from .replicas import Array, check_mean

COUNT, LR, T = 20_000, 0.01, 0.3
SCALES = np.array([100.0, 1.0, 0.01])[:, None]
SHAPES = (1.0, -0.3, 2.0, 0.1, 0.7, -1.5, 0.05, -4.0, 0.3, 1.2)  # of the gradients along ten steps
LOOKS = (1, 2, 10)

RULES: dict[str, tuple[Any, MakeRule, dict[str, Any]]] = {
    "RMSprop": (LangevinRMSprop, lambda lr: RMSprop(lr, alpha=0.9), {"alpha": 0.9}),
    "RMSprop, centred": (LangevinRMSprop, lambda lr: RMSprop(lr, alpha=0.9, centered=True), {"alpha": 0.9, "centered": True}),
    "RMSprop, momentum": (LangevinRMSprop, lambda lr: RMSprop(lr, alpha=0.9, momentum=0.8), {"alpha": 0.9, "momentum": 0.8}),
    "RMSprop, centred, momentum": (
        LangevinRMSprop,
        lambda lr: RMSprop(lr, alpha=0.9, centered=True, momentum=0.8),
        {"alpha": 0.9, "centered": True, "momentum": 0.8},
    ),
    "Adagrad": (LangevinAdagrad, Adagrad, {}),
    "Adagrad, decay": (LangevinAdagrad, lambda lr: Adagrad(lr, decay=0.3), {"lr_decay": 0.3}),
    "Adam": (LangevinAdam, Adam, {"betas": (0.9, 0.99)}),
    "AdamW": (LangevinAdamW, Adam, {"betas": (0.9, 0.99)}),
    "Adam, no momentum": (
        LangevinAdam,
        lambda lr: Adam(lr, momentum_in_drift=False),
        {"betas": (0.9, 0.99), "momentum_in_drift": False},
    ),
    "Adam, amsgrad": (
        LangevinAdam,
        lambda lr: Adam(lr, betas=(0.9, 0.5), amsgrad=True),
        {"betas": (0.9, 0.5), "amsgrad": True},
    ),
    "Adadelta": (LangevinAdadelta, lambda lr: Adadelta(lr, rho=0.9), {"rho": 0.9}),
}


def standardize(rule: str, temperature: float = T) -> dict[int, Array]:
    """The noise of the steps to look at, over its standard deviation."""
    optimizer_class, make, options = RULES[rule]
    theirs = make(LR)
    param = Parameter(torch.zeros(len(SCALES), COUNT))
    param.grad = torch.zeros_like(param)
    optimizer = optimizer_class([param], LR, temperature=temperature, eps=EPS, seed=21, **options)
    found = {}
    for step, shape in enumerate(SHAPES, 1):
        g = (SCALES * shape).astype(np.float32).astype(np.float64)
        param.grad.copy_(torch.from_numpy(g))
        with torch.no_grad():
            param.zero_()
        optimizer.step()
        displacement = param.detach().double().numpy()
        drift, p = theirs.step(g)
        if step in LOOKS:
            found[step] = (displacement + LR * drift) / np.sqrt(2 * LR * temperature * p)
        theirs.see(displacement)
    if rule == "Adadelta":  # averages the squares of the final displacement over lr, noise included
        accumulated = optimizer.state[param]["acc_delta"].double().numpy()
        assert np.abs(accumulated / theirs.averages["u"] - 1).max() < bound("step_roundings") * 2.0**-24
    return found


@pytest.mark.parametrize("rule", RULES)
def test_the_noise_of_a_step_has_variance_2_lr_t_p(rule: str) -> None:
    for step, rows in standardize(rule).items():
        for noise in rows:
            check_mean(noise, 0.0)
            z = ((noise**2).mean() - 1) * math.sqrt(COUNT / 2)
            assert abs(z) < bound("z"), (step, z)


def test_adam_s_first_steps_are_hotter_by_their_bias_correction() -> None:
    """With equal gradients g: P = 1 / ((1 - beta1^k) (|g| + eps)), ten times its later value at first."""
    param = Parameter(torch.zeros(COUNT))
    param.grad = torch.full((COUNT,), 2.0)
    optimizer = LangevinAdam([param], LR, temperature=T, eps=EPS, seed=21)
    for step in range(1, 11):
        with torch.no_grad():
            param.zero_()
        optimizer.step()
        if step in LOOKS:
            wanted = 2 * LR * T / ((1 - 0.9**step) * (2.0 + EPS))
            z = (float(param.detach().double().var()) / wanted - 1) * math.sqrt(COUNT / 2)
            assert abs(z) < bound("z"), (step, z)


@pytest.mark.parametrize("noise_estimate", [0.0, 0.03])
def test_sghmc_s_noise_is_remembered_by_its_velocity(noise_estimate: float) -> None:
    """Variance 2 (friction - noise_estimate) lr T in v, x -= v; v then decays by the friction, noise and all."""
    param = Parameter(torch.zeros(COUNT))
    param.grad = torch.zeros(COUNT)
    friction = 0.1
    optimizer = SGHMC([param], LR, temperature=T, friction=friction, noise_estimate=noise_estimate, seed=21)
    velocity = np.zeros(COUNT)
    for shape in SHAPES:
        param.grad.fill_(shape)
        with torch.no_grad():
            param.zero_()
        optimizer.step()
        new = -param.detach().double().numpy()
        noise = new - (1 - friction) * velocity - LR * shape
        z = ((noise**2).mean() / (2 * (friction - noise_estimate) * LR * T) - 1) * math.sqrt(COUNT / 2)
        assert abs(z) < bound("z"), z
        check_mean(noise, 0.0)
        velocity = new


def test_adadelta_s_preconditioner_grows_by_its_own_noise() -> None:
    """From u = 0: E u = (1 - rho) (P^2 g^2 + 2 T P / lr); the noise is nearly all of it, and the next P is made of it."""
    param = Parameter(torch.zeros(1, COUNT))
    param.grad = torch.full((1, COUNT), 0.1)
    optimizer = LangevinAdadelta([param], LR, rho=0.9, temperature=T, eps=EPS, seed=21)
    optimizer.step()
    p = math.sqrt(EPS / (0.1 * 0.01 + EPS))
    accumulated = optimizer.state[param]["acc_delta"].double().numpy()
    check_mean(accumulated[0], 0.1 * (p**2 * 0.01 + 2 * T * p / LR))
    without = 0.1 * p**2 * 0.01
    assert accumulated.mean() > 1000 * without
