"""The errors of rounding updates to a grid, through QuantizedSGD: exact properties, Widrow's series, sums of many."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import erf
from torch import Tensor
from torch.nn import Parameter

from qlangevin import QuantizedSGD
from qlangevin.quantizers import ROUNDINGS, Grid
from tests.tolerances import bound

from .replicas import Array, Replicas, check_mean

COUNT = 1_000_000
RESOLUTION = 64.0


def make(params: object, rounding: str = "nearest", resolution: float = RESOLUTION) -> QuantizedSGD:
    """At lr 1 the update is minus the gradient."""
    return QuantizedSGD(params, 1.0, update_quantizer=Grid(resolution, rounding), compensation=None, seed=3)  # type: ignore[arg-type]


def take_updates(updates: Tensor, rounding: str, resolution: float = RESOLUTION) -> Tensor:
    """The updates as they were taken, from parameters 0."""
    param = Parameter(torch.zeros_like(updates))
    param.grad = -updates
    make([param], rounding, resolution).step()
    return param.detach()


@pytest.mark.parametrize("resolution", [0.5, 64.0, 2.0**19, 2.0**21])
def test_updates_on_the_grid_are_taken_as_they_are(resolution: float) -> None:
    """A grid of a power of two is exact in binary32: every multiple of its spacing up to 2^22 comes back."""
    points = torch.cat([torch.arange(-5000.0, 5000.0), torch.arange(-(2.0**22) + 1, 2.0**22, 4099.0)]) / resolution
    for rounding in ("nearest", "stochastic", "floor"):
        assert take_updates(points, rounding, resolution).equal(points)


@pytest.mark.parametrize(("rounding", "low", "high"), [("nearest", -0.5, 0.5), ("floor", -1.0, 0.0), ("stochastic", -1.0, 1.0)])
def test_an_update_lands_on_the_grid_and_near(rounding: str, low: float, high: float) -> None:
    updates = torch.randn(COUNT, generator=torch.Generator().manual_seed(1))
    taken = take_updates(updates, rounding) * RESOLUTION
    errors = taken.double() - updates.double() * RESOLUTION
    assert taken.equal(taken.round())
    assert low <= float(errors.min()) < low + 0.01 and high - 0.01 < float(errors.max()) <= high
    if rounding == "nearest":
        assert take_updates(torch.tensor([-0.5, 0.5, 1.5]) / RESOLUTION, rounding).tolist() == [
            0.0,
            1 / RESOLUTION,
            2 / RESOLUTION,
        ]


def widrow(width: float) -> tuple[float, float]:
    """E e^2 and E x e over the squared spacing, of normal x with deviation `width` spacings."""
    k = np.arange(1, 200)
    terms = (-1.0) ** k * np.exp(-2 * math.pi**2 * k**2 * width**2)
    return 1 / 12 + float((terms / k**2).sum()) / math.pi**2, 2 * width**2 * float(terms.sum())


@pytest.mark.parametrize(
    ("width", "twelve_squares"), [(0.1, 0.120), (0.2, 0.461), (0.3, 0.794), (0.5, 0.991), (0.75, 1.0), (1.0, 1.0)]
)
def test_widrow_s_series_of_normal_updates(width: float, twelve_squares: float) -> None:
    """The monitor spread_times_resolution is s / D, and tells how white the errors are; zeroed is the dead zone's share."""
    run = Replicas(make, torch.zeros(COUNT), grad_noise=width / RESOLUTION)
    run.optimizer.collect_metrics()
    run.run(1)
    assert run.param.grad is not None
    updates = -run.param.grad.double().numpy() * RESOLUTION
    errors = run.x * RESOLUTION - updates
    squares, with_update = widrow(width)
    assert abs(12 * squares - twelve_squares) < bound("printed_digits")
    check_mean(errors**2, squares)
    check_mean(errors * updates, with_update)
    check_mean(errors, 0.0)
    (metrics,) = run.optimizer.metrics().groups
    assert math.isclose(float(metrics["spread_times_resolution"]), updates.std(), rel_tol=bound("metrics"))
    assert abs(updates.std() / width - 1) < bound("z") / math.sqrt(2 * COUNT)
    assert math.isclose(float(metrics["quantizer_bias"]), errors.mean(), rel_tol=0, abs_tol=bound("metrics"))
    dead = float(erf(0.5 / width / math.sqrt(2)))
    assert abs(float(metrics["zeroed"]) - dead) < bound("z") * math.sqrt(dead * (1 - dead) / COUNT)


def test_the_published_floor_drifts_by_half_a_spacing() -> None:
    run = Replicas(lambda params: make(params, "floor"), torch.zeros(COUNT), grad_noise=2.0 / RESOLUTION)
    run.optimizer.collect_metrics()
    run.run(1)
    bias = float(run.optimizer.metrics().groups[0]["quantizer_bias"])
    assert abs(bias + 0.5) < bound("z") * math.sqrt(1 / 12 / COUNT)


def sum_errors(rounding: str, steps: int) -> Array:
    """Of each replica the sum of `steps` errors, in spacings: from 0 with dither, of wide updates with nearest."""
    width = 0.0 if rounding == "dither" else 2.0
    run = Replicas(lambda params: make(params, rounding), torch.zeros(400_000), grad_noise=width / RESOLUTION)
    wanted = np.zeros(len(run.x))
    for _ in range(steps):
        run.run(1)
        assert run.param.grad is not None
        wanted -= run.param.grad.double().numpy()
    return (run.x - wanted) * RESOLUTION


@pytest.mark.parametrize("steps", [1, 3, 8])
@pytest.mark.parametrize("rounding", ["dither", "nearest"])
def test_a_sum_of_errors_is_nearly_normal(rounding: str, steps: int) -> None:
    """B independent uniform errors: variance B / 12, excess kurtosis -1.2 / B."""
    scaled = sum_errors(rounding, steps) / math.sqrt(steps / 12)
    check_mean(scaled, 0.0)
    check_mean(scaled**2, 1.0)
    check_mean(scaled**4, 3 - 1.2 / steps)
    z = (float((scaled**4).mean()) - 3.0) / (float((scaled**4).std()) / math.sqrt(len(scaled)))
    assert z < -bound("z")  # it is not yet normal, and this sample can tell


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_updates_beyond_the_grid_pass(rounding: str) -> None:
    updates = torch.tensor([2.0**22, -(2.0**22), 2.0**30]) / RESOLUTION
    assert take_updates(updates, rounding).equal(updates)
