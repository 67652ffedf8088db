"""What the coming displacements decide before they are taken: the compensation term, and an adaptive resolution."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from .backends.plan import StepInput
from .execution import Ahead, Execution
from .quantizers import AdaptiveResolution
from .reference_numbers import compensation_factor, round_once, total_norm


def apply(execution: Execution, step_input: StepInput) -> dict[int, int]:
    """Puts each tensor's compensation and each group's adaptive resolution into the input.

    Returns:
        The exponent that each group with an AdaptiveResolution has reached, to be kept once the step is taken.
    """
    values = step_input.hypers
    if not any(value["compensation_length"] or value["adaptive"] for value in values):
        return {}
    ahead = execution.look_ahead(step_input)
    step_input.compensations = list_compensations(step_input, ahead)
    updates = [(one.group, compensated(one, factor)) for one, factor in zip(ahead, step_input.compensations, strict=True)]
    exponents: dict[int, int] = {}
    hypers = list(values)
    for resolution, groups in list_adaptive(step_input).items():
        largest = max((update for group, update in updates if group in groups), default=0.0)
        exponent = resolution.raise_exponent(max(exponent_of(values[index]) for index in groups), largest)
        for index in groups:
            exponents[index] = exponent
            hypers[index] = with_exponent(values[index], exponent)
    step_input.hypers = hypers
    return exponents


def list_adaptive(step_input: StepInput) -> dict[AdaptiveResolution, list[int]]:
    """The groups that share each adaptive resolution."""
    found: dict[AdaptiveResolution, list[int]] = {}
    for index, value in enumerate(step_input.hypers):
        if value["adaptive"] is not None:
            found.setdefault(value["adaptive"], []).append(index)
    return found


def exponent_of(values: Mapping[str, Any]) -> int:
    """Of a group's resolution, a power of two."""
    return round(math.log2(values["update_resolution"]))


def with_exponent(values: dict[str, Any], exponent: int) -> dict[str, Any]:
    """The hyper-parameters with a resolution of 2^exponent, and with the noise of that if noise stands in for its rounding."""
    change = exponent - exponent_of(values)
    if change == 0:
        return values
    changed = {**values, "update_resolution": 2.0**exponent}
    if values["update_rounding"] == "off":
        changed["temperature"] = values["temperature"] * 4.0**-change
    return changed


def list_compensations(step_input: StepInput, ahead: list[Ahead]) -> list[float]:
    """Each tensor's term over its displacement."""
    hypers = step_input.hypers
    whole = 0.0
    if any(value["compensation_norm"] == "global" for value in hypers):
        whole = total_norm([one.squares for one in sorted(ahead, key=lambda one: one.order)])
    factors = []
    for one in ahead:
        norm = whole if hypers[one.group]["compensation_norm"] == "global" else total_norm([one.squares])
        factors.append(compensation_factor(hypers[one.group]["compensation_length"], norm))
    return factors


def compensated(one: Ahead, factor: float) -> float:
    """The largest magnitude of a tensor's displacement with its compensation, rounded as the step rounds it; NaN is left out."""
    if factor == 0.0:
        return one.largest
    length = round_once(one.largest + round_once(one.largest * factor))
    return 0.0 if math.isnan(length) else length
