"""Pure functions of the step (1 for the first one taken), for temperatures, momenta and resolutions.

Any callable ``step -> float`` is a schedule. The ones here are values: equal when their fields are, saved in a state_dict.
"""

from __future__ import annotations

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
