"""Clipping to a global norm, from norms that are taken in a fixed order."""

from __future__ import annotations

from typing import SupportsFloat

from .backends.plan import StepInput
from .execution import Execution
from .reference_numbers import clip_coefficient, total_norm


def invert_scale(grad_scale: SupportsFloat | None) -> float:
    """1 / grad_scale of a GradScaler, or 1 without one."""
    return 1.0 if grad_scale is None else 1.0 / float(grad_scale)


def apply(execution: Execution, step_input: StepInput, inverse_scale: float) -> None:
    """Multiplies each group's gradient multiplier by its clip coefficient.

    The norm is the one of all gradients of the optimizer, in all groups; each group clips by its own ``max_grad_norm``.
    """
    limits = [values["max_grad_norm"] for values in step_input.hypers]
    if all(limit is None for limit in limits):
        return
    norm = total_norm(execution.square_grads(step_input)) * inverse_scale
    multipliers = zip(step_input.grad_multipliers, limits, strict=True)
    step_input.grad_multipliers = [multiplier * clip_coefficient(norm, limit) for multiplier, limit in multipliers]
