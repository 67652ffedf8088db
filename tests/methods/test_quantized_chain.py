"""Where QuantizedSGD settles on a x^2 / 2: the exact law of the discrete chain, its limit for small lr, dead zones."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy.linalg import solve_discrete_lyapunov

from qlangevin import QuantizedSGD
from qlangevin.quantizers import CalibratedResolution, Grid
from qlangevin.thermostat import calibrated_resolution, quantizer_temperature
from tests.tolerances import bound

from .replicas import Array, Replicas, check_covariance, check_mean

REPLICAS = 50_000


@dataclass(frozen=True)
class Chain:
    """A grid whose errors have temperature T, on a x^2 / 2."""

    lr: float
    curvature: float = 1.0
    momentum: float = 0.0
    temperature: float = 0.3

    @property
    def burn_in(self) -> int:
        """Steps after which the start is forgotten to less than e^-20 of the variance."""
        slowest = abs(np.linalg.eigvals(self.transition)).max()
        return math.ceil(-10 / math.log(slowest))

    @property
    def transition(self) -> Array:
        """Of (x, v): v' = m v + a x, x' = x - lr v' and what is added."""
        velocity = np.array([self.curvature, self.momentum])
        return np.array([[1.0, 0.0] - self.lr * velocity, velocity])

    def covariance(self, of_x: float, of_velocity: float = 0.0) -> Array:
        """Of (x, v), for variances added to x and to v in a step."""
        added = np.diag([of_x, 0.0]) + of_velocity * np.outer([-self.lr, 1.0], [-self.lr, 1.0])
        return np.asarray(solve_discrete_lyapunov(self.transition, added))


def closed_form(chain: Chain) -> float:
    """Var x of a calibrated grid; with k = lr a: T / a (1 + 2 m k / ((1 + m) (1 - m)^2)) / (1 - k / (2 (1 + m))).

    The parameter is an ARMA(2, 1) process, x'' = (1 + m - k) x' - m x + e'' - m e', with errors e of variance
    1 / (12 Q^2) = 2 lr T / (1 - m).
    """
    m, k = chain.momentum, chain.lr * chain.curvature
    bulge = 1 + 2 * m * k / ((1 + m) * (1 - m) ** 2)
    return chain.temperature / chain.curvature * bulge / (1 - k / (2 * (1 + m)))


CHAINS = [
    Chain(0.05),
    Chain(0.5, 3.0),
    Chain(0.05, momentum=0.5),
    Chain(0.01, 0.5, momentum=0.9),
    Chain(0.3, 2.0, momentum=0.9),
]


def make_grid(chain: Chain, rounding: str = "dither", calibrated: bool = True) -> Replicas:
    """The chain as an optimizer, by its temperature or by its resolution."""
    fixed = calibrated_resolution(chain.temperature, chain.lr, chain.momentum)
    grid = Grid(CalibratedResolution() if calibrated else fixed, rounding)
    temperature = chain.temperature if calibrated else 0.0
    return Replicas(
        lambda params: QuantizedSGD(
            params,
            chain.lr,
            update_quantizer=grid,
            compensation=None,
            momentum=chain.momentum,
            temperature=temperature,
            seed=11,
        ),
        torch.zeros(REPLICAS),
        chain.curvature,
    )


@pytest.mark.parametrize("chain", CHAINS, ids=str)
def test_the_closed_form_is_the_chain_s(chain: Chain) -> None:
    errors = 1 / (12 * calibrated_resolution(chain.temperature, chain.lr, chain.momentum) ** 2)
    assert math.isclose(chain.covariance(errors)[0, 0], closed_form(chain), rel_tol=bound("closed_form"))


@pytest.mark.parametrize("calibrated", [True, False])
@pytest.mark.parametrize("chain", CHAINS, ids=str)
def test_dither_settles_at_the_discrete_law(chain: Chain, calibrated: bool) -> None:
    run = make_grid(chain, calibrated=calibrated)
    run.run(chain.burn_in)
    wanted = chain.covariance(2 * chain.lr * chain.temperature / (1 - chain.momentum))
    check_mean(run.x, 0.0)
    check_covariance(run.x, run.x, wanted)
    if chain.momentum:
        check_covariance(run.x, run.velocity, wanted, (0, 1))
        check_covariance(run.velocity, run.velocity, wanted, (1, 1))
    run.optimizer.collect_metrics()
    run.run(1)
    measured = float(run.optimizer.metrics().groups[0]["quantizer_temperature"])
    assert math.isclose(measured, chain.temperature, rel_tol=bound("binary32_scalar"))


def test_dither_at_a_value_known_from_elsewhere() -> None:
    """lr 0.05, Q 20, a 1: variance (1 / (12 Q^2)) / (1 - (1 - lr a)^2) = 0.0021368."""
    found = closed_form(Chain(0.05, temperature=quantizer_temperature(20.0, 0.05, 0.0)))
    assert math.isclose(found, 1 / 4800 / (1 - 0.95**2), rel_tol=bound("closed_form"))
    assert round(found, 7) == 0.0021368


