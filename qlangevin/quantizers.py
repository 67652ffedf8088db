"""Grids for gradients and updates, as small values (numerics.md section 5)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .errors import HyperparameterError
from .scalar_values import as_number

ROUNDINGS = ("nearest", "stochastic", "floor", "dither")
SMALLEST = 2.0**-126  # below it the spacing, 1 / resolution, is beyond binary32's range


@dataclass(frozen=True)
class Grid:
    """Rounds to the multiples of ``1 / resolution``.

    With y = resolution * x and q = floor(y): "nearest" is q + (y - q >= 1/2); "stochastic" rounds up with probability
    y - q; "floor" is q, biased by half a spacing, for ablation only; "dither" is subtractive, its error uniform and
    independent of x. Values of ``2^22 / resolution`` and more, Inf and NaN pass unchanged.

    Args:
        resolution: Q in [2^-126, inf], in grid points per unit; a number, or a schedule ``step -> Q``. A power of two makes
            the grid exact in binary; infinity is the identity.
        rounding: "nearest", "stochastic", "floor" or "dither".

    Raises:
        HyperparameterError: a resolution out of range, an unknown rounding.

    Source: Seok and Cho, arXiv 2305.18864 (the learning equation's quantizer).
    """

    resolution: float | Callable[[int], float]
    rounding: str = "nearest"

    def __post_init__(self) -> None:
        if self.rounding not in ROUNDINGS:
            raise HyperparameterError(f"rounding must be one of {', '.join(ROUNDINGS)}, got {self.rounding!r}")
        if not callable(self.resolution):
            self.resolution_at(1)

    def resolution_at(self, step: int) -> float:
        """The resolution at `step`, checked."""
        value = self.resolution(step) if callable(self.resolution) else self.resolution
        number = as_number(value)
        if number is None or not number >= SMALLEST:
            raise HyperparameterError(f"resolution must be a number in [2^-126, inf], got {value!r} at step {step}")
        return number
