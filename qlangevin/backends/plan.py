"""What a backend's plan takes and offers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor


@dataclass
class StepInput:
    """What changes from step to step, for the tensors of one bucket in their order.

    Args:
        grads: the gradients, each in the memory order of its parameter.
        pointers: their addresses; the native module's Addresses, or integers.
        hypers: the resolved hyper-parameters of every group (hyper.resolve); the same object while nothing changes.
        grad_multipliers: for each group sign (maximize) * clip coefficient / grad_scale, in binary64.
        chain: the chain's number, 32 bits.
        metrics: where to put each tensor's metrics by name, or None for no metrics.
    """

    grads: Sequence[Tensor]
    pointers: Sequence[int]
    hypers: Sequence[dict[str, Any]]
    grad_multipliers: Sequence[float]
    chain: int
    metrics: dict[str, dict[str, Tensor]] | None = None


class Plan(Protocol):
    """A bucket ready to be stepped again and again."""

    def counters_fit(self) -> bool:
        """Whether every step counter can be advanced: 0 <= step < 2^32 - 1."""

    def step(self, step_input: StepInput) -> None:
        """Steps every tensor once and advances its counter."""

    def square_grads(self, step_input: StepInput) -> list[float]:
        """The sum of squares of each gradient, in binary64 and in the fixed order of reference.sum_squares."""
