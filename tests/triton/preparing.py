"""The memory that the kernel of the scalars reads and writes, and the rows that it must make of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from qlangevin import reference, reference_numbers, reference_rules
from qlangevin.triton_kernels import prepare, step, tables

from ..core.kernels import name_of
from .launching import make_rows

JUNK = -0x5A5A5A5B
STATISTICS = len(reference.STATISTICS)
SQUARES = reference.STATISTICS.index("displacement_squares")


def divide(a: float, b: float) -> float:
    """a / b as IEEE-754 has it."""
    return float((torch.tensor(a, dtype=torch.float64) / torch.tensor(b, dtype=torch.float64)).item())


@dataclass
class Group:
    """A group of tensors, as a test describes it. lr, temperature: numbers on the device; schedule: hypers of each step."""

    hyper: Mapping[str, Any]
    lr: Tensor | None = None
    temperature: Tensor | None = None
    schedule: Sequence[Mapping[str, Any]] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)  # what else tables.Group takes

    def hyper_at(self, at: int) -> dict[str, Any]:
        """The hyper-parameters of a step."""
        h = dict(self.schedule[max(min(at, len(self.schedule)), 1) - 1] if self.schedule else self.hyper)
        numbers = {"lr": self.lr, "temperature": self.temperature}
        return h | {name: float(number.item()) for name, number in numbers.items() if number is not None}


@dataclass
class Preparation:
    """One launch. groups_of: the group of each tensor; counters: those that have one, by tensor."""

    rule: str
    groups: Sequence[Group]
    groups_of: Sequence[int]
    request: prepare.Request
    steps: Sequence[int] = (0,)
    counters: Mapping[int, Tensor] = field(default_factory=dict)
    compensations: Sequence[float] = (0.0,)
    grad_scale: float = 1.0
    found_inf: float = 0.0
    grad_squares: float = 0.0
    displacement_squares: float = 0.0
    ahead: Sequence[float] = ()  # of each tensor, the squares alone
    overrun: int = 0
    inputs: prepare.Inputs | None = None

    def make_group(self, group: Group, kept: list[Tensor]) -> tables.Group:
        """What the table of groups says of one."""
        names = reference_rules.RULES[self.rule].hypers
        numbers = {"lr": group.lr, "temperature": group.temperature}
        facts = {name: (number.data_ptr(), name_of(number)) for name, number in numbers.items() if number is not None}
        if group.schedule:
            rows = [tables.pack_hyper(h, names) for h in (group.hyper, *group.schedule)]  # one before the first
            kept.append(torch.frombuffer(bytearray(b"".join(rows)), dtype=torch.uint8)[len(rows[0]) :])
            facts |= {"schedule": kept[-1].data_ptr(), "schedule_steps": len(group.schedule)}
        return tables.Group(tables.pack_hyper(group.hyper, names), **facts, **group.facts)

    def make_inputs(self, kept: list[Tensor]) -> prepare.Inputs:
        """The memory; what it points to is kept beside."""
        count, wide = len(self.groups_of), torch.float64
        counters = [self.counters[i].data_ptr() if i in self.counters else 0 for i in range(count)]
        facts = zip(self.groups_of, counters, strict=True)
        ahead = torch.full((count, STATISTICS), math.nan, dtype=wide)
        if self.ahead:
            ahead[:, SQUARES] = torch.tensor(self.ahead, dtype=wide)
        return prepare.Inputs(
            tables.make_tensors([tables.Part(0, 1, 0, 0, group, True, (), counter) for group, counter in facts]),
            tables.make_groups([self.make_group(group, kept) for group in self.groups]),
            torch.tensor(self.steps, dtype=torch.int64),
            torch.tensor(self.compensations),
            torch.tensor([self.grad_scale]),
            torch.tensor([self.found_inf]),
            torch.tensor([self.grad_squares], dtype=wide),
            torch.tensor([self.displacement_squares], dtype=wide),
            ahead.flatten(),
            torch.full((count + 1, tables.row_words(self.rule)), JUNK, dtype=torch.int32),
            torch.tensor([self.overrun], dtype=torch.int32),
        )

    def run(self) -> Tensor:
        """The rows that the kernel made, and one beyond that it must not."""
        kept: list[Tensor] = []
        self.inputs = self.make_inputs(kept)
        prepare.launch_prepare(self.rule, self.inputs, self.request)
        self.overrun = int(self.inputs.overrun)
        return self.inputs.rows

    def step_of(self, tensor: int) -> int:
        """The step that a tensor takes; asked before the launch."""
        if self.request.step:
            return self.request.step
        if self.request.from_counters:
            return int(self.counters[tensor]) + 1 if tensor in self.counters else 1
        return self.steps[tensor]

    def multiplier_of(self, group: Group) -> float:
        """What gradients are multiplied by."""
        inverse = divide(1.0, torch.tensor(self.grad_scale).item())
        multiplier, most = group.facts.get("grad_multiplier", 1.0) * inverse, group.facts.get("max_grad_norm", 0.0)
        if most == 0.0:
            return float(multiplier)
        norm = reference_numbers.norm_of(self.grad_squares) * inverse
        return float(multiplier * reference_numbers.clip_coefficient(norm, most))

    def compensation_of(self, tensor: int, h: Mapping[str, Any]) -> float:
        """The compensation factor of a tensor."""
        group = self.groups[self.groups_of[tensor]]
        if not self.request.counts:
            return 0.0
        if self.request.host_compensations:
            return self.compensations[tensor]
        if not self.request.device_compensations or not group.facts.get("compensates"):
            return 0.0
        squares = self.displacement_squares if group.facts.get("compensation_global") else self.ahead[tensor]
        return reference_numbers.compensation_factor(h["compensation"] * h["lr"], reference_numbers.norm_of(squares))

    def make_wanted(self) -> Tensor:
        """The rows that the reference makes."""
        rows = []
        for tensor, index in enumerate(self.groups_of):
            group, at = self.groups[index], self.step_of(tensor)
            h = group.hyper_at(at)
            row = reference.make_row(reference_rules.RULES[self.rule], h, self.multiplier_of(group), at, self.request.chain)
            common = reference.replace(row.common, compensation=self.compensation_of(tensor, h))
            rows.append(reference.replace(row, common=common))
        made = make_rows(step.KERNELS[self.rule], rows)
        return torch.cat([made, torch.full((1, made.shape[1]), JUNK, dtype=torch.int32)])
