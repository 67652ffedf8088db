"""The tables that Triton's kernels read: what stays of a bucket's tensors, and what of a step goes up where it changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..buckets import Bucket
from ..errors import BackendError
from ..reference import STATISTICS
from ..reference_rules import RULES
from .device import DevicePlan
from .device_table import DeviceTable
from .host_counters import HostCounters
from .plan import StepInput
from .triton_support import load_kernels


class TritonTables(DevicePlan):
    """The tables of a bucket on its device."""

    def __init__(self, bucket: Bucket) -> None:
        super().__init__(bucket)
        if self.is_capturing():
            raise BackendError("a plan cannot be made while a graph is captured: take one such step before")
        self.kernels = load_kernels()
        items, tables, device = bucket.items, self.kernels.tables, self.device
        steps = [item.state["step"] for item in items]
        self.counters = None if bucket.counts_on_device else HostCounters(steps)
        extents = [(item.param.numel(), item.offset) for item in items]
        folds, last_folds, segments = self.kernels.folds.make_folds(extents)
        gathers = torch.tensor([(i, 1, item.order) for i, item in enumerate(items)], dtype=torch.int64, device="cpu")
        self.chunks = tables.make_chunks(extents).to(device)
        self.tensors = tables.make_tensors([self.part_of(i) for i in range(len(items))]).to(device)
        self.folds, self.last_folds, self.gathers = folds.to(device), last_folds.to(device), gathers.to(device)
        self.grads, self.steps = DeviceTable(device, len(items)), DeviceTable(device, len(items))
        self.compensations = DeviceTable(device, (len(items) + 1) // 2)
        self.groups = DeviceTable(device, bucket.groups * tables.GROUP_WORDS.value)
        self.packed: list[tuple[dict[str, Any], float, bool, bytes]] = []  # of each group
        words = tables.row_words(bucket.rule)
        self.rows = torch.zeros((len(items), words), dtype=torch.int32, device=device)
        self.one, self.none = (torch.full((1,), value, dtype=torch.float32, device=device) for value in (1.0, 0.0))
        self.no_sum = torch.zeros(1, dtype=torch.float64, device=device)
        self.no_flag = torch.zeros(1, dtype=torch.int32, device=device)
        self.sums = torch.zeros(len(items) + segments, dtype=torch.float64, device=device)
        self.compiled: set[bool] = set()  # whether kernels are for steps that are observed
        self.statistics_at = len(self.chunks) * len(STATISTICS)
        self.statistics_numbers = self.statistics_at + len(self.sums) * len(STATISTICS)

    def part_of(self, index: int) -> Any:
        """What the table of tensors says of one."""
        item = self.bucket.items[index]
        return self.kernels.tables.Part(
            param=item.param.data_ptr(),
            size=item.param.numel(),
            offset=item.offset,
            key=item.key,
            group=item.group,
            noise=item.noise,
            states=[item.state[name].data_ptr() for name in self.bucket.state_names],
            step=item.state["step"].data_ptr() if self.bucket.counts_on_device else 0,
        )

    def step_tables(self, found_inf: Tensor) -> Any:
        """What the kernels find the tensors by."""
        return self.kernels.step.Tables(self.chunks, self.tensors, self.grads.tensor, self.rows, found_inf)

    def compile(self, observes: bool) -> None:
        """Compiles and loads what a step needs, so that what may fail is behind it when the step begins."""
        if observes in self.compiled:
            return
        kernels, bucket, tables = self.kernels, self.bucket, self.step_tables(self.none)
        constants = self.one, self.none, self.no_sum, self.no_sum, self.no_sum
        uploads = self.groups.tensor, self.steps.tensor, self.compensations.tensor.view(torch.float32)
        inputs = kernels.prepare.Inputs(self.tensors, *uploads, *constants, self.rows, self.no_flag)
        statistics = self.statistics_for("observed") if observes else None
        calls = [kernels.step.call_step(bucket.rule, bucket.dtypes, tables, statistics)]
        calls.append(kernels.prepare.call_prepare(bucket.rule, inputs, kernels.prepare.Request(0)))
        if observes:
            calls.append(kernels.squares.call_fold(self.sums, self.sums, self.none, self.folds))
        for call in calls:
            kernels.launch.compile_call(call)
        self.compiled.add(observes)

    def pack_hyper(self, values: dict[str, Any]) -> bytes:
        """One group's hyper-parameters."""
        return bytes(self.kernels.tables.pack_hyper(values, RULES[self.bucket.rule].hypers))

    def pack_schedule(self, schedule: Sequence[dict[str, Any]]) -> bytes:
        """A table of hyper-parameters as the kernels read it."""
        return b"".join(map(self.pack_hyper, schedule))

    def list_memory(self) -> tuple[Tensor, ...]:
        """The tables that the plan owns."""
        written = (table.tensor for table in (self.grads, self.steps, self.compensations, self.groups))
        constants = self.one, self.none, self.no_sum, self.no_flag
        return (self.chunks, self.tensors, self.folds, self.last_folds, self.gathers, self.rows, self.sums, *constants, *written)

    def put_groups(self, step_input: StepInput, capturing: bool) -> None:
        """Uploads what the device makes the scalars of the groups from."""
        self.read_hypers(step_input.hypers)
        leaves = step_input.side is not None
        known = self.packed if len(self.packed) == len(step_input.hypers) else [None] * len(step_input.hypers)
        packed = []
        for before, values, multiplier, facts in zip(
            known, step_input.hypers, step_input.grad_multipliers, self.facts, strict=True
        ):
            if before is not None and before[0] is values and before[1:3] == (multiplier, leaves):
                packed.append(before)
                continue
            group = self.kernels.tables.Group(
                hyper=self.pack_hyper(values), grad_multiplier=multiplier, **(facts if leaves else {})
            )
            packed.append((values, multiplier, leaves, bytes(self.kernels.tables.pack_group(group))))
        self.packed = packed
        self.groups.put(b"".join(one[-1] for one in packed), capturing)
