"""The states of torch.optim's optimizers load into their twins, which go on as they would have; those without one are refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import qlangevin
from qlangevin import StateDictError
from tests.methods.twins import LIMITS, Before, param_limit

from .optimizers import REQUIRED
from .problems import Problem, make_problem
from .snapshots import assert_same, states_by_name, unchanged

OF_ADAM: list[dict[str, Any]] = [
    {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-4},
    {"lr": 0.02, "eps": 1e-8, "amsgrad": True, "maximize": True, "weight_decay": 0.1},
]
PAIRS: list[tuple[str, str, dict[str, Any]]] = [
    *((ours, "Adam", options) for ours in ("LangevinAdam", "QuantizedAdam") for options in OF_ADAM),
    *((ours, "AdamW", options) for ours in ("LangevinAdam", "LangevinAdamW", "QuantizedAdamW") for options in OF_ADAM),
    ("LangevinRMSprop", "RMSprop", {"lr": 0.02, "alpha": 0.8, "eps": 1e-4, "weight_decay": 0.1}),
    *(
        ("LangevinRMSprop", "RMSprop", {"lr": 0.02, "alpha": 0.8, "eps": 1e-4, **options})
        for options in ({"centered": True, "weight_decay": 0.1}, {"momentum": 0.9}, {"centered": True, "momentum": 0.7})
    ),
    ("LangevinAdagrad", "Adagrad", {"lr": 0.2, "lr_decay": 0.1, "eps": 1e-4, "initial_accumulator_value": 0.3}),
    ("LangevinAdadelta", "Adadelta", {"lr": 0.5, "rho": 0.7, "eps": 1e-4, "weight_decay": 0.1}),
]


def make_ours(name: str, problem: Problem, **options: Any) -> Any:
    """Ours with an lr that is nobody's."""
    kind = getattr(qlangevin, name)
    nearest = {"param_rounding": "nearest", "state_rounding": "nearest"}
    return kind(problem.list(), **{"lr": 9.0, "seed": 7, **nearest, **REQUIRED.get(kind, {}), **options})


def make_theirs(name: str, problem: Problem, options: dict[str, Any], steps: int) -> Any:
    """torch's after some steps."""
    twin = getattr(torch.optim, name)(problem.list(), **options)
    problem.run(twin, range(1, steps + 1))
    return twin


def copy_problem(source: Problem, dtype: torch.dtype = torch.float32) -> Problem:
    """Parameters of equal values."""
    problem = make_problem(dtype=dtype)
    for name, value in source.values().items():
        problem.params[name].data.copy_(value)
    return problem


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("steps", [0, 1, 3])
@pytest.mark.parametrize(("ours", "theirs", "options"), PAIRS, ids=lambda value: str(value)[:60])
def test_loaded_it_takes_the_twin_s_next_step(ours: str, theirs: str, options: dict[str, Any], steps: int, backend: str) -> None:
    source = make_problem()
    twin = make_theirs(theirs, source, options, steps)
    problem = copy_problem(source)
    optimizer = make_ours(ours, problem, backend=backend)
    optimizer.load_state_dict(twin.state_dict())
    assert all(optimizer.param_groups[0][name] == value for name, value in options.items())
    old = [(theirs.detach().double(), {k: v.double() for k, v in twin.state[theirs].items()}) for theirs in source.list()]
    problem.run(optimizer, [steps + 1])
    source.run(twin, [steps + 1])
    o = {**twin.param_groups[0], "decoupled": theirs == "AdamW"}
    for mine, param, (before, states) in zip(problem.list(), source.list(), old, strict=True):
        assert param.grad is not None and int(optimizer.state[mine]["step"]) == steps + 1
        begun = {name: torch.zeros_like(before) for name in optimizer.state[mine]}
        limits = LIMITS[theirs](o, Before(before, param.grad.double(), {**begun, **states}, steps + 1))
        for name, limit in limits.items():
            if name != "displacement":
                assert bool(((optimizer.state[mine][name].double() - twin.state[param][name].double()).abs() <= limit).all()), (
                    name
                )
        limit = param_limit(o, Before(before, param.grad.double(), {}, 1), param.detach().double(), limits["displacement"])
        assert bool(((mine.detach().double() - param.detach().double()).abs() <= limit).all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("ours", "theirs", "options"), PAIRS, ids=lambda value: str(value)[:60])
def test_loaded_it_is_as_one_that_has_the_states_and_options(
    ours: str, theirs: str, options: dict[str, Any], dtype: torch.dtype
) -> None:
    warm = {} if ours.startswith("Quantized") else {"temperature": 0.1}
    source = make_problem(dtype=dtype)
    twin = make_theirs(theirs, source, options, 2)
    by_hand = {**options, "weight_decay": twin.param_groups[0]["weight_decay"], "decoupled_weight_decay": theirs == "AdamW"}
    results = []
    for given in ({}, by_hand):
        problem = copy_problem(source, dtype)
        optimizer = make_ours(ours, problem, **warm, **given)
        if not given:
            loaded = make_ours(ours, make_problem(dtype=dtype), **warm)
            loaded.load_state_dict(twin.state_dict())
            optimizer.load_state_dict(loaded.state_dict())  # the states and options also survive being saved by ours
        for mine, param in zip(problem.list(), source.list(), strict=True) if given else ():
            optimizer.state[mine].update({name: value.clone() for name, value in twin.state[param].items()})
        problem.run(optimizer, [3, 4])
        results.append({**problem.values(), **states_by_name(optimizer, problem.params)})
    assert_same(results[0], results[1])


REFUSED: list[tuple[str, str, dict[str, Any], str]] = [
    ("LangevinRMSprop", "Adadelta", {}, "another rule, which has rho"),
    ("LangevinRMSprop", "Adagrad", {}, "another rule, which has lr_decay"),
    ("LangevinRMSprop", "SGD", {}, "another rule, which has dampening, nesterov"),
    ("LangevinAdadelta", "RMSprop", {}, "another rule, which has alpha, momentum"),
    ("LangevinAdagrad", "Adam", {}, "another rule, which has betas"),
    ("LangevinAdam", "RMSprop", {}, "another rule, which has alpha, momentum"),
    ("LangevinAdam", "SGD", {"momentum": 0.9}, "another rule, which has dampening, momentum, nesterov"),
    ("SGHMC", "SGD", {"momentum": 0.9}, "another rule, which has dampening, momentum, nesterov"),
    ("QuantizedAdamW", "Adagrad", {}, "another rule, which has lr_decay"),
]


@pytest.mark.parametrize("steps", [0, 2])
@pytest.mark.parametrize(("ours", "theirs", "options", "told"), REFUSED)
def test_what_has_no_twin_is_refused_by_name(ours: str, theirs: str, options: dict[str, Any], told: str, steps: int) -> None:
    saved = make_theirs(theirs, make_problem(), options, steps).state_dict()
    optimizer = make_ours(ours, make_problem())
    with unchanged(optimizer), pytest.raises(StateDictError, match=f"param group 0: .*{told};"):
        optimizer.load_state_dict(saved)


@pytest.mark.parametrize(("theirs", "told"), [("NAdam", "mu_product"), ("Adamax", "exp_inf")])
def test_variants_of_adam_are_refused_by_their_states(theirs: str, told: str) -> None:
    saved = make_theirs(theirs, make_problem(), {}, 1).state_dict()
    optimizer = make_ours("LangevinAdam", make_problem())
    with unchanged(optimizer), pytest.raises(StateDictError, match=told):
        optimizer.load_state_dict(saved)
