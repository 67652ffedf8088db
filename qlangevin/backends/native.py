"""The C++ backend: qlangevin._native, handed pointers and sizes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..buckets import Bucket
from ..errors import BackendError
from ..levy import TAIL_INDEX
from ..native_module import missing
from ..native_module import native as _native
from ..reference import STATISTICS
from . import cuda
from .device import LARGEST, SQUARES
from .native_form import NativeHypers, list_facts
from .plan import Plan, StepInput
from .storage import STORAGE, why_no_kernel


def cpu_path() -> str:
    """The instruction set asked for by the environment variable QLANGEVIN_CPU; "auto" takes the best."""
    return os.environ.get("QLANGEVIN_CPU", "auto") or "auto"


def explain_cpu_paths() -> dict[str, str]:
    """For each CPU path of this build what this machine lacks for it; empty if nothing."""
    return {} if missing else dict(_native.cpu_paths())


def check_cpu_path() -> None:
    """Refuses a QLANGEVIN_CPU that this build or machine does not have.

    Raises:
        BackendError: listing the valid paths, and for each unusable one what is missing.
    """
    paths = explain_cpu_paths()
    if missing or cpu_path() == "auto" or paths.get(cpu_path()) == "":
        return
    known = ", ".join(path + (f" (not usable: {why})" if why else "") for path, why in paths.items())
    raise BackendError(f"QLANGEVIN_CPU must be one of auto, {known}; got {cpu_path()!r}")


class NativeBackend:
    """C++ kernels for the CPU's tensors, CUDA kernels for those of GPUs."""

    name = "native"

    def why_not(self, device: torch.device, dtypes: tuple[torch.dtype, ...]) -> str | None:
        """Why it cannot step such tensors here; None if it can."""
        if missing:
            return missing
        if cuda.find_module(device) is not None:
            return cuda.why_not(device, dtypes)
        if device.type != "cpu":
            return f"there are no kernels for {device.type} tensors, only for the CPU's and CUDA's"
        return why_no_kernel(dtypes)

    def make_plan(self, bucket: Bucket) -> Plan:
        """Hands the bucket's static facts to the native module."""
        return NativePlan(bucket) if cuda.find_module(bucket.device) is None else cuda.CudaPlan(bucket)

    def is_chosen_by_name_only(self, device: torch.device) -> bool:
        """Never."""
        return False

    def draws_levy(self, device: torch.device) -> bool:
        """Whether its plans draw Levy noise: on the CPU."""
        return cuda.find_module(device) is None

    def counts_on_device(self, device: torch.device) -> bool:
        """Whether its plans can count steps on the device, where the host does not know of a step that was skipped."""
        return cuda.find_module(device) is not None


class NativePlan:
    """A native plan and the tensors that it points into."""

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket  # keeps every tensor alive that the plan points into
        self.hypers = NativeHypers(bucket.rule, _native)
        self.plan = _native.CpuPlan(bucket.rule, [STORAGE[dtype] for dtype in bucket.dtypes], list_facts(bucket), cpu_path())

    def counters_fit(self) -> bool:
        """Whether every step counter can be advanced."""
        return bool(self.plan.counters_fit())

    def step(self, step_input: StepInput, observes: bool) -> Tensor | None:
        """Steps every tensor once and advances its counter; with `observes` returns the statistics of each."""
        return step_together([(self, step_input)], observes)[0]

    def look_ahead(self, step_input: StepInput) -> list[tuple[float, float]]:
        """For each tensor the sum of squares and the largest magnitude of its coming displacement."""
        statistics = self.plan.look_ahead(self.convert_input(step_input))
        width = len(STATISTICS)
        return list(zip(statistics[SQUARES::width], statistics[LARGEST::width], strict=True))

    def convert_input(self, step_input: StepInput) -> Any:
        """The native form of a step's input."""
        hypers = self.hypers.convert(step_input.hypers)
        multipliers, compensations = step_input.grad_multipliers, step_input.compensations
        threads = torch.get_num_threads()
        converted = _native.StepInput(step_input.pointers, hypers, multipliers, compensations, step_input.chain, threads)
        if self.bucket.levy:
            converted.tail_indices = [values.get(TAIL_INDEX) or 0.0 for values in step_input.hypers]
        return converted

    def square_grads(self, step_input: StepInput) -> list[float]:
        """The sum of squares of each gradient."""
        return list(self.plan.square_grads(step_input.pointers, torch.get_num_threads()))


def step_together(parts: Sequence[tuple[NativePlan, StepInput]], observes: bool) -> list[Tensor | None]:
    """Steps several plans in one native call, so that Ctrl-C leaves either all of them stepped or none."""
    inputs = [plan.convert_input(step_input) for plan, step_input in parts]
    found = _native.step_together([plan.plan for plan, _ in parts], inputs, observes)
    if not observes:
        return [None] * len(parts)
    return [torch.tensor(flat, dtype=torch.float64, device="cpu").view(-1, len(STATISTICS)) for flat in found]
