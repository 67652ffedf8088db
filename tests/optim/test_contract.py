"""How an optimizer is called: torch.optim.Optimizer's contract around one step."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import Parameter

from qlangevin import SGLD

from .problems import ALL_ON, Problem, make_problem, make_sgld
from .snapshots import assert_same, describe_difference, unchanged


def one_step(**options: Any) -> dict[str, Tensor]:
    problem = make_problem()
    problem.run(make_sgld(problem.named(), **options), [1])
    return problem.values()


CALLS: dict[str, Callable[[SGLD], Any]] = {
    "step()": lambda optimizer: optimizer.step(),
    "step(None)": lambda optimizer: optimizer.step(None),
    "step(closure=None)": lambda optimizer: optimizer.step(closure=None),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_step_without_a_closure_returns_none(call: str) -> None:
    problem = make_problem()
    optimizer = make_sgld(problem.named(), **ALL_ON)
    problem.set_grads(1)
    assert CALLS[call](optimizer) is None
    assert_same(problem.values(), one_step(**ALL_ON))


def make_closure(problem: Problem, calls: list[bool]) -> Callable[[], Tensor]:
    def closure() -> Tensor:
        calls.append(torch.is_grad_enabled())
        for param in problem.list():
            param.grad = None
        loss = sum(((param**2).sum() for param in problem.list()), torch.zeros(()))
        loss.backward()
        return loss

    return closure


@pytest.mark.parametrize("keyword", [False, True])
def test_a_closure_is_called_once_with_gradients_enabled_before_the_step(keyword: bool) -> None:
    problem, plain = make_problem(), make_problem()
    calls: list[bool] = []
    closure = make_closure(problem, calls)
    optimizer = make_sgld(problem.named(), lr=0.25)
    with torch.no_grad():
        loss = optimizer.step(closure=closure) if keyword else optimizer.step(closure)
    assert calls == [True]
    wanted = sum(float((value**2).sum()) for value in plain.values().values())
    assert float(loss.detach()) == pytest.approx(wanted, rel=1e-6)  # binary32 sums of 47 squares in another order
    assert_same(problem.values(), {name: value - 0.25 * (2 * value) for name, value in plain.values().items()})


def test_a_closure_that_raises_changes_nothing() -> None:
    problem = make_problem()
    optimizer = make_sgld(problem.named(), **ALL_ON)
    problem.run(optimizer, [1])

    def closure() -> float:
        raise KeyError("the user's own")

    with unchanged(optimizer), pytest.raises(KeyError, match="the user's own"):
        optimizer.step(closure)


def test_step_hooks_run_around_the_step() -> None:
    problem = make_problem()
    optimizer = make_sgld(problem.named(), lr=0.25)
    problem.set_grads(1)
    start, seen = problem.values(), []
    first = optimizer.register_step_pre_hook(lambda *_: seen.append(("pre", problem.values())))
    optimizer.register_step_post_hook(lambda *_: seen.append(("post", problem.values())))
    optimizer.step()
    assert [when for when, _ in seen] == ["pre", "post"]
    assert_same(seen[0][1], start)
    assert_same(seen[1][1], problem.values())
    assert any(describe_difference(seen[1][1][name], start[name]) for name in start)
    first.remove()
    optimizer.step()
    assert [when for when, _ in seen] == ["pre", "post", "post"]


def test_a_pre_hook_may_replace_the_arguments() -> None:
    problem = make_problem()
    optimizer = make_sgld(problem.named())
    problem.set_grads(1)
    optimizer.register_step_pre_hook(lambda optimizer, args, kwargs: ((args[0], lambda: 12.5), {}))
    assert optimizer.step() == 12.5


def test_step_can_be_wrapped_on_the_instance() -> None:
    problem = make_problem()
    optimizer = make_sgld(problem.named(), **ALL_ON)
    calls = []
    inner = optimizer.step

    @functools.wraps(inner)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        calls.append(args)
        return inner(*args, **kwargs)

    optimizer.step = wrapper  # type: ignore[method-assign]
    problem.run(optimizer, [1])
    assert len(calls) == 1
    assert_same(problem.values(), one_step(**ALL_ON))


def test_a_tensor_lr_is_read_at_every_step() -> None:
    lr = torch.tensor(0.5)
    problem, plain = make_problem(), make_problem()
    optimizer = make_sgld(problem.named(), lr=lr, momentum=0.9)
    twin = make_sgld(plain.named(), lr=0.5, momentum=0.9)
    for step, value in enumerate((0.5, 0.25, 0.125, 0.0, 1.0), 1):
        lr.fill_(value)
        twin.param_groups[0]["lr"] = value
        problem.run(optimizer, [step])
        plain.run(twin, [step])
        assert_same(problem.values(), plain.values())
    assert optimizer.param_groups[0]["lr"] is lr


def test_a_tensor_temperature_is_read_at_every_step() -> None:
    temperature = torch.tensor(0.5, dtype=torch.float64)
    problem, plain = make_problem(), make_problem()
    optimizer, twin = make_sgld(problem.named(), temperature=temperature), make_sgld(plain.named(), temperature=0.5)
    for step, value in enumerate((0.5, 0.0, 2.0), 1):
        temperature.fill_(value)
        twin.param_groups[0]["temperature"] = value
        problem.run(optimizer, [step])
        plain.run(twin, [step])
        assert_same(problem.values(), plain.values())


@pytest.mark.parametrize("set_to_none", [False, True])
def test_zero_grad(set_to_none: bool) -> None:
    problem = make_problem()
    optimizer = make_sgld(problem.named())
    problem.run(optimizer, [1])
    optimizer.zero_grad(set_to_none=set_to_none)
    for param in problem.list():
        assert param.grad is None if set_to_none else bool((param.grad == 0).all())


def test_train_and_eval_do_not_exist() -> None:
    # HF Trainer and Accelerate call them every step where they exist.
    optimizer = make_sgld(make_problem().named())
    assert not hasattr(optimizer, "train") and not hasattr(optimizer, "eval")
    assert not getattr(optimizer, "_step_supports_amp_scaling", False)


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_a_step_is_seen_by_autograd(backend: str) -> None:
    # A backward pass through a graph that saved the old weights must fail, not use the new ones.
    weight = Parameter(torch.full((4,), 2.0))
    optimizer = make_sgld([weight], backend=backend)
    weight.grad = torch.ones(4)
    loss = (weight * weight).sum()
    before = weight._version
    optimizer.step()
    assert weight._version > before
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize("maximize", [False, True])
def test_decay_and_maximize_in_numbers_without_rounding(decoupled: bool, maximize: bool) -> None:
    # lr 1/2, decay 1/4, param 8, grad 2: every product and sum below is exact.
    param = Parameter(torch.tensor([8.0]))
    optimizer = SGLD([param], 0.5, temperature=0, weight_decay=0.25, decoupled_weight_decay=decoupled, maximize=maximize)
    param.grad = torch.tensor([2.0])
    optimizer.step()
    grad = -2.0 if maximize else 2.0
    assert param.item() == 8.0 - 0.5 * grad - 0.5 * 0.25 * 8.0
    param.data.fill_(8.0)
    optimizer.param_groups[0].update(momentum=0.5, weight_decay=0.25)
    optimizer.step()
    velocity = optimizer.state[param]["momentum_buffer"].item()
    assert velocity == (grad if decoupled else grad + 2.0)  # decoupled decay stays out of the velocity


def test_repr_names_the_class_and_its_options() -> None:
    text = repr(make_sgld(make_problem().named(), momentum=0.5))
    assert text.startswith("SGLD") and "momentum: 0.5" in text and "temperature: 0.0" in text


def test_everything_after_lr_is_keyword_only() -> None:
    with pytest.raises(TypeError):
        SGLD(make_problem().list(), 0.1, 0.5)  # type: ignore[misc]
    with pytest.raises(TypeError, match="temperature"):
        SGLD(make_problem().list(), 0.1)  # type: ignore[call-arg]
