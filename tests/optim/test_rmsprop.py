"""RMSprop's arguments `momentum` and `centered`: read at every step, kept by torch's names, and finite where torch's are not."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch.nn import Parameter

from qlangevin import HyperparameterError, LangevinRMSprop, StateDictError
from qlangevin.schedules import Piecewise
from tests.methods.twins import Before, param_limit, rmsprop_limits

from .optimizers import BACKENDS
from .problems import make_problem
from .snapshots import assert_same, states_by_name, unchanged

F32, BF16 = torch.float32, torch.bfloat16
NEAREST: dict[str, Any] = {"param_rounding": "nearest", "state_rounding": "nearest"}
FORMS: dict[str, dict[str, Any]] = {
    "rmsprop": {},
    "rmsprop_centered": {"centered": True},
    "rmsprop_momentum": {"momentum": 0.9},
    "rmsprop_centered_momentum": {"centered": True, "momentum": 0.9},
}


@pytest.mark.parametrize("rule", FORMS)
def test_a_form_keeps_torch_s_states(rule: str) -> None:
    problem, other = make_problem(), make_problem()
    ours, theirs = LangevinRMSprop(problem.list(), **FORMS[rule]), torch.optim.RMSprop(other.list(), **FORMS[rule])
    assert ours.rule_of(ours.param_groups[0]) == rule
    problem.run(ours, [1])
    other.run(theirs, [1])
    assert set(ours.state[problem.list()[0]]) == set(theirs.state[other.list()[0]])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [F32, BF16])
@pytest.mark.parametrize("later", FORMS)
@pytest.mark.parametrize("first", FORMS)
def test_both_may_be_switched_between_steps(first: str, later: str, dtype: torch.dtype, backend: str) -> None:
    """A state that is missing begins at 0; one that is no longer needed is left alone."""
    given: dict[str, Any] = {"seed": 1, "backend": backend, "temperature": 0.1}
    problem, other = make_problem(dtype=dtype), make_problem(dtype=dtype)
    optimizer, begun = (LangevinRMSprop(each.list(), **given, **FORMS[first]) for each in (problem, other))
    problem.run(optimizer, [1, 2])
    other.run(begun, [1, 2])
    optimizer.param_groups[0].update({"momentum": 0.0, "centered": False, **FORMS[later]})
    resumed = LangevinRMSprop(other.list(), **given, **FORMS[later])
    for param in other.list():
        resumed.state[param].update(begun.state[param])
    kept = states_by_name(optimizer, problem.params)
    unused = {name for name in kept if name.rpartition("/")[2] in {"momentum_buffer", "grad_avg"} - names_of(later)}
    before = {name: kept[name].clone() for name in unused}
    problem.run(optimizer, [3, 4])
    other.run(resumed, [3, 4])
    results = [{**each.values(), **states_by_name(its, each.params)} for each, its in ((problem, optimizer), (other, resumed))]
    assert_same(*results)
    assert_same({name: states_by_name(optimizer, problem.params)[name] for name in unused}, before)


def names_of(rule: str) -> set[str]:
    """The states of a form besides square_avg."""
    return {name for word, name in (("momentum", "momentum_buffer"), ("centered", "grad_avg")) if word in rule}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("temperature", [0.0, 0.1])
def test_a_schedule_of_the_momentum_is_read_at_every_step(temperature: float, backend: str) -> None:
    momenta = (0.0, 0.5, 0.9, 0.25)
    problem, other = make_problem(), make_problem()
    given: dict[str, Any] = {"seed": 1, "backend": backend, "temperature": temperature}
    scheduled = LangevinRMSprop(problem.list(), momentum=Piecewise((1, 2, 3), momenta), **given)
    optimizer = LangevinRMSprop(other.list(), momentum=0.9, **given)
    for step, momentum in enumerate(momenta, 1):
        problem.run(scheduled, [step])
        optimizer.param_groups[0]["momentum"] = momentum if momentum else 2.0**-1000  # 0 in binary32, but with a velocity
        other.run(optimizer, [step])
        assert_same(problem.values(), other.values())
    still = make_problem()
    still.run(LangevinRMSprop(still.list(), momentum=0.9, **given), range(1, len(momenta) + 1))
    assert not any(value.equal(other.values()[name]) for name, value in still.values().items())


def test_one_cycle_turns_the_momentum() -> None:
    problem, other = make_problem(), make_problem()
    ours, theirs = LangevinRMSprop(problem.list(), 0.1, momentum=0.9), torch.optim.RMSprop(other.list(), 0.1, momentum=0.9)
    schedulers = [torch.optim.lr_scheduler.OneCycleLR(each, 0.5, total_steps=9) for each in (ours, theirs)]
    seen = set()
    for step in range(1, 8):
        problem.run(ours, [step])
        other.run(theirs, [step])
        for scheduler in schedulers:
            scheduler.step()
        assert ours.param_groups[0]["momentum"] == theirs.param_groups[0]["momentum"]
        seen.add(ours.param_groups[0]["momentum"])
    assert len(seen) > 5


@pytest.mark.parametrize("rule", FORMS)
def test_torch_takes_what_is_saved(rule: str) -> None:
    """And its next step is ours, to the roundings."""
    problem = make_problem()
    ours = LangevinRMSprop(problem.list(), 0.02, alpha=0.8, eps=1e-4, **FORMS[rule], **NEAREST)
    problem.run(ours, [1, 2, 3])
    other = make_problem()
    for name, value in problem.values().items():
        other.params[name].data.copy_(value)
    theirs = torch.optim.RMSprop(other.list(), 7.0)
    theirs.load_state_dict(copy.deepcopy(ours.state_dict()))
    begun = [(param.detach().double(), {k: v.double() for k, v in ours.state[param].items()}) for param in problem.list()]
    problem.run(ours, [4])
    other.run(theirs, [4])
    options = {"lr": 0.02, "alpha": 0.8, "eps": 1e-4, **FORMS[rule]}
    for mine, param, (before, states) in zip(problem.list(), other.list(), begun, strict=True):
        assert param.grad is not None and int(theirs.state[param]["step"]) == 4
        at = Before(before, param.grad.double(), states, 4)
        limits = rmsprop_limits(options, at)
        limits["param"] = param_limit(options, at, param.detach().double(), limits.pop("displacement"))
        found = {"param": (mine, param)} | {name: (ours.state[mine][name], theirs.state[param][name]) for name in names_of(rule)}
        for name, (one, two) in found.items():
            assert bool(((one.detach().double() - two.detach().double()).abs() <= limits[name]).all()), name


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda saved: saved["param_groups"][0].update(momentum=1), "momentum must be a number or a schedule in [0, 1), got 1"),
        (lambda saved: saved["param_groups"][0].update(centered=1), "centered must be True or False, got 1"),
        (lambda saved: saved["state"][0].update(grad_avg=torch.zeros(2)), "grad_avg must have shape (3, 5), got (2,)"),
        (lambda saved: saved["state"][0].update(momentum_buffer=torch.zeros(5, 3)), "momentum_buffer must have shape (3, 5)"),
        (lambda saved: saved["state"][0].update(acc_delta=torch.zeros(3, 5)), "'acc_delta' is a state of another rule"),
    ],
)
def test_a_state_of_torch_that_does_not_fit_is_refused(change: Any, told: str) -> None:
    source, problem = make_problem(), make_problem()
    theirs = torch.optim.RMSprop(source.list(), momentum=0.5, centered=True)
    source.run(theirs, [1])
    saved = copy.deepcopy(theirs.state_dict())
    change(saved)
    optimizer = LangevinRMSprop(problem.list())
    with unchanged(optimizer), pytest.raises(StateDictError) as error:
        optimizer.load_state_dict(saved)
    assert told in str(error.value)


def test_a_group_that_was_saved_without_them_has_those_of_the_optimizer() -> None:
    """As states of earlier versions are."""
    source, problem = make_problem(), make_problem()
    first = LangevinRMSprop(source.list())
    source.run(first, [1])
    saved = copy.deepcopy(first.state_dict())
    for name in ("momentum", "centered"):
        del saved["param_groups"][0][name]
    optimizer = LangevinRMSprop(problem.list(), centered=True, momentum=0.5)
    optimizer.load_state_dict(saved)
    assert optimizer.rule_of(optimizer.param_groups[0]) == "rmsprop_centered_momentum"
    problem.run(optimizer, [2])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_constant_gradients_stay_finite_where_torch_s_variance_is_negative(momentum: float, backend: str) -> None:
    """Rounding leaves less than 0 of it: P is then the plain rule's, not 1 / eps, which would be 10^5 times as large."""
    grad = torch.linspace(0.1, 10.0, 100)
    options: dict[str, Any] = {"lr": 1e-3, "alpha": 0.9, "eps": 1e-6, "centered": True, "momentum": momentum}
    ours, theirs = (Parameter(torch.zeros(100)) for _ in range(2))
    optimizer = LangevinRMSprop([ours], backend=backend, **options)
    twin = torch.optim.RMSprop([theirs], **options)
    fallen = torch.zeros(100, dtype=torch.bool)
    for _ in range(300):
        before = ours.detach().clone()
        for param, each in ((ours, optimizer), (theirs, twin)):
            param.grad = grad.clone()
            each.step()
        state = optimizer.state[ours]
        negative = state["square_avg"] < state["grad_avg"] * state["grad_avg"]
        fallen |= negative
        if momentum == 0.0:
            moved = (ours.detach() - before)[negative].abs()
            assert bool((moved < 2.0 * options["lr"]).all())  # lr g / |g|
    assert bool(fallen.any()) and bool(theirs.isnan().any())
    assert bool(ours.isfinite().all())


def test_an_optimizer_that_was_pickled_before_there_were_both() -> None:
    problem, plain = make_problem(), make_problem()
    optimizer = LangevinRMSprop(problem.named())
    for holder in (optimizer.defaults, *optimizer.param_groups):
        del holder["momentum"], holder["centered"]
    optimizer, problem = pickle.loads(pickle.dumps((optimizer, problem)))
    problem.run(optimizer, [1, 2])
    plain.run(LangevinRMSprop(plain.named()), [1, 2])
    assert_same(problem.values(), plain.values())


def test_a_corrected_rounding_is_refused_with_noise_in_the_velocity() -> None:
    given: dict[str, Any] = {"temperature": 1.0, "param_rounding": "variance_corrected"}
    LangevinRMSprop(make_problem().list(), centered=True, **given)
    with pytest.raises(HyperparameterError, match="noise in a velocity"):
        LangevinRMSprop(make_problem().list(), momentum=0.5, **given)
