"""The plain-torch backend: slow, on any device, the one that every other is compared with."""

from __future__ import annotations

import torch

from .. import reference
from ..buckets import Bucket
from ..reference_numbers import flatten, sum_squares
from .plan import Plan, StepInput


class ReferenceBackend:
    """Steps anything that torch can add and multiply."""

    name = "reference"
    has_metrics = True

    def why_not(self, device: torch.device, dtypes: tuple[torch.dtype, ...]) -> str | None:
        """Never a reason."""
        return None

    def make_plan(self, bucket: Bucket) -> Plan:
        """The bucket itself, stepped tensor by tensor."""
        return ReferencePlan(bucket)


class ReferencePlan:
    """Steps a bucket tensor by tensor."""

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket
        self.rule = reference.RULES[bucket.rule]

    def counters_fit(self) -> bool:
        """Whether every step counter can be advanced."""
        return all(0 <= int(item.state["step"]) < 2**32 - 1 for item in self.bucket.items)

    def step(self, step_input: StepInput) -> None:
        """Steps every tensor once and advances its counter."""
        rows: dict[tuple[int, int], reference.Row] = {}
        for item, grad in zip(self.bucket.items, step_input.grads, strict=True):
            step = int(item.state["step"]) + 1
            row = rows.get((item.group, step))
            if row is None:
                hyper, multiplier = step_input.hypers[item.group], step_input.grad_multipliers[item.group]
                row = rows[item.group, step] = reference.make_row(self.rule, hyper, multiplier, step, step_input.chain)
            states = [item.state[name] for name in self.bucket.state_names]
            part = reference.Part(item.key, item.offset, item.noise)
            old = flatten(item.param).clone() if step_input.metrics is not None else None
            element = reference.step_tensor(self.rule, row, part, item.param, grad, states)
            if step_input.metrics is not None and old is not None and element is not None:
                step_input.metrics[item.name] = reference.measure(self.rule, row.common, old, element)
            item.state["step"].fill_(step)

    def square_grads(self, step_input: StepInput) -> list[float]:
        """The sum of squares of each gradient."""
        return [float(sum_squares(grad)) for grad in step_input.grads]
