"""The symmetric alpha-stable law E exp(i w S) = exp(-|w|^alpha), and samples against it.

Below alpha = 2 it has no variance: samples are compared by the means of cos(w S) and sin(w S), whose variances are known.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tests.tolerances import bound

Array = NDArray[np.float64]
FREQUENCIES = (0.02, 0.1, 0.3, 0.7, 1.0, 1.6, 2.5)


def phi(alpha: float, frequency: float) -> float:
    """The characteristic function."""
    return math.exp(-(abs(frequency) ** alpha))


def check_law(sample: Array, alpha: float, scale: float = 1.0) -> None:
    """The empirical characteristic function of independent draws of scale * S, by 5 of its standard errors."""
    for w in FREQUENCIES:
        even, twice = phi(alpha, w), phi(alpha, 2.0 * w)
        angle = w / scale * sample
        spread = math.sqrt(((1.0 + twice) / 2.0 - even * even) / sample.size)  # of cos(w S): E cos^2 = (1 + phi(2 w)) / 2
        z = (float(np.cos(angle).mean()) - even) / spread
        assert abs(z) < bound("z"), f"cos at {w}: {z:.1f} standard errors"
        z = float(np.sin(angle).mean()) / math.sqrt((1.0 - twice) / 2.0 / sample.size)
        assert abs(z) < bound("z"), f"sin at {w}: {z:.1f} standard errors"


def upper_tail(alpha: float, x: float) -> float:
    """P(S > x) for x > 0, by Zolotarev's integral over the angle, in its distance v from a quarter turn, on a logarithmic grid.

    ``(1 / pi) integral exp(-x^(a / (a - 1)) V(angle))`` over (0, pi / 2), with
    ``V = (cos(angle) / sin(a angle))^(a / (a - 1)) cos((a - 1) angle) / cos(angle)``.
    Source: Zolotarev, One-dimensional stable distributions, theorem 2.2.3; Nolan, Stochastic Models 13, 1997.
    """
    logarithm = np.linspace(-60.0, 0.0, 200_001)
    rest = math.pi / 2.0 * np.exp(logarithm)
    gap, power = math.pi / 2.0 * (2.0 - alpha), alpha / (alpha - 1.0)
    cosine = np.sin(rest)
    exponent = power * np.log(x * cosine / np.sin(gap + alpha * rest)) + np.log(np.sin(gap + (alpha - 1.0) * rest) / cosine)
    with np.errstate(over="ignore"):
        values = np.exp(-np.exp(exponent)) * rest
    return float(np.trapezoid(values, logarithm)) / math.pi
