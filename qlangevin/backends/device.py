"""What the backends of GPUs share: streams, captures, and what a step leaves to the device."""

from __future__ import annotations

import contextlib
import operator
import os
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from ..buckets import Bucket
from ..reference import STATISTICS
from .plan import Plan

SQUARES, LARGEST = map(STATISTICS.index, ("displacement_squares", "largest_displacement"))
TRITON_YES = ("1", "true", "on", "y", "yes")  # as Triton reads its variables; asking it would import it for the CPU's tensors
NUMBERS = {torch.float32: "float32", torch.float64: "float64"}  # that the device reads lr and temperature from


def is_host_double() -> bool:
    """Whether the CPU's memory stands for a GPU's for the CUDA backend (QLANGEVIN_GPU_ON_HOST=1), for tests."""
    return os.environ.get("QLANGEVIN_GPU_ON_HOST") == "1"


def is_interpreting() -> bool:
    """Whether Triton's interpreter steps the CPU's tensors (TRITON_INTERPRET=1, or what else Triton takes for it)."""
    return os.environ.get("TRITON_INTERPRET", "").lower() in TRITON_YES


def is_device(device: torch.device) -> bool:
    """Whether the host would wait for a device to read a tensor there, or acts as if."""
    return device.type != "cpu" or is_host_double() or is_interpreting()


def index_of(device: torch.device) -> int:
    """The number of a GPU."""
    if device.type == "cpu":
        return 0
    return int(torch.get_device_module(device).current_device()) if device.index is None else device.index


def scope_of(device: torch.device) -> AbstractContextManager[Any]:
    """Makes a GPU the current one."""
    return contextlib.nullcontext() if device.type == "cpu" else torch.get_device_module(device).device(device)


def current_stream(device: torch.device) -> Any:
    """The caller's current stream on a GPU; None for the CPU."""
    return None if device.type == "cpu" else torch.get_device_module(device).current_stream(device)


def is_capturing(device: torch.device) -> bool:
    """Whether the caller's current stream on a GPU is being captured into a graph."""
    asks = getattr(torch.get_device_module(device), "is_current_stream_capturing", None)
    if asks is None:
        return False
    with scope_of(device):  # torch asks for the current GPU's
        return bool(asks())


def as_float32(tensor: Tensor | None, device: torch.device) -> Tensor | None:
    """A scalar of a GradScaler as the kernels read it."""
    return None if tensor is None else tensor.detach().to(device, torch.float32)


def number_on_device(number: Tensor | None) -> tuple[int, str]:
    """The address and type of a number that the device reads."""
    return (0, "") if number is None else (number.data_ptr(), NUMBERS[number.dtype])


class DevicePlan(Plan):
    """A bucket on a GPU with its tables there. What the device makes for itself of the hyper-parameters, and its memory."""

    statistics_numbers: int  # for the tasks, then for the tensors
    statistics_at: int  # where those of the tensors begin

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket  # keeps every tensor alive that the plan points into
        self.device = bucket.device
        self.places = max(item.order for item in bucket.items) + 1
        self.takes_norm = self.compensates = False
        self.tables: dict[int, tuple[list[dict[str, Any]], Tensor]] = {}  # of schedules, by group
        self.sources: list[dict[str, Any]] = []  # the hyper-parameters that the following are of
        self.facts: list[dict[str, Any]] = []
        self.statistics: dict[str, Tensor] = {}
        self.captured: list[Any] = []  # what graphs read that a change of the hyper-parameters would free
        self.streams: set[Any] = {current_stream(self.device)}  # that have used its memory

    def is_capturing(self) -> bool:
        """Whether the coming step becomes a part of a graph."""
        return is_capturing(self.device)

    def pack_schedule(self, schedule: Sequence[dict[str, Any]]) -> bytes:
        """A table of hyper-parameters as the kernels read it."""
        raise NotImplementedError

    def list_memory(self) -> Iterable[Tensor]:
        """The tables that the plan owns."""
        raise NotImplementedError

    def read_hypers(self, hypers: Sequence[dict[str, Any]]) -> bool:
        """Finds what of the groups is the device's to make; False if nothing changed since the last time."""
        if len(self.sources) == len(hypers) and all(map(operator.is_, self.sources, hypers)):
            return False
        self.facts = [self.facts_of(index, values) for index, values in enumerate(hypers)]
        self.compensates = any(one["compensates"] for one in self.facts)
        self.takes_norm = self.compensates or any(one["max_grad_norm"] for one in self.facts)
        self.sources = list(hypers)  # last: what failed, for want of memory say, is tried again
        return True

    def facts_of(self, group: int, values: dict[str, Any]) -> dict[str, Any]:
        """What of a group's hyper-parameters the device reads or makes for itself."""
        schedule = values.get("schedule")
        return {
            "lr": number_on_device(values.get("device_lr")),
            "temperature": number_on_device(values.get("device_temperature")),
            "schedule": 0 if schedule is None else self.table_of(group, schedule).data_ptr(),
            "schedule_steps": 0 if schedule is None else len(schedule),
            "max_grad_norm": values["max_grad_norm"] or 0.0,
            "compensates": values["compensation"] != 0.0,  # of a schedule the first step's, which is the largest
            "compensation_global": values["compensation_norm"] == "global",
        }

    def table_of(self, group: int, schedule: list[dict[str, Any]]) -> Tensor:
        """The hyper-parameters of every step, on the device."""
        known = self.tables.get(group)
        if known is None or known[0] is not schedule:
            known = schedule, torch.frombuffer(bytearray(self.pack_schedule(schedule)), dtype=torch.uint8).to(self.device)
            self.tables[group] = known
        return known[1]

    def keep_for_graph(self) -> None:
        """Keeps the schedules' tables, and lr and temperature on the device, as the step just captured reads them."""
        self.captured.append((self.sources, *self.tables.values()))

    def keep_for_stream(self) -> None:
        """Tells torch that the plan's memory is in use on the current stream: kernels there may outlive the plan."""
        if self.device.type == "cpu" or self.is_capturing():
            return
        stream = current_stream(self.device)
        self.streams.add(stream)
        if len(self.streams) > 1:
            for tensor in (*self.list_memory(), *self.statistics.values(), *(table for _, table in self.tables.values())):
                tensor.record_stream(stream)

    def statistics_for(self, purpose: str) -> Tensor:
        """Memory for statistics, made when it is first needed; zeros until a step has filled it."""
        if purpose not in self.statistics:
            self.statistics[purpose] = torch.zeros(self.statistics_numbers, dtype=torch.float64, device=self.device)
        return self.statistics[purpose]

    def of_tensors(self, purpose: str) -> Tensor:
        """The latest statistics of each tensor, as (tensors, statistics)."""
        numbers = self.statistics_for(purpose)[self.statistics_at :]
        return numbers[: len(self.bucket.items) * len(STATISTICS)].view(-1, len(STATISTICS))


def one_device(plans: Sequence[Plan]) -> torch.device | None:
    """The GPU whose tensors all plans step; None if they are of several devices, or of several backends, or of no GPU's."""
    first = plans[0]
    same = all(type(plan) is type(first) and plan.bucket.device == first.bucket.device for plan in plans)
    return first.bucket.device if same and isinstance(first, DevicePlan) else None
