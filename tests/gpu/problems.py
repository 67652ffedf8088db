"""The problem that the optimizers step on the device and, as the oracle, on the CPU; and what a run leaves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from qlangevin.metrics import Metrics
from tests.optim.optimizers import FORMS
from tests.optim.problems import Problem, draw

from .device import CPU

# Sizes around a warp's row of 256 and a block of 4,096; the types make several buckets.
SHAPES: dict[str, tuple[tuple[int, ...], torch.dtype]] = {
    "a": ((3, 5), torch.float32),
    "b": ((4097,), torch.bfloat16),
    "c": ((), torch.float32),
    "d": ((17, 31), torch.float16),
    "e": ((0,), torch.float32),
    "f": ((9000,), torch.float32),
    "g": ((257,), torch.bfloat16),
}
IN_FIRST_GROUP = 4
ADAPTIVE = "QuantizedSGD, adaptive"  # needs the host at each step
SCHEDULED = tuple(name for name in FORMS if name not in ("SGLD", "SGLD with momentum"))


def make_device_problem(device: torch.device, dtypes: tuple[torch.dtype, ...] = ()) -> Problem:
    """Parameters on a device; of the given dtypes, or of all."""
    chosen = {name: row for name, row in SHAPES.items() if not dtypes or row[1] in dtypes}
    return Problem({name: Parameter(draw(name, shape, dtype).to(device)) for name, (shape, dtype) in chosen.items()})


def make_optimizer(form: str, problem: Problem, backend: str, **options: Any) -> Any:
    """An optimizer of two groups with different lr."""
    named = problem.named()
    groups = [{"params": named[:IN_FIRST_GROUP]}, {"params": named[IN_FIRST_GROUP:], "lr": 0.2}]
    return FORMS[form].make(groups, backend=backend, **options)


def result_of(optimizer: Any, problem: Problem) -> dict[str, Tensor]:
    """Parameters, states, counters and exponents, on the CPU."""
    found = {name: param.detach().cpu().clone() for name, param in problem.params.items()}
    for name, param in problem.params.items():
        found |= {f"{name}/{key}": value.cpu().clone() for key, value in optimizer.state.get(param, {}).items()}
    for i, group in enumerate(optimizer.param_groups):
        found[f"group {i}/exponent"] = torch.tensor(group.get("resolution_exponent", 999))
    return found


def numbers_of(metrics: Metrics) -> list[dict[str, Any]]:
    """All values as text that is equal only for equal bits; every NaN equals every other."""

    def text(value: Any) -> str:
        return "nan" if math.isnan(float(value)) else float(value).hex()

    def texts(of: Mapping[str, Any]) -> dict[str, str]:
        return {key: text(value) for key, value in of.items()}

    return [{name: texts(of) for name, of in metrics.tensors.items()}, *map(texts, metrics.groups)]


def run_oracle(form: str, backend: str, steps: list[int], **options: Any) -> dict[str, Tensor]:
    """What steps with the gradients of these numbers leave on the CPU."""
    problem = make_device_problem(CPU)
    optimizer = make_optimizer(form, problem, backend, **options)
    problem.run(optimizer, steps)
    return result_of(optimizer, problem)
