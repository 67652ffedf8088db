"""Pure functions of the step (1 for the first one taken), for temperatures, momenta and resolutions.

Any callable ``step -> float`` is a schedule. The ones here are values: equal when their fields are, saved in a state_dict.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

from .errors import HyperparameterError
from .scalar_values import as_number, is_integer


@dataclass(frozen=True)
class Piecewise:
    """``values[i]`` for steps in ``(boundaries[i - 1], boundaries[i]]``; the last value from then on.

    Args:
        boundaries: increasing steps, one fewer than values.
        values: the value before, between and after the boundaries.

    Raises:
        HyperparameterError: boundaries that are no integers or do not increase, or a wrong number of values.
    """

    boundaries: tuple[int, ...]
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if not all(map(is_integer, self.boundaries)):
            raise HyperparameterError(f"Piecewise needs integers as boundaries, got {self.boundaries}")
        increasing = all(a < b for a, b in zip(self.boundaries, self.boundaries[1:], strict=False))
        if not increasing or len(self.values) != len(self.boundaries) + 1:
            told = f"got {self.boundaries}, {self.values}"
            raise HyperparameterError(f"Piecewise needs increasing boundaries and one value more, {told}")

    def __call__(self, step: int) -> float:
        """The value at `step`."""
        return self.values[sum(step > boundary for boundary in self.boundaries)]


@dataclass(frozen=True)
class Ramp:
    """A way from one number to another."""

    start: float
    end: float
    steps: int

    def __post_init__(self) -> None:
        name = type(self).__name__
        if not is_integer(self.steps) or self.steps < 2:
            raise HyperparameterError(f"{name} needs steps >= 2, got {self.steps!r}")
        if as_number(self.start) is None or as_number(self.end) is None:
            raise HyperparameterError(f"{name} needs numbers as start and end, got {self.start!r}, {self.end!r}")

    def done(self, step: int) -> float:
        """The share of the way that lies behind `step`, in [0, 1]."""
        return min(max(step - 1, 0), self.steps - 1) / (self.steps - 1)


@dataclass(frozen=True)
class Linear(Ramp):
    """From ``start`` at step 1 to ``end`` at step ``steps``, constant from then on.

    Args:
        start: the value at step 1.
        end: the value from step ``steps`` on.
        steps: at least 2.

    Raises:
        HyperparameterError: steps that are no integer or below 2, a start or end that is no number.
    """

    def __call__(self, step: int) -> float:
        """The value at `step`."""
        return self.start + (self.end - self.start) * self.done(step)


@dataclass(frozen=True)
class Cosine(Ramp):
    """From ``start`` at step 1 to ``end`` at step ``steps`` along half a cosine, constant from then on.

    With x = (step - 1) / (steps - 1): ``end + (start - end) (1 + cos(pi x)) / 2``.

    Args:
        start: the value at step 1.
        end: the value from step ``steps`` on.
        steps: at least 2.

    Raises:
        HyperparameterError: steps that are no integer or below 2, a start or end that is no number.
    """

    def __call__(self, step: int) -> float:
        """The value at `step`."""
        return self.end + (self.start - self.end) * 0.5 * (1.0 + math.cos(math.pi * self.done(step)))


@dataclass(frozen=True)
class LogCooling:
    """A temperature that falls as the logarithm of time: ``start / ln(e + (step - 1) / steps)``.

    It is Bras's second schedule, sigma = sigma_0 / sqrt(ln(k / (E_c S) + e)) for k = step - 1, with start = sigma_0^2 / 2.

    Args:
        start: the temperature at step 1.
        steps: E_c S, the steps in the epochs that the logarithm counts by, at least 1.

    Raises:
        HyperparameterError: steps that are no integer or below 1, a start that is no number.

    Source: Bras, arXiv 2212.14718, and the code of its author.
    """

    start: float
    steps: int

    def __post_init__(self) -> None:
        if not is_integer(self.steps) or self.steps < 1:
            raise HyperparameterError(f"LogCooling needs steps >= 1, got {self.steps!r}")
        if as_number(self.start) is None:
            raise HyperparameterError(f"LogCooling needs a number as start, got {self.start!r}")

    def __call__(self, step: int) -> float:
        """The temperature at `step`."""
        return self.start / math.log(math.e + max(step - 1, 0) / self.steps)


@dataclass(frozen=True)
class Cyclical:
    """A temperature that is 0 in the first part of each cycle, to explore, and ``value`` in the rest, to sample.

    The learning rate falls along a cosine in each cycle: torch's CosineAnnealingWarmRestarts(T_0=steps).

    Args:
        value: the temperature while sampling.
        steps: of a cycle, at least 1.
        exploration: the part of a cycle at temperature 0, in [0, 1]; step k of a cycle, counted from 0, samples from
            k / steps >= exploration on.

    Raises:
        HyperparameterError: steps that are no integer or below 1, a value that is no number, an exploration outside [0, 1].

    Source: Zhang, Li, Zhang, Chen, Wilson, ICLR 2020, algorithm 1 (there beta is the part that explores).
    """

    value: float
    steps: int
    exploration: float = 0.8

    def __post_init__(self) -> None:
        if not is_integer(self.steps) or self.steps < 1:
            raise HyperparameterError(f"Cyclical needs steps >= 1, got {self.steps!r}")
        if as_number(self.value) is None:
            raise HyperparameterError(f"Cyclical needs a number as value, got {self.value!r}")
        if (share := as_number(self.exploration)) is None or not 0.0 <= share <= 1.0:
            raise HyperparameterError(f"Cyclical needs exploration in [0, 1], got {self.exploration!r}")

    def __call__(self, step: int) -> float:
        """The temperature at `step`."""
        explores = (max(step - 1, 0) % self.steps) / self.steps < self.exploration
        return 0.0 if explores else self.value


COOLINGS = ("geometric", "exponential", "linear")


@dataclass(frozen=True)
class Cooling:
    """The momentum of CoolMomentum: from ``start`` to 0 in ``total_steps``, with k = step - 1 and x = k / total_steps.

    "geometric", the paper's: ``1 - (1 - start)^(1 - x)``, where 1 / (1 - momentum) falls geometrically.
    "exponential": ``(1 - c^(1 - x)) / (1 + c^(1 - x))`` with ``c = (1 - start) / (1 + start)``, where the temperature does.
    "linear": ``start (1 - x) / (1 - start x)``, where 1 / (1 - momentum) falls linearly.

    Args:
        total_steps: the step after which momentum is 0, at least 1.
        start: the momentum of the first step, in [0, 1).
        form: "geometric", "exponential" or "linear".
        warmup_steps: steps at first with momentum 0; the cooling is not delayed by them.

    Raises:
        HyperparameterError: a value of the wrong type or out of range, an unknown form.

    Source: Borysenko and Byshkin, Sci. Rep. 11:10705 (2021), eq. 20, and the authors' code for the two others and the warm-up.
    """

    total_steps: int
    start: float = 0.99
    form: str = "geometric"
    warmup_steps: int = 0

    def __post_init__(self) -> None:
        if not is_integer(self.total_steps) or self.total_steps < 1:
            raise HyperparameterError(f"Cooling needs total_steps, an integer of at least 1, got {self.total_steps!r}")
        if (start := as_number(self.start)) is None or not 0.0 <= start < 1.0:
            raise HyperparameterError(f"Cooling needs start in [0, 1), got {self.start!r}")
        if self.form not in COOLINGS:
            raise HyperparameterError(f"Cooling needs a form among {', '.join(COOLINGS)}, got {self.form!r}")
        if not is_integer(self.warmup_steps) or self.warmup_steps < 0:
            raise HyperparameterError(f"Cooling needs warmup_steps, an integer of at least 0, got {self.warmup_steps!r}")

    def __call__(self, step: int) -> float:
        """The momentum at `step`."""
        if step > self.total_steps and not self.__dict__.get("_told"):  # once: a step may ask several times
            object.__setattr__(self, "_told", True)
            warnings.warn(f"Cooling is over after {self.total_steps} steps: momentum stays 0 from now on", stacklevel=2)
        taken = step - 1
        if taken < self.warmup_steps or taken >= self.total_steps:
            return 0.0
        done = taken / self.total_steps
        if self.form == "linear":
            return self.start * (1.0 - done) / (1.0 - self.start * done)
        if self.form == "geometric":
            return 1.0 - math.pow(1.0 - self.start, 1.0 - done)
        ratio = math.pow((1.0 - self.start) / (1.0 + self.start), 1.0 - done)
        return (1.0 - ratio) / (1.0 + ratio)
