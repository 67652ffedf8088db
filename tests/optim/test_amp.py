"""torch.amp.GradScaler, unscaling before the step (its default) and inside it (``_step_supports_amp_scaling``)."""

from __future__ import annotations

import pytest
import torch

from .problems import ALL_ON, Problem, make_problem, make_sgld
from .snapshots import assert_same, is_only_built, states_by_name, unchanged

SCALE = 2.0**10  # a power of two, so that scaling and unscaling change no bit


def backward(problem: Problem, scaler: torch.amp.GradScaler, step: int, overflow: bool = False) -> None:
    """Gradients as a scaled loss leaves them."""
    scaler.scale(torch.zeros(()))  # the scaler makes its scale tensor here
    problem.set_grads(step, factor=scaler.get_scale())
    if overflow:
        grad = problem.params["p3"].grad
        assert grad is not None
        grad.view(-1)[5] = float("inf")


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("max_grad_norm", [None, 0.5])
def test_scaled_steps_equal_unscaled_ones(inside: bool, max_grad_norm: float | None) -> None:
    problem, plain = make_problem(), make_problem()
    optimizer = make_sgld(problem.named(), max_grad_norm=max_grad_norm, **ALL_ON)
    if inside:
        optimizer._step_supports_amp_scaling = True  # type: ignore[attr-defined]
    scaler = torch.amp.GradScaler("cpu", init_scale=SCALE, growth_interval=2)
    for step in range(1, 6):
        backward(problem, scaler, step)
        scaler.step(optimizer)
        scaler.update()
    assert scaler.get_scale() > SCALE
    plain.run(make_sgld(plain.named(), max_grad_norm=max_grad_norm, **ALL_ON), range(1, 6))
    assert_same(problem.values(), plain.values())


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("first", [False, True])
def test_an_overflow_changes_nothing_and_no_counter(inside: bool, first: bool) -> None:
    problem, plain = make_problem(), make_problem()
    optimizer = make_sgld(problem.named(), **ALL_ON)
    if inside:
        optimizer._step_supports_amp_scaling = True  # type: ignore[attr-defined]
    scaler = torch.amp.GradScaler("cpu", init_scale=SCALE)
    if not first:
        backward(problem, scaler, 1)
        scaler.step(optimizer)
        scaler.update()
    backward(problem, scaler, 50, overflow=True)
    scaler.unscale_(optimizer)  # outside of the comparison: it divides the gradients
    with unchanged(optimizer):
        scaler.step(optimizer)
    scaler.update()
    assert scaler.get_scale() == SCALE / 2
    if first:
        assert all(map(is_only_built, optimizer.state.values()))
    steps = [1, 2] if first else [2]
    for step in steps:
        backward(problem, scaler, step)
        scaler.step(optimizer)
        scaler.update()
    twin = make_sgld(plain.named(), **ALL_ON)
    plain.run(twin, [1, 2])
    assert_same(problem.values(), plain.values())
    assert_same(states_by_name(optimizer, problem.params), states_by_name(twin, plain.params))


def test_an_overflow_found_inside_the_step_leaves_the_gradients() -> None:
    problem = make_problem()
    optimizer = make_sgld(problem.named(), **ALL_ON)
    optimizer._step_supports_amp_scaling = True  # type: ignore[attr-defined]
    scaler = torch.amp.GradScaler("cpu", init_scale=SCALE)
    backward(problem, scaler, 1, overflow=True)
    with unchanged(optimizer):
        scaler.step(optimizer)
    scaler.update()
    assert scaler.get_scale() == SCALE / 2


def test_found_inf_as_a_fused_optimizer_is_told() -> None:
    problem, plain = make_problem(), make_problem()
    optimizer = make_sgld(problem.named(), **ALL_ON)
    problem.set_grads(1, factor=8.0)
    optimizer.grad_scale, optimizer.found_inf = torch.tensor(8.0), torch.tensor(1.0)  # type: ignore[attr-defined]
    with unchanged(optimizer):
        optimizer.step()
    optimizer.found_inf = torch.tensor(0.0)  # type: ignore[attr-defined]
    optimizer.step()
    plain.run(make_sgld(plain.named(), **ALL_ON), [1])
    assert_same(problem.values(), plain.values())
