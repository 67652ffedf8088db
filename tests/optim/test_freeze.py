"""freeze_preconditioner: P keeps its bits and everything else goes on; what has no second moment does not move."""

from __future__ import annotations

import copy
import io
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import Parameter

from .optimizers import BACKENDS, FORMS
from .problems import Problem, make_problem
from .snapshots import assert_same, describe_difference, states_by_name, take_snapshot

F32, BF16, F16 = torch.float32, torch.bfloat16, torch.float16
FREEZABLE = [form for form in FORMS if hasattr(FORMS[form].kind, "freeze_preconditioner")]
NOT_OF_P = ("/step", "/exp_avg", "/momentum_buffer")
SHAPES = {"a": (3, 5), "b": (), "c": (0,), "d": (300,)}


def of_p(optimizer: Any, problem: Problem) -> dict[str, Tensor]:
    """Copies of the states that P is made of: all but the counter, Adam's average of gradients and a velocity."""
    found = states_by_name(optimizer, problem.params)
    return {name: value.clone() for name, value in found.items() if not name.endswith(NOT_OF_P)}


def without_decay(form: str) -> dict[str, Any]:
    """Options under which an element whose gradient is 0 has a second moment of 0, and moves by what is drawn alone."""
    own = {"initial_accumulator_value": 0.0} if form == "LangevinAdagrad" else {}
    return {"weight_decay": 0.0, "grad_quantizer": None, **own}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [F32, BF16, F16])
@pytest.mark.parametrize("form", FREEZABLE)
def test_p_keeps_its_bits_and_the_rest_goes_on(form: str, dtype: torch.dtype, backend: str) -> None:
    problem = make_problem(SHAPES, dtype=dtype)
    optimizer = FORMS[form].make(problem.named(), lr=0.5, backend=backend)
    problem.run(optimizer, [1, 2, 3])
    optimizer.freeze_preconditioner()
    frozen, before, all_states = of_p(optimizer, problem), problem.values(), states_by_name(optimizer, problem.params)
    all_states = {name: value.clone() for name, value in all_states.items()}
    assert frozen
    for step in (4, 5, 6):
        problem.run(optimizer, [step])
        assert_same(of_p(optimizer, problem), frozen)
        optimizer.freeze_preconditioner()  # changes nothing any more
    assert all(group["frozen_at"] == 3 for group in optimizer.param_groups)
    for name, value in states_by_name(optimizer, problem.params).items():
        if value.numel() and name not in frozen:
            assert describe_difference(value, all_states[name]), name
    assert all(describe_difference(value, before[name]) for name, value in problem.values().items() if value.numel())


@pytest.mark.parametrize("form", FREEZABLE)
def test_it_is_fixed_from_the_next_step_on_and_the_same_in_the_reference(form: str) -> None:
    results = []
    for backend, again in (("native", True), ("reference", False), ("native", None)):
        problem = make_problem(SHAPES, dtype=BF16)
        optimizer = FORMS[form].make(problem.named(), backend=backend)
        problem.run(optimizer, [1, 2, 3])
        if again is not None:
            optimizer.freeze_preconditioner()
        problem.run(optimizer, [4, 5])
        if again:
            optimizer.freeze_preconditioner()
        problem.run(optimizer, [6])
        results.append({**problem.values(), **states_by_name(optimizer, problem.params)})
    assert_same(results[0], results[1])
    with pytest.raises(AssertionError):
        assert_same(results[0], results[2])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("form", FREEZABLE)
def test_equal_gradients_give_equal_displacements(form: str, backend: str) -> None:
    # Without momentum and noise the displacement is -lr P g: the corrections of P are fixed too.
    still: dict[str, Any] = {"weight_decay": 0.0, "grad_quantizer": None, "param_rounding": "nearest"}
    if "Langevin" in form:
        still["temperature"] = 0.0
    else:
        still |= {"update_quantizer": None, "compensation": None}
    still |= {"betas": (0.0, 0.99)} if "Adam" in form else {"lr_decay": 0.0} if "Adagrad" in form else {}
    still |= {"momentum": 0.0} if "RMSprop" in form else {}
    param = Parameter(torch.zeros(50))
    optimizer = FORMS[form].make([param], backend=backend, **still)
    found = []
    for step in range(1, 9):
        if step == 4:
            optimizer.freeze_preconditioner()
        param.data.zero_()
        param.grad = torch.linspace(-3.0, 5.0, 50) * (1.0 if step > 3 else step)
        optimizer.step()
        found.append(param.detach().clone())
    assert all(one.equal(found[3]) for one in found[4:])
    assert bool((found[3] * param.grad <= 0).all()) and bool(found[3].any())  # type: ignore[operator]


