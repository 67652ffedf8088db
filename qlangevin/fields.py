"""The kinds of hyper-parameters: each checks a param group's value and gives what it is at a step. Imports no torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from .errors import HyperparameterError
from .quantizers import DEPENDENT, NOISE, BlockGrid, Compensation, Grid
from .scalar_values import LARGEST, as_number, is_schedule


@dataclass(frozen=True)
class Number:
    """A number in [low, high), or (low, high) if `open_low`; a schedule if `scheduled`; a 0-dim tensor always."""

    low: float = 0.0
    high: float = math.inf
    open_low: bool = False
    scheduled: bool = False
    optional: bool = False

    def read(self, name: str, value: Any, step: int) -> float | None:
        """The number at `step`."""
        if value is None and self.optional:
            return None
        when = ""
        if self.scheduled and is_schedule(value):
            value, when = value(step), f" at step {step}"
        number = as_number(value)
        above = number is not None and (number > self.low if self.open_low else number >= self.low)
        if number is None or not above or not number < self.high:
            kind = "a number or a schedule" if self.scheduled else "a number"
            interval = f"{'(' if self.open_low else '['}{self.low:g}, {self.high:g})"
            raise HyperparameterError(f"{name} must be {kind} in {interval}, got {value!r}{when}")
        if number > LARGEST:
            raise HyperparameterError(f"{name} must be at most {LARGEST:g}, the largest binary32 number, got {value!r}{when}")
        return number


@dataclass(frozen=True)
class Betas:
    """A pair of numbers in [0, 1)."""

    def read(self, name: str, value: Any, step: int) -> tuple[float, float]:
        """Both."""
        if not isinstance(value, tuple | list) or len(value) != 2:
            raise HyperparameterError(f"{name} must be a pair of numbers in [0, 1), got {value!r}")
        first, second = (Number(high=1.0).read(f"{name}[{i}]", one, step) for i, one in enumerate(value))
        assert first is not None and second is not None
        return first, second


@dataclass(frozen=True)
class Flag:
    """True or False."""

    def read(self, name: str, value: Any, step: int) -> bool:
        """The flag."""
        if not isinstance(value, bool):
            raise HyperparameterError(f"{name} must be True or False, got {value!r}")
        return value


@dataclass(frozen=True)
class Choice:
    """One of a few names."""

    names: tuple[str, ...]

    def read(self, name: str, value: Any, step: int) -> str:
        """The name."""
        if not isinstance(value, str) or value not in self.names:
            raise HyperparameterError(f"{name} must be one of {', '.join(self.names)}, got {value!r}")
        return value


@dataclass(frozen=True)
class Word:
    """An integer of `bits` bits."""

    bits: int

    def read(self, name: str, value: Any, step: int) -> int:
        """The integer."""
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**self.bits:
            raise HyperparameterError(f"{name} must be an integer in [0, 2^{self.bits}), got {value!r}")
        return value


@dataclass(frozen=True)
class OptionalGrid:
    """A Grid, or None for no quantization; `of_update` if it may be one that knows the displacement or is a thermostat."""

    of_update: bool = False

    def read(self, name: str, value: Any, step: int) -> tuple[str, Any]:
        """(rounding, resolution); one of quantizers.DEPENDENT stays as it is."""
        if value is None:
            return "off", math.inf
        if not isinstance(value, Grid):
            kinds = "Grid or None" if self.of_update else "Grid or BlockGrid, or None"
            raise HyperparameterError(f"{name} must be a qlangevin.quantizers.{kinds}, got {value!r}")
        if not self.of_update and (value.rounding == NOISE or isinstance(value.resolution, DEPENDENT)):
            raise HyperparameterError(f"{name} must be a Grid of its own resolution, that rounds; got {value!r}")
        try:
            value.__post_init__()  # which reading from a file leaves out
            return value.rounding, value.resolution_at(step)
        except HyperparameterError as error:
            raise HyperparameterError(f"{name}: {error}") from None


@dataclass(frozen=True)
class OptionalGradGrid:
    """A Grid or a BlockGrid, or None for no quantization."""

    def read(self, name: str, value: Any, step: int) -> tuple[str, Any, bool]:
        """(rounding, resolution, blocks): whether the resolution is that of blocks whose largest magnitude is in [1, 2)."""
        if isinstance(value, BlockGrid):
            try:
                value.__post_init__()  # which reading from a file leaves out
            except HyperparameterError as error:
                raise HyperparameterError(f"{name}: {error}") from None
            return value.rounding, value.resolution_of_one, True
        return *OptionalGrid().read(name, value, step), False


@dataclass(frozen=True)
class OptionalCompensation:
    """A Compensation, or None for none."""

    def read(self, name: str, value: Any, step: int) -> tuple[str, float]:
        """(norm, s): of which displacements the norm is, and how long the term is over lr."""
        if value is None:
            return "tensor", 0.0
        if not isinstance(value, Compensation):
            raise HyperparameterError(f"{name} must be a qlangevin.quantizers.Compensation or None, got {value!r}")
        return value.norm, value(step)


@dataclass(frozen=True)
class OptionalNames:
    """Names of parameters, or None for all of them."""

    def read(self, name: str, value: Any, step: int) -> tuple[str, ...] | None:
        """The names."""
        if value is None:
            return None
        if not isinstance(value, tuple | list) or not all(isinstance(one, str) for one in value):
            raise HyperparameterError(f"{name} must be a list of parameter names, or None for all, got {value!r}")
        return tuple(value)
