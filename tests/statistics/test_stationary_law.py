"""The variance that a chain settles at on a x^2 / 2, against the exact one of the discrete chain, not of its limit (tier T6).

Every replica is one element of a tensor, so the replicas are independent; one look at the end needs no autocorrelation time.
The estimate of a variance from R of them has standard error var * sqrt((kurtosis - 1) / R), with kurtosis <= 3 here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy.linalg import solve_discrete_lyapunov
from torch import Tensor

from tests.core.kernels import USABLE_PATHS, Job, Step, make_plan, run_plan, settings
from tests.tolerances import bound

REPLICAS = 100_000


@dataclass(frozen=True)
class Chain:
    """One chain on a x^2 / 2 with gradient noise of standard deviation `grad_noise`."""

    lr: float
    curvature: float
    temperature: float
    momentum: float = 0.0
    grad_noise: float = 0.0
    noise: str = "gaussian"

    @property
    def burn_in(self) -> int:
        """Steps after which the start is forgotten to less than e^-20 of the variance."""
        return math.ceil(10 / (self.lr * self.curvature) / (1 + self.momentum) * 2) + math.ceil(20 / (1 - self.momentum))


def run_chain(chain: Chain, rule: str, path: str) -> list[Tensor]:
    """The replicas' parameters (and velocities) at the end."""
    states = [torch.zeros(REPLICAS)] if rule == "momentum" else []
    job = Job(torch.zeros(REPLICAS), torch.zeros(REPLICAS), states, key=17)
    step = Step(rule, [settings(lr=chain.lr, temperature=chain.temperature, momentum=chain.momentum, noise=chain.noise)])
    plan = make_plan(rule, [job], path)
    generator = torch.Generator().manual_seed(8)
    for _ in range(chain.burn_in):
        torch.mul(job.param, chain.curvature, out=job.grad)
        if chain.grad_noise:
            job.grad += torch.randn(REPLICAS, generator=generator) * chain.grad_noise
        run_plan(plan, step, [job], threads=2)
    return [job.param, *job.states]


def check_covariance(got: Tensor, other: Tensor, wanted: float, variances: tuple[float, float]) -> None:
    """A sampled covariance against an exact one, for variables that are normal or have lighter tails."""
    sampled = float((got.double() * other.double()).mean())
    deviation = math.sqrt((variances[0] * variances[1] + wanted**2) / REPLICAS)
    assert abs(sampled - wanted) < bound("z") * deviation + bound("discrete_chain") * abs(wanted)


PLAIN = [
    Chain(lr=0.05, curvature=1.0, temperature=1.0),
    Chain(lr=0.5, curvature=2.5, temperature=0.3),
    Chain(lr=0.1, curvature=1.0, temperature=0.0, grad_noise=2.0),
    Chain(lr=0.1, curvature=3.0, temperature=0.2, grad_noise=1.0),
    Chain(lr=0.05, curvature=1.0, temperature=1.0, noise="uniform"),
    Chain(lr=0.05, curvature=1.0, temperature=1.0, noise="rademacher"),
]


@pytest.mark.parametrize("chain", PLAIN, ids=str)
@pytest.mark.parametrize("path", [USABLE_PATHS[0], "portable"])
def test_the_plain_chain(chain: Chain, path: str) -> None:
    """Var = (2 lr T + lr^2 s^2) / (1 - (1 - lr a)^2)."""
    (x,) = run_chain(chain, "plain", path)
    step_variance = 2 * chain.lr * chain.temperature + chain.lr**2 * chain.grad_noise**2
    variance = step_variance / (1 - (1 - chain.lr * chain.curvature) ** 2)
    check_covariance(x, x, variance, (variance, variance))
    assert abs(float(x.double().mean())) < bound("z") * math.sqrt(variance / REPLICAS)


def solve_momentum(chain: Chain) -> np.ndarray:
    """The covariance of (x, v) under v' = m v + a x + n, x' = x - lr v', n of variance 2 (1 - m) T / lr and the gradient's."""
    variance = 2 * (1 - chain.momentum) * chain.temperature / chain.lr + chain.grad_noise**2
    velocity = np.array([chain.curvature, chain.momentum])
    transition = np.array([[1.0, 0.0] - chain.lr * velocity, velocity])
    entry = np.array([[-chain.lr], [1.0]])
    return np.asarray(solve_discrete_lyapunov(transition, variance * entry @ entry.T))


MOMENTUM = [
    Chain(lr=0.05, curvature=1.0, temperature=1.0, momentum=0.9),
    Chain(lr=0.2, curvature=1.0, temperature=0.5, momentum=0.5),
    Chain(lr=0.05, curvature=2.0, temperature=0.1, momentum=0.9, grad_noise=1.0),
    Chain(lr=0.3, curvature=1.0, temperature=1.0, momentum=0.0),
    Chain(lr=0.05, curvature=1.0, temperature=1.0, momentum=0.9, noise="rademacher"),
]


@pytest.mark.parametrize("chain", MOMENTUM, ids=str)
@pytest.mark.parametrize("path", [USABLE_PATHS[0], "portable"])
def test_the_momentum_chain_with_noise_in_its_velocity(chain: Chain, path: str) -> None:
    x, v = run_chain(chain, "momentum", path)
    covariance = solve_momentum(chain)
    for (i, one), (k, other) in (((0, x), (0, x)), ((0, x), (1, v)), ((1, v), (1, v))):
        check_covariance(one, other, covariance[i, k], (covariance[i, i], covariance[k, k]))


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_the_momentum_thermostat_samples_its_temperature(momentum: float) -> None:
    """As lr goes to 0 the exact variance goes to T / a; noise 2 lr T on the parameter would give 0.11 T at momentum 0.9."""
    errors = [solve_momentum(Chain(lr, 2.0, 0.7, momentum))[0, 0] * 2.0 / 0.7 - 1 for lr in (1e-3, 5e-4)]
    assert abs(errors[1]) < bound("thermostat_at_small_lr")
    assert errors[0] / errors[1] == pytest.approx(2.0, abs=bound("first_order"))
