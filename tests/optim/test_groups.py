"""Param groups: overrides of every option, joining late, parameters without gradients, unknown keys."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import Parameter

from qlangevin import HyperparameterError, quantizers, schedules

from .problems import ALL_ON, make_problem, make_sgld
from .snapshots import assert_same, describe_difference, states_by_name, unchanged

# An option, what the first group has, what the second has instead.
OVERRIDES: dict[str, tuple[Any, Any]] = {
    "lr": (0.05, 0.2),
    "temperature": (0.3, 0.7),
    "momentum": (0.9, 0.5),
    "dampening": (0.0, 0.5),
    "nesterov": (False, True),
    "integrator": ("euler", "leimkuhler_matthews"),
    "weight_decay": (0.0, 0.3),
    "decoupled_weight_decay": (False, True),
    "grad_quantizer": (None, quantizers.Grid(64)),
    "update_quantizer": (None, quantizers.Grid(256, "stochastic")),
    "noise": ("gaussian", "rademacher"),
    "noise_on": (None, ("p0", "p3")),
    "param_rounding": ("stochastic", "nearest"),
    "state_rounding": ("stochastic", "nearest"),
    "state_dtype": (None, torch.float32),
    "max_grad_norm": (None, 0.5),
    "maximize": (False, True),
}
COLD = ("dampening", "nesterov")  # without a law above temperature 0


def base_options(option: str) -> dict[str, Any]:
    momentum = 0.0 if option == "integrator" else 0.9  # which is the plain rule's
    return {"lr": 0.05, "temperature": 0.0 if option in COLD else 0.3, "momentum": momentum, "weight_decay": 0.1}


def test_the_table_holds_every_option_of_a_group() -> None:
    group = make_sgld(make_problem().list()).param_groups[0]
    fixed = {"params", "seed", "chain", "capturable", "foreach", "fused", "numerics_version"}
    fixed |= {"tail_index"}  # of noise that not all backends have: tests/methods/test_levy_options.py
    assert set(group) - fixed == set(OVERRIDES)


@pytest.mark.parametrize("option", OVERRIDES)
def test_a_group_overrides_an_option(option: str) -> None:
    first, second = OVERRIDES[option]
    base = {**base_options(option), option: first}
    together = make_problem(dtype=torch.bfloat16)
    named = together.named()
    groups = [{"params": named[:2]}, {"params": named[2:], option: second}]
    together.run(make_sgld(groups, **base), [1, 2, 3])
    for value, names in ((first, ("p0", "p1")), (second, ("p2", "p3"))):
        alone = make_problem(dtype=torch.bfloat16)
        optimizer = make_sgld(alone.named(), **{**base, option: value})
        alone.run(optimizer, [1, 2, 3])
        assert_same({name: together.values()[name] for name in names}, {name: alone.values()[name] for name in names})
        if value is second:
            plain = make_problem(dtype=torch.bfloat16)
            plain.run(make_sgld(plain.named(), **base), [1, 2, 3])
            assert any(describe_difference(alone.values()[name], plain.values()[name]) for name in names), "no effect"


@pytest.mark.parametrize("option", OVERRIDES)
def test_an_option_may_change_between_steps(option: str) -> None:
    first, second = OVERRIDES[option]
    base = {**base_options(option), option: first}
    changed, fresh = make_problem(dtype=torch.bfloat16), make_problem(dtype=torch.bfloat16)
    optimizer = make_sgld(changed.named(), **base)
    changed.run(optimizer, [1, 2])
    optimizer.param_groups[0][option] = second
    changed.run(optimizer, [3, 4])
    twin = make_sgld(fresh.named(), **base)
    fresh.run(twin, [1, 2])
    loaded = make_sgld(fresh.named(), **{**base, option: second})
    saved = twin.state_dict()
    saved["param_groups"] = [{**group, option: second} for group in saved["param_groups"]]
    loaded.load_state_dict(saved)
    fresh.run(loaded, [3, 4])
    assert_same(changed.values(), fresh.values())


@pytest.mark.parametrize("steps_before", [0, 2])
def test_a_group_added_later_equals_one_that_joined_then(steps_before: int) -> None:
    old, new = make_problem({"a": (5,), "b": (3, 4)}), make_problem({"c": (9,), "d": ()})
    optimizer = make_sgld(old.named(), **ALL_ON)
    old.run(optimizer, range(1, steps_before + 1))
    optimizer.add_param_group({"params": new.named(), "lr": 0.3})
    for step in range(steps_before + 1, steps_before + 4):
        new.set_grads(step)
        old.run(optimizer, [step])
    alone = make_problem({"c": (9,), "d": ()})
    alone.run(make_sgld(alone.named(), **{**ALL_ON, "lr": 0.3}), range(steps_before + 1, steps_before + 4))
    assert_same(new.values(), alone.values())
    unmoved = make_problem({"a": (5,), "b": (3, 4)})
    unmoved.run(make_sgld(unmoved.named(), **ALL_ON), range(1, steps_before + 4))
    assert_same(old.values(), unmoved.values())
    assert [int(optimizer.state[param]["step"]) for param in new.list()] == [3, 3]


def test_a_group_can_be_added_after_loading_another_seed() -> None:
    saved = make_sgld(make_problem().named(), seed=1, temperature=1.0).state_dict()
    optimizer = make_sgld(make_problem().named(), seed=2, temperature=1.0)
    optimizer.load_state_dict(saved)
    optimizer.add_param_group({"params": make_problem({"late": (3,)}).named()})
    assert [group["seed"] for group in optimizer.param_groups] == [1, 1]


def test_a_single_tensor_is_a_group() -> None:
    optimizer = make_sgld(make_problem().list())
    optimizer.add_param_group({"params": Parameter(torch.ones(3))})
    assert len(optimizer.param_groups[1]["params"]) == 1


def test_an_empty_group_is_no_error() -> None:
    problem, plain = make_problem(), make_problem()
    problem.run(make_sgld([{"params": problem.list()}, {"params": []}], **ALL_ON), [1, 2])
    plain.run(make_sgld(plain.list(), **ALL_ON), [1, 2])
    assert_same(problem.values(), plain.values())


@pytest.mark.parametrize("name", ["p0", "module.p0", "_orig_mod.p0"])
@pytest.mark.parametrize("steps_before", [0, 1])
def test_a_group_with_a_name_that_is_taken_is_refused(name: str, steps_before: int) -> None:
    problem = make_problem()
    optimizer = make_sgld(problem.named(), **ALL_ON)
    problem.run(optimizer, range(1, steps_before + 1))
    with unchanged(optimizer), pytest.raises(HyperparameterError, match="unique"):
        optimizer.add_param_group({"params": [(name, Parameter(torch.ones(3)))]})


def test_unknown_keys_are_kept_and_ignored() -> None:
    problem, plain = make_problem(), make_problem()
    extra = {"lr_scale": 0.1, "initial_lr": 3.0, "mask": torch.ones(2), "tag": "head"}
    optimizer = make_sgld([{"params": problem.named(), **extra}], **ALL_ON)
    problem.run(optimizer, [1, 2])
    plain.run(make_sgld(plain.named(), **ALL_ON), [1, 2])
    assert_same(problem.values(), plain.values())
    saved = optimizer.state_dict()["param_groups"][0]
    assert saved["tag"] == "head" and saved["lr_scale"] == 0.1
    assert saved["param_names"] == list(problem.params)


def test_a_parameter_that_never_has_a_gradient_is_left_alone() -> None:
    problem, plain = make_problem(), make_problem()
    problem.without_grads = {"p1"}
    optimizer = make_sgld(problem.named(), **ALL_ON)
    start = problem.values()["p1"]
    problem.run(optimizer, [1, 2, 3])
    plain.run(make_sgld(plain.named(), **ALL_ON), [1, 2, 3])
    assert_same({"p1": problem.values()["p1"]}, {"p1": start})
    assert problem.params["p1"] not in optimizer.state
    assert_same({"p3": problem.values()["p3"]}, {"p3": plain.values()["p3"]})


def alternate(problem_steps: list[int], total: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """p1 has gradients in some steps only; with it a run in which it has these gradients in consecutive steps."""
    problem, alone = make_problem(), make_problem()
    optimizer = make_sgld(problem.named(), **ALL_ON)
    for step in range(1, total + 1):
        problem.without_grads = set() if step in problem_steps else {"p1"}
        problem.run(optimizer, [step])
    twin = make_sgld(alone.named(), **ALL_ON)
    alone.run(twin, problem_steps)
    name = {"p1": problem.params["p1"]}
    got = {"param": problem.values()["p1"], **states_by_name(optimizer, name)}
    wanted = {"param": alone.values()["p1"], **states_by_name(twin, {"p1": alone.params["p1"]})}
    return got, wanted


@pytest.mark.parametrize("with_grads", [[2, 4], [1, 3, 5], [3, 4, 5], [1, 2]])
def test_a_parameter_counts_its_own_steps(with_grads: list[int]) -> None:
    got, wanted = alternate(with_grads, 5)
    assert_same(got, wanted)


def test_momentum_may_begin_later() -> None:
    problem = make_problem()
    optimizer = make_sgld(problem.named(), momentum=schedules.Piecewise((1,), (0.0, 0.9)))
    problem.run(optimizer, [1, 2])
    assert all("momentum_buffer" in optimizer.state[param] for param in problem.list())
    plain = make_sgld(make_problem().named(), momentum=0.0)
    make_problem().run(plain, [1])
    plain.param_groups[0]["momentum"] = 0.9
    other = make_problem()
    late = make_sgld(other.named(), momentum=0.0)
    other.run(late, [1])
    assert all("momentum_buffer" not in late.state[param] for param in other.list())
    late.param_groups[0]["momentum"] = 0.9
    other.run(late, [2])
    assert all(int(late.state[param]["step"]) == 2 for param in other.list())


def test_a_parameter_list_may_be_exchanged_in_place() -> None:
    problem = make_problem({"a": (4,)})
    optimizer = make_sgld(problem.list(), lr=1.0)
    problem.run(optimizer, [1])
    other = Parameter(torch.zeros(4))
    optimizer.param_groups[0]["params"][0] = other  # Accelerate's FSDP2 path does this
    other.grad = torch.ones(4)
    start = problem.values()["a"]
    optimizer.step()
    assert_same({"old": problem.values()["a"], "new": other.detach()}, {"old": start, "new": -torch.ones(4)})
