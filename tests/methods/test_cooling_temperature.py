"""The temperature of CoolMomentum along its coolings, with gradients that are noise alone: E d^2 / lr = (C3), as it falls.

(C3) is lr s^2 (1 + rho) / (4 (1 - rho)), where the velocity has had time to follow. The exact second moment at step k is that of
a sum: E d_k^2 = rho_k^2 E d_(k-1)^2 + (lr (1 + rho_k) / 2)^2 s^2.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from qlangevin import CoolMomentum
from qlangevin.schedules import COOLINGS, Cooling
from tests.tolerances import bound

from .replicas import Array, Replicas

LR, NOISE, STEPS, REPLICAS = 0.02, 1.5, 1200, 20_000


def quasi_static(rho: Array) -> Array:
    """(C3)."""
    return np.asarray(LR * NOISE**2 * (1 + rho) / (4 * (1 - rho)))


def exact(momenta: Array) -> Array:
    """E d^2 / lr at every step, from rest."""
    found, square = [], 0.0
    for rho in momenta:
        square = rho**2 * square + (LR * (1 + rho) / 2 * NOISE) ** 2
        found.append(square / LR)
    return np.array(found)


def momenta(form: str, steps: int) -> Array:
    """Of every step of a cooling."""
    cooling = Cooling(total_steps=steps, form=form)
    return np.array([cooling(step) for step in range(1, steps + 1)])


@pytest.mark.parametrize("form", COOLINGS)
def test_the_measured_temperature_falls_as_it_must(form: str) -> None:
    cooling = Cooling(total_steps=STEPS, form=form)
    run = Replicas(lambda p: CoolMomentum(p, LR, momentum=cooling), torch.zeros(REPLICAS), grad_noise=NOISE)
    run.optimizer.collect_metrics()
    wanted, at = exact(momenta(form, STEPS)), list(range(99, STEPS, 100))
    measured = np.array([float(run.run(100).optimizer.metrics().groups[0]["temperature"]) for _ in at])
    z = (measured / wanted[at] - 1) / math.sqrt(2 / REPLICAS)
    assert np.abs(z).max() < bound("z")
    if form != "linear":
        assert wanted[at[0]] / wanted[at[-1]] > 50
        check_slope(form, at, measured)


def check_slope(form: str, at: list[int], measured: Array) -> None:
    """log T falls by log beta a step; log 1 / (1 - rho) by log alpha, 1 / (1 - rho) being (4 T / (lr s^2) + 1) / 2.

    Over the steps from 500 to 1100, each end of which has the standard error sqrt(2 / R) times d log / d log T <= 1, and lags by
    a relaxation time 1 / (1 - rho^2) of at most 8 steps: 8 steps' fall in all.
    """
    ends = [at.index(499), at.index(1099)]
    heights = measured[ends] if form == "exponential" else (4 * measured[ends] / (LR * NOISE**2) + 1) / 2
    fall = math.log(1 / 199) if form == "exponential" else math.log(0.01)
    slope = (math.log(heights[1]) - math.log(heights[0])) / (at[ends[1]] - at[ends[0]])
    rho = momenta(form, STEPS)[at[ends[0]]]
    assert 1 / (1 - rho**2) < 8
    allowed = (bound("z") * math.sqrt(2) * math.sqrt(2 / REPLICAS) + 8 * abs(fall) / STEPS) / (at[ends[1]] - at[ends[0]])
    assert abs(slope - fall / STEPS) < allowed


@pytest.mark.parametrize("form", COOLINGS)
def test_slow_cooling_follows_the_law_of_constant_momentum(form: str) -> None:
    """It lags by the relaxation time 1 / (1 - rho^2) to first order: ten times slower, ten times closer."""
    lags = []
    for steps in (20_000, 200_000):
        rho = momenta(form, steps)[steps // 10 : -steps // 10]
        lags.append(np.abs(exact(momenta(form, steps))[steps // 10 : -steps // 10] / quasi_static(rho) - 1).max())
    assert 0 < lags[1] < 2e-3
    assert lags[0] / lags[1] == pytest.approx(10.0, rel=bound("first_order"))
