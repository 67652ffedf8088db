"""SGHMC on a x^2 / 2: its temperature, with its own noise and with that of the gradients counted in; it is SGLD with momentum."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy.linalg import solve_discrete_lyapunov

from qlangevin import SGHMC, SGLD
from tests.tolerances import bound

from .replicas import Array, Replicas, check_covariance

REPLICAS, T = 20_000, 0.7


@dataclass(frozen=True)
class Chain:
    """lr, friction, and the share of the friction whose heat the gradients bring; on curvature a."""

    lr: float
    friction: float
    curvature: float = 1.0
    share: float = 0.0

    @property
    def noise_estimate(self) -> float:
        """Of the friction."""
        return self.share * self.friction

    @property
    def grad_noise(self) -> float:
        """The deviation sqrt(V) of the gradients for noise_estimate = lr V / (2 T)."""
        return math.sqrt(2 * T * self.noise_estimate / self.lr)

    @property
    def transition(self) -> Array:
        """Of (x, v): v' = (1 - friction) v + lr a x, x' = x - v'."""
        velocity = np.array([self.lr * self.curvature, 1 - self.friction])
        return np.array([[1.0, 0.0] - velocity, velocity])

    @property
    def covariance(self) -> Array:
        """Of (x, v)."""
        added = 2 * (self.friction - self.noise_estimate) * self.lr * T + (self.lr * self.grad_noise) ** 2
        entry = np.array([[-1.0], [1.0]])
        return np.asarray(solve_discrete_lyapunov(self.transition, added * entry @ entry.T))

    @property
    def burn_in(self) -> int:
        """Steps after which the start is forgotten to less than e^-20 of the variance."""
        return math.ceil(-10 / math.log(abs(np.linalg.eigvals(self.transition)).max()))


SETTINGS = [(lr, friction, a) for friction in (0.02, 0.1, 0.5, 0.99) for lr, a in ((0.04, 1.0), (0.5, 2.0))]


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
@pytest.mark.parametrize(("lr", "friction", "a"), SETTINGS)
def test_the_closed_forms_are_the_chain_s(lr: float, friction: float, a: float, share: float) -> None:
    """a Var x / T and E v^2 (2 - friction) / (2 lr T) are the same; from either source of noise."""
    covariance = Chain(lr, friction, a, share).covariance
    ratio = 1 / (1 - lr * a / (2 * (2 - friction)))
    assert math.isclose(covariance[0, 0], ratio * T / a, rel_tol=bound("closed_form"))
    assert math.isclose(covariance[1, 1], ratio * 2 * lr * T / (2 - friction), rel_tol=bound("closed_form"))


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
@pytest.mark.parametrize(("lr", "friction", "a"), [(0.5, 0.1, 2.0), (0.5, 0.5, 2.0), (0.1, 0.05, 3.0)])
def test_the_chain_settles_at_its_law(lr: float, friction: float, a: float, share: float) -> None:
    chain = Chain(lr, friction, a, share)
    options = {"temperature": T, "friction": friction, "noise_estimate": chain.noise_estimate, "seed": 5}
    run = Replicas(lambda params: SGHMC(params, lr, **options), torch.zeros(REPLICAS), a, chain.grad_noise)
    run.run(chain.burn_in)
    wanted = chain.covariance
    check_covariance(run.x, run.x, wanted)
    check_covariance(run.x, run.velocity, wanted, (0, 1))
    check_covariance(run.velocity, run.velocity, wanted, (1, 1))


@pytest.mark.parametrize("friction", [0.05, 0.5])
def test_it_is_sgld_with_momentum(friction: float) -> None:
    """The same draws, lr times SGLD's velocity: trajectories differ by roundings of binary32."""
    lr, start = 0.1, torch.linspace(-1, 1, 1000)
    ours = Replicas(lambda params: SGHMC(params, lr, temperature=T, friction=friction, seed=5), start, 2.0).run(50)
    theirs = Replicas(lambda params: SGLD(params, lr, temperature=T, momentum=1 - friction, seed=5), start, 2.0).run(50)
    assert np.abs(ours.x - theirs.x).max() < bound("same_chain")
    assert np.abs(ours.velocity - lr * theirs.velocity).max() < bound("same_chain")
