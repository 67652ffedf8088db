"""Pure functions of the step (1 for the first one taken), for temperatures, momenta and resolutions.

Any callable ``step -> float`` is a schedule. The ones here are values: equal when their fields are, saved in a state_dict.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass


@dataclass(frozen=True)
class Piecewise:
    """``values[i]`` for steps in ``(boundaries[i - 1], boundaries[i]]``; the last value from then on.

    Args:
        boundaries: increasing steps, one fewer than values.
        values: the value before, between and after the boundaries.

    Raises:
        ValueError: boundaries that do not increase, or a wrong number of values.
    """

    boundaries: tuple[int, ...]
    values: tuple[float, ...]

    def __post_init__(self) -> None:
        increasing = all(a < b for a, b in zip(self.boundaries, self.boundaries[1:], strict=False))
        if not increasing or len(self.values) != len(self.boundaries) + 1:
            raise ValueError(f"Piecewise needs increasing boundaries and one value more, got {self.boundaries}, {self.values}")

    def __call__(self, step: int) -> float:
        """The value at `step`."""
        return self.values[sum(step > boundary for boundary in self.boundaries)]


@dataclass(frozen=True)
class Linear:
    """From ``start`` at step 1 to ``end`` at step ``steps``, constant from then on.

    Args:
        start: the value at step 1.
        end: the value from step ``steps`` on.
        steps: at least 2.

    Raises:
        ValueError: steps below 2.
    """

    start: float
    end: float
    steps: int

    def __post_init__(self) -> None:
        if self.steps < 2:
            raise ValueError(f"Linear needs steps >= 2, got {self.steps}")

    def __call__(self, step: int) -> float:
        """The value at `step`."""
        done = min(max(step - 1, 0), self.steps - 1) / (self.steps - 1)
        return self.start + (self.end - self.start) * done


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
        ValueError: a value out of range, an unknown form.

    Source: Borysenko and Byshkin, Sci. Rep. 11:10705 (2021), eq. 20, and the authors' code for the two others and the warm-up.
    """

    total_steps: int
    start: float = 0.99
    form: str = "geometric"
    warmup_steps: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.total_steps, bool) or not isinstance(self.total_steps, int) or self.total_steps < 1:
            raise ValueError(f"Cooling needs total_steps, an integer of at least 1, got {self.total_steps!r}")
        if not 0.0 <= self.start < 1.0:
            raise ValueError(f"Cooling needs start in [0, 1), got {self.start!r}")
        if self.form not in COOLINGS:
            raise ValueError(f"Cooling needs a form among {', '.join(COOLINGS)}, got {self.form!r}")
        if isinstance(self.warmup_steps, bool) or not isinstance(self.warmup_steps, int) or self.warmup_steps < 0:
            raise ValueError(f"Cooling needs warmup_steps, an integer of at least 0, got {self.warmup_steps!r}")

    def __call__(self, step: int) -> float:
        """The momentum at `step`."""
        if step == self.total_steps + 1:  # the first step beyond, and only there
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
