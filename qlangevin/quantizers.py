"""Grids for gradients and updates, their resolutions and the compensation term, as small values (numerics.md section 5)."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sized
from dataclasses import dataclass
from typing import ClassVar

from .errors import HyperparameterError
from .scalar_values import as_number, is_integer, is_schedule

ROUNDINGS = ("nearest", "stochastic", "floor", "dither")
NOISE = "noise"  # instead of a rounding
SMALLEST = 2.0**-126  # below it the spacing, 1 / resolution, is beyond binary32's range
LARGEST_EXPONENT = 126


def count_batches(batches_per_epoch: int | Sized) -> int:
    """The number of batches in an epoch: as given, or the length of the data loader that was given.

    Raises:
        HyperparameterError: it is not a positive integer.
    """
    count: object = batches_per_epoch
    if isinstance(batches_per_epoch, Sized) and not isinstance(batches_per_epoch, str) and not hasattr(batches_per_epoch, "ndim"):
        with contextlib.suppress(TypeError):  # a data loader of a stream has no length
            count = len(batches_per_epoch)
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise HyperparameterError(f"batches_per_epoch must be a positive integer or a data loader, got {batches_per_epoch!r}")
    return count


def check_integer(name: str, value: object, low: int, high: int) -> None:
    """Refuses what is not an integer in [low, high].

    Raises:
        HyperparameterError: naming it.
    """
    if not is_integer(value) or not low <= value <= high:  # type: ignore[operator]
        raise HyperparameterError(f"{name} must be an integer in [{low}, {high}], got {value!r}")


def check_range(name: str, value: object, low: float = -math.inf, high: float = math.inf) -> None:
    """Refuses what is not a number in (low, high).

    Raises:
        HyperparameterError: naming it.
    """
    number = as_number(value)
    if number is None or not low < number < high:
        raise HyperparameterError(f"{name} must be a number in ({low:g}, {high:g}), got {value!r}")


@dataclass(frozen=True)
class LogResolution:
    """``Q = scale base^p`` with ``p = floor(power log_base(ln(t + 2)))``, t being the epochs taken: the published schedules.

    The defaults are those of the authors' code, 2^18 before 0.72 epochs, 2^19 before 5.4, 2^20 before 52.6, then 2^21.
    ``LogResolution.of_the_paper`` has scale 2^9.5 and power 1/2, as the text: so coarse that updates of ordinary size vanish.

    Args:
        batches_per_epoch: steps in an epoch; or the data loader, whose length is taken.
        scale: in (0, inf), in grid points per unit.
        base: in (1, inf).
        power: the factor of the exponent.

    Raises:
        HyperparameterError: a value out of range; a resolution that falls, at the step where it does.

    Source: Seok and Cho, arXiv 2305.18864, and the code of its authors.
    """

    batches_per_epoch: int | Sized
    scale: float = 2.0**19
    base: float = 2.0
    power: float = 1.0
    increasing: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "batches_per_epoch", count_batches(self.batches_per_epoch))
        check_range("scale", self.scale, 0.0)
        check_range("base", self.base, 1.0)
        check_range("power", self.power)

    @classmethod
    def of_the_paper(cls, batches_per_epoch: int | Sized) -> LogResolution:
        """The schedule as the paper writes it."""
        return cls(batches_per_epoch, scale=2.0**9.5, power=0.5)

    def __call__(self, step: int) -> float:
        """Q at `step`."""
        epochs = (step - 1) / count_batches(self.batches_per_epoch)
        try:
            exponent = math.floor(self.power * math.log(math.log(epochs + 2.0), self.base))
            return float(self.scale * self.base**exponent)
        except OverflowError:
            raise HyperparameterError(f"resolution must be a number, {self!r} is beyond binary64 at step {step}") from None


@dataclass(frozen=True)
class AdaptiveResolution:
    """``Q = 2^i``: i grows while every update would be rounded to 0, and at least as fast as a cooling asks.

    Before each step i is raised until some update of some tensor reaches half a spacing, or i is `limit`; where all updates are
    0, as at lr 0, no grid would help and i stays. With `batches_per_epoch`, i is also at least
    ``ceil(log2(64 / (24 T)) / 2)``, ``T = 2^(40 / (t + 2)) 1e-6 / ln(t + 2)``, at t epochs. i is one for all groups that have
    this resolution, also for those that join late, and is saved.

    Args:
        batches_per_epoch: steps in an epoch, or the data loader; None for no cooling.
        start: i at first, an integer of at least -126.
        limit: the largest i, at most 126.

    Raises:
        HyperparameterError: a value out of range.

    Source: the authors' code of 2021 (monotonically increasing resolution), its methods 1 and 2.
    """

    batches_per_epoch: int | Sized | None = None
    start: int = 2
    limit: int = 32

    def __post_init__(self) -> None:
        if self.batches_per_epoch is not None:
            object.__setattr__(self, "batches_per_epoch", count_batches(self.batches_per_epoch))
        check_integer("limit", self.limit, -LARGEST_EXPONENT, LARGEST_EXPONENT)
        check_integer("start", self.start, -LARGEST_EXPONENT, self.limit)

    def exponent_at(self, step: int, reached: int | None) -> int:
        """The least i at `step`, when `reached` is where it is."""
        least = self.start if reached is None else max(self.start, reached)
        if self.batches_per_epoch is not None:
            epochs = (step - 1) / count_batches(self.batches_per_epoch)
            temperature = 2.0 ** (40.0 / (epochs + 2.0)) * 1e-6 / math.log(epochs + 2.0)
            least = max(least, math.ceil(0.5 * math.log2(64.0 / (24.0 * temperature))))
        return min(least, self.limit)

    def raise_exponent(self, exponent: int, largest_update: float) -> int:
        """i, raised until the largest update is at least half a spacing; as it is if that is 0."""
        while largest_update > 0.0 and exponent < self.limit and 2.0**exponent * largest_update < 0.5:
            exponent += 1
        return exponent


@dataclass(frozen=True)
class CalibratedResolution:
    """The resolution whose quantization noise is the thermostat's: ``Q = sqrt((1 - momentum) / (24 lr T))``.

    T is the optimizer's ``temperature``; no other noise is added. Q follows lr: a fixed grid would heat up as lr falls. The law
    is dither's, for lr times the curvature far below (1 - momentum)^2: errors do not enter the velocity, so that momentum
    amplifies them beyond (thermostat.quantizer_temperature has the exact law). Nearest rounding has it where other noise spreads
    updates over half a spacing and more, stochastic rounding is twice as warm there; neither leaves a point without gradient.

    Source: the variance of a rounding error, 1 / (12 Q^2), set equal to the thermostat's.
    """


@dataclass(frozen=True)
class Compensation:
    """The term ``r = s lr h / ||h||`` that is added to the displacement h before it is quantized, h = 0 having none.

    s falls from 1 to 0 around `warmup_epochs`: ``s = (1 + tanh(-slope (t - warmup_epochs))) / 2`` at t epochs ("tanh", the
    authors' code), or ``s = 1 / (1 + exp(slope (t - warmup_epochs)))`` ("sigmoid", the paper), half as steep.

    Args:
        warmup_epochs: where s is 1/2, in [0, inf); the authors take 0.2 of all epochs.
        batches_per_epoch: steps in an epoch; or the data loader, whose length is taken.
        slope: in (0, inf), per epoch.
        envelope: "tanh" or "sigmoid".
        norm: "tensor" for the norm of each tensor's h, "global" for that of all tensors that are stepped, of every group.

    Raises:
        HyperparameterError: a value out of range, an unknown name.

    Source: Seok and Cho, arXiv 2305.18864, and the code of its authors.
    """

    warmup_epochs: float
    batches_per_epoch: int | Sized
    slope: float = 2.0
    envelope: str = "tanh"
    norm: str = "tensor"

    def __post_init__(self) -> None:
        object.__setattr__(self, "batches_per_epoch", count_batches(self.batches_per_epoch))
        if (epochs := as_number(self.warmup_epochs)) is None or not 0.0 <= epochs < math.inf:
            raise HyperparameterError(f"warmup_epochs must be a number in [0, inf), got {self.warmup_epochs!r}")
        check_range("slope", self.slope, 0.0)
        for name, value, names in (("envelope", self.envelope, ("tanh", "sigmoid")), ("norm", self.norm, ("tensor", "global"))):
            if value not in names:
                raise HyperparameterError(f"{name} must be one of {', '.join(names)}, got {value!r}")

    def __call__(self, step: int) -> float:
        """s at `step`."""
        epochs = (step - 1) / count_batches(self.batches_per_epoch)
        slope = self.slope if self.envelope == "tanh" else 0.5 * self.slope  # (1 + tanh(x)) / 2 = 1 / (1 + exp(-2 x))
        return 0.5 * (1.0 + math.tanh(-slope * (epochs - self.warmup_epochs)))


DEPENDENT = (AdaptiveResolution, CalibratedResolution)  # on more than the step
Resolution = float | Callable[[int], float] | AdaptiveResolution | CalibratedResolution


@dataclass(frozen=True)
class Grid:
    """Rounds to the multiples of ``1 / resolution``.

    With y = resolution * x and q = floor(y): "nearest" is q + (y - q >= 1/2); "stochastic" rounds up with probability
    y - q; "floor" is q, biased by half a spacing, for ablation only; "dither" is subtractive, its error uniform and
    independent of x. Values of ``2^22 / resolution`` and more, Inf and NaN pass unchanged. "noise", for ablation, quantizes
    nothing and adds noise of the temperature that the grid's rounding errors would have (to the velocity, if there is momentum).

    Args:
        resolution: Q in [2^-126, inf], in grid points per unit: a number, a schedule ``step -> Q`` such as LogResolution,
            AdaptiveResolution or CalibratedResolution. A power of two makes the grid exact in binary; infinity is the identity.
        rounding: "nearest", "stochastic", "floor", "dither", or "noise".

    Raises:
        HyperparameterError: a resolution out of range, an unknown rounding.

    Source: Seok and Cho, arXiv 2305.18864 (the learning equation's quantizer).
    """

    resolution: Resolution
    rounding: str = "nearest"

    def __post_init__(self) -> None:
        if self.rounding not in (*ROUNDINGS, NOISE):
            raise HyperparameterError(f"rounding must be one of {', '.join((*ROUNDINGS, NOISE))}, got {self.rounding!r}")
        if not is_schedule(self.resolution) and not isinstance(self.resolution, DEPENDENT):
            self.resolution_at(1)

    def resolution_at(self, step: int) -> float | AdaptiveResolution | CalibratedResolution:
        """The resolution at `step`, checked; or itself, if it takes more than the step to know it."""
        if isinstance(self.resolution, DEPENDENT):
            return self.resolution
        number = self._number_at(step)
        if getattr(self.resolution, "increasing", False) and step > 1 and number < (before := self._number_at(step - 1)):
            raise HyperparameterError(f"resolution must not fall, got {number!r} after {before!r} at step {step}")
        return number

    def _number_at(self, step: int) -> float:
        value = self.resolution(step) if is_schedule(self.resolution) else self.resolution  # type: ignore[operator]
        number = as_number(value)
        if number is None or not number >= SMALLEST:
            raise HyperparameterError(f"resolution must be a number in [2^-126, inf], got {value!r} at step {step}")
        return number


@dataclass(frozen=True)
class BlockGrid:
    """Rounds gradients to a grid for each block of 128 elements, made by the largest magnitude in it.

    With a that magnitude, the spacing is ``2^(floor(log2 a) + 2 - bits)``, at least 2^-126: gradients are a power of two times
    integers of at most ``2^(bits - 1)`` (from a random point on with "dither"), whatever their size, where a fixed Grid fits the
    gradients of few layers and few steps. A block has the elements whose index in the unsharded tensor, as it lies in memory, has
    the same quotient by 128; a shard that ends inside a block knows its part of it. Gradients are scaled (unscaled, clipped)
    before. Inf and NaN pass; the others of their block are then on the grid of the largest binary32 numbers: 0, or enormous with
    "floor" and "dither".

    Args:
        bits: an integer in [3, 23]; 8 keeps 64 to 127 points on either side of 0.
        rounding: "nearest", "stochastic" (unbiased), "floor" or "dither", as for Grid.

    Raises:
        HyperparameterError: bits out of range, an unknown rounding.

    Source: block floating point as in the MX formats of the Open Compute Project (2023), MXINT8 with blocks of 32.
    """

    bits: int = 8
    rounding: str = "stochastic"

    def __post_init__(self) -> None:
        check_integer("bits", self.bits, 3, 23)
        if self.rounding not in ROUNDINGS:
            raise HyperparameterError(f"rounding must be one of {', '.join(ROUNDINGS)}, got {self.rounding!r}")

    @property
    def resolution_of_one(self) -> float:
        """In grid points per unit, of a block whose largest magnitude is in [1, 2)."""
        return 2.0 ** (self.bits - 2)
