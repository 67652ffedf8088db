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
        compensations: for each tensor its compensation term over its displacement, a binary32 number; empty if there are none.
    """

    grads: Sequence[Tensor]
    pointers: Sequence[int]
    hypers: Sequence[dict[str, Any]]
    grad_multipliers: Sequence[float]
    chain: int
    compensations: Sequence[float] = ()


class Plan(Protocol):
    """A bucket ready to be stepped again and again."""

    def counters_fit(self) -> bool:
        """Whether every step counter can be advanced: 0 <= step < 2^32 - 1."""

    def step(self, step_input: StepInput, observes: bool) -> Tensor | None:
        """Steps every tensor once and advances its counter.

        With `observes` returns the reference.STATISTICS of each tensor, as (tensors, statistics) in binary64.
        """

    def look_ahead(self, step_input: StepInput) -> list[tuple[float, float]]:
        """For each tensor the sum of squares and the largest magnitude of its coming displacement; nothing is written."""

    def square_grads(self, step_input: StepInput) -> list[float]:
        """The sum of squares of each gradient, in binary64 and in the fixed order of reference.sum_squares."""
