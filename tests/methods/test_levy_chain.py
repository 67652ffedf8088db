"""SGLD with Levy noise on a quadratic: the stable law of the discrete chain, by its characteristic function (tier T6).

x' = (1 - k) x + s S, k = lr times the curvature, s = (lr T)^(1 / alpha): the powers alpha of independent scales add up, so that
after n steps from 0 that of x is s^alpha (1 + c + ... + c^(n - 1)) with c = |1 - k|^alpha.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch

from qlangevin import SGLD
from tests.statistics.stable_law import check_law

from .replicas import Array, Replicas

REPLICAS = 100_000
TEMPERATURE = 0.7
LR, CURVATURE = 0.1, 3.0
TAIL_INDICES = (1.1, 1.5, 1.9, 2.0)


def replicas(alpha: float, lr: float = LR, curvature: float = CURVATURE, **options: Any) -> Replicas:
    start = torch.zeros(options.pop("count", REPLICAS), dtype=options.pop("dtype", torch.float32))
    options = {"temperature": TEMPERATURE, "noise": "levy", "tail_index": alpha, "seed": 5, **options}
    return Replicas(lambda params: SGLD(params, lr, **options), start, curvature)


def scale_of_step(alpha: float, lr: float = LR, temperature: float = TEMPERATURE) -> float:
    return (lr * temperature) ** (1.0 / alpha)


def scale_of_chain(alpha: float, lr: float, curvature: float) -> float:
    """At the end: scale^alpha = s^alpha / (1 - |1 - k|^alpha)."""
    return scale_of_step(alpha, lr) / (1.0 - abs(1.0 - lr * curvature) ** alpha) ** (1.0 / alpha)


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("alpha", TAIL_INDICES)
def test_a_step_s_noise_has_the_stated_scale(alpha: float, backend: str) -> None:
    check_law(replicas(alpha, backend=backend).run(1).x, alpha, scale_of_step(alpha))


@pytest.mark.parametrize("k", [0.1, 0.5, 1.0, 1.6])
@pytest.mark.parametrize("alpha", TAIL_INDICES)
def test_the_chain_settles_at_its_stable_law(alpha: float, k: float) -> None:
    steps = math.ceil(12.0 / -math.log(max(abs(1.0 - k), 0.1))) + 1
    check_law(replicas(alpha, k / CURVATURE).run(steps).x, alpha, scale_of_chain(alpha, k / CURVATURE, CURVATURE))


@pytest.mark.parametrize("alpha", [1.2, 1.7])
def test_on_the_reference(alpha: float) -> None:
    k = 0.5
    chain = replicas(alpha, k / CURVATURE, count=20_000, backend="reference").run(20)
    check_law(chain.x, alpha, scale_of_chain(alpha, k / CURVATURE, CURVATURE))


@pytest.mark.parametrize("alpha", [1.1, 1.5])
def test_in_bfloat16(alpha: float) -> None:
    """Unbiased roundings of relative variance 2^-17 add up over the 2 steps that are remembered: to less than 1e-4 of the law."""
    k = 0.5
    check_law(
        replicas(alpha, k / CURVATURE, dtype=torch.bfloat16).run(25).x, alpha, scale_of_chain(alpha, k / CURVATURE, CURVATURE)
    )


def test_at_tail_index_2_it_is_boltzmann_s_law() -> None:
    """Normal of variance T / a / (1 - lr a / 2): scale^2 is half of that."""
    k = 0.2
    variance = TEMPERATURE / CURVATURE / (1.0 - k / 2.0)
    assert math.isclose(2.0 * scale_of_chain(2.0, k / CURVATURE, CURVATURE) ** 2, variance, rel_tol=1e-12)
    check_law(replicas(2.0, k / CURVATURE).run(80).x, 2.0, math.sqrt(variance / 2.0))


def increments(alpha: float, steps: int, **options: Any) -> list[Array]:
    """The noise of consecutive steps, of scale 1."""
    chain = replicas(alpha, 0.5, 0.0, **options)
    scale, drawn = scale_of_step(alpha, 0.5), []
    for _ in range(steps):
        chain.param.data.zero_()
        drawn.append(chain.run(1).x / scale)
    return drawn


def test_sums_over_steps_are_of_independent_draws() -> None:
    """A sum of n equal independent draws has scale n^(1 / alpha); of equal ones n, of one and its negative 0."""
    drawn = increments(1.5, 4)
    for one, other in itertools.combinations(drawn, 2):
        check_law(one + other, 1.5, 2.0 ** (1.0 / 1.5))
        check_law(one - other, 1.5, 2.0 ** (1.0 / 1.5))
    check_law(sum(drawn[1:], drawn[0]), 1.5, 4.0 ** (1.0 / 1.5))


def test_sums_over_chains_and_seeds_are_of_independent_draws() -> None:
    drawn = [increments(1.5, 1, **options)[0] for options in ({}, {"chain": 1}, {"chain": 2**32 - 1}, {"seed": 6})]
    for one, other in itertools.combinations(drawn, 2):
        check_law(one + other, 1.5, 2.0 ** (1.0 / 1.5))
        check_law(one - other, 1.5, 2.0 ** (1.0 / 1.5))


@pytest.mark.parametrize("lr", [0.3, torch.tensor(0.3)])
def test_lr_and_temperature_may_be_tensors_and_temperature_a_schedule(lr: Any) -> None:
    alpha, plain = 1.4, replicas(1.4, 0.3, 0.0).run(2)
    for temperature in (torch.tensor(TEMPERATURE), lambda step: TEMPERATURE):
        chain = Replicas(
            lambda params, t=temperature: SGLD(params, lr, temperature=t, noise="levy", tail_index=alpha, seed=5),  # type: ignore[misc]
            torch.zeros(REPLICAS),
            0.0,
        ).run(2)
        check_law(chain.x, alpha, 2.0 ** (1.0 / alpha) * scale_of_step(alpha, 0.3))
    assert plain.param.shape == (REPLICAS,)