@pytest.mark.parametrize("frozen_before", [True, False])
@pytest.mark.parametrize("way", ["file", "deepcopy"])
@pytest.mark.parametrize("form", FREEZABLE)
def test_it_survives_saving_and_copying(form: str, way: str, frozen_before: bool) -> None:
    whole, stopped = make_problem(SHAPES, dtype=BF16), make_problem(SHAPES, dtype=BF16)
    optimizers = [FORMS[form].make(problem.named()) for problem in (whole, stopped)]
    for problem, optimizer in zip((whole, stopped), optimizers, strict=True):
        problem.run(optimizer, [1, 2, 3])
        if frozen_before:
            optimizer.freeze_preconditioner()
            problem.run(optimizer, [4])
    if way == "file":
        file = io.BytesIO()
        torch.save(optimizers[1].state_dict(), file)
        file.seek(0)
        resumed = Problem({name: Parameter(value) for name, value in stopped.values().items()})
        other = FORMS[form].make_bare(resumed.named())
        other.load_state_dict(torch.load(file, weights_only=True))
        assert take_snapshot(other).groups == take_snapshot(optimizers[1]).groups
    else:
        resumed, other = copy.deepcopy((stopped, optimizers[1]))
    for problem, optimizer in ((whole, optimizers[0]), (resumed, other)):
        if not frozen_before:
            optimizer.freeze_preconditioner()
        problem.run(optimizer, [5, 6])
    assert_same(resumed.values(), whole.values())
    assert_same(states_by_name(other, resumed.params), states_by_name(optimizers[0], whole.params))


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("form", FREEZABLE)
def test_a_parameter_that_joins_late_has_as_many_steps_for_its_own_p(form: str, backend: str) -> None:
    problem, alone = make_problem(SHAPES), make_problem({"d": SHAPES["d"]})
    problem.without_grads = {"d"}
    optimizer = FORMS[form].make(problem.named(), backend=backend)
    problem.run(optimizer, [1, 2, 3])
    optimizer.freeze_preconditioner()
    problem.without_grads = set()
    frozen, before = of_p(optimizer, problem), dict[str, Tensor]()
    for step in range(4, 10):
        problem.run(optimizer, [step])
        joined = {name: value for name, value in of_p(optimizer, problem).items() if name.startswith("d/")}
        if step > 6:  # its own step 4
            assert_same(joined, before)
        elif step > 4:
            assert all(describe_difference(value, before[name]) for name, value in joined.items())
        before = joined
    assert_same({name: value for name, value in of_p(optimizer, problem).items() if name in frozen}, frozen)
    if "adaptive" in form or any(map(callable, FORMS[form].options.values())) or "QuantizedAdam" in form:
        return  # whose schedules follow the furthest parameter
    twin = FORMS[form].make(alone.named(), backend=backend)
    twin.param_groups[0]["frozen_at"] = 3
    alone.run(twin, range(4, 10))
    assert_same({"d": problem.values()["d"]}, alone.values())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("form", FREEZABLE)
def test_groups_of_other_steps_are_fixed_at_the_furthest_one_s_step(form: str, backend: str) -> None:
    problem = make_problem(SHAPES)
    named = problem.named()
    optimizer = FORMS[form].make([{"params": named[:2]}, {"params": named[2:3]}, {"params": named[3:]}], backend=backend)
    problem.without_grads = {"a", "b"}
    problem.run(optimizer, [1, 2])
    problem.without_grads = set()
    problem.run(optimizer, [3])
    optimizer.freeze_preconditioner()
    assert [group["frozen_at"] for group in optimizer.param_groups] == [3, 3, 3]
    problem.run(optimizer, [4, 5])  # a and b have taken 3 now
    frozen = of_p(optimizer, problem)
    problem.run(optimizer, [6, 7])
    assert_same(of_p(optimizer, problem), frozen)
    added = make_problem({"e": (9,)})
    optimizer.add_param_group({"params": added.named()})
    assert optimizer.param_groups[3]["frozen_at"] == 0
    optimizer.freeze_preconditioner()
    assert [group["frozen_at"] for group in optimizer.param_groups] == [3, 3, 3, 7]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("form", ["LangevinAdamW", "QuantizedAdamW, adaptive"])
def test_decoupled_decay_alone_moves_what_has_no_second_moment(form: str, backend: str) -> None:
    param = Parameter(torch.linspace(-2.0, 2.0, 20))
    optimizer = FORMS[form].make([param], lr=0.5, backend=backend, weight_decay=0.25, param_rounding="nearest")
    param.grad = torch.cat([torch.zeros(10), torch.ones(10)])
    optimizer.step()
    optimizer.freeze_preconditioner()
    wanted = param.detach() - param.detach() * 0.125
    param.grad = torch.ones(20)
    optimizer.step()
    assert param.detach()[:10].equal(wanted[:10]) and not param.detach()[10:].equal(wanted[10:])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [F32, BF16, F16])
@pytest.mark.parametrize("form", FREEZABLE)
def test_what_has_no_second_moment_draws_no_noise_and_does_not_move_once_p_is_fixed(
    form: str, dtype: torch.dtype, backend: str
) -> None:
    problem = make_problem({"d": (300,)}, dtype=dtype)
    param = problem.params["d"]
    optimizer = FORMS[form].make(problem.named(), lr=0.5, backend=backend, **without_decay(form))
    start, unseen = problem.values()["d"], torch.arange(300) % 7 == 0
    for step in range(1, 7):
        problem.set_grads(step)
        assert param.grad is not None
        if step <= 3:  # after that gradients reach the elements, and P stays 0 for them
            param.grad[unseen] = 0.0
        if step == 4:
            optimizer.freeze_preconditioner()
        optimizer.step()
        assert param.detach()[unseen].equal(start[unseen]), step
    assert float((param.detach() != start)[~unseen].float().mean()) > 0.5
