"""What all optimizers have in common, in each of their forms: native = reference, groups, counters, closures, no-ops."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import Parameter

from qlangevin import QuantizedAdam

from .launches import only_native, only_reference
from .optimizers import BACKENDS, FORMS
from .problems import Problem, make_problem
from .snapshots import assert_same, bytes_of, describe_difference, states_by_name, unchanged

F32, BF16, F16 = torch.float32, torch.bfloat16, torch.float16
STEPS = range(1, 6)


def result_of(optimizer: Any, problem: Problem) -> dict[str, Tensor]:
    """Every tensor that a run leaves."""
    return {**problem.values(), **states_by_name(optimizer, problem.params)}


def make_mixed() -> Problem:
    """Tensors of three dtypes, one empty, one in another memory order."""
    shapes = {"a": (3, 5), "b": (7,), "c": (), "d": (2, 3, 4, 2), "e": (0,), "f": (300,)}
    problem = make_problem(shapes)
    for name, dtype in {"b": BF16, "c": F16, "d": BF16, "f": F16}.items():
        problem.params[name].data = problem.params[name].data.to(dtype)
    problem.params["d"].data = problem.params["d"].data.to(memory_format=torch.channels_last)
    return problem


def run_mixed(form: str, backend: str, **options: Any) -> dict[str, Tensor]:
    """Two groups over several buckets; b joins at the third step, f has gradients at every other."""
    problem = make_mixed()
    named = problem.named()
    optimizer = FORMS[form].make([{"params": named[:3]}, {"params": named[3:], "lr": 0.2}], backend=backend, **options)
    for step in STEPS:
        problem.without_grads = ({"b"} if step < 3 else set()) | ({"f"} if step % 2 else set())
        problem.run(optimizer, [step])
    assert int(optimizer.state[problem.params["b"]]["step"]) == 3
    assert int(optimizer.state[problem.params["f"]]["step"]) == 2
    return result_of(optimizer, problem)


OPTIONS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "clipped": {"max_grad_norm": 0.5, "maximize": True, "weight_decay": 0.1, "decoupled_weight_decay": True},
    "nearest": {"param_rounding": "nearest", "state_rounding": "nearest", "state_dtype": F32, "noise": "rademacher"},
}


def options_for(form: str, options: str) -> dict[str, Any]:
    """Those of the options that the form's constructor takes: QuantizedAdam's grid is no heat bath, so that it has no noise."""
    refused = {"noise"} if issubclass(FORMS[form].kind, QuantizedAdam) else set()
    return {name: value for name, value in OPTIONS[options].items() if name not in refused}


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("form", FORMS)
def test_native_equals_reference(form: str, options: str) -> None:
    with only_native() as launches:
        native = run_mixed(form, "native", **options_for(form, options))
    assert launches.count >= 3 * len(STEPS) - 1
    with only_reference():
        assert_same(native, run_mixed(form, "reference", **options_for(form, options)))


@pytest.mark.parametrize("dtype", [F32, BF16, F16])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_moves_its_parameters_with_every_dtype(form: str, dtype: torch.dtype) -> None:
    problem = make_problem(dtype=dtype)
    start = problem.values()
    problem.run(FORMS[form].make(problem.named(), lr=0.5), STEPS)
    assert all(bool(value.isfinite().all()) for value in problem.values().values())
    assert all(describe_difference(value, start[name]) for name, value in problem.values().items())


@pytest.mark.parametrize("form", FORMS)
def test_a_group_overrides_lr_and_maximize(form: str) -> None:
    # Each parameter steps as if its group were alone; only what is "global" sees both groups.
    overrides = {"lr": 0.2, "maximize": True, "weight_decay": 0.3}
    local = {"compensation": None} if "adaptive" in form else {}
    together = make_problem(dtype=BF16)
    named = together.named()
    if "adaptive" in form:  # one resolution for all groups: make it the same from the first step on
        local["update_quantizer"] = FORMS["QuantizedSGD, published"].options["update_quantizer"]
    together.run(FORMS[form].make([{"params": named[:2]}, {"params": named[2:], **overrides}], **local), STEPS)
    for names, options in ((("p0", "p1"), {}), (("p2", "p3"), overrides)):
        alone = make_problem(dtype=BF16)
        alone.run(FORMS[form].make(alone.named(), **{**local, **options}), STEPS)
        assert_same({name: together.values()[name] for name in names}, {name: alone.values()[name] for name in names})


@pytest.mark.parametrize("form", [form for form in FORMS if "adaptive" not in form])  # whose resolution all groups share
def test_a_group_added_later_is_as_one_that_begins_then(form: str) -> None:
    old, new, alone = make_problem({"a": (5,)}), make_problem({"c": (9,), "d": ()}), make_problem({"c": (9,), "d": ()})
    optimizer = FORMS[form].make(old.named())
    old.run(optimizer, [1, 2])
    optimizer.add_param_group({"params": new.named(), "lr": 0.3})
    for step in (3, 4):
        new.set_grads(step)
        old.run(optimizer, [step])
    alone.run(FORMS[form].make(alone.named(), lr=0.3), [3, 4])
    assert_same(new.values(), alone.values())


@pytest.mark.parametrize("form", FORMS)
def test_a_tensor_lr_and_a_scheduler_are_read_at_every_step(form: str) -> None:
    problem, assigned, driven = make_problem(), make_problem(), make_problem()
    lr = torch.tensor(0.5)
    optimizer, hand = FORMS[form].make(problem.named(), lr), FORMS[form].make(assigned.named(), 0.5)
    other = FORMS[form].make(driven.named(), 0.5)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(other, 0.5)
    for step in STEPS:
        hand.param_groups[0]["lr"] = 0.5**step
        lr.fill_(0.5**step)
        problem.run(optimizer, [step])
        assigned.run(hand, [step])
        driven.run(other, [step])
        scheduler.step()
        assert_same(problem.values(), assigned.values())
        assert_same(driven.values(), assigned.values())


@pytest.mark.parametrize("form", FORMS)
def test_a_closure_s_gradients_are_the_step_s(form: str) -> None:
    problem, plain = make_problem(), make_problem()
    optimizer = FORMS[form].make(problem.named())

    def closure() -> float:
        problem.set_grads(1)
        return 12.5

    assert optimizer.step(closure) == 12.5
    plain.run(FORMS[form].make(plain.named()), [1])
    assert_same(problem.values(), plain.values())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [F32, BF16])
@pytest.mark.parametrize("form", FORMS)
def test_lr_0_changes_no_bit_of_a_parameter(form: str, dtype: torch.dtype, backend: str) -> None:
    special = (0.0, -0.0, float("inf"), float("nan"), 1e-45, -1e-45, 3e38, -2.5)
    param = Parameter(torch.tensor(special).to(dtype))
    optimizer = FORMS[form].make([param], 0.0, backend=backend)
    before = bytes_of(param)
    for values in (special, (1.0,) * len(special)):
        param.grad = torch.tensor(values).to(dtype)
        optimizer.step()
        assert bytes_of(param).equal(before)
    assert int(optimizer.state[param]["step"]) == 2


@pytest.mark.parametrize("steps_before", [0, 2])
@pytest.mark.parametrize("form", FORMS)
def test_found_inf_and_a_step_without_gradients_change_nothing(form: str, steps_before: int) -> None:
    problem = make_problem()
    optimizer = FORMS[form].make(problem.named())
    problem.run(optimizer, range(1, steps_before + 1))
    problem.set_grads(9)
    optimizer.found_inf = torch.tensor(1.0)
    with unchanged(optimizer):
        optimizer.step()
    optimizer.found_inf = None
    optimizer.zero_grad()
    with unchanged(optimizer):
        optimizer.step()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("form", FORMS)
def test_the_first_step_with_lr_0_and_zero_gradients_only_builds_state(form: str, backend: str) -> None:
    problem, plain = make_problem(), make_problem()
    optimizer, twin = (FORMS[form].make(p.named(), backend=backend) for p in (problem, plain))
    start = problem.values()
    for _ in range(2):
        problem.set_grads(1, factor=0.0)
        optimizer.param_groups[0]["lr"] = 0.0
        optimizer.step()
    optimizer.param_groups[0]["lr"] = 0.05
    assert "resolution_exponent" not in optimizer.param_groups[0]
    assert_same(problem.values(), start)
    for name, value in states_by_name(optimizer, problem.params).items():
        begins_with = optimizer.initial_states.get(name.split("/")[1])
        assert bool((value == (optimizer.param_groups[0][begins_with] if begins_with else 0)).all()), name
    problem.run(optimizer, [1, 2])
    plain.run(twin, [1, 2])
    assert_same(result_of(optimizer, problem), result_of(twin, plain))


@pytest.mark.parametrize("form", FORMS)
def test_a_refused_step_is_as_if_it_had_not_been_asked_for(form: str) -> None:
    problem, plain = make_problem(), make_problem()
    optimizer, twin = (FORMS[form].make(p.named()) for p in (problem, plain))
    problem.run(optimizer, [1])
    optimizer.param_groups[0]["weight_decay"], kept = -1.0, optimizer.param_groups[0]["weight_decay"]
    problem.set_grads(2)
    with unchanged(optimizer), pytest.raises(ValueError, match="weight_decay"):
        optimizer.step()
    optimizer.param_groups[0]["weight_decay"] = kept
    problem.run(optimizer, [2])
    plain.run(twin, [1, 2])
    assert_same(result_of(optimizer, problem), result_of(twin, plain))
