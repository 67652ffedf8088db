"""RMSprop with momentum and P frozen, on a x^2 / 2: the velocity of P g and its noise keep T, whatever P.

K = lr P a, m the momentum, w = lr v: w' = m w + K x + noise of variance 2 (1 - m) lr P T, x' = x - w'. That is SGHMC with lr P
for lr: a Var x / T = (1 + m) Var w / (2 lr P T) = 1 / (1 - K / (2 (1 + m))).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
from scipy.linalg import solve_discrete_lyapunov

from tests.tolerances import bound

from .frozen import HEAVY_BALLS, PRECONDITIONERS, SOFT, STIFF
from .replicas import Array, check_covariance, check_mean

COUNT, T = 10_000, 0.3


@dataclass(frozen=True)
class Chain:
    """K and m."""

    kappa: float
    m: float

    @property
    def transition(self) -> Array:
        """Of (x, w)."""
        w = np.array([self.kappa, self.m])
        return np.array([np.array([1.0, 0.0]) - w, w])

    @property
    def covariance(self) -> Array:
        """Of (x, w), over T / a."""
        noise = np.array([-1.0, 1.0])
        return np.asarray(solve_discrete_lyapunov(self.transition, 2 * (1 - self.m) * self.kappa * np.outer(noise, noise)))

    @property
    def law(self) -> float:
        """a Var x / T in closed form."""
        return 1 / (1 - self.kappa / (2 * (1 + self.m)))

    @property
    def burn_in(self) -> int:
        """Steps after which the start is forgotten to less than e^-10 of the variance."""
        return math.ceil(-5 / math.log(abs(np.linalg.eigvals(self.transition)).max()))


@pytest.mark.parametrize("m", [0.0, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("k", [1e-3, 0.01, 0.1, 1.0, 1.8])
def test_the_closed_form_is_the_chain_s(k: float, m: float) -> None:
    chain = Chain(k, m)
    found = chain.covariance
    assert math.isclose(found[0, 0], chain.law, rel_tol=bound("closed_form"))
    assert math.isclose(found[1, 1] * (1 + m) / (2 * k), chain.law, rel_tol=bound("closed_form"))


@pytest.mark.parametrize("kappa", [STIFF, SOFT], ids=["steep where P is large", "steep where P is small"])
@pytest.mark.parametrize("m", [0.5, 0.9])
@pytest.mark.parametrize("rule", HEAVY_BALLS)
def test_a_frozen_chain_with_momentum_settles_at_its_law_whatever_p(rule: str, m: float, kappa: tuple[float, ...]) -> None:
    rows = HEAVY_BALLS[rule].start(kappa, COUNT, T, momentum=m)
    chains = [Chain(k, m) for k in kappa]
    rows.run.run(max(chain.burn_in for chain in chains))
    for chain, a, x, v in zip(chains, rows.curvatures, rows.run.x, rows.run.velocity, strict=True):
        w = rows.lr * v
        wanted = chain.covariance * T / a
        for pair, at in (((x, x), (0, 0)), ((x, w), (0, 1)), ((w, w), (1, 1))):
            check_covariance(*pair, wanted, at)
        check_mean(x, 0.0)


def test_noise_of_the_gradients_heats_it_by_1_over_1_minus_m_more() -> None:
    """Of deviation s: (lr P s)^2 in w beside 2 (1 - m) lr P T, so T + lr P s^2 / (2 (1 - m)) in the place of T."""
    m, s = 0.9, 5.0  # over P
    rows = HEAVY_BALLS["RMSprop"].start(STIFF, COUNT, T, grad_noise=s, momentum=m)
    chains = [Chain(k, m) for k in STIFF]
    rows.run.run(max(chain.burn_in for chain in chains))
    heated = T + rows.lr * s * s / PRECONDITIONERS / (2 * (1 - m))
    for chain, a, t, x in zip(chains, rows.curvatures, heated, rows.run.x, strict=True):
        check_covariance(x, x, chain.covariance * t / a)
