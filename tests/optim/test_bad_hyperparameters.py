"""Bad hyper-parameters: an error that names field, value and range, before anything is written."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.nn import Parameter

from qlangevin import BackendError, HyperparameterError, QlangevinError, quantizers, schedules

from .problems import make_problem, make_sgld
from .snapshots import unchanged
from .wrong_values import BLOCK_GRIDS, COMBINATIONS, GRIDS, ROWS, Wrong


def check_message(error: pytest.ExceptionInfo[Any], row: Wrong) -> None:
    message = str(error.value)
    assert row.field in message and row.told in message, message
    text = repr(row.value)
    assert text in message or len(text) > 300 or callable(row.value), message


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_refused_at_construction(row: Wrong) -> None:
    with pytest.raises(HyperparameterError) as error:
        make_sgld(make_problem().list(), **{**dict(row.options), row.field: row.value})
    check_message(error, row)


@pytest.mark.parametrize("row", [row for row in ROWS if row.field not in ("seed", "chain", "capturable")], ids=str)
def test_refused_in_a_group_that_is_added(row: Wrong) -> None:
    problem = make_problem()
    optimizer = make_sgld(problem.list(), momentum=0.9, temperature=0.0)
    problem.run(optimizer, [1])
    with unchanged(optimizer), pytest.raises(HyperparameterError) as error:
        optimizer.add_param_group({"params": Parameter(torch.ones(2)), **dict(row.options), row.field: row.value})
    check_message(error, row)
    assert "group 1" in str(error.value)


def is_equal_to_false(row: Wrong) -> bool:
    return isinstance(row.value, int) and row.value == 0 and row.told == "True or False"


@pytest.mark.parametrize("steps_before", [0, 2])
@pytest.mark.parametrize("row", [row for row in ROWS if not is_equal_to_false(row)], ids=str)
def test_refused_at_the_step_when_assigned_later(row: Wrong, steps_before: int) -> None:
    problem = make_problem()
    optimizer = make_sgld([{"params": problem.list()[:2]}, {"params": problem.list()[2:]}], momentum=0.9, seed=9)
    problem.run(optimizer, range(1, steps_before + 1))
    for group in optimizer.param_groups:
        group.update({**dict(row.options), row.field: row.value})
    problem.set_grads(5)
    with unchanged(optimizer), pytest.raises(HyperparameterError) as error:
        optimizer.step()
    check_message(error, row)


@pytest.mark.parametrize("case", COMBINATIONS)
def test_combinations_without_a_meaning(case: str) -> None:
    options, told = COMBINATIONS[case]
    with pytest.raises(HyperparameterError, match=told):
        make_sgld(make_problem().list(), **options)
    problem = make_problem()
    optimizer = make_sgld(problem.list(), momentum=0.9)
    problem.run(optimizer, [1])
    optimizer.param_groups[0].update({"momentum": 0.0, **options})
    with unchanged(optimizer), pytest.raises(HyperparameterError, match=told):
        optimizer.step()


@pytest.mark.parametrize(("arguments", "told"), GRIDS, ids=lambda value: str(value)[:40])
def test_grids(arguments: tuple[Any, ...], told: str) -> None:
    with pytest.raises(HyperparameterError) as error:
        quantizers.Grid(*arguments)
    assert told in str(error.value) and repr(arguments[-1])[:200] in str(error.value)


@pytest.mark.parametrize(("arguments", "told"), BLOCK_GRIDS, ids=lambda value: str(value)[:40])
def test_block_grids(arguments: tuple[Any, ...], told: str) -> None:
    with pytest.raises(HyperparameterError) as error:
        quantizers.BlockGrid(*arguments)
    assert told in str(error.value) and repr(arguments[-1])[:200] in str(error.value)


def test_updates_have_no_blocks() -> None:
    with pytest.raises(HyperparameterError, match=r"update_quantizer must be a qlangevin\.quantizers\.Grid or None"):
        make_sgld(make_problem().list(), update_quantizer=quantizers.BlockGrid())


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("resolution", [1e-39, 1e-45, 1e-300, 1e39, 1e300])
def test_a_resolution_that_binary32_cannot_hold_is_refused_or_works(resolution: float, backend: str) -> None:
    param = Parameter(torch.ones(4))
    try:
        optimizer = make_sgld([param], update_quantizer=quantizers.Grid(resolution), backend=backend)
    except HyperparameterError:
        return
    param.grad = torch.tensor([0.0, 1.0, -1.0, 1e-3])
    optimizer.step()
    wanted = torch.ones(4) if resolution < 1 else torch.ones(4) - param.grad * 0.05
    assert torch.allclose(param.detach(), wanted, rtol=2.0**-22, atol=0.0)  # two roundings of sums near 1


WRONG_AT_A_STEP = (math.nan, -1.0, "x", None, True, torch.tensor([1.0, 2.0]))
FIELDS = ("temperature", "momentum", "grad_quantizer", "update_quantizer")
SCHEDULES = [(field, value) for field in FIELDS for value in WRONG_AT_A_STEP]
SCHEDULES += [(field, math.inf) for field in FIELDS[:2]]  # an infinite resolution is the identity


@pytest.mark.parametrize(("field", "value"), SCHEDULES)
@pytest.mark.parametrize("at", [1, 2, 4])
def test_a_schedule_that_goes_wrong_at_a_step(field: str, value: Any, at: int) -> None:
    good = {"temperature": 0.5, "momentum": 0.5}.get(field, 64.0)

    def schedule(step: int) -> Any:
        return value if step == at else good

    given = quantizers.Grid(schedule) if "quantizer" in field and at > 1 else schedule
    problem = make_problem(dtype=torch.bfloat16)
    if at == 1:
        with pytest.raises(HyperparameterError):
            make_sgld(problem.list(), **{field: given})
        return
    groups = [{"params": problem.list()[:1]}, {"params": problem.list()[1:], field: given}]
    optimizer = make_sgld(groups, momentum=0.5, temperature=0.1) if field != "momentum" else make_sgld(groups, temperature=0.1)
    problem.run(optimizer, range(1, at))
    problem.set_grads(at)
    for _ in range(2):  # also when tried again
        with unchanged(optimizer), pytest.raises(HyperparameterError, match=f"step {at}"):
            optimizer.step()


def test_schedules_of_the_library() -> None:
    with pytest.raises(ValueError, match="increasing"):
        schedules.Piecewise((3, 2), (1.0, 2.0, 3.0))
    with pytest.raises(ValueError, match="one value more"):
        schedules.Piecewise((3,), (1.0,))
    with pytest.raises(ValueError, match="steps >= 2"):
        schedules.Linear(0.0, 1.0, 1)


@pytest.mark.parametrize("field", ["seed", "chain", "capturable"])
def test_what_all_groups_share_cannot_differ(field: str) -> None:
    value = {"capturable": True}.get(field, 5)
    problem = make_problem()
    groups = [{"params": problem.list()[:2]}, {"params": problem.list()[2:], field: value}]
    with pytest.raises(HyperparameterError, match=f"{field} must be equal"):
        make_sgld(groups, seed=1)
    optimizer = make_sgld([{"params": problem.list()[:2]}, {"params": problem.list()[2:]}], seed=1, temperature=1.0)
    problem.run(optimizer, [1])
    optimizer.param_groups[1][field] = value
    problem.set_grads(2)
    with unchanged(optimizer), pytest.raises(HyperparameterError, match=f"{field} must be equal"):
        optimizer.step()


@pytest.mark.parametrize("name", ["cuda", "Native", "", "torch", None, 1, True, ["native"]])
def test_an_unknown_backend_lists_the_known_ones_and_why_they_are_not_usable(name: Any) -> None:
    with pytest.raises(BackendError) as error:
        make_sgld(make_problem().list(), backend=name)
    message = str(error.value)
    assert repr(name) in message
    assert all(known in message for known in ("auto", "native", "triton", "reference"))
    assert "triton (not usable here: " in message


def test_a_backend_that_cannot_says_why_and_nothing_else_steps() -> None:
    problem = make_problem(dtype=torch.float64)
    optimizer = make_sgld(problem.list(), backend="native", momentum=0.9)
    problem.set_grads(1)
    with unchanged(optimizer), pytest.raises(BackendError, match=r"not float64.*Usable for them: reference"):
        optimizer.step()
    optimizer = make_sgld(problem.list(), backend="triton")
    with unchanged(optimizer), pytest.raises(BackendError, match="triton"):
        optimizer.step()


@pytest.mark.parametrize("backend", ["native", "auto"])
@pytest.mark.parametrize("steps_before", [0, 1])
def test_a_cpu_path_that_does_not_exist(backend: str, steps_before: int, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = make_problem()
    optimizer = make_sgld(problem.list(), backend=backend, momentum=0.9)
    problem.run(optimizer, range(1, steps_before + 1))
    monkeypatch.setenv("QLANGEVIN_CPU", "nonsense")
    optimizer.zero_grad()
    optimizer.reseed(8)  # so that a plan is made anew
    problem.set_grads(2)
    with unchanged(optimizer), pytest.raises(BackendError) as error:
        optimizer.step()
    assert all(word in str(error.value) for word in ("QLANGEVIN_CPU", "nonsense", "auto", "avx2", "avx512", "portable"))


def test_a_bad_seed_leaves_the_present_one() -> None:
    problem = make_problem()
    optimizer = make_sgld(problem.list(), temperature=1.0)
    problem.run(optimizer, [1])
    for seed in (-1, 2**64, 1.5, "x", None, True):
        with unchanged(optimizer), pytest.raises(HyperparameterError, match="seed"):
            optimizer.reseed(seed)  # type: ignore[arg-type]


def test_every_named_error_is_a_qlangevin_error() -> None:
    assert issubclass(HyperparameterError, QlangevinError) and issubclass(HyperparameterError, ValueError)
    assert issubclass(BackendError, QlangevinError) and issubclass(BackendError, RuntimeError)
