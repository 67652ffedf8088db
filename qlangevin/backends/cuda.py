"""The C++ backend on GPUs: plans of tensors in a device's memory, stepped without the host waiting for the device."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..buckets import Bucket
from ..errors import BackendError
from ..native_module import explain_cuda, native
from ..reference import STATISTICS
from .device import LARGEST, SQUARES, DevicePlan, as_float32, current_stream, index_of, is_host_double
from .native_form import NativeHypers, list_facts
from .plan import DeviceSide, StepInput
from .storage import STORAGE, why_no_kernel


def find_module(device: torch.device) -> Any:
    """The native module whose GPU kernels step tensors of a device; None for one that is no GPU.

    With the environment variable QLANGEVIN_GPU_ON_HOST=1 the CPU's memory stands for a GPU's, in contributors' builds: the
    kernels' own source is run on the host, to test what is around them.
    """
    if device.type == "cpu" and is_host_double():
        return importlib.import_module("qlangevin._gpu_on_host")
    return native if device.type == "cuda" and native is not None else None


def why_not(device: torch.device, dtypes: tuple[torch.dtype, ...]) -> str | None:
    """Why the kernels cannot step such tensors of a GPU; None if they can."""
    if device.type == "cuda" and (why := explain_cuda(index_of(device))) is not None:
        return why
    return why_no_kernel(dtypes)


def stream_of(device: torch.device) -> int:
    """The caller's current stream on a device, as CUDA names it."""
    return 0 if device.type == "cpu" else int(current_stream(device).cuda_stream)


def address_of(tensor: Tensor | None) -> int:
    """Where a tensor lies; 0 for none."""
    return 0 if tensor is None else tensor.data_ptr()


class CudaPlan(DevicePlan):
    """A native plan, the tensors that it points into, and its memory on the device."""

    def __init__(self, bucket: Bucket) -> None:
        super().__init__(bucket)
        self.module = find_module(bucket.device)
        self.hypers = NativeHypers(bucket.rule, native)
        self.on_device: list[Any] = []
        storage = [STORAGE[dtype] for dtype in bucket.dtypes]
        where = index_of(self.device)
        self.plan = self.module.CudaPlan(bucket.rule, storage, list_facts(bucket), where, bucket.groups, bucket.counts_on_device)
        self.statistics_numbers, self.statistics_at = self.plan.statistics_numbers, self.plan.statistics_at
        self.memory = torch.empty(self.plan.bytes, dtype=torch.uint8, device=self.device)
        try:
            self.plan.place(self.memory.data_ptr(), stream_of(self.device))
        except self.module.CudaError as error:
            raise BackendError(str(error)) from None

    def is_capturing(self) -> bool:
        """Whether the coming step becomes a part of a graph."""
        return bool(self.module.is_capturing(stream_of(self.device)))

    def pack_schedule(self, schedule: Sequence[dict[str, Any]]) -> bytes:
        """A table of native hyper-parameters."""
        return bytes(self.module.pack_hypers([self.hypers.convert_one(values) for values in schedule]))

    def list_memory(self) -> tuple[Tensor, ...]:
        """What the native plan's tables lie in."""
        return (self.memory,)

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
        if self.read_hypers(step_input.hypers):
            self.on_device = list(map(self.module.OnDevice, self.facts))
        hypers, multipliers = self.hypers.convert(step_input.hypers), step_input.grad_multipliers
        on_device = [] if step_input.side is None else self.on_device
        compensations, chain = step_input.compensations, step_input.chain
        return self.module.CudaStepInput(step_input.pointers, hypers, multipliers, on_device, compensations, chain)


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
    common = Common(plans, step_input)
    for plan in plans:
        plan.keep_for_stream()
    try:
        plans[0].module.cuda_step_together(converted, common.native)
    except plans[0].module.CudaError as error:
        raise BackendError(f"the step failed on {plans[0].device}: {error}") from None
    return [plan.of_tensors("observed").clone() if observes else None for plan in plans]
