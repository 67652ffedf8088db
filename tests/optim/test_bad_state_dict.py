"""A state_dict that does not fit: a named error, and the optimizer is unchanged."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch

from qlangevin import StateDictError
from qlangevin.quantizers import BlockGrid, Grid

from .problems import ALL_ON, Problem, make_problem, make_sgld
from .snapshots import assert_same, unchanged

Saved = dict[str, Any]


def without(mapping: Saved, key: Any) -> Saved:
    """The mapping without a key."""
    return {k: v for k, v in mapping.items() if k != key}


def change_group(saved: Saved, **changes: Any) -> Saved:
    """The first group changed."""
    return {**saved, "param_groups": [{**saved["param_groups"][0], **changes}, *saved["param_groups"][1:]]}


def change_state(saved: Saved, **changes: Any) -> Saved:
    """The last parameter's state changed."""
    last = max(saved["state"])
    return {**saved, "state": {**saved["state"], last: {**saved["state"][last], **changes}}}


def tampered(value: Any, **changes: Any) -> Any:
    """A frozen value as reading from a file makes it, without its checks."""
    for name, change in changes.items():
        object.__setattr__(value, name, change)
    return value


WRONG: dict[str, Callable[[Saved], Any]] = {
    "empty": lambda saved: {},
    "no groups": lambda saved: without(saved, "param_groups"),
    "no state": lambda saved: without(saved, "state"),
    "groups of a wrong type": lambda saved: {**saved, "param_groups": 3},
    "state of a wrong type": lambda saved: {**saved, "state": [1, 2]},
    "a state of a wrong type": lambda saved: {**saved, "state": {**saved["state"], max(saved["state"]): 3}},
    "a group without its parameters": lambda saved: {
        **saved,
        "param_groups": [without(g, "params") for g in saved["param_groups"]],
    },
    "a group too few": lambda saved: {**saved, "param_groups": saved["param_groups"][:1]},
    "a group too many": lambda saved: {
        **saved,
        "param_groups": [*saved["param_groups"], {**saved["param_groups"][0], "params": []}],
    },
    "a parameter too few": lambda saved: change_group(saved, params=saved["param_groups"][0]["params"][:-1]),
    "a parameter too many": lambda saved: change_group(saved, params=[*saved["param_groups"][0]["params"], 99]),
    "another shape": lambda saved: change_state(saved, momentum_buffer=torch.ones(2, 3)),
    "another shape of equal size": lambda saved: change_state(saved, momentum_buffer=torch.ones(24)),
    "a state that is no tensor": lambda saved: change_state(saved, momentum_buffer=3.0),
    "an integer state": lambda saved: change_state(saved, momentum_buffer=torch.ones(2, 3, 4, dtype=torch.int64)),
    "a complex state": lambda saved: change_state(saved, momentum_buffer=torch.ones(2, 3, 4, dtype=torch.complex64)),
    "a sparse state": lambda saved: change_state(saved, momentum_buffer=torch.ones(2, 3, 4).to_sparse()),
    "another rule": lambda saved: change_state(saved, exp_avg=torch.ones(2, 3, 4)),
    "a negative counter": lambda saved: change_state(saved, step=torch.tensor(-1)),
    "a counter beyond its end": lambda saved: change_state(saved, step=torch.tensor(2**32)),
    "a fractional counter": lambda saved: change_state(saved, step=torch.tensor(2.5)),
    "a counter that is NaN": lambda saved: change_state(saved, step=torch.tensor(float("nan"))),
    "a counter of two elements": lambda saved: change_state(saved, step=torch.tensor([1, 2])),
    "a counter that is a string": lambda saved: change_state(saved, step="three"),
    "an lr out of range": lambda saved: change_group(saved, lr=-1.0),
    "a NaN temperature": lambda saved: change_group(saved, temperature=float("nan")),
    "an unknown noise": lambda saved: change_group(saved, noise="levy"),
    "a seed of another type": lambda saved: change_group(saved, seed=1.5),
    "an unknown state_dtype": lambda saved: change_group(saved, state_dtype=torch.int8),
    "groups of different seeds": lambda saved: change_group(saved, seed=123),
    "groups of different chains": lambda saved: change_group(saved, chain=123),
    "a temperature for Nesterov": lambda saved: change_group(saved, nesterov=True),
    "blocks of too many bits": lambda saved: change_group(saved, grad_quantizer=tampered(BlockGrid(), bits=200)),
    "blocks of fractional bits": lambda saved: change_group(saved, grad_quantizer=tampered(BlockGrid(), bits=8.5)),
    "blocks of no bits": lambda saved: change_group(saved, grad_quantizer=tampered(BlockGrid(), bits=None)),
    "blocks with an unknown rounding": lambda saved: change_group(saved, grad_quantizer=tampered(BlockGrid(), rounding="up")),
    "a grid with an unknown rounding": lambda saved: change_group(saved, update_quantizer=tampered(Grid(64.0), rounding="up")),
    "equal names": lambda saved: change_group(saved, param_names=["p2", "p1"]),
}


def make_pair() -> tuple[Problem, Any]:
    problem = make_problem()
    groups = [{"params": problem.named()[:2]}, {"params": problem.named()[2:], "lr": 0.2}]
    return problem, make_sgld(groups, **ALL_ON)


@pytest.mark.parametrize("steps_before", [0, 2])
@pytest.mark.parametrize("wrong", WRONG)
def test_refused_and_the_optimizer_unchanged(wrong: str, steps_before: int) -> None:
    source, saving = make_pair()
    source.run(saving, [1, 2, 3])
    saved = WRONG[wrong](copy.deepcopy(saving.state_dict()))
    problem, optimizer = make_pair()
    problem.run(optimizer, range(1, steps_before + 1))
    hooks: list[int] = []
    optimizer.register_load_state_dict_post_hook(lambda _: hooks.append(1))
    with unchanged(optimizer), pytest.raises(StateDictError):
        optimizer.load_state_dict(saved)
    assert not hooks
    plain, twin = make_pair()
    plain.run(twin, range(1, steps_before + 3))
    problem.run(optimizer, range(steps_before + 1, steps_before + 3))
    assert_same(problem.values(), plain.values())


def test_the_state_dict_of_another_optimizer() -> None:
    source, problem = make_problem(), make_problem()
    adam = torch.optim.Adam(source.list())
    source.run(adam, [1])
    optimizer = make_sgld(problem.list(), momentum=0.9)
    with (
        unchanged(optimizer),
        pytest.raises(StateDictError, match=r"another rule, which has betas, eps"),
    ):
        optimizer.load_state_dict(adam.state_dict())


def test_loading_leaves_the_state_dict_alone() -> None:
    source, saving = make_pair()
    source.run(saving, [1, 2])
    saved = saving.state_dict()
    kept = copy.deepcopy(saved)
    problem, optimizer = make_pair()
    optimizer.load_state_dict(saved)
    problem.run(optimizer, [3, 4])
    assert saved["param_groups"] == kept["param_groups"]
    for key, state in kept["state"].items():
        assert_same(saved["state"][key], state)


def test_another_version_of_the_numerics_is_told() -> None:
    source, saving = make_pair()
    source.run(saving, [1])
    saved = copy.deepcopy(saving.state_dict())
    for group in saved["param_groups"]:
        group["numerics_version"] = 99
    _, optimizer = make_pair()
    with pytest.warns(UserWarning, match=r"numerics version.*99"):
        optimizer.load_state_dict(saved)
    assert all(group["numerics_version"] != 99 for group in optimizer.param_groups)
