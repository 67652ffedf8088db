"""One step of a list of tensors at kernel level: by the reference, or by a native path over raw pointers.

Nothing of the optimizers or backends is used, so that a failure here is one of the arithmetic.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from qlangevin import _native, reference, reference_rules

NOISE_CODES = {"gaussian": 1, "uniform": 2, "rademacher": 3}  # NoiseKind of csrc/core/normal.h
NOISE_CODES |= {f"averaged_{name}": code + 4 for name, code in NOISE_CODES.items()} | {"levy": 4}
ROUNDING_CODES = {"off": 0, "nearest": 1, "stochastic": 2, "floor": 3, "dither": 4}  # GridRounding of csrc/core/quantize.h
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
INTEGERS = {4: torch.int32, 2: torch.int16, 8: torch.int64}

PATHS: dict[str, str] = dict(_native.cpu_paths())  # the name of each path, and what this machine lacks for it
USABLE_PATHS = tuple(name for name, missing in PATHS.items() if not missing)

PLAIN_SETTINGS: dict[str, Any] = {
    "lr": 0.125,
    "temperature": 0.0,
    "weight_decay": 0.0,
    "decoupled_weight_decay": 0.0,
    "grad_resolution": float("inf"),
    "update_resolution": float("inf"),
    "noise": "gaussian",
    "grad_rounding": "off",
    "update_rounding": "off",
    "stochastic_param": False,
    "stochastic_state": False,
    "corrected_param": False,
    "grad_blocks": False,
    "momentum": 0.0,
    "dampening": 0.0,
    "nesterov": False,
    "friction": 0.5,
    "noise_estimate": 0.0,
    "alpha": 0.9,
    "rho": 0.9,
    "lr_decay": 0.0,
    "eps": 1e-6,
    "beta1": 0.9,
    "beta2": 0.999,
    "epsilon_hat": False,
    "momentum_in_drift": True,
    "frozen_at": 0,
    "tail_index": 2.0,  # of Levy noise, whose temperature is that of equal scale here
    "compensation": 0.0,  # a term that the caller makes; kernels are handed its factor
}


def settings(**changes: Any) -> dict[str, Any]:
    """Hyper-parameters as reference.make_row takes them: a noise-free, undecayed, unquantized step of lr 1/8, with changes."""
    assert changes.keys() <= PLAIN_SETTINGS.keys()
    return PLAIN_SETTINGS | changes


@dataclass
class Job:
    """One tensor of a step. steps: its counter before the step, advanced by it."""

    param: Tensor
    grad: Tensor
    states: list[Tensor] = field(default_factory=list)
    key: int = 0
    offset: int = 0
    noise: bool = True
    group: int = 0
    steps: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.int64))
    compensation: float = 0.0  # a binary32 number

    def clone(self) -> Job:
        """The same values in memory of its own; the gradient is shared."""
        states = [state.clone() for state in self.states]
        return replace(self, param=self.param.clone(), states=states, steps=self.steps.clone())


@dataclass(frozen=True)
class Step:
    """What a step needs beside its tensors; one entry of hypers and multipliers for each group."""

    rule: str
    hypers: Sequence[Mapping[str, Any]]
    multipliers: Sequence[float] = (1.0,)
    chain: int = 0


def step_reference(step: Step, jobs: Sequence[Job]) -> None:
    """Steps every job with the reference."""
    rule = reference_rules.RULES[step.rule]
    for job in jobs:
        at = int(job.steps) + 1
        h = step.hypers[job.group]
        row = reference.make_row(rule, h, step.multipliers[job.group], at, step.chain)
        part = reference.Part(job.key, job.offset, job.noise, job.compensation, h["tail_index"])
        reference.step_tensor(rule, row, part, job.param, job.grad, job.states)
        job.steps += 1


def make_hyper(rule: str, h: Mapping[str, Any]) -> Any:
    """The native form of hyper-parameters."""
    coded = {
        "noise": NOISE_CODES[h["noise"]],
        "grad_rounding": ROUNDING_CODES[h["grad_rounding"]],
        "update_rounding": ROUNDING_CODES[h["update_rounding"]],
        "rule": [float(h[name]) for name in reference_rules.RULES[rule].hypers],
    }
    return _native.Hyper({**h, **coded})


def name_of(tensor: Tensor) -> str:
    """The storage name of a tensor's dtype."""
    return str(tensor.dtype).removeprefix("torch.")


def make_plan(rule: str, jobs: Sequence[Job], path: str = "auto") -> Any:
    """A native plan that points into the jobs' memory: keep them alive."""
    first = jobs[0]
    storage = [name_of(first.param), name_of(first.grad), name_of(first.states[0]) if first.states else "float32"]
    return _native.CpuPlan(rule, storage, list(map(describe, jobs, range(len(jobs)))), path)


def describe(job: Job, place: int) -> dict[str, Any]:
    """A plan's facts about a tensor; only the GPU's plans read its place."""
    return {
        "param": job.param.data_ptr(),
        "states": [state.data_ptr() for state in job.states],
        "size": job.param.numel(),
        "offset": job.offset,
        "key": job.key,
        "noise": job.noise,
        "group": job.group,
        "step": job.steps.data_ptr(),
        "place": place,
    }


def make_input(step: Step, jobs: Sequence[Job], threads: int = 1) -> Any:
    """The native form of a step's input."""
    hypers = [make_hyper(step.rule, h) for h in step.hypers]
    compensations = [job.compensation for job in jobs] if any(job.compensation for job in jobs) else []
    grads = [job.grad.data_ptr() for job in jobs]
    made = _native.StepInput(grads, hypers, list(step.multipliers), compensations, step.chain, threads)
    if any(h["noise"] == "levy" for h in step.hypers):
        made.tail_indices = [h["tail_index"] for h in step.hypers]
    return made


def run_plan(plan: Any, step: Step, jobs: Sequence[Job], threads: int = 1) -> None:
    """Steps a native plan once."""
    plan.step(make_input(step, jobs, threads))


def step_native(step: Step, jobs: Sequence[Job], path: str = "auto", threads: int = 1) -> None:
    """Steps every job with a native path."""
    run_plan(make_plan(step.rule, jobs, path), step, jobs, threads)


def bits_of(tensor: Tensor) -> Tensor:
    """The patterns of a tensor's values."""
    return tensor.view(INTEGERS[tensor.element_size()])


def find_difference(got: Tensor, wanted: Tensor) -> str | None:
    """None if all bits are equal (every NaN equals every other), else where and how they first differ."""
    assert got.dtype == wanted.dtype and got.shape == wanted.shape
    same = (bits_of(got) == bits_of(wanted)) | (torch.isnan(got) & torch.isnan(wanted))
    if bool(same.all()):
        return None
    at = int((~same).nonzero()[0])
    return (
        f"{int((~same).sum())} of {same.numel()} differ, the first at {at}: got {got[at].item()!r}, wanted {wanted[at].item()!r}"
    )


def compare_jobs(got: Sequence[Job], wanted: Sequence[Job]) -> list[str]:
    """What differs between two lists of stepped tensors."""
    found = []
    for i, (one, other) in enumerate(zip(got, wanted, strict=True)):
        pairs = [("param", one.param, other.param)]
        pairs += [(f"state {k}", a, b) for k, (a, b) in enumerate(zip(one.states, other.states, strict=True))]
        differences = [(name, find_difference(a, b)) for name, a, b in pairs]
        found += [f"tensor {i} {name}: {text}" for name, text in differences if text]
        if int(one.steps) != int(other.steps):
            found.append(f"tensor {i}: the step counters are {int(one.steps)} and {int(other.steps)}")
    return found
