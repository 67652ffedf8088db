"""What the noise and the step depend on, and what not: coordinates, never grouping, order, copies or shape alone."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from qlangevin import SGLD, quantizers
from qlangevin.buckets import canonical_name

from .problems import Problem, make_problem, make_sgld
from .snapshots import assert_same, describe_difference, states_by_name

NOISY: dict[str, Any] = {
    "temperature": 0.3,
    "momentum": 0.9,
    "weight_decay": 0.01,
    "grad_quantizer": quantizers.Grid(64, "stochastic"),
    "update_quantizer": quantizers.Grid(256, "dither"),
}

GROUPINGS: dict[str, Callable[[Problem], Any]] = {
    "one group": lambda problem: problem.named(),
    "a group for each parameter": lambda problem: [{"params": [pair]} for pair in problem.named()],
    "reversed": lambda problem: problem.named()[::-1],
    "reversed, a group for each": lambda problem: [{"params": [pair]} for pair in problem.named()[::-1]],
    "odd and even": lambda problem: [{"params": problem.named()[1::2]}, {"params": problem.named()[::2]}],
    "wrapped": lambda problem: [(f"module._orig_mod.{name}", param) for name, param in problem.named()],
    "wrapped twice more": lambda problem: [
        (f"_fsdp_wrapped_module._checkpoint_wrapped_module.{name}", param) for name, param in problem.named()
    ],
}


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("grouping", list(GROUPINGS)[1:])
def test_grouping_order_and_wrappers_change_no_bit(grouping: str, dtype: torch.dtype, backend: str) -> None:
    results = []
    for kind in ("one group", grouping):
        problem = make_problem(dtype=dtype)
        optimizer = make_sgld(GROUPINGS[kind](problem), backend=backend, **NOISY)
        problem.run(optimizer, [1, 2, 3])
        results.append({**problem.values(), **states_by_name(optimizer, problem.params)})
    assert_same(results[0], results[1])


NAMES = {
    "block.0.weight": "block.0.weight",
    "module.block.weight": "block.weight",
    "block._checkpoint_wrapped_module.weight": "block.weight",
    "_orig_mod.a._fsdp_wrapped_module.b": "a.b",
    "modules.weight": "modules.weight",
    "a_module.weight": "a_module.weight",
}


@pytest.mark.parametrize("name", NAMES)
def test_wrapper_parts_leave_the_name_and_nothing_else_does(name: str) -> None:
    assert canonical_name(name) == NAMES[name]


def test_a_grouping_with_other_dtypes_between_changes_no_bit() -> None:
    narrow, alone = make_problem(dtype=torch.bfloat16), make_problem(dtype=torch.bfloat16)
    wide = make_problem({f"wide{i}": shape for i, shape in enumerate(((4,), (), (3, 3), (9,)))})
    mixed = [pair for pairs in zip(narrow.named(), wide.named(), strict=True) for pair in pairs]
    optimizer = make_sgld(mixed, **NOISY)
    for step in (1, 2):
        wide.set_grads(step)
        narrow.run(optimizer, [step])
    alone.run(make_sgld(alone.named(), **NOISY), [1, 2])
    assert_same(narrow.values(), alone.values())


def test_a_neighbour_changes_no_bit() -> None:
    both, alone = make_problem({"a": (5, 5), "b": (300,)}), make_problem({"a": (5, 5)})
    both.run(make_sgld(both.named(), **NOISY), [1, 2])
    alone.run(make_sgld(alone.named(), **NOISY), [1, 2])
    assert_same({"a": both.values()["a"]}, alone.values())


def noise_of(shape: tuple[int, ...] = (64,), steps: int = 1, **options: Any) -> Tensor:
    """The noise of one step: the parameter after a step from 0 without a gradient."""
    param = torch.nn.Parameter(torch.zeros(shape))
    name = options.pop("name", "weight")
    optimizer = SGLD([(name, param)], 0.5, **{"temperature": 1.0, "seed": 7, "chain": 0, **options})
    for _ in range(steps):
        param.data.zero_()
        param.grad = torch.zeros(shape)
        optimizer.step()
    return param.detach().clone()


DRAWS: dict[str, dict[str, Any]] = {
    "the same": {},
    "another name": {"name": "bias"},
    "another seed": {"seed": 8},
    "another seed in the high half": {"seed": 7 + (1 << 63)},
    "another chain": {"chain": 1},
    "the last chain": {"chain": 2**32 - 1},
    "the second step": {"steps": 2},
    "uniform": {"noise": "uniform"},
    "rademacher": {"noise": "rademacher"},
}


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_every_coordinate_gives_another_noise(backend: str) -> None:
    noises = {kind: noise_of(backend=backend, **options) for kind, options in DRAWS.items()}
    assert describe_difference(noise_of(backend=backend), noises["the same"]) is None
    for (one, first), (two, second) in itertools.combinations(noises.items(), 2):
        equal = float((first == second).double().mean())
        assert equal < (0.8 if {one, two} & {"rademacher", "uniform"} else 0.1), (one, two)
        assert bool((first != 0).all())


def test_tensors_of_equal_shape_draw_different_noise() -> None:
    problem = make_problem({f"layer{i}": (32,) for i in range(20)})
    for param in problem.list():
        param.data.zero_()
        param.grad = torch.zeros(32)
    for params in (problem.named(), problem.list()):
        for param in problem.list():
            param.data.zero_()
        make_sgld(params, temperature=1.0).step()
        assert len({tuple(value.tolist()) for value in problem.values().values()}) == 20


def test_replicas_draw_equal_noise() -> None:
    one, two = make_problem(), make_problem()
    one.run(make_sgld(one.named(), **NOISY), [1, 2, 3])
    two.run(make_sgld(two.named(), **NOISY), [1, 2, 3])
    assert_same(one.values(), two.values())


def test_the_global_generator_is_neither_used_nor_advanced() -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    one = noise_of()
    assert torch.get_rng_state().equal(state)
    torch.manual_seed(6)
    assert describe_difference(noise_of(), one) is None


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_number_of_threads_changes_no_bit(threads: int) -> None:
    before = torch.get_num_threads()
    results = []
    try:
        for count in (2, threads):
            torch.set_num_threads(count)
            problem = make_problem({"large": (70_001,), "small": (3,), "also": (20_000,)})
            problem.run(make_sgld(problem.named(), **NOISY), [1, 2])
            results.append(problem.values())
    finally:
        torch.set_num_threads(before)
    assert_same(results[0], results[1])


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_temperature_0_as_a_tensor_or_schedule_draws_nothing(backend: str) -> None:
    plain = make_problem()
    plain.run(make_sgld(plain.named(), momentum=0.9, backend=backend), [1, 2])
    for cold in (torch.tensor(0.0), torch.tensor(0.0, dtype=torch.float64), torch.tensor(0), lambda step: 0.0, 0):
        problem = make_problem()
        problem.run(make_sgld(problem.named(), temperature=cold, momentum=0.9, seed=99, backend=backend), [1, 2])
        assert_same(problem.values(), plain.values())


def test_temperature_0_in_one_group_leaves_that_group_noise_free() -> None:
    problem, plain = make_problem(), make_problem()
    groups = [{"params": problem.named()[:2], "temperature": 1.0}, {"params": problem.named()[2:]}]
    problem.run(make_sgld(groups, momentum=0.9), [1, 2])
    plain.run(make_sgld(plain.named(), momentum=0.9), [1, 2])
    for name in ("p0", "p1"):
        assert describe_difference(problem.values()[name], plain.values()[name])
    assert_same({name: problem.values()[name] for name in ("p2", "p3")}, {name: plain.values()[name] for name in ("p2", "p3")})


@pytest.mark.parametrize("steps_before", [0, 3])
def test_reseed_starts_another_noise_and_keeps_the_counters(steps_before: int) -> None:
    problem, other = make_problem(), make_problem()
    optimizer = make_sgld(problem.named(), **NOISY)
    problem.run(optimizer, range(1, steps_before + 1))
    saved = optimizer.state_dict()
    for name, param in other.params.items():
        param.data.copy_(problem.params[name])
    optimizer.reseed(2**64 - 1)
    twin = make_sgld(other.named(), **NOISY)
    changed = {**saved, "param_groups": [{**group, "seed": 2**64 - 1} for group in saved["param_groups"]]}
    twin.load_state_dict(changed)
    problem.run(optimizer, [4, 5])
    other.run(twin, [4, 5])
    assert_same(problem.values(), other.values())
    assert all(int(optimizer.state[param]["step"]) == steps_before + 2 for param in problem.list())
    assert optimizer.state_dict()["param_groups"][0]["seed"] == 2**64 - 1
    same = make_problem()
    same.run(make_sgld(same.named(), **NOISY), [*range(1, steps_before + 1), 4, 5])
    assert describe_difference(same.values()["p0"], problem.values()["p0"])
