"""The chains with a frozen preconditioner and no momentum on a x^2 / 2: a Var x / T = 1 / (1 - K / 2), K = lr P a, whatever P.

Noise by P in the place of sqrt(P) would make it P times that, from 0.1 to 100 here.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import Parameter

from qlangevin import LangevinAdagrad, LangevinAdamW, LangevinRMSprop, temperature
from tests.tolerances import bound

from .frozen import PRECONDITIONERS, SOFT, STIFF, WITHOUT_MOMENTUM, Frozen, Rows, root_of
from .replicas import Array, check_mean

COUNT, T = 10_000, 0.3  # in a row: a standard error of 1.4 %; laws that are confused differ by 30 % in a row or more
STEPS = math.ceil(5 / min(STIFF))  # the start is forgotten to less than e^-10 of the variance


def check_rows(rows: Rows, variances: Array) -> None:
    """The sampled variance of every row against an exact one, of a normal law with mean 0."""
    x = rows.run.x
    z = ((x**2).mean(axis=1) / variances - 1) * math.sqrt(x.shape[1] / 2)
    assert np.abs(z).max() < bound("z"), z
    for row in x:
        check_mean(row, 0.0)


@pytest.mark.parametrize("kappa", [STIFF, SOFT], ids=["steep where P is large", "steep where P is small"])
@pytest.mark.parametrize("rule", WITHOUT_MOMENTUM)
def test_a_frozen_chain_settles_at_its_law_whatever_p(rule: str, kappa: tuple[float, ...]) -> None:
    rows = WITHOUT_MOMENTUM[rule].start(kappa, COUNT, T)
    rows.run.run(STEPS)
    check_rows(rows, T / rows.curvatures / (1 - np.array(kappa) / 2))


@pytest.mark.parametrize("rule", ["RMSprop", "Adam"])
def test_noise_of_the_gradients_heats_a_frozen_chain(rule: str) -> None:
    """By lr P s^2 / 2, s their deviation: (2 lr T P + (lr P s)^2) / (1 - (1 - K)^2)."""
    rows = WITHOUT_MOMENTUM[rule].start(STIFF, COUNT, T, grad_noise=5.0)
    rows.run.run(STEPS)
    heat = rows.lr * 25.0 / PRECONDITIONERS / 2
    check_rows(rows, (T + heat) / rows.curvatures / (1 - np.array(STIFF) / 2))


@pytest.mark.parametrize("decay", [0.01, 0.5])
def test_adagrad_with_lr_decay_follows_its_recursion(decay: float) -> None:
    """Var' = (1 - lr_k P a)^2 Var + 2 lr_k T P with lr_k = lr / (1 + (k - 1) decay), k = 2, 3, ... after the first step."""
    frozen = WITHOUT_MOMENTUM["Adagrad"]
    rows = Frozen(LangevinAdagrad, frozen.states).start(STIFF, COUNT, T, lr_decay=decay)
    variance, taken = np.zeros(len(STIFF)), 1
    for steps in (1, 9, 90):
        for step in range(taken + 1, taken + 1 + steps):
            lr = rows.lr / (1 + (step - 1) * decay)
            variance = (1 - lr * PRECONDITIONERS * rows.curvatures) ** 2 * variance + 2 * lr * T * PRECONDITIONERS
        taken += steps
        rows.run.run(steps)
        check_rows(rows, variance)


@pytest.mark.parametrize(("decay", "decoupled"), [(0.4, False), (4.0, True)])
@pytest.mark.parametrize("rule", ["RMSprop", "Adadelta", "Adam"])
def test_what_weight_decay_does_to_the_law(rule: str, decay: float, decoupled: bool) -> None:
    """Coupled, a becomes a + w. Decoupled, it becomes a + w / P: a prior that is weak where P is large."""
    rows = WITHOUT_MOMENTUM[rule].start(STIFF, COUNT, T, weight_decay=decay, decoupled_weight_decay=decoupled)
    rows.run.run(STEPS)
    curvatures = rows.curvatures + decay / (PRECONDITIONERS if decoupled else 1.0)
    check_rows(rows, T / curvatures / (1 - rows.lr * PRECONDITIONERS * curvatures / 2))


@pytest.mark.parametrize("sigma", [0.2, 1.5])
def test_noise_written_with_sigma_has_temperature_sigma_squared_over_2(sigma: float) -> None:
    """x -= lr P g, + sigma sqrt(lr P) xi: variance sigma^2 / (a (2 - K))."""
    rows = WITHOUT_MOMENTUM["RMSprop"].start(STIFF, COUNT, temperature.from_sigma(sigma))
    rows.run.run(STEPS)
    check_rows(rows, sigma**2 / (rows.curvatures * (2 - np.array(STIFF))))


def test_clipping_slows_the_drift_and_so_heats() -> None:
    """Gradients c g, c = C / norm, at the same noise: the chain of U at T / c, where the norm hardly changes.

    With curvature 1 and K = lr P c: Var = (T / c) / (1 - K / 2), and norm^2 = n Var; solved for c. The norm follows the sum of
    squares, whose relaxation is half as fast as with constant c, so that its variance doubles.
    """
    lr, p, n, limit = 0.04, 5.0, 40_000, 50.0
    param = Parameter(torch.zeros(n))
    param.grad = torch.ones(n)
    optimizer = LangevinRMSprop([param], lr, temperature=T, eps=0.0, max_grad_norm=limit, seed=9)
    optimizer.step()
    optimizer.state[param]["square_avg"].fill_(1 / p**2)
    optimizer.freeze_preconditioner()
    c = 0.5
    for _ in range(100):  # its fixed point
        c = limit / math.sqrt(n * (T / c) / (1 - lr * p * c / 2))
    assert 0.1 < c < 0.9
    for _ in range(math.ceil(10 / (lr * p * c))):
        torch.mul(param.detach(), 1.0, out=param.grad)
        optimizer.step()
    variance = float((param.detach().double() ** 2).mean())
    assert abs(variance * c * (1 - lr * p * c / 2) / T - 1) < bound("z") * math.sqrt(2) * math.sqrt(2 / n)


@pytest.mark.parametrize("optimizer_class", [LangevinRMSprop, LangevinAdagrad, LangevinAdamW])
def test_elements_that_no_gradient_has_reached_take_no_noise_and_do_not_move_once_frozen(optimizer_class: type) -> None:
    param = Parameter(torch.ones(2, 1000))
    param.grad = torch.tensor([[0.0], [1.0]]).expand(2, 1000).clone()
    optimizer = optimizer_class([param], 0.01, temperature=T, weight_decay=0.0)
    for frozen in (False, True):
        for _ in range(3):
            optimizer.step()
        assert bool((param.detach()[0] == 1.0).all()) and bool((param.detach()[1] != 1.0).all())
        if not frozen:
            optimizer.freeze_preconditioner()
            param.grad.fill_(1.0)


def test_a_p_over_three_decades_is_what_the_states_give() -> None:
    p = torch.from_numpy(PRECONDITIONERS)
    assert bool((root_of(p) > 0).all()) and float(p.max() / p.min()) > 999
