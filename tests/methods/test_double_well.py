"""Global convergence: how many of 10,000 particles leave the shallow well of a tilted double well, and stay in the deep one."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from qlangevin import QuantizedSGD
from qlangevin.quantizers import CalibratedResolution, Grid, LogResolution
from qlangevin.thermostat import calibrated_resolution
from tests.tolerances import bound

from .double_well import BATCHES, LR, SHALLOW, STEPS, TILT, TOP, Annealed, Success, potential, search, slope

COARSE = 2 * calibrated_resolution(1.0, LR, 0.0)  # LogResolution's p is -1 at first: the grid begins at T = 1
EXTREMES = {"cold": Annealed()(STEPS), "hot": Annealed()(1)}


def make(params: Any, rounding: str, temperature: Any, resolution: Any = None) -> QuantizedSGD:
    grid = Grid(resolution or CalibratedResolution(), rounding)
    return QuantizedSGD(params, LR, update_quantizer=grid, compensation=None, temperature=temperature, seed=1)


@cache
def outcome(arm: str) -> Success:
    """The arms: cooled by the temperature ("dither", "noise", "slow"), by a growing resolution, kept warm, or not at all."""
    if arm == "sgd":
        return search(lambda params: torch.optim.SGD(params, LR))
    if arm in EXTREMES:
        return search(lambda params: make(params, "dither", EXTREMES[arm]))
    if arm == "growing":
        grown = LogResolution(BATCHES, scale=COARSE, power=0.5)
        return search(lambda params: make(params, "dither", 0.0, grown))
    if arm == "slow":
        return search(lambda params: make(params, "dither", Annealed(4 * BATCHES)), steps=4 * STEPS)
    return search(lambda params: make(params, arm, Annealed()))


def better(arm: str, other: str) -> bool:
    """Whether the intervals tell them apart."""
    return outcome(arm).interval[0] > outcome(other).interval[1]


def test_the_wells_are_as_described() -> None:
    wells = np.sort(np.roots([4.0, 0.0, -4.0, TILT]).real)
    assert np.allclose(wells[1:], [TOP, SHALLOW], rtol=0.0, atol=bound("four_digits"))
    assert potential(wells[1]) - potential(wells[2]) == pytest.approx(0.72, abs=bound("two_digits"))
    assert potential(wells[1]) - potential(wells[0]) == pytest.approx(1.32, abs=bound("two_digits"))
    x = torch.linspace(-2, 2, 9, dtype=torch.float64)
    numeric = [(potential(float(v) + 1e-5) - potential(float(v) - 1e-5)) / 2e-5 for v in x]
    assert np.allclose(slope(x).numpy(), numeric, rtol=0.0, atol=bound("central_difference"))


def test_plain_sgd_stays() -> None:
    assert outcome("sgd").found == 0


@pytest.mark.parametrize("arm", ["dither", "noise", "growing"])
def test_a_grid_that_cools_finds_the_deep_well(arm: str) -> None:
    """Most of the particles, and more than a grid that is always as cold as at the end."""
    assert better(arm, "sgd")
    assert better(arm, "cold")
    assert outcome(arm).interval[0] > 0.5


def test_cooling_is_better_than_its_hottest_temperature_and_slow_cooling_better_still() -> None:
    assert better("dither", "hot")
    assert better("slow", "dither")


def test_the_hot_grid_has_boltzmann_s_share() -> None:
    """exp(-U / T) integrated over the deep well; the discrete chain's bias, lr U'' / 4 of T and less, is 2 % at most."""
    x = np.linspace(-3, 3, 100_001)
    weight = np.exp(-potential(x) / EXTREMES["hot"])  # type: ignore[arg-type]
    share = float(weight[x < TOP].sum() / weight.sum())
    low, high = outcome("hot").interval
    assert low - bound("boltzmann_bias") < share < high + bound("boltzmann_bias")


@pytest.mark.parametrize("rounding", ["nearest", "stochastic"])
def test_other_roundings_do_not_leave_a_minimum(rounding: str) -> None:
    """Where the gradient is nearly 0 nearest has a dead zone and stochastic rounding no noise: only dither is a heat bath."""
    assert outcome(rounding).found == 0