@pytest.mark.parametrize(("chain", "calibrated"), [(CHAINS[0], True), (CHAINS[2], False), (CHAINS[4], True)], ids=str)
def test_noise_in_place_of_the_errors_is_the_thermostat_s(chain: Chain, calibrated: bool) -> None:
    """With momentum it enters the velocity: T / a (1 + O(lr a)) there too, without the rounding errors' 1 / (1 - m)^2."""
    run = make_grid(chain, "noise", calibrated)
    run.run(chain.burn_in)
    m, temperature = chain.momentum, chain.temperature
    wanted = chain.covariance(0.0, 2 * (1 - m) * temperature / chain.lr)
    if not m:
        wanted = chain.covariance(2 * chain.lr * temperature)
    check_covariance(run.x, run.x, wanted)
    if m:
        check_covariance(run.velocity, run.velocity, wanted, (1, 1))


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9, 0.99])
def test_a_grid_s_temperature_is_the_small_lr_limit(momentum: float) -> None:
    """The variance tends to T / a with an error of first order in lr a / (1 - m)^2, which is what has to be small."""
    sizes = [1e-3 * (1 - momentum) ** 2 / (1 + momentum), 5e-4 * (1 - momentum) ** 2 / (1 + momentum)]
    laws = [Chain(lr, 1.0, momentum, quantizer_temperature(7.0, lr, momentum)) for lr in sizes]
    errors = [chain.covariance(1 / (12 * 49.0))[0, 0] / chain.temperature - 1 for chain in laws]
    assert 0 < errors[1] < bound("thermostat_at_small_lr")
    assert errors[0] / errors[1] == pytest.approx(2.0, abs=bound("first_order"))


@pytest.mark.parametrize("rounding", ["nearest", "stochastic"])
def test_other_roundings_keep_the_temperature_where_updates_are_wide(rounding: str) -> None:
    """Mini-batch noise over some spacings: the errors add 1 / (12 Q^2) with nearest, 1 / (6 Q^2) with stochastic rounding."""
    lr, resolution, grad_noise = 0.25, 16.0, 1.0
    grid = Grid(resolution, rounding)
    run = Replicas(
        lambda params: QuantizedSGD(params, lr, update_quantizer=grid, compensation=None, seed=2),
        torch.zeros(REPLICAS),
        1.0,
        grad_noise,
    )
    run.run(60)
    spread = lr * grad_noise * resolution
    assert spread > 2  # Widrow's corrections, exp(-2 pi^2 spread^2), are below 1e-30
    added = {"nearest": 1 / 12, "stochastic": 1 / 6}[rounding] / resolution**2
    check_covariance(run.x, run.x, Chain(lr).covariance(added + (lr * grad_noise) ** 2))


def start_line(spacings: float = 0.0) -> torch.Tensor:
    """Points of the grid of 1/16 from -3 to 3, moved by a share of a spacing."""
    return (torch.arange(-48.0, 49.0) + spacings).repeat(64) / 16.0


def descend(start: torch.Tensor, rounding: str, steps: int = 900) -> Replicas:
    """lr a = 1/16, Q = 16: every product is exact."""
    grid = Grid(16.0, rounding)
    made = Replicas(lambda p: QuantizedSGD(p, 0.0625, update_quantizer=grid, compensation=None, seed=4), start, 1.0)
    return made.run(steps)


@pytest.mark.parametrize("shift", [0.0, 0.3])
def test_nearest_stalls_in_its_dead_zone(shift: float) -> None:
    """|x| <= 1 / (2 Q lr a) = 1/2, where nothing moves; from outside a replica stops as soon as it is inside."""
    start = start_line(shift)
    stalled = descend(start, "nearest").param.detach()
    assert float(stalled.abs().max()) <= 0.5
    inside = start.abs() < 0.5
    assert stalled[inside].equal(start[inside])
    assert float(stalled[~inside].abs().min()) >= 0.5 - 1 / 16


@pytest.mark.parametrize("shift", [0.0, 0.3])
def test_floor_stalls_on_one_side(shift: float) -> None:
    """0 >= x > -1 / (Q lr a) = -1: the published code's bias is a fixed point beside the minimum."""
    stalled = descend(start_line(shift), "floor").param.detach()
    assert float(stalled.min()) > -1.0
    assert float(stalled.max()) <= 0.0


def test_stochastic_rounding_is_absorbed_where_the_gradient_is_zero() -> None:
    """From the grid every replica ends at exactly 0, for good; beside the grid there is no such point, and no rest."""
    on_grid = descend(start_line(), "stochastic")
    assert not on_grid.param.detach().any()
    beside = descend(start_line(0.5), "stochastic")
    before = beside.param.detach().clone()
    assert float((beside.run(16).param.detach() != before).double().mean()) > 0.25
