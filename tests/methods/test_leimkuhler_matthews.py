"""SGLD's Leimkuhler-Matthews integrator: exact variances on a quadratic at every stable step, from draws that are made twice."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.nn import Parameter

from qlangevin import SGLD, HyperparameterError
from tests.tolerances import bound

from .replicas import Array, Replicas, check_covariance

REPLICAS = 100_000
TEMPERATURE = 0.7


def replicas(lr: float, curvature: float, **options: Any) -> Replicas:
    options = {"temperature": TEMPERATURE, "integrator": "leimkuhler_matthews", "seed": 5, **options}
    return Replicas(lambda params: SGLD(params, lr, **options), torch.zeros(REPLICAS), curvature)


def variance_of_chain(lr: float, curvature: float) -> float:
    """Of x' = c x + s (z + z') / 2 by its recursion to the end: x and z are correlated through the step that shared z."""
    c, squared = 1.0 - lr * curvature, 2.0 * lr * TEMPERATURE
    variance = 0.0
    for _ in range(math.ceil(40.0 / -math.log(max(abs(c), 0.5)))):
        variance = c * c * variance + squared / 2.0 + 2.0 * c * squared / 4.0
    return variance


STEPS = (0.05, 0.5, 1.0, 1.5, 1.9)


@pytest.mark.parametrize("k", STEPS)
def test_the_chain_s_variance_is_boltzmann_s(k: float) -> None:
    assert math.isclose(variance_of_chain(k / 3.0, 3.0), TEMPERATURE / 3.0, rel_tol=bound("closed_form"))


@pytest.mark.parametrize("noise", ["gaussian", "rademacher"])
@pytest.mark.parametrize("k", STEPS)
def test_the_sampled_variance_is_boltzmann_s(k: float, noise: str) -> None:
    steps = math.ceil(10.0 / min(k, 2.0 - k)) + 1
    x = replicas(k / 3.0, 3.0, noise=noise).run(steps).x
    check_covariance(x, x, matrix(TEMPERATURE / 3.0))


def matrix(value: float) -> Array:
    return torch.full((1, 1), value, dtype=torch.float64).numpy()


def test_a_step_s_noise_is_half_its_own_and_half_the_next_one_s() -> None:
    chain = replicas(0.5, 0.0)
    places = [chain.run(1).x for _ in range(3)]
    first, second = places[1] - places[0], places[2] - places[1]
    squared = 2.0 * 0.5 * TEMPERATURE
    covariance = torch.tensor([[squared / 2.0, squared / 4.0], [squared / 4.0, squared / 2.0]], dtype=torch.float64).numpy()
    for one, other, at in ((first, first, (0, 0)), (first, second, (0, 1)), (second, second, (1, 1))):
        check_covariance(one, other, covariance, at)
    last = chain.run(1).x - places[2]
    check_covariance(first, last, torch.diag(torch.full((2,), squared / 2.0, dtype=torch.float64)).numpy(), (0, 1))


def test_a_resumed_chain_draws_the_shared_noise_again() -> None:
    whole, stopped = replicas(0.1, 1.0), replicas(0.1, 1.0)
    whole.run(5)
    stopped.run(3)
    saved = stopped.optimizer.state_dict()
    param = Parameter(stopped.param.detach().clone())
    resumed = replicas(0.1, 1.0)
    resumed.param.data.copy_(param)
    resumed.optimizer.load_state_dict(saved)
    resumed.run(2)
    assert resumed.param.equal(whole.param)


def test_it_is_refused_with_momentum_and_by_other_names() -> None:
    for options in ({"momentum": 0.5}, {"integrator": "leimkuhler"}, {"momentum": lambda step: 0.5}):
        with pytest.raises(HyperparameterError, match="integrator"):
            replicas(0.1, 1.0, **options)


def test_at_temperature_0_both_integrators_are_the_same_step() -> None:
    one, other = replicas(0.1, 1.0, temperature=0.0), replicas(0.1, 1.0, temperature=0.0, integrator="euler")
    for chain in (one, other):
        chain.param.data.fill_(2.0)
        chain.run(3)
    assert one.param.equal(other.param)
