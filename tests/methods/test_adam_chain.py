"""Adam with momentum in the drift and P frozen, on a x^2 / 2: hotter than T, and by how much; AdamW's decoupled decay.

K = lr P a, b = beta1, c = lr w of a decoupled decay w, u = m / a: u' = b u + (1 - b) x, x' = (1 - c) x - K u' + noise of variance
2 lr T P. Of them x alone is an ARMA(2, 1) process, x'' = (1 + b - c - K (1 - b)) x' - b (1 - c) x + e'' - b e'.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
from scipy.linalg import solve_discrete_lyapunov

from tests.tolerances import bound

from .frozen import ADAMW, PRECONDITIONERS, STIFF, WITH_MOMENTUM, Frozen
from .replicas import Array, check_covariance

COUNT, T = 10_000, 0.3
HEATED = (1.0, 0.1, 0.05, 0.02)  # K of the rows


@dataclass(frozen=True)
class Chain:
    """K, b and c."""

    kappa: float
    b: float = 0.9
    c: float = 0.0

    @property
    def transition(self) -> Array:
        """Of (x, u)."""
        u = np.array([1 - self.b, self.b])
        return np.array([[1.0 - self.c, 0.0] - self.kappa * u, u])

    @property
    def covariance(self) -> Array:
        """Of (x, u), over T / a."""
        return np.asarray(solve_discrete_lyapunov(self.transition, np.diag([2 * self.kappa, 0.0])))

    @property
    def burn_in(self) -> int:
        """Steps after which the start is forgotten to less than e^-10 of the variance."""
        return math.ceil(-5 / math.log(abs(np.linalg.eigvals(self.transition)).max()))


def heat(chain: Chain) -> float:
    """a Var x / T without decay."""
    k, b = chain.kappa, chain.b
    return (1 + 2 * b * k / (1 - b * b)) / (1 - k * (1 - b) / (2 * (1 + b)))


def heat_with_decay(chain: Chain) -> float:
    """The same with a decoupled decay: the variance of the ARMA(2, 1) process."""
    k, b, c = chain.kappa, chain.b, chain.c
    first, second = 1 + b - c - k * (1 - b), b * (1 - c)
    return 2 * k * ((1 + b * b) * (1 + second) - 2 * b * first) / ((1 - second) * ((1 + second) ** 2 - first**2))


SETTINGS = [(k, b) for k in (1e-3, 0.01, 0.1, 1.0, 1.8) for b in (0.0, 0.5, 0.9, 0.95)]


@pytest.mark.parametrize(("k", "b"), SETTINGS)
def test_the_closed_forms_are_the_chain_s(k: float, b: float) -> None:
    chain = Chain(k, b)
    assert math.isclose(chain.covariance[0, 0], heat(chain), rel_tol=bound("closed_form"))
    for c in (0.0, 1e-3, 0.1):
        decayed = Chain(k, b, c)
        assert math.isclose(decayed.covariance[0, 0], heat_with_decay(decayed), rel_tol=bound("closed_form"))
    in_sigma = ((1 - b * b) + 2 * b * k) / ((1 - b) * (2 * (1 + b) - k * (1 - b)))  # a Var x over sigma^2 = 2 T
    assert math.isclose(2 * in_sigma, heat(chain), rel_tol=bound("closed_form"))


def test_the_heat_that_the_documents_state() -> None:
    for k, told in ((0.01, 1.095), (0.1, 1.953)):
        assert abs(heat(Chain(k)) - told) < bound("printed_digits")
    assert heat(Chain(0.1, b=0.0)) == 1 / (1 - 0.1 / 2)
    halved = (heat(Chain(1e-4)) - 1) / (heat(Chain(5e-5)) - 1)
    assert halved == pytest.approx(2.0, abs=bound("first_order"))


def check_chains(frozen: Frozen, kappa: tuple[float, ...], b: float, decay: float = 0.0) -> None:
    """Runs it, and compares Var x, Cov(x, m) and Var m of every row with the exact ones."""
    options = {"weight_decay": decay} if decay else {"weight_decay": 0.0}
    rows = frozen.start(kappa, COUNT, T, betas=(b, 0.99), **options)
    chains = [Chain(k, b, rows.lr * decay) for k in kappa]
    rows.run.run(max(chain.burn_in for chain in chains))
    momenta = rows.run.state("exp_avg")
    for chain, a, x, m in zip(chains, rows.curvatures, rows.run.x, momenta, strict=True):
        wanted = chain.covariance * T / a
        for pair, at in (((x, x), (0, 0)), ((x, m / a), (0, 1)), ((m / a, m / a), (1, 1))):
            check_covariance(*pair, wanted, at)


@pytest.mark.parametrize("b", [0.5, 0.9])
@pytest.mark.parametrize("rule", WITH_MOMENTUM)
def test_adam_settles_at_its_hotter_law(rule: str, b: float) -> None:
    check_chains(WITH_MOMENTUM[rule], HEATED, b)


@pytest.mark.parametrize("decay", [0.0, 4.0])
def test_adamw_settles_at_its_law(decay: float) -> None:
    check_chains(ADAMW, STIFF, 0.9, decay)


@pytest.mark.parametrize("decay", [0.5, 4.0])
def test_decoupled_decay_is_a_prior_of_precision_w_over_p(decay: float) -> None:
    """For small lr: a Var x / T = a / (a + w / P). Without 1 / P, K having the same sums, it would be another law."""
    for p, a in zip(PRECONDITIONERS, (0.5, 2.0, 10.0, 50.0), strict=True):
        errors = []
        for lr in (1e-6, 5e-7):
            chain = Chain(lr * p * a, 0.9, lr * decay)
            errors.append(chain.covariance[0, 0] * (a + decay / p) / a - 1)
        assert abs(errors[1]) < bound("thermostat_at_small_lr")
        assert errors[0] / errors[1] == pytest.approx(2.0, abs=bound("first_order"))
