"""Plans are kept for several patterns of gradients, and for nothing longer than it is right."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import pytest
import torch
from torch.nn import Parameter

from qlangevin import _native, executions
from qlangevin.execution import Execution

from .problems import ALL_ON, Problem, make_problem, make_sgld
from .snapshots import assert_same

NAMES = ("p0", "p1", "p2", "p3")
PATTERNS = [{name for i, name in enumerate(NAMES) if number >> i & 1} for number in range(15)]  # without gradients; not all


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Grows by one with each plan that is made."""
    made: list[int] = []
    prepare = Execution.prepare.__func__  # type: ignore[attr-defined]

    def counted(cls: type[Execution], optimizer: object) -> object:
        made.append(len(made))
        return prepare(cls, optimizer)

    monkeypatch.setattr(Execution, "prepare", classmethod(counted))
    yield made


def run_patterns(problem: Problem, patterns: list[set[str]], forgets: bool = False) -> torch.optim.Optimizer:
    optimizer = make_sgld(problem.named(), **ALL_ON)
    for step, pattern in enumerate(patterns, 1):
        problem.without_grads = pattern
        problem.run(optimizer, [step])
        if forgets:
            optimizer._executions.clear()
    return optimizer


@pytest.mark.parametrize("count", [2, 3, executions.MOST])
def test_patterns_that_alternate_are_planned_once(count: int, plans: list[int]) -> None:
    problem, fresh = make_problem(), make_problem()
    run_patterns(problem, PATTERNS[:count] * 3)
    assert len(plans) == count
    run_patterns(fresh, PATTERNS[:count] * 3, forgets=True)
    assert_same(problem.values(), fresh.values())


def test_the_pattern_used_longest_ago_makes_room(plans: list[int]) -> None:
    most = executions.MOST
    optimizer = run_patterns(make_problem(), [*PATTERNS[:most], PATTERNS[0], PATTERNS[most], PATTERNS[0]])
    assert len(plans) == most + 1
    assert len(optimizer._executions.by_pattern) == most  # type: ignore[attr-defined]
    run_patterns(make_problem(), [*PATTERNS[: most + 1], PATTERNS[0]])
    assert len(plans) == 2 * most + 3


def test_no_gradient_at_all_is_no_step_and_spoils_no_plan(plans: list[int]) -> None:
    problem = make_problem()
    optimizer = run_patterns(problem, [set()])
    before = problem.values()
    problem.without_grads = set(NAMES)
    problem.run(optimizer, [2])
    assert_same(problem.values(), before)
    problem.without_grads = set()
    problem.run(optimizer, [3])
    assert len(plans) == 2  # the second finds nothing to plan


@pytest.mark.parametrize("what", ["state", "memory", "group"])
def test_a_change_between_two_patterns_is_noticed(what: str) -> None:
    results = []
    for forgets in (False, True):
        problem = make_problem()
        optimizer = run_patterns(problem, [set(), {"p1"}, set(), {"p1"}])
        param = problem.params["p0"]
        if what == "state":
            optimizer.state[param]["momentum_buffer"] = torch.ones_like(param)
        elif what == "memory":
            param.data = param.data.clone()
        else:
            optimizer.param_groups[0]["lr"] = 0.5
        if forgets:
            optimizer._executions.clear()  # type: ignore[attr-defined]
        for step, pattern in enumerate([set(), {"p1"}, set()], 5):
            problem.without_grads = pattern
            problem.run(optimizer, [step])
        results.append(problem.values())
    assert_same(*results)


@pytest.mark.parametrize("pattern", [set(), {"p1"}, {"p2"}])
def test_tensors_that_were_replaced_are_not_kept(pattern: set[str]) -> None:
    problem = make_problem()
    optimizer = run_patterns(problem, [set(), {"p1"}, set(), {"p1"}])
    gone = weakref.ref(problem.params["p0"])
    new = Parameter(torch.ones(3, 5))
    optimizer.param_groups[0]["params"][0] = new
    del optimizer.state[problem.params["p0"]]
    problem.params["p0"] = new
    problem.without_grads = pattern
    problem.run(optimizer, [5])
    gc.collect()
    assert gone() is None


def test_the_pass_in_c_is_the_loop_in_python() -> None:
    params = [Parameter(torch.ones(2)) for _ in range(4)]
    params[1].grad, params[3].grad = torch.ones(2), torch.ones(2)
    groups = [{"params": params[:3]}, {"params": []}, {"params": params[3:]}]
    assert _native.which_have_grads(groups) == executions.which_have_grads_slowly(groups) == b"\0\1\0\1"
    assert executions.which_have_grads is _native.which_have_grads
