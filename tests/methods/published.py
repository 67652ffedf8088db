"""The published update rules restated in numpy and binary64, from their formulas and nothing of the package.

What the bit contract rounds to binary32 (scalars of a step, the norm and the factor of the compensation) is rounded here too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Gradient = Callable[[Array, int], Array]


def single(value: float) -> float:
    """Rounded to binary32."""
    return float(np.float32(value))


@dataclass(frozen=True)
class QuantizedRule:
    """Seok and Cho's learning equation for SGD. tau counts from 0; B batches an epoch.

    half: 1/2 as the paper and the code's debug branch have it, 0 as the released code runs. paper: eta^2 = 2^19 and half the
    exponent, instead of the code's eta = 2^19. envelope: "tanh" (code), "sigmoid" (paper), "" for r = 0.
    """

    lam: float
    batches: int
    half: float
    envelope: str
    tau0: float = 2.0
    kappa: float = 2.0
    paper: bool = False

    def resolution(self, tau: int) -> float:
        """Q_p = eta b^p."""
        log = math.log(tau / self.batches + 2)
        if self.paper:
            return math.sqrt(2**19) * 2.0 ** math.floor(0.5 * math.log2(log))
        return 524288.0 * 2.0 ** math.floor(math.log2(log))

    def envelope_at(self, tau: int) -> float:
        """s(t_e)."""
        x = -self.kappa * (tau / self.batches - self.tau0)
        if not self.envelope:
            return 0.0
        return 0.5 * (1 + math.tanh(x)) if self.envelope == "tanh" else math.exp(x) / (1 + math.exp(x))

    def follow(self, x: Array, gradient: Gradient) -> Iterator[Array]:
        """The parameters after every step."""
        for tau in range(10**9):
            h = -self.lam * gradient(x, tau)
            norm = single(float(np.linalg.norm(h)))
            share = single(self.envelope_at(tau) * self.lam / norm) if norm > 0 else 0.0
            u = h + share * h
            q = self.resolution(tau)
            x = x + np.floor(single(q) * u + self.half) * single(1 / q)
            yield x


@dataclass(frozen=True)
class CoolingRule:
    """Borysenko and Byshkin's algorithm: d = rho_k d - lr (1 + rho_k) / 2 g, x = x + d, k counting from 0."""

    lr: float
    steps: int
    form: str
    rho0: float = 0.99
    warm_up: int = 0

    def momentum(self, k: int) -> float:
        """rho_k: eq. 20, and the code's variants."""
        if k < self.warm_up:
            return 0.0
        if self.form == "geometric":
            return max(0.0, 1 - (1 - self.rho0) / ((1 - self.rho0) ** (1 / self.steps)) ** k)
        if self.form == "exponential":
            c = (1 - self.rho0) / (1 + self.rho0)
            beta = c ** (1 / self.steps)
            return max(0.0, (1 - c / beta**k) / (1 + c / beta**k))
        return max(0.0, self.rho0 * (1 - k / self.steps) / abs(1 - self.rho0 * k / self.steps))

    def follow(self, x: Array, gradient: Gradient) -> Iterator[Array]:
        """The parameters after every step."""
        d = np.zeros_like(x)
        for k in range(10**9):
            rho = self.momentum(k)
            d = single(rho) * d - single(self.lr * (1 + rho) / 2) * gradient(x, k)
            x = x + d
            yield x
