"""What a preconditioner that goes on adapting does to the law, without the divergence term that would undo it.

K is lr P a at the P of the stationary second moment a T of a x^2 / 2, where all chains begin. The known ends: frozen, a Var x / T
is 1 / (1 - K / 2); for lr -> 0 at a fixed averaging time P follows 1 / abs(U'), and the law is exp(-U / T) / P, which is
abs(x) exp(-a x^2 / 2 T): a Var x / T = 2. Between them it is measured.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.temperatures import Adapting, measure_adapting
from qlangevin import LangevinAdadelta, LangevinAdam, LangevinRMSprop
from tests.tolerances import bound

from .replicas import Replicas

REPLICAS = 10_000


def measure(alpha: float, k: float, optimizer_class: Any = LangevinRMSprop, **options: Any) -> tuple[float, float]:
    """a Var x / T, and its standard error, for tails no heavier than the normal's."""
    averaging = {"alpha": alpha} if optimizer_class is LangevinRMSprop else {"betas": (0.0, alpha), "momentum_in_drift": False}
    found = measure_adapting(Adapting(optimizer_class, k, alpha, {**averaging, **options}), REPLICAS)
    return found, found * math.sqrt(2 / REPLICAS)


@pytest.mark.parametrize("optimizer_class", [LangevinRMSprop, LangevinAdam])
@pytest.mark.parametrize("alpha", [0.9, 0.99])
def test_an_adapting_chain_is_hotter_the_smaller_lr_is(alpha: float, optimizer_class: Any) -> None:
    (warm, _), (hot, error) = measure(alpha, 0.1, optimizer_class), measure(alpha, 0.01, optimizer_class)
    assert hot - warm > bound("z") * error * math.sqrt(2)
    assert hot > 1 / (1 - 0.01 / 2) + bound("z") * error
    assert hot < 2 + bound("z") * error


def test_for_small_lr_the_law_has_the_density_over_p() -> None:
    """Fourth moments of that law are twice the square of the second, so that a variance has the standard error of sqrt(1 / R)."""
    found, _ = measure(0.5, 0.003)
    assert abs(found / 2 - 1) < bound("z") * math.sqrt(1 / REPLICAS)


@pytest.mark.parametrize("optimizer_class", [LangevinRMSprop, LangevinAdam])
def test_an_average_over_many_relaxation_times_is_as_good_as_a_frozen_one(optimizer_class: Any) -> None:
    """1 / (1 - alpha) = 1000 steps, 1 / K = 10."""
    found, error = measure(0.999, 0.1, optimizer_class)
    assert abs(found - 1 / (1 - 0.1 / 2)) < bound("z") * error


def boltzmann(temperature: float, a: float) -> Tensor:
    """Replicas as they should be; at x = 0 there would be no gradient, so that they would take no noise."""
    return torch.randn(REPLICAS, generator=torch.Generator().manual_seed(2)) * math.sqrt(temperature / a)


@pytest.mark.parametrize(("temperature", "lr"), [(0.01, 1.0), (0.3, 0.01)])
def test_adadelta_s_own_noise_takes_it_to_the_edge_of_its_stability(temperature: float, lr: float) -> None:
    """lr P a comes to 1.9 whatever lr and T, and the chain is far hotter than T."""
    run = Replicas(
        lambda params: LangevinAdadelta(params, lr, temperature=temperature, seed=3), boltzmann(temperature, 1.0), curvature=1.0
    ).run(600)
    p = np.sqrt((run.state("acc_delta") + 1e-6) / (run.state("square_avg") + 1e-6))
    assert 1.85 < lr * float(np.median(p)) < 2.0
    assert (run.x**2).mean() / temperature > 20


def test_adadelta_s_preconditioner_where_nothing_is_steep() -> None:
    """P^2 eps = 2 T P / lr + eps: P = T / (lr eps) + sqrt((T / (lr eps))^2 + 1), up to its fluctuations."""
    lr, eps, temperature, a = 1.0, 1e-6, 1e-6, 0.01
    run = Replicas(
        lambda params: LangevinAdadelta(params, lr, rho=0.99, eps=eps, temperature=temperature, seed=3),
        boltzmann(temperature, a),
        curvature=a,
    ).run(1000)
    p = np.sqrt((run.state("acc_delta") + eps) / (run.state("square_avg") + eps)).mean()
    assert abs(p / (1 + math.sqrt(2)) - 1) < bound("fluctuating_p")
