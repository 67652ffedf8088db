"""A run that is stopped, saved to a file and resumed equals the uninterrupted one bit for bit."""

from __future__ import annotations

import copy
import io
import itertools
from typing import Any

import pytest
import torch

from qlangevin import SGLD, quantizers, schedules

from .problems import Problem, make_problem, make_sgld
from .snapshots import assert_same, states_by_name

F32, BF16, F16 = torch.float32, torch.bfloat16, torch.float16
DTYPES = [*itertools.product((F32, BF16, F16), (None, F32, BF16))]

RUNS: dict[str, dict[str, Any]] = {
    "noise": {"temperature": 0.3},
    "momentum and noise": {"temperature": 0.3, "momentum": 0.9, "weight_decay": 0.01},
    "stochastic rounding": {"momentum": 0.9, "param_rounding": "stochastic", "state_rounding": "stochastic"},
    "quantizers": {
        "temperature": 0.1,
        "momentum": 0.9,
        "grad_quantizer": quantizers.Grid(64, "stochastic"),
        "update_quantizer": quantizers.Grid(schedules.Linear(64.0, 1024.0, 6), "dither"),
    },
    "schedules": {
        "temperature": schedules.Linear(1.0, 0.1, 6),
        "momentum": schedules.Piecewise((3,), (0.5, 0.9)),
        "noise": "uniform",
    },
    "dampened": {"momentum": 0.9, "dampening": 0.5},
    "clipped": {"temperature": 0.3, "momentum": 0.9, "max_grad_norm": 0.5, "chain": 3},
    "decoupled": {
        "temperature": 0.3,
        "weight_decay": 0.1,
        "decoupled_weight_decay": True,
        "noise": "rademacher",
        "maximize": True,
    },
}


def save_and_load(problem: Problem, optimizer: SGLD) -> tuple[Problem, dict[str, Any]]:
    """Through a file: the parameters in new memory, and the optimizer's state_dict."""
    file = io.BytesIO()
    torch.save({"params": problem.values(), "optimizer": optimizer.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    params = {name: torch.nn.Parameter(value) for name, value in saved["params"].items()}
    return Problem(params, problem.grad_dtype), saved["optimizer"]


@pytest.mark.parametrize("stop", [0, 1, 3])
@pytest.mark.parametrize("run", RUNS)
def test_resumed_equals_uninterrupted(run: str, stop: int) -> None:
    for dtype, state_dtype in DTYPES:
        options = {**RUNS[run], "state_dtype": state_dtype}
        whole, stopped = make_problem(dtype=dtype), make_problem(dtype=dtype)
        first = make_sgld(stopped.named(), **options)
        stopped.run(first, range(1, stop + 1))
        resumed, saved = save_and_load(stopped, first)
        second = SGLD(resumed.named(), 123.0, temperature=0.0, seed=99)
        second.load_state_dict(saved)
        resumed.run(second, range(stop + 1, 6))
        third = make_sgld(whole.named(), **options)
        whole.run(third, range(1, 6))
        assert_same(resumed.values(), whole.values())
        assert_same(states_by_name(second, resumed.params), states_by_name(third, whole.params))


def test_resuming_over_another_optimizer_s_progress() -> None:
    problem, other = make_problem(dtype=BF16), make_problem(dtype=BF16)
    optimizer = make_sgld(problem.named(), **RUNS["momentum and noise"])
    problem.run(optimizer, [1, 2])
    resumed, saved = save_and_load(problem, optimizer)
    busy = make_sgld(resumed.named(), seed=3, momentum=0.1, temperature=2.0)
    resumed.run(busy, [8, 9])
    for name, value in problem.values().items():
        resumed.params[name].data.copy_(value)
    busy.load_state_dict(saved)
    resumed.run(busy, [3, 4])
    other.run(make_sgld(other.named(), **RUNS["momentum and noise"]), [1, 2, 3, 4])
    assert_same(resumed.values(), other.values())


def test_a_state_dict_round_trip_between_steps_changes_nothing() -> None:
    # Accelerate does this in prepare().
    problem, plain = make_problem(dtype=BF16), make_problem(dtype=BF16)
    optimizer = make_sgld(problem.named(), state_dtype=F32, **RUNS["momentum and noise"])
    for step in (1, 2, 3):
        optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        problem.run(optimizer, [step])
    plain.run(make_sgld(plain.named(), state_dtype=F32, **RUNS["momentum and noise"]), [1, 2, 3])
    assert_same(problem.values(), plain.values())


def test_without_names_the_order_is_the_name() -> None:
    whole, stopped = make_problem(), make_problem()
    first = make_sgld(stopped.list(), **RUNS["momentum and noise"])
    stopped.run(first, [1, 2])
    resumed, saved = save_and_load(stopped, first)
    second = SGLD(resumed.list(), 1.0, temperature=0.0)
    second.load_state_dict(saved)
    resumed.run(second, [3, 4])
    whole.run(make_sgld(whole.list(), **RUNS["momentum and noise"]), [1, 2, 3, 4])
    assert_same(resumed.values(), whole.values())
