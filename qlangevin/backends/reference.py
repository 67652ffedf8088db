"""The plain-torch backend: slow, on any device, the one that every other is compared with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from .. import reference
from ..buckets import Bucket, Item
from ..levy import TAIL_INDEX
from ..reference_numbers import flatten, sum_squares
from ..reference_rules import RULES
from ..scalar_values import COUNTER_END
from .plan import Plan, StepInput
from .uninterrupted import uninterrupted


class ReferenceBackend:
    """Steps anything that torch can add and multiply."""

    name = "reference"

    def why_not(self, device: torch.device, dtypes: tuple[torch.dtype, ...]) -> str | None:
        """Never a reason."""
        return None

    def make_plan(self, bucket: Bucket) -> Plan:
        """The bucket itself, stepped tensor by tensor."""
        return ReferencePlan(bucket)

    def is_chosen_by_name_only(self, device: torch.device) -> bool:
        """Never: it is the last resort."""
        return False

    def draws_levy(self, device: torch.device) -> bool:
        """Always."""
        return True

    def counts_on_device(self, device: torch.device) -> bool:
        """Never: the reference looks at each step."""
        return False


class ReferencePlan:
    """Steps a bucket tensor by tensor."""

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket
        self.rule = RULES[bucket.rule]

    def counters_fit(self) -> bool:
        """Whether every step counter can be advanced."""
        return all(0 <= int(item.state["step"]) < COUNTER_END for item in self.bucket.items)

    def step(self, step_input: StepInput, observes: bool) -> Tensor | None:
        """Steps every tensor once and advances its counter; with `observes` returns the statistics of each."""
        found = []
        for item, grad, row, part in self.list_work(step_input):
            states = [item.state[name] for name in self.bucket.state_names]
            old = flatten(item.param).clone() if observes else flatten(item.param)
            element = reference.step_tensor(self.rule, row, part, item.param, grad, states)
            item.state["step"].fill_(row.step)
            if observes:
                known = {} if element is None else reference.observe(self.rule, row, part, old, element)
                zero = torch.zeros((), dtype=torch.float64, device=item.param.device)
                found.append(torch.stack([known.get(name, zero) for name in reference.STATISTICS]))
        return torch.stack(found) if observes else None

    def look_ahead(self, step_input: StepInput) -> list[tuple[float, float]]:
        """For each tensor the sum of squares and the largest magnitude of its coming displacement."""
        found = []
        for item, grad, row, part in self.list_work(step_input):
            if item.param.numel() == 0:
                found.append((0.0, 0.0))
                continue
            states = [item.state[name] for name in self.bucket.state_names]
            element = reference.run_tensor(self.rule, row, part, item.param, grad, states)
            ahead = reference.look_ahead(element, item.offset)
            found.append((float(ahead["displacement_squares"]), float(ahead["largest_displacement"])))
        return found

    def list_work(self, step_input: StepInput) -> Iterator[tuple[Item, Tensor, reference.Row, reference.Part]]:
        """Each tensor with its gradient, the scalars of its step and what it brings along."""
        rows: dict[tuple[int, int], reference.Row] = {}
        compensations = step_input.compensations or [0.0] * len(self.bucket.items)
        for item, grad, compensation in zip(self.bucket.items, step_input.grads, compensations, strict=True):
            at = item.group, int(item.state["step"]) + 1
            hyper, multiplier = step_input.hypers[item.group], step_input.grad_multipliers[item.group]
            if at not in rows:
                rows[at] = reference.make_row(self.rule, hyper, multiplier, at[1], step_input.chain)
            yield (
                item,
                grad,
                rows[at],
                reference.Part(item.key, item.offset, item.noise, compensation, hyper.get(TAIL_INDEX) or 2.0),
            )

    def square_grads(self, step_input: StepInput) -> list[float]:
        """The sum of squares of each gradient."""
        return [float(sum_squares(grad, item.offset)) for item, grad in zip(self.bucket.items, step_input.grads, strict=True)]


def step_together(parts: Sequence[tuple[ReferencePlan, StepInput]], observes: bool) -> list[Tensor | None]:
    """Steps several plans; Ctrl-C waits until all of them are stepped."""
    with uninterrupted():
        return [plan.step(part, observes) for plan, part in parts]
