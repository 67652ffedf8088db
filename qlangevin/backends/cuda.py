"""The C++ backend on GPUs: plans of tensors in a device's memory, stepped without the host waiting for the device."""

from __future__ import annotations

import importlib
import operator
import os
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..buckets import Bucket
from ..errors import BackendError
from ..native_module import explain_cuda, native
from ..reference import STATISTICS
from .native_form import NativeHypers, list_facts
from .plan import DeviceSide, StepInput

SQUARES, LARGEST = map(STATISTICS.index, ("displacement_squares", "largest_displacement"))
STORAGE = {torch.float32: "float32", torch.bfloat16: "bfloat16", torch.float16: "float16"}
NUMBERS = {torch.float32: "float32", torch.float64: "float64"}  # that the device reads lr and temperature from


def find_module(device: torch.device) -> Any:
    """The native module whose GPU kernels step tensors of a device; None for one that is no GPU.

    With the environment variable QLANGEVIN_GPU_ON_HOST=1 the CPU's memory stands for a GPU's, in contributors' builds: the
    kernels' own source is run on the host, to test what is around them.
    """
    if device.type == "cpu" and os.environ.get("QLANGEVIN_GPU_ON_HOST") == "1":
        return importlib.import_module("qlangevin._gpu_on_host")
    return native if device.type == "cuda" and native is not None else None


def why_not(device: torch.device, dtypes: tuple[torch.dtype, ...]) -> str | None:
    """Why the kernels cannot step such tensors of a GPU; None if they can."""
    if device.type == "cuda" and (why := explain_cuda(index_of(device))) is not None:
        return why
    for dtype in dtypes:
        if dtype not in STORAGE:
            return f"its kernels take float32, bfloat16 and float16, not {str(dtype).removeprefix('torch.')}"
    return None


def index_of(device: torch.device) -> int:
    """The number of a GPU."""
    if device.type == "cpu":
        return 0
    return torch.cuda.current_device() if device.index is None else device.index


def stream_of(device: torch.device) -> int:
    """The caller's current stream on a device."""
    return 0 if device.type == "cpu" else torch.cuda.current_stream(device).cuda_stream


def is_capturing(device: torch.device) -> bool:
    """Whether the caller's current stream on a GPU is being captured into a graph."""
    return bool(find_module(device).is_capturing(stream_of(device)))


def address_of(tensor: Tensor | None) -> int:
    """Where a tensor lies; 0 for none."""
    return 0 if tensor is None else tensor.data_ptr()


def as_float32(tensor: Tensor | None, device: torch.device) -> Tensor | None:
    """A scalar of a GradScaler as the kernels read it."""
    return None if tensor is None else tensor.detach().to(device, torch.float32)


def one_device(plans: Sequence[Any]) -> torch.device | None:
    """The GPU whose tensors all plans step; None if they are of several devices, or of another backend."""
    devices = {plan.device if isinstance(plan, CudaPlan) else None for plan in plans}
    return devices.pop() if len(devices) == 1 else None


