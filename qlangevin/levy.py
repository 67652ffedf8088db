"""Symmetric alpha-stable noise: its hyper-parameter, its scale, and what it does not go with. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .errors import HyperparameterError
from .scalar_values import as_number

LEVY = "levy"
TAIL_INDEX = "tail_index"
LARGEST_DRAW = 2.0**40  # no draw is as large: csrc/cpu/levy.cpp says why


@dataclass(frozen=True)
class NoiseName:
    """The name of a noise's law; of `names`, and Levy's if `takes_levy`."""

    names: tuple[str, ...]
    takes_levy: bool = False

    def read(self, name: str, value: Any, step: int) -> str:
        """The name."""
        if isinstance(value, str) and (value in self.names or (value == LEVY and self.takes_levy)):
            return value
        told = f"{name} must be one of {', '.join(self.names)}{f', {LEVY}' if self.takes_levy else ''}, got {value!r}"
        if isinstance(value, str) and value == LEVY:
            told += ", which moves the parameter itself, by no preconditioner: SGLD has it, without momentum"
        raise HyperparameterError(told)


@dataclass(frozen=True)
class TailIndex:
    """A number in (1, 2]; None where noise is not Levy's."""

    def read(self, name: str, value: Any, step: int) -> float | None:
        """The number."""
        if value is None:
            return None
        number = as_number(value)
        if number is None or not 1.0 < number <= 2.0:
            raise HyperparameterError(f"{name} must be a number in (1, 2], or None for other noise than {LEVY!r}; got {value!r}")
        return number


def settle(values: dict[str, Any], momentum: Any, corrects: bool) -> None:
    """Replaces the temperature of Levy noise by that at which Gaussian noise has its scale; other noise is left alone.

    The scale s of a step's draw is (lr T)^(1 / tail_index), and kernels make it as sqrt(2 lr T'), so that
    T' = (lr T)^(2 / tail_index) / (2 lr).

    Args:
        values: hyper-parameters as they were read, changed in place.
        momentum: the group's own, a schedule if it is one.
        corrects: whether rounding to storage is taken out of the noise.

    Raises:
        HyperparameterError: a tail_index without Levy noise; Levy noise without one, or with what it has no law for.
    """
    tail_index = values.get(TAIL_INDEX)
    if values["noise"] != LEVY:
        if tail_index is not None:
            raise HyperparameterError(f"{TAIL_INDEX} = {tail_index!r} goes with noise = {LEVY!r}, not {values['noise']!r}")
        return
    if tail_index is None:
        raise HyperparameterError(f"noise = {LEVY!r} needs a {TAIL_INDEX} in (1, 2], got None")
    refused = {
        f"momentum = {momentum!r}: it needs momentum = 0": as_number(momentum) != 0,
        f"integrator = {values['integrator']!r}": values["integrator"] != "euler",
        "param_rounding = 'variance_corrected': it has no variance": corrects,
        "capturable = True: no kernel of a GPU draws it": values["capturable"],
    }
    for told, is_so in refused.items():
        if is_so:
            raise HyperparameterError(f"noise = {LEVY!r} does not go with {told}")
    lr = values["lr"]
    values["temperature"] = (lr * values["temperature"]) ** (2.0 / tail_index) / (2.0 * lr) if lr > 0.0 else 0.0


def has_variance(values: Mapping[str, Any]) -> bool:
    """Whether the noise of resolved hyper-parameters has one."""
    return bool(values["noise"] != LEVY or values[TAIL_INDEX] == 2.0)
