"""state_dict and back, hooks, torch.save, pickle, deepcopy, the state_dict of torch.optim.SGD."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch

from qlangevin import SGLD, quantizers, schedules

from .problems import ALL_ON, Problem, make_problem, make_sgld
from .snapshots import assert_same, states_by_name, take_snapshot

SAVABLE: dict[str, dict[str, Any]] = {
    "plain": {"temperature": 0.5},
    "momentum": ALL_ON,
    "grid": {**ALL_ON, "update_quantizer": quantizers.Grid(256, "stochastic"), "grad_quantizer": quantizers.Grid(64)},
    "blocks": {**ALL_ON, "grad_quantizer": quantizers.BlockGrid(6, "dither")},
    "grid with a schedule": {**ALL_ON, "update_quantizer": quantizers.Grid(schedules.Linear(8.0, 64.0, 5), "dither")},
    "schedules": {
        **ALL_ON,
        "temperature": schedules.Piecewise((2, 4), (1.0, 0.5, 0.0)),
        "momentum": schedules.Linear(0.5, 0.9, 4),
    },
    "cosine": {**ALL_ON, "temperature": schedules.LogCooling(0.5, 3), "momentum": schedules.Cosine(0.5, 0.9, 4)},
    "cycles": {**ALL_ON, "temperature": schedules.Cyclical(0.5, 4, 0.5)},
    "tensors": {**ALL_ON, "temperature": torch.tensor(0.25)},
    "state_dtype": {**ALL_ON, "state_dtype": torch.bfloat16},
}


def to_file(state_dict: dict[str, Any]) -> dict[str, Any]:
    file = io.BytesIO()
    torch.save(state_dict, file)
    file.seek(0)
    return torch.load(file, weights_only=True)  # type: ignore[no-any-return]


@pytest.mark.parametrize("options", SAVABLE)
def test_a_file_keeps_everything(options: str) -> None:
    problem = make_problem()
    optimizer = make_sgld(problem.named(), **SAVABLE[options])
    problem.run(optimizer, [1, 2])
    loaded = to_file(optimizer.state_dict())
    for key, value in SAVABLE[options].items():
        assert loaded["param_groups"][0][key] == value
    other = SGLD(problem.named(), 9.0, temperature=0.0, seed=99)
    other.load_state_dict(loaded)
    assert take_snapshot(other) == take_snapshot(optimizer)


def test_callables_of_the_user_survive() -> None:
    options = {"temperature": lambda step: 0.5 / step, "update_quantizer": quantizers.Grid(lambda step: 64.0 * step)}
    problem, plain = make_problem(), make_problem()
    optimizer = make_sgld(problem.named(), momentum=0.9, **options)
    problem.run(optimizer, [1, 2])
    loaded = to_file(optimizer.state_dict())
    other = make_sgld(problem.named(), momentum=0.9, **options)
    other.load_state_dict(loaded)
    assert other.param_groups[0]["temperature"] is options["temperature"]
    assert other.param_groups[0]["update_quantizer"] == options["update_quantizer"]
    problem.run(other, [3, 4])
    plain.run(make_sgld(plain.named(), momentum=0.9, **options), [1, 2, 3, 4])
    assert_same(problem.values(), plain.values())


COPIES: dict[str, Callable[[Any], Any]] = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda pair: pickle.loads(pickle.dumps(pair)),
}


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("steps_before", [0, 2])
def test_a_copy_goes_on_alone_with_the_same_bits(how: str, steps_before: int, backend: str) -> None:
    problem = make_problem()
    optimizer = make_sgld(problem.named(), backend=backend, **ALL_ON)
    problem.run(optimizer, range(1, steps_before + 1))
    other_problem, other = COPIES[how]((problem, optimizer))
    start = problem.values()
    other_problem.run(other, [7, 8])
    assert_same(problem.values(), start)
    problem.run(optimizer, [7, 8])
    assert_same(other_problem.values(), problem.values())
    assert_same(states_by_name(other, other_problem.params), states_by_name(optimizer, problem.params))
    assert other.backend == backend


def test_loading_twice_gives_two_optimizers_with_counters_of_their_own() -> None:
    problem, first, second = make_problem(), make_problem(), make_problem()
    optimizer = make_sgld(problem.named(), **ALL_ON)
    problem.run(optimizer, [1, 2])
    saved = optimizer.state_dict()
    one, two = make_sgld(first.named(), **ALL_ON), make_sgld(second.named(), **ALL_ON)
    one.load_state_dict(saved)
    two.load_state_dict(saved)
    first.run(one, [3])
    counters = [int(o.state[p]["step"]) for o, q in ((one, first), (two, second), (optimizer, problem)) for p in q.list()]
    assert counters == [3] * 4 + [2] * 8


def loaded_with(register: Callable[[SGLD], Any]) -> tuple[SGLD, SGLD, Problem]:
    source, target = make_problem({"a": (5,)}), make_problem({"a": (5,)})
    saved = make_sgld(source.named(), **ALL_ON)
    source.run(saved, [1, 2])
    optimizer = make_sgld(target.named(), **ALL_ON)
    register(optimizer)
    optimizer.load_state_dict(copy.deepcopy(saved.state_dict()))
    return saved, optimizer, target


def test_a_load_pre_hook_may_change_the_state_dict() -> None:
    def double(optimizer: Any, state_dict: dict[str, Any]) -> dict[str, Any]:
        changed = copy.deepcopy(state_dict)
        changed["state"][0]["momentum_buffer"] *= 2
        return changed

    saved, optimizer, problem = loaded_with(lambda optimizer: optimizer.register_load_state_dict_pre_hook(double))
    wanted = next(iter(saved.state.values()))["momentum_buffer"] * 2
    assert_same({"a": optimizer.state[problem.params["a"]]["momentum_buffer"]}, {"a": wanted})


def test_a_load_pre_hook_may_unwrap_a_foreign_format() -> None:
    source, target = make_problem(), make_problem()
    saved = make_sgld(source.named(), **ALL_ON)
    source.run(saved, [1])
    optimizer = make_sgld(target.named(), **ALL_ON)
    optimizer.register_load_state_dict_pre_hook(lambda _, wrapped: wrapped["optimizer"])
    optimizer.load_state_dict({"optimizer": saved.state_dict()})
    assert_same(states_by_name(optimizer, target.params), states_by_name(saved, source.params))


def test_a_load_post_hook_has_the_last_word() -> None:
    def reset(optimizer: Any) -> None:
        for state in optimizer.state.values():
            state["momentum_buffer"] = torch.full_like(state["momentum_buffer"], 3.0)

    _, optimizer, problem = loaded_with(lambda optimizer: optimizer.register_load_state_dict_post_hook(reset))
    assert_same({"a": optimizer.state[problem.params["a"]]["momentum_buffer"]}, {"a": torch.full((5,), 3.0)})


def test_state_dict_hooks_run() -> None:
    seen = []
    optimizer = make_sgld(make_problem().named())
    optimizer.register_state_dict_pre_hook(lambda optimizer: seen.append("pre"))
    optimizer.register_state_dict_post_hook(lambda optimizer, state_dict: {**state_dict, "extra": 1})
    assert optimizer.state_dict()["extra"] == 1 and seen == ["pre"]


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_the_state_dict_of_torch_sgd_loads(momentum: float) -> None:
    problem, plain = make_problem(), make_problem()
    twin = torch.optim.SGD(problem.list(), 0.25, momentum=momentum, weight_decay=0.5, foreach=False)
    problem.run(twin, [1, 2])
    for name, param in plain.params.items():
        param.data.copy_(problem.params[name])
    optimizer = make_sgld(plain.list(), lr=9.0, momentum=0.3, seed=5)
    optimizer.load_state_dict(twin.state_dict())
    group = optimizer.param_groups[0]
    assert (group["lr"], group["momentum"], group["weight_decay"], group["seed"]) == (0.25, momentum, 0.5, 5)
    plain.run(optimizer, [3])
    if momentum:
        for name, param in plain.params.items():
            buffer = twin.state[problem.params[name]]["momentum_buffer"]
            problem.set_grads(3)
            grad = problem.params[name].grad + problem.params[name].detach() * 0.5
            assert_same({name: optimizer.state[param]["momentum_buffer"]}, {name: buffer * momentum + grad})


def test_checkpoint_tools_can_save_and_load() -> None:
    from torch.distributed.checkpoint import state_dict as checkpoint

    model, other = torch.nn.Linear(4, 3), torch.nn.Linear(4, 3)
    other.load_state_dict(model.state_dict())
    problem, copied = Problem(dict(model.named_parameters())), Problem(dict(other.named_parameters()))
    optimizer, resumed = make_sgld(problem.named(), **ALL_ON), make_sgld(copied.named(), **{**ALL_ON, "seed": 3})
    problem.run(optimizer, [1, 2])
    saved = copy.deepcopy(checkpoint.get_optimizer_state_dict(model, optimizer))
    other.load_state_dict(model.state_dict())
    checkpoint.set_optimizer_state_dict(other, resumed, saved)
    problem.run(optimizer, [3, 4])
    copied.run(resumed, [3, 4])
    assert_same(copied.values(), problem.values())
