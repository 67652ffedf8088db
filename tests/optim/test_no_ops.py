"""What must change nothing: lr 0, no gradients, the dummy step of checkpoint tools. (found_inf: test_amp.py.)"""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import Parameter

from qlangevin import quantizers

from .problems import ALL_ON, Problem, make_problem, make_sgld
from .snapshots import assert_same, bytes_of, states_by_name, unchanged

SPECIAL = (0.0, -0.0, float("inf"), -float("inf"), float("nan"), 1e-45, -1e-45, 3e38, 1.0, -2.5)
EVERYTHING: dict[str, Any] = {
    **ALL_ON,
    "decoupled_weight_decay": True,
    "grad_quantizer": quantizers.Grid(64, "stochastic"),
    "update_quantizer": quantizers.Grid(64, "floor"),
    "param_rounding": "stochastic",
}
ZEROS: dict[str, Any] = {"float": 0.0, "int": 0, "negative": -0.0, "tensor": torch.tensor(0.0)}


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("zero", ZEROS)
@pytest.mark.parametrize("options", [{}, ALL_ON, EVERYTHING], ids=["plain", "momentum", "everything"])
def test_lr_0_leaves_parameters_bitwise_unchanged(options: dict[str, Any], zero: str, dtype: torch.dtype, backend: str) -> None:
    param = Parameter(torch.tensor(SPECIAL).to(dtype))
    optimizer = make_sgld([param], lr=copy.deepcopy(ZEROS[zero]), backend=backend, **options)
    before = bytes_of(param)
    for values in (SPECIAL, SPECIAL[::-1], (1.0,) * len(SPECIAL)):
        param.grad = torch.tensor(values).to(dtype)
        optimizer.step()
        assert bytes_of(param).equal(before)
    assert int(optimizer.state[param]["step"]) == 3


@pytest.mark.parametrize("steps_before", [0, 2])
def test_without_any_gradient_nothing_changes(steps_before: int) -> None:
    problem = make_problem()
    optimizer = make_sgld(problem.named(), **EVERYTHING)
    problem.run(optimizer, range(1, steps_before + 1))
    optimizer.zero_grad()
    with unchanged(optimizer):
        optimizer.step()
        optimizer.step(lambda: 1.0)


def dummy_step(problem: Problem, optimizer: torch.optim.Optimizer, tensor_lr: bool) -> None:
    """What torch.distributed.checkpoint does to build the states of a fresh optimizer."""
    kept = [group["lr"] for group in optimizer.param_groups]
    for param in problem.list():
        param.grad = torch.zeros_like(param)
    for group in optimizer.param_groups:
        group["lr"] = torch.tensor(0.0) if tensor_lr else 0.0
    optimizer.step(closure=None)
    for group, lr in zip(optimizer.param_groups, kept, strict=True):
        group["lr"] = lr
    optimizer.zero_grad(set_to_none=True)


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("tensor_lr", [False, True])
@pytest.mark.parametrize("options", [{}, {"temperature": 0.5}, EVERYTHING, {"momentum": 0.9, "dampening": 0.5}])
def test_the_dummy_step_only_builds_the_states(options: dict[str, Any], tensor_lr: bool, backend: str) -> None:
    problem, plain = make_problem(dtype=torch.bfloat16), make_problem(dtype=torch.bfloat16)
    optimizer = make_sgld(problem.named(), backend=backend, **options)
    twin = make_sgld(plain.named(), backend=backend, **options)
    start = problem.values()
    dummy_step(problem, optimizer, tensor_lr)
    assert_same(problem.values(), start)
    for param in problem.list():
        state = optimizer.state[param]
        assert int(state["step"]) == 0
        assert all(not bool(value.any()) for value in state.values())
        assert ("momentum_buffer" in state) == ("momentum" in options)
    dummy_step(problem, optimizer, tensor_lr)  # tools take it on save and on load
    problem.run(optimizer, [1, 2])
    plain.run(twin, [1, 2])
    assert_same(problem.values(), plain.values())
    assert_same(states_by_name(optimizer, problem.params), states_by_name(twin, plain.params))


@pytest.mark.parametrize("gradient", [0.0, 1.0])
@pytest.mark.parametrize("lr", [0.0, 0.1])
def test_only_lr_0_with_zero_gradients_is_a_dummy_step(lr: float, gradient: float) -> None:
    param = Parameter(torch.ones(3))
    optimizer = make_sgld([param], lr=lr, momentum=0.9)
    param.grad = torch.full((3,), gradient)
    optimizer.step()
    assert int(optimizer.state[param]["step"]) == (0 if lr == 0 and gradient == 0 else 1)


def test_lr_0_with_zero_gradients_is_a_step_once_a_run_has_begun() -> None:
    param = Parameter(torch.ones(3))
    optimizer = make_sgld([param], lr=0.5, momentum=0.5)
    param.grad = torch.ones(3)
    optimizer.step()
    optimizer.param_groups[0]["lr"] = 0.0
    param.grad = torch.zeros(3)
    optimizer.step()
    assert int(optimizer.state[param]["step"]) == 2
    assert optimizer.state[param]["momentum_buffer"].tolist() == [0.5] * 3


def test_a_nan_gradient_is_no_dummy_step() -> None:
    param = Parameter(torch.ones(3))
    optimizer = make_sgld([param], lr=0.0, momentum=0.9)
    param.grad = torch.full((3,), float("nan"))
    optimizer.step()
    assert int(optimizer.state[param]["step"]) == 1


@pytest.mark.parametrize("rounding", quantizers.ROUNDINGS)
@pytest.mark.parametrize("field", ["grad_quantizer", "update_quantizer"])
def test_an_infinite_resolution_is_the_identity(field: str, rounding: str) -> None:
    problem, plain = make_problem(), make_problem()
    problem.run(make_sgld(problem.named(), **ALL_ON, **{field: quantizers.Grid(float("inf"), rounding)}), [1, 2])
    plain.run(make_sgld(plain.named(), **ALL_ON), [1, 2])
    assert_same(problem.values(), plain.values())


def test_gradients_are_never_written() -> None:
    problem = make_problem()
    optimizer = make_sgld(problem.named(), max_grad_norm=0.1, maximize=True, **EVERYTHING)
    problem.set_grads(1)
    grads: list[Tensor] = [param.grad.clone() for param in problem.list() if param.grad is not None]
    optimizer.step()
    assert all(
        bytes_of(param.grad).equal(bytes_of(grad))
        for param, grad in zip(problem.list(), grads, strict=True)
        if param.grad is not None
    )
