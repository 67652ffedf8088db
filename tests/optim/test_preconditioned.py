"""What the optimizers with a preconditioner add to the others: pairs of betas, amsgrad switched, states that begin elsewhere."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import Parameter

import qlangevin
from qlangevin import LangevinAdagrad, LangevinAdam, QuantizedAdam

from .optimizers import BACKENDS
from .problems import Problem, make_problem
from .snapshots import assert_same, states_by_name

F32, BF16 = torch.float32, torch.bfloat16
NEAREST: dict[str, Any] = {"param_rounding": "nearest", "state_rounding": "nearest"}


def result_of(optimizer: Any, problem: Problem) -> dict[str, Any]:
    """Every tensor that a run leaves."""
    return {**problem.values(), **states_by_name(optimizer, problem.params)}


def change_betas(kind: str, optimizer: Any) -> None:
    """Gives the group the betas (0.5, 0.625) in one of the ways there are."""
    group = optimizer.param_groups[0]
    if kind == "replaced":
        group["betas"] = (0.5, 0.625)
    elif kind == "a list written to":
        group["betas"][0], group["betas"][1] = 0.5, 0.625
    else:
        group["betas"][0].fill_(0.5)
        group["betas"][1].fill_(0.625)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", ["replaced", "a list written to", "tensors written to"])
@pytest.mark.parametrize("ours", [LangevinAdam, QuantizedAdam])
def test_betas_are_read_at_every_step(ours: Any, kind: str, backend: str) -> None:
    begun: Any = {"replaced": (0.75, 0.875), "a list written to": [0.75, 0.875]}.get(kind)
    if begun is None:
        begun = (torch.tensor(0.75), torch.tensor(0.875))
    given: dict[str, Any] = {"seed": 1, "backend": backend}
    given |= {"update_quantizer": None, "compensation": None} if ours is QuantizedAdam else {"temperature": 0.1}
    problem, other = make_problem(), make_problem()
    optimizer, saved = ours(problem.list(), betas=begun, **given), ours(other.list(), betas=(0.75, 0.875), **given)
    problem.run(optimizer, [1, 2])
    change_betas(kind, optimizer)
    problem.run(optimizer, [3, 4])
    other.run(saved, [1, 2])
    resumed = ours(other.list(), betas=(0.5, 0.625), **given)
    for param in other.list():
        resumed.state[param].update(saved.state[param])
    other.run(resumed, [3, 4])
    assert_same(result_of(optimizer, problem), result_of(resumed, other))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [F32, BF16])
@pytest.mark.parametrize("ours", [LangevinAdam, QuantizedAdam])
def test_amsgrad_may_be_switched_between_steps(ours: Any, dtype: torch.dtype, backend: str) -> None:
    given: dict[str, Any] = {"seed": 1, "backend": backend, "betas": (0.5, 0.5)}
    given |= {"update_quantizer": None, "compensation": None} if ours is QuantizedAdam else {"temperature": 0.1}
    problem, other = make_problem(dtype=dtype), make_problem(dtype=dtype)
    optimizer, first = ours(problem.list(), **given), ours(other.list(), **given)
    problem.run(optimizer, [1, 2])
    other.run(first, [1, 2])
    optimizer.param_groups[0]["amsgrad"] = True
    second = ours(other.list(), amsgrad=True, **given)
    for param in other.list():
        second.state[param].update({**first.state[param], "max_exp_avg_sq": torch.zeros_like(param)})
    for each, its in ((problem, optimizer), (other, second)):
        each.run(its, [3])
        each.set_grads(4, factor=0.0)  # v halves, and its maximum stays
        its.step()
    assert_same(result_of(optimizer, problem), result_of(second, other))
    state = optimizer.state[problem.params["p0"]]
    assert bool((state["max_exp_avg_sq"] > state["exp_avg_sq"]).all())
    kept = {name: value for name, value in result_of(optimizer, problem).items() if "max" in name}
    kept = {name: value.clone() for name, value in kept.items()}
    optimizer.param_groups[0]["amsgrad"] = False
    problem.run(optimizer, [5])
    assert_same({name: value for name, value in result_of(optimizer, problem).items() if "max" in name}, kept)
    third = ours(other.list(), **given)
    for param in other.list():
        third.state[param].update(second.state[param])
    other.run(third, [5])
    assert_same(problem.values(), other.values())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("stored", [F32, BF16])
@pytest.mark.parametrize("value", [0.3, 1, torch.tensor(0.3), 2.0**-140])
def test_the_sum_of_adagrad_begins_at_its_initial_value(value: Any, stored: torch.dtype, backend: str) -> None:
    problem = make_problem({"a": (40,), "b": (0,), "c": ()}, dtype=BF16)
    options = {"state_dtype": stored, "backend": backend, **NEAREST}
    optimizer = LangevinAdagrad(problem.named(), 0.0, initial_accumulator_value=value, **options)
    problem.set_grads(1, factor=0.0)
    optimizer.step()
    for param in problem.list():
        state = optimizer.state[param]["sum"]
        assert state.dtype == stored and state.equal(torch.full_like(param, float(value), dtype=stored))
    late = Parameter(torch.ones(3))
    late.grad = torch.zeros(3)
    optimizer.add_param_group({"params": [("late", late)], "lr": 0.1, "initial_accumulator_value": 7.0})
    optimizer.step()
    assert optimizer.state[late]["sum"].eq(7.0).all()


def test_one_cycle_s_momentum_is_beta_1() -> None:
    problem, other = make_problem(), make_problem()
    ours, theirs = LangevinAdam(problem.list(), 0.1), torch.optim.Adam(other.list(), 0.1)
    schedulers = [torch.optim.lr_scheduler.OneCycleLR(each, 0.5, total_steps=9) for each in (ours, theirs)]
    seen = set()
    for step in range(1, 8):
        problem.run(ours, [step])
        other.run(theirs, [step])
        for scheduler in schedulers:
            scheduler.step()
        assert ours.param_groups[0]["betas"] == theirs.param_groups[0]["betas"]
        seen.add(ours.param_groups[0]["betas"])
    assert len(seen) > 5


@pytest.mark.parametrize("backend", BACKENDS)
def test_without_eps_an_element_without_gradients_is_nan_as_torch_s(backend: str) -> None:
    for name in ("Adam", "RMSprop", "Adagrad"):
        param, other = (Parameter(torch.ones(3)) for _ in range(2))
        ours = getattr(qlangevin, f"Langevin{name}")([param], 0.1, eps=0.0, temperature=0.1, backend=backend)
        theirs = getattr(torch.optim, name)([other], 0.1, eps=0.0)
        for each, optimizer in ((param, ours), (other, theirs)):
            each.grad = torch.tensor([0.0, 1.0, -2.0])
            optimizer.step()
            assert each.isnan().tolist() == [True, False, False]


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_initial_value_counts_until_the_state_is_made(backend: str) -> None:
    problem = make_problem(dtype=BF16)
    optimizer = LangevinAdagrad(problem.named(), initial_accumulator_value=0.5, backend=backend)
    optimizer.param_groups[0]["initial_accumulator_value"] = 64.0
    problem.set_grads(1, factor=0.0)
    optimizer.step()
    assert all(bool((optimizer.state[param]["sum"] == 64.0).all()) for param in problem.list())
    optimizer.param_groups[0]["initial_accumulator_value"] = 100.0
    optimizer.step()
    assert all(bool((optimizer.state[param]["sum"] == 64.0).all()) for param in problem.list())
