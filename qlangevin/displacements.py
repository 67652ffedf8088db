"""What the coming displacements decide before they are taken: the compensation term, and an adaptive resolution."""

from __future__ import annotations

import math

from .backends.plan import StepInput
from .execution import Ahead, Execution
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
    adaptive = {index for index, value in enumerate(values) if value["adaptive"] is not None}
    updates = zip(ahead, step_input.compensations, strict=True)
    largest = max((compensated(one, factor) for one, factor in updates if one.group in adaptive), default=0.0)
    exponents: dict[int, int] = {}
    hypers = list(values)
    for index in adaptive:
        reached = round(math.log2(values[index]["update_resolution"]))
        exponents[index] = values[index]["adaptive"].raise_exponent(reached, largest)
        if exponents[index] != reached:
            hypers[index] = {**values[index], "update_resolution": 2.0 ** exponents[index]}
    step_input.hypers = hypers
    return exponents


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
    """The largest magnitude of a tensor's displacement with its compensation, rounded as the step rounds it."""
    return round_once(one.largest + round_once(one.largest * factor))
