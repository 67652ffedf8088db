"""Bad hyper-parameters of the optimizers with a preconditioner and of SGHMC: named errors, and nothing is written."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch.nn import Parameter

import qlangevin
from qlangevin import HyperparameterError, StateDictError
from qlangevin.group_hypers import is_same

from .optimizers import FORMS, REQUIRED
from .problems import Problem, make_problem
from .snapshots import unchanged
from .wrong_preconditioned import ROWS, Row

OPTIONS = {"SGHMC": {"friction": 0.2, "noise_estimate": 0.05}}
ONLY_IN_GROUPS = {
    ("LangevinAdam", "epsilon_hat"),
    ("LangevinAdamW", "epsilon_hat"),
    ("QuantizedAdam", "momentum_in_drift"),
    ("QuantizedAdam", "temperature"),
}


def make(name: str, params: Any, **options: Any) -> Any:
    """The optimizer called so with the options that it requires."""
    kind = getattr(qlangevin, name)
    return kind(params, 0.05, **{"seed": 7, **REQUIRED.get(kind, {}), **OPTIONS.get(name, {}), **options})


def name_row(row: Row) -> str:
    """An optimizer, a field and the value, cut."""
    return f"{row[0]}-{row[1]}={str(row[2])[:30]}"


@pytest.mark.parametrize("row", ROWS, ids=name_row)
def test_refused_at_construction(row: Row) -> None:
    name, field, value, told = row
    if field == "frozen_at" or (name, field) in ONLY_IN_GROUPS:
        with pytest.raises(TypeError, match=field):
            make(name, make_problem().list(), **{field: value})
        groups = [{"params": make_problem().list(), field: value}]
    else:
        groups = make_problem().list()  # type: ignore[assignment]
    given = {} if isinstance(groups[0], dict) else {field: value}
    with pytest.raises(HyperparameterError) as error:
        make(name, groups, **given)
    assert told in str(error.value)


@pytest.mark.parametrize("steps_before", [0, 2])
@pytest.mark.parametrize("row", ROWS, ids=name_row)
def test_refused_at_the_step_when_assigned_later_and_in_a_group_that_is_added(row: Row, steps_before: int) -> None:
    name, field, value, told = row
    problem = make_problem()
    optimizer = make(name, [{"params": problem.list()[:2]}, {"params": problem.list()[2:]}])
    problem.run(optimizer, range(1, steps_before + 1))
    with unchanged(optimizer), pytest.raises(HyperparameterError) as error:
        optimizer.add_param_group({"params": Parameter(torch.ones(2)), field: value})
    assert told in str(error.value) and "group 2" in str(error.value)
    kept = optimizer.param_groups[1][field]
    if told.endswith("True or False, got ") and is_same((value,), (kept,)):
        return  # 1 for True: the same value, so that no change is seen
    optimizer.param_groups[1][field] = value
    problem.set_grads(5)
    with unchanged(optimizer), pytest.raises(HyperparameterError) as error:
        optimizer.step()
    assert told in str(error.value) and "group 1" in str(error.value)
    optimizer.param_groups[1][field] = kept
    optimizer.step()


@pytest.mark.parametrize("row", [row for row in ROWS if not callable(row[2])], ids=name_row)
def test_refused_in_a_state_dict(row: Row) -> None:
    name, field, value, told = row
    problem = make_problem()
    optimizer = make(name, problem.list())
    problem.run(optimizer, [1])
    saved = copy.deepcopy(optimizer.state_dict())
    saved["param_groups"][0][field] = value
    with unchanged(optimizer), pytest.raises(StateDictError) as error:
        optimizer.load_state_dict(saved)
    assert told in str(error.value)


@pytest.mark.parametrize("form", [form for form in FORMS if hasattr(FORMS[form].kind, "freeze_preconditioner")])
def test_there_is_nothing_to_freeze_before_the_first_step(form: str) -> None:
    problem: Problem = make_problem()
    optimizer = FORMS[form].make(problem.named())
    with unchanged(optimizer), pytest.raises(HyperparameterError, match="needs a step before it"):
        optimizer.freeze_preconditioner()
    optimizer.param_groups[0]["lr"] = 0.0
    problem.set_grads(1, factor=0.0)
    optimizer.step()  # only builds the states
    with unchanged(optimizer), pytest.raises(HyperparameterError, match="needs a step before it"):
        optimizer.freeze_preconditioner()
    assert all(group["frozen_at"] == 0 for group in optimizer.param_groups)


def test_a_temperature_that_a_schedule_reaches_later_is_refused_then() -> None:
    problem = make_problem()
    optimizer = make("QuantizedAdam", [{"params": problem.list(), "temperature": lambda step: 0.0 if step < 3 else 0.1}])
    problem.run(optimizer, [1, 2])
    problem.set_grads(3)
    for _ in range(2):
        with unchanged(optimizer), pytest.raises(HyperparameterError, match="QuantizedAdam has no law"):
            optimizer.step()


def test_a_noise_estimate_that_a_schedule_of_the_friction_falls_below_is_refused_then() -> None:
    problem = make_problem()
    optimizer = make("SGHMC", problem.list(), friction=lambda step: 0.5 / step, noise_estimate=0.2)
    problem.run(optimizer, [1, 2])
    problem.set_grads(3)
    with unchanged(optimizer), pytest.raises(HyperparameterError, match=r"at most friction = 0\.16"):
        optimizer.step()
