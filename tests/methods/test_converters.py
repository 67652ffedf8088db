"""qlangevin.temperature's converters, each by the law of a chain in the units that it converts from; a regression's posterior."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from qlangevin import SGHMC, SGLD, LangevinRMSprop, temperature
from tests.tolerances import bound

from .replicas import Array, Replicas, check_covariance

REPLICAS = 20_000


def settle(make: Any, curvature: float, relaxation: float) -> Array:
    """The replicas of a chain on a mean loss of that curvature, after 15 relaxation times."""
    return Replicas(make, torch.zeros(REPLICAS), curvature).run(math.ceil(15 * relaxation)).x


def check_variance(x: Array, variance: float) -> None:
    check_covariance(x, x, np.array([[variance]]))


@pytest.mark.parametrize("sigma", [0.1, 2.0])
def test_from_sigma(sigma: float) -> None:
    """x' = x - lr a x + sigma sqrt(lr) xi: variance sigma^2 / (a (2 - lr a))."""
    lr, a = 0.1, 3.0
    x = settle(lambda params: SGLD(params, lr, temperature=temperature.from_sigma(sigma), seed=1), a, 1 / (lr * a))
    check_variance(x, sigma**2 / (a * (2 - lr * a)))


@pytest.mark.parametrize("nbeta", [0.5, 200.0])
def test_from_nbeta(nbeta: float) -> None:
    """exp(-N beta U): variance 1 / (N beta a) for small lr."""
    lr, a = 0.1, 3.0
    x = settle(lambda params: SGLD(params, lr, temperature=temperature.from_nbeta(nbeta), seed=1), a, 1 / (lr * a))
    check_variance(x, 1 / (nbeta * a) / (1 - lr * a / 2))


@pytest.mark.parametrize(("eps", "num_data"), [(0.002, 300), (0.5, 1)])
def test_from_welling_teh(eps: float, num_data: int) -> None:
    """x' = x - eps / 2 N a x + N(0, eps), N a the curvature of the sum: variance eps / (1 - (1 - eps N a / 2)^2)."""
    a = 0.8
    lr, t = temperature.from_welling_teh(eps, num_data)
    x = settle(lambda params: SGLD(params, lr, temperature=t, seed=1), a, 1 / (eps * num_data * a / 2))
    check_variance(x, eps / (1 - (1 - eps * num_data * a / 2) ** 2))


class Regression:
    """y = X w + noise of variance s2, w with a normal prior of variance tau2; U is minus the mean log posterior."""

    def __init__(self, num_data: int = 96, s2: float = 0.25, tau2: float = 0.5) -> None:
        draw = np.random.default_rng(3)
        mixed = draw.normal(size=(num_data, 3)) @ np.array([[1.0, 0.3, 0.0], [0.0, 1.0, 0.4], [0.0, 0.0, 1.0]])
        features = mixed * np.array([0.4, 1.0, 3.0])
        truth = np.array([1.0, -0.5, 0.2])
        targets = features @ truth + math.sqrt(s2) * draw.normal(size=num_data)
        self.num_data, self.s2, self.tau2 = num_data, s2, tau2
        self.features, self.targets = torch.from_numpy(features).float(), torch.from_numpy(targets).float()
        self.precision = features.T @ features / s2 + np.eye(3) / tau2
        self.mean = np.linalg.solve(self.precision, features.T @ targets / s2)

    def grad_of(self, rows: slice) -> Callable[[Tensor], Tensor]:
        """The gradient of U, its mean over all data estimated from those rows."""
        x, y = self.features[rows], self.targets[rows]
        curvature = x.T @ x / (len(y) * self.s2) + torch.eye(3) / (self.num_data * self.tau2)
        force = y @ x / (len(y) * self.s2)
        return lambda w: w @ curvature - force

    def discrete_law(self, p: Array, lr: float) -> Array:
        """The chain's covariance, T (A - lr A P A / 2)^-1 with the curvature A of U, averaged over the replicas' P."""
        a = self.precision / self.num_data
        return np.asarray(np.linalg.inv(a - lr / 2 * np.einsum("ij,rj,jk->rik", a, p, a)).mean(axis=0) / self.num_data)


def test_a_frozen_preconditioner_samples_the_posterior_of_a_regression() -> None:
    """P from 120 steps of mini-batches, frozen; then full gradients. It differs between replicas, their law (nearly) does not."""
    problem, lr, batch = Regression(), 0.005, 4
    t = temperature.posterior(problem.num_data)
    run = Replicas(lambda params: LangevinRMSprop(params, lr, alpha=0.98, temperature=t, seed=4), torch.zeros(REPLICAS // 2, 3))
    grad = run.param.grad
    assert grad is not None
    for step in range(120):
        first = step * batch % problem.num_data
        grad.copy_(problem.grad_of(slice(first, first + batch))(run.param.detach()))
        run.optimizer.step()
    run.optimizer.freeze_preconditioner()
    p = 1 / (np.sqrt(run.state("square_avg")) + 1e-6)
    slowest = np.linalg.eigvals(np.diag(p.mean(axis=0)) @ problem.precision / problem.num_data).real.min()
    full = problem.grad_of(slice(None))
    for _ in range(math.ceil(4 / (lr * slowest))):
        grad.copy_(full(run.param.detach()))
        run.optimizer.step()
    centred = run.x - problem.mean
    exact, posterior = problem.discrete_law(p, lr), np.linalg.inv(problem.precision)
    for i in range(3):
        for k in range(i + 1):
            check_covariance(centred[:, i], centred[:, k], exact, (i, k))
            check_covariance(centred[:, i], centred[:, k], posterior, (i, k))
    assert p.mean(axis=0).max() > 3 * p.mean(axis=0).min()


def test_the_posterior_by_sghmc() -> None:
    """exp(-N U) of N data: variance 1 / (N a) for small lr, the noise of mini-batches counted in."""
    lr, a, num_data, friction, share = 0.02, 1.5, 500, 0.1, 0.4
    t = temperature.posterior(num_data)
    grad_noise = math.sqrt(2 * t * share * friction / lr)
    options = {"temperature": t, "friction": friction, "noise_estimate": share * friction, "seed": 2}
    run = Replicas(lambda params: SGHMC(params, lr, **options), torch.zeros(REPLICAS), a, grad_noise).run(200)
    check_variance(run.x, 1 / (num_data * a) / (1 - lr * a / (2 * (2 - friction))))


def test_the_units_agree() -> None:
    lr, t = temperature.from_welling_teh(0.002, 300)
    assert lr == 0.002 * 300 / 2 and t == temperature.posterior(300) == temperature.from_nbeta(300.0)
    sigma = math.sqrt(2 * t)  # sigma sqrt(lr) = sqrt(eps)
    assert math.isclose(temperature.from_sigma(sigma), t, rel_tol=bound("closed_form"))
    assert math.isclose(sigma**2 * lr, 0.002, rel_tol=bound("closed_form"))
