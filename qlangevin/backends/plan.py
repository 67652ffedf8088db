"""What a backend's plan takes and offers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from ..buckets import Bucket


@dataclass
class DeviceSide:
    """What a step leaves to the device, so that the host need not wait for it: norms, scales, counters, tables of schedules.

    Args:
        grad_scale: a GradScaler's scale; None for 1.
        found_inf: whether the step is skipped, if not 0; None for never.
        overrun: int32, becomes 1 where a schedule has no such step; None if there is no schedule.
    """

    grad_scale: Tensor | None = None
    found_inf: Tensor | None = None
    overrun: Tensor | None = None


@dataclass
class StepInput:
    """What changes from step to step, for the tensors of one bucket in their order.

    Args:
        grads: the gradients, each in the memory order of its parameter.
        pointers: their addresses; the native module's Addresses, or integers.
        hypers: the resolved hyper-parameters of every group (hyper.resolve); the same object while nothing changes.
        grad_multipliers: for each group sign (maximize) * clip coefficient / grad_scale, in binary64.
        chain: the chain's number, 32 bits.
        side: what is left to the device; None: nothing, the host knows everything.
        compensations: for each tensor its compensation term over its displacement, a binary32 number; empty if there are none.
    """

    grads: Sequence[Tensor]
    pointers: Sequence[int]
    hypers: Sequence[dict[str, Any]]
    grad_multipliers: Sequence[float]
    chain: int
    side: DeviceSide | None = None
    compensations: Sequence[float] = ()


class Plan(Protocol):
    """A bucket ready to be stepped again and again."""

    bucket: Bucket

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
