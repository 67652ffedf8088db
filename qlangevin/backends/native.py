"""The C++ backend: qlangevin._native, handed pointers and sizes."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..buckets import Bucket
from ..errors import BackendError
from ..hyper import NOISES
from ..quantizers import ROUNDINGS
from ..reference import STATISTICS
from ..reference_rules import RULES
from .plan import Plan, StepInput

try:
    _native = importlib.import_module("qlangevin._native")

    missing = None
except ImportError as error:
    missing = f"the native module could not be imported ({error}); reinstall with a C++20 compiler, CMake and Ninja"

SQUARES, LARGEST = map(STATISTICS.index, ("displacement_squares", "largest_displacement"))
STORAGE = {torch.float32: "float32", torch.bfloat16: "bfloat16", torch.float16: "float16"}
NOISE_CODES = {name: code for code, name in enumerate(NOISES, 1)}  # the values of NoiseKind in csrc/core/normal.h
ROUNDING_CODES = {"off": 0, **{name: code for code, name in enumerate(ROUNDINGS, 1)}}  # GridRounding in csrc/core/quantize.h


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
    """C++ kernels for CPU tensors."""

    name = "native"

    def why_not(self, device: torch.device, dtypes: tuple[torch.dtype, ...]) -> str | None:
        """Why it cannot step such tensors here; None if it can."""
        if missing:
            return missing
        if device.type != "cpu":
            return f"this build has no kernels for {device.type} tensors, only for the CPU's"
        for dtype in dtypes:
            if dtype not in STORAGE:
                return f"its kernels take float32, bfloat16 and float16, not {str(dtype).removeprefix('torch.')}"
        return None

    def make_plan(self, bucket: Bucket) -> Plan:
        """Hands the bucket's static facts to the native module."""
        return NativePlan(bucket)


class NativePlan:
    """A native plan and the tensors that it points into."""

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket  # keeps every tensor alive that the plan points into
        self.rule_hypers = RULES[bucket.rule].hypers
        self.hypers: list[Any] = []
        self.sources: list[dict[str, Any]] = []
        facts = [
            {
                "param": item.param.data_ptr(),
                "states": [item.state[name].data_ptr() for name in bucket.state_names],
                "size": item.param.numel(),
                "offset": item.offset,
                "key": item.key,
                "noise": item.noise,
                "group": item.group,
                "step": item.state["step"].data_ptr(),
            }
            for item in bucket.items
        ]
        self.plan = _native.CpuPlan(bucket.rule, [STORAGE[dtype] for dtype in bucket.dtypes], facts, cpu_path())

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
        hypers = self.convert_hypers(step_input.hypers)
        multipliers, compensations = step_input.grad_multipliers, step_input.compensations
        threads = torch.get_num_threads()
        return _native.StepInput(step_input.pointers, hypers, multipliers, compensations, step_input.chain, threads)

    def square_grads(self, step_input: StepInput) -> list[float]:
        """The sum of squares of each gradient."""
        return list(self.plan.square_grads(step_input.pointers, torch.get_num_threads()))

    def convert_hypers(self, sources: Sequence[dict[str, Any]]) -> list[Any]:
        """The native form of each group's hyper-parameters; only those that changed are made anew."""
        if len(self.sources) != len(sources):
            self.sources, self.hypers = [{}] * len(sources), [None] * len(sources)
        for i, source in enumerate(sources):
            if self.sources[i] is not source:
                self.sources[i], self.hypers[i] = source, self.convert(source)
        return self.hypers

    def convert(self, source: dict[str, Any]) -> Any:
        """One group's hyper-parameters as a native Hyper."""
        coded = {
            "noise": NOISE_CODES[source["noise"]],
            "grad_rounding": ROUNDING_CODES[source["grad_rounding"]],
            "update_rounding": ROUNDING_CODES[source["update_rounding"]],
            "rule": [float(source[name]) for name in self.rule_hypers],
        }
        return _native.Hyper({**source, **coded})


def step_together(parts: Sequence[tuple[NativePlan, StepInput]], observes: bool) -> list[Tensor | None]:
    """Steps several plans in one native call, so that Ctrl-C leaves either all of them stepped or none."""
    inputs = [plan.convert_input(step_input) for plan, step_input in parts]
    found = _native.step_together([plan.plan for plan, _ in parts], inputs, observes)
    if not observes:
        return [None] * len(parts)
    return [torch.tensor(flat, dtype=torch.float64, device="cpu").view(-1, len(STATISTICS)) for flat in found]
