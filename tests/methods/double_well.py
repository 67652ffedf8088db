"""Particles in the shallow well of (x^2 - 1)^2 + 0.3 x, which is 0.72 deep; the other one is 0.6 lower and 1.31 deep."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from scipy.stats import binomtest
from torch.nn import Parameter

TILT, TOP, SHALLOW = 0.3, 0.0754, 0.9601
LR, STEPS, BATCHES, PARTICLES = 0.01, 4000, 50, 10_000
FIVE_SIGMA = 1 - 5.7e-7


def potential(x: float) -> float:
    return (x * x - 1) ** 2 + TILT * x


def slope(x: torch.Tensor) -> torch.Tensor:
    return 4 * x * (x * x - 1) + TILT


@dataclass(frozen=True)
class Annealed:
    """T = 0.75 / ln(t + 2) at t epochs: the logarithmic cooling, whose constant is above the depth of the shallow well."""

    batches: int = BATCHES

    def __call__(self, step: int) -> float:
        return 0.75 / math.log((step - 1) / self.batches + 2)


@dataclass(frozen=True)
class Success:
    """How many of the particles end in the deep well, with Wilson's interval at five standard errors."""

    found: int
    of: int

    @property
    def interval(self) -> tuple[float, float]:
        found = binomtest(self.found, self.of).proportion_ci(FIVE_SIGMA, method="wilson")
        return float(found.low), float(found.high)


def search(make: Any, grad_noise: float = 0.0, steps: int = STEPS) -> Success:
    """Starts every particle at the bottom of the shallow well."""
    x = Parameter(torch.full((PARTICLES,), SHALLOW))
    optimizer = make([x])
    generator = torch.Generator().manual_seed(9)
    for _ in range(steps):
        x.grad = slope(x.detach())
        if grad_noise:
            x.grad += grad_noise * torch.randn(x.shape, generator=generator)
        optimizer.step()
    return Success(int((x.detach() < TOP).sum()), PARTICLES)
