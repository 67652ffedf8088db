"""A few steps of every rule, type and way on small odd sizes: what runs under compute-sanitizer.

Usage: python -m tests.gpu.sanitized
"""

from __future__ import annotations

import itertools
import os

import torch

from tests.core.cases import Case, list_cases
from tests.core.kernels import compare_jobs, step_reference
from tests.optim.optimizers import FORMS

from .device import DEVICE, SMALL, capture, synchronize
from .plans import DevicePlan, Memory
from .problems import ADAPTIVE, make_device_problem, make_optimizer
from .test_gpu_kernels import list_instantiations

SIZES = (1, 37, 256, 4099)


def step_kernels() -> int:
    """Every instantiation; returns how many steps were compared with the reference."""
    count = 0
    base = next(iter(list_cases(1))).values
    kinds = list_instantiations()
    for number, (row, param, grad, state) in list(enumerate(kinds))[:: 15 if SMALL else 1]:
        changes = {
            "row": row,
            "param": param,
            "grad": grad,
            "state": state,
            "size": SIZES[number % len(SIZES)],
            "layout": "several",
        }
        changes |= {
            "lr": 0.1,
            "temperature": 1.0,
            "update_rounding": "stochastic",
            "steps": 0,
            "compensation": 0.5 * (number % 2),
        }
        case = Case(1000 * number, {**base, **changes, "offset": number % 11, "values": "normal", "stochastic_param": True})
        step, fresh = case.make_step(), case.make_jobs()
        wanted = [job.clone() for job in fresh]
        step_reference(step, wanted)
        for counts, observes in itertools.product((False, True), repeat=2):
            memory = Memory(fresh, number + observes, counts)
            plan = DevicePlan(step.rule, memory.jobs, len(step.hypers), counts)
            plan.statistics.zero_()
            plan.look_ahead(step)
            plan.square_grads(step)
            plan.step(step, observes)
            jobs, problems = memory.fetch()
            problems += compare_jobs(jobs, wanted)
            assert not problems, (row, param, grad, state, problems[:3])
            count += 1
    return count


def step_optimizers() -> int:
    """Every form of every optimizer: clipped, scaled, measured, and in a graph; returns how many steps were taken."""
    count = 0
    for form in FORMS:
        problem = make_device_problem(DEVICE)
        optimizer = make_optimizer(form, problem, "native", max_grad_norm=0.5)
        optimizer.collect_metrics()
        problem.run(optimizer, [1, 2])
        count += 2
        if form == ADAPTIVE or os.environ.get("PYTORCH_NO_CUDA_MEMORY_CACHING") == "1":  # no graph has memory then
            continue
        captured = make_optimizer(form, problem, "native", capturable=True)
        captured.found_inf, captured.grad_scale = (torch.full((), value, device=DEVICE) for value in (0.0, 2.0))
        captured.tabulate_schedules(4)
        problem.run(captured, [3])
        replay = capture(captured.step, list(problem.params.values()))
        for _ in range(2):
            replay()
        synchronize()
        count += 3
    return count


def main() -> None:
    """Steps and says so."""
    print(f"{step_kernels()} kernel steps equal to the reference, {step_optimizers()} optimizer steps on {DEVICE}")


if __name__ == "__main__":
    main()