class CudaPlan:
    """A native plan, the tensors that it points into, and its memory on the device."""

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket  # keeps every tensor alive that the plan points into
        self.device = bucket.device
        self.module = find_module(bucket.device)
        self.hypers = NativeHypers(bucket.rule, native)
        self.tables: dict[int, tuple[list[dict[str, Any]], Tensor]] = {}  # of schedules, by group
        self.places = max(item.order for item in bucket.items) + 1
        self.sources: list[dict[str, Any]] = []  # the hyper-parameters that the following are of
        self.on_device: list[Any] = []
        self.takes_norm = self.compensates = False
        storage = [STORAGE[dtype] for dtype in bucket.dtypes]
        where = index_of(self.device)
        self.plan = self.module.CudaPlan(bucket.rule, storage, list_facts(bucket), where, bucket.groups, bucket.counts_on_device)
        here = stream_of(self.device)
        self.streams = {here}  # that have used its memory
        self.memory = torch.empty(self.plan.bytes, dtype=torch.uint8, device=self.device)
        self.statistics: dict[str, Tensor] = {}
        try:
            self.plan.place(self.memory.data_ptr(), here)
        except self.module.CudaError as error:
            raise BackendError(str(error)) from None

    def counters_fit(self) -> bool:
        """Whether every step counter of the host can be advanced; the device's are not looked at."""
        return bool(self.plan.counters_fit())

    def step(self, step_input: StepInput, observes: bool) -> Tensor | None:
        """Steps every tensor once and advances its counter; with `observes` returns the statistics of each."""
        return step_together([(self, step_input)], observes)[0]

    def look_ahead(self, step_input: StepInput) -> list[tuple[float, float]]:
        """For each tensor the sum of squares and the largest magnitude of its coming displacement; waits for the device."""
        part = (self.plan, self.convert_input(step_input), self.statistics_for("ahead").data_ptr(), 0)
        common = Common([self], step_input)
        found = self.module.cuda_look_ahead(part, common.native)
        width = len(STATISTICS)
        return list(zip(found[SQUARES::width], found[LARGEST::width], strict=True))

    def square_grads(self, step_input: StepInput) -> list[float]:
        """The sum of squares of each gradient; waits for the device."""
        part = (self.plan, self.convert_input(step_input), 0, 0)
        common = Common([self], step_input)
        return list(self.module.cuda_square_grads(part, common.native))

    def convert_input(self, step_input: StepInput) -> Any:
        """The native form of a step's input."""
        self.read_hypers(step_input.hypers)
        hypers, multipliers = self.hypers.convert(step_input.hypers), step_input.grad_multipliers
        on_device = [] if step_input.side is None else self.on_device
        compensations, chain = step_input.compensations, step_input.chain
        return self.module.CudaStepInput(step_input.pointers, hypers, multipliers, on_device, compensations, chain)

    def read_hypers(self, hypers: Sequence[dict[str, Any]]) -> None:
        """Finds what of the groups is the device's to make; again only if one of them changed."""
        if len(self.sources) == len(hypers) and all(map(operator.is_, self.sources, hypers)):
            return
        self.sources = list(hypers)
        facts = [self.facts_of(index, values) for index, values in enumerate(hypers)]
        self.on_device = list(map(self.module.OnDevice, facts))
        self.compensates = any(one["compensates"] for one in facts)
        self.takes_norm = self.compensates or any(one["max_grad_norm"] for one in facts)

    def facts_of(self, group: int, values: dict[str, Any]) -> dict[str, Any]:
        """What of a group's hyper-parameters the device reads or makes for itself."""
        schedule = values.get("schedule")
        return {
            "lr": number_on_device(values.get("device_lr")),
            "temperature": number_on_device(values.get("device_temperature")),
            "schedule": 0 if schedule is None else self.table_of(group, schedule).data_ptr(),
            "schedule_steps": 0 if schedule is None else len(schedule),
            "max_grad_norm": values["max_grad_norm"] or 0.0,
            "compensates": makes_compensation(values),
            "compensation_global": values["compensation_norm"] == "global",
        }

    def table_of(self, group: int, schedule: list[dict[str, Any]]) -> Tensor:
        """The hyper-parameters of every step, on the device."""
        known = self.tables.get(group)
        if known is None or known[0] is not schedule:
            packed = bytearray(self.module.pack_hypers([self.hypers.convert_one(values) for values in schedule]))
            known = schedule, torch.frombuffer(packed, dtype=torch.uint8).to(self.device)
            self.tables[group] = known
        return known[1]

    def keep_for(self, stream: int) -> None:
        """Tells torch that the plan's memory is in use on a stream: it may be freed while a kernel there still waits."""
        if self.device.type != "cuda" or is_capturing(self.device):
            return
        self.streams.add(stream)
        if len(self.streams) > 1:
            for tensor in (self.memory, *self.statistics.values(), *(table for _, table in self.tables.values())):
                tensor.record_stream(torch.cuda.current_stream(self.device))

    def statistics_for(self, purpose: str) -> Tensor:
        """Memory for statistics, made when it is first needed; zeros until a step has filled it."""
        if purpose not in self.statistics:
            self.statistics[purpose] = torch.zeros(self.plan.statistics_numbers, dtype=torch.float64, device=self.device)
        return self.statistics[purpose]

    def observed(self) -> Tensor:
        """A copy of the latest observed statistics, as (tensors, statistics)."""
        numbers = self.statistics_for("observed")[self.plan.statistics_at :]
        return numbers[: len(self.bucket.items) * len(STATISTICS)].view(-1, len(STATISTICS)).clone()


def number_on_device(number: Tensor | None) -> tuple[int, str]:
    """The address and type of a number that the device reads."""
    return (0, "") if number is None else (number.data_ptr(), NUMBERS[number.dtype])


def makes_compensation(values: dict[str, Any]) -> bool:
    """Whether a group has a compensation term, now or by its schedule."""
    return any(one["compensation"] != 0.0 for one in values.get("schedule") or (values,))


class Common:
    """What the plans of one device share in a step, and the tensors that must live until its launches are made."""

    def __init__(self, plans: Sequence[CudaPlan], step_input: StepInput) -> None:
        device, module = plans[0].device, plans[0].module
        side = step_input.side or DeviceSide()
        places = max(plan.places for plan in plans)
        self.norms: Tensor | None = None
        if step_input.side is None or any(plan.takes_norm for plan in plans):
            self.norms = torch.empty(2 * module.count_norms(places), dtype=torch.float64, device=device)
        self.grad_scale, self.found_inf = as_float32(side.grad_scale, device), as_float32(side.found_inf, device)
        self.native = module.CudaCommon(
            stream=stream_of(device),
            grad_scale=address_of(self.grad_scale),
            found_inf=address_of(self.found_inf),
            norms=address_of(self.norms),
            places=places,
            overrun=address_of(side.overrun),
        )


def step_together(parts: Sequence[tuple[CudaPlan, StepInput]], observes: bool) -> list[Tensor | None]:
    """Steps the plans of one device in one native call.

    Raises:
        BackendError: with the name of a CUDA error.
    """
    plans, step_input = [plan for plan, _ in parts], parts[0][1]
    converted = [
        (
            plan.plan,
            plan.convert_input(part),
            plan.statistics_for("ahead").data_ptr() if part.side is not None and plan.compensates else 0,
            plan.statistics_for("observed").data_ptr() if observes else 0,
        )
        for plan, part in parts
    ]
    common, stream = Common(plans, step_input), stream_of(plans[0].device)
    for plan in plans:
        plan.keep_for(stream)
    try:
        plans[0].module.cuda_step_together(converted, common.native)
    except plans[0].module.CudaError as error:
        raise BackendError(f"the step failed on {plans[0].device}: {error}") from None
    return [plan.observed() if observes else None for plan in plans]
