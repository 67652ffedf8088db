"""Many independent copies of a chain as the elements of one tensor, and a sampled moment against an exact one.

One look at the end needs no autocorrelation time: the effective sample size is the number of replicas.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import Parameter

from tests.tolerances import bound

Array = NDArray[np.float64]


class Replicas:
    """A parameter of equal elements under an optimizer; with a tensor of curvatures, of equal rows.

    curvature: a of the potential a x^2 / 2; grad_noise: the deviation of what is added to its gradient.
    """

    def __init__(
        self, make: Callable[[Any], Any], start: Tensor, curvature: float | Tensor = 0.0, grad_noise: float | Tensor = 0.0
    ) -> None:
        self.param = Parameter(start.clone())
        self.param.grad = torch.zeros_like(start)
        self.optimizer = make([("x", self.param)])
        self.curvature, self.grad_noise = curvature, grad_noise
        self.generator = torch.Generator().manual_seed(8)

    def run(self, steps: int) -> Replicas:
        """Steps with the gradients of the potential and their noise."""
        grad = self.param.grad
        assert grad is not None
        for _ in range(steps):
            torch.mul(self.param.detach(), self.curvature, out=grad)
            if isinstance(self.grad_noise, Tensor) or self.grad_noise:
                grad += torch.randn(grad.shape, generator=self.generator) * self.grad_noise
            self.optimizer.step()
        return self

    @property
    def x(self) -> Array:
        """The replicas in binary64."""
        return self.param.detach().double().numpy()

    def state(self, name: str) -> Array:
        """One of the optimizer's states."""
        return np.asarray(self.optimizer.state[self.param][name].double().numpy())

    @property
    def velocity(self) -> Array:
        """Their velocities."""
        return self.state("momentum_buffer")


def check_covariance(got: Array, other: Array, covariance: Array, at: tuple[int, int] = (0, 0)) -> None:
    """A sampled covariance against the entry `at` of an exact one, of variables that are normal or have lighter tails."""
    i, k = at
    deviation = math.sqrt((covariance[i, i] * covariance[k, k] + covariance[i, k] ** 2) / len(got))
    z = (float((got * other).mean()) - covariance[i, k]) / deviation
    assert abs(z) < bound("z") + bound("discrete_chain") * math.sqrt(len(got)), f"{z:.1f} standard errors"


def check_mean(sample: Array, mean: float) -> None:
    """The sample's mean against an exact one, with the sample's own deviation."""
    z = (sample.mean() - mean) / (sample.std() / math.sqrt(len(sample)))
    assert abs(z) < bound("z"), f"{z:.1f} standard errors"
