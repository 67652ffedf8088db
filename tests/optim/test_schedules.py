"""Schedules of the step: 1 at the first step taken, then what they say, as if the value had been assigned by hand."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from qlangevin import quantizers, schedules, temperature
from tests.tolerances import bound

from .problems import make_problem, make_sgld
from .snapshots import assert_same

STEPS = range(1, 6)
VALUES: dict[str, Callable[[int], float]] = {
    "temperature": lambda step: 0.5 / step,
    "momentum": lambda step: 0.25 + step / 16,
    "grad_quantizer": lambda step: 2.0 ** (step + 2),
    "update_quantizer": lambda step: 2.0 ** (step + 4),
}


def as_option(field: str, value: Any) -> Any:
    return quantizers.Grid(value) if "quantizer" in field else value


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("field", VALUES)
def test_a_schedule_equals_assigning_its_values(field: str, backend: str) -> None:
    scheduled, assigned = make_problem(), make_problem()
    options = {"temperature": 0.1, "momentum": 0.5, "backend": backend}
    optimizer = make_sgld(scheduled.named(), **{**options, field: as_option(field, VALUES[field])})
    hand = make_sgld(assigned.named(), **options)
    for step in STEPS:
        scheduled.run(optimizer, [step])
        hand.param_groups[0][field] = as_option(field, VALUES[field](step))
        assigned.run(hand, [step])
        assert_same(scheduled.values(), assigned.values())


def test_a_group_is_as_far_as_its_furthest_parameter() -> None:
    seen: list[int] = []

    def temperature(step: int) -> float:
        seen.append(step)
        return 0.5

    problem = make_problem()
    optimizer = make_sgld(problem.named(), temperature=temperature)
    for step in STEPS:
        problem.without_grads = {"p1"} if step % 2 else {"p2"}
        seen.clear()
        problem.run(optimizer, [step])
        assert set(seen) == {step}


def test_the_library_s_schedules_in_numbers() -> None:
    piecewise = schedules.Piecewise((2, 5), (1.0, 0.5, 0.25))
    assert [piecewise(step) for step in (1, 2, 3, 5, 6, 100)] == [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]
    linear = schedules.Linear(1.0, 3.0, 5)
    assert [linear(step) for step in (1, 2, 3, 5, 6, 100)] == [1.0, 1.5, 2.0, 3.0, 3.0, 3.0]
    assert schedules.Linear(1.0, 3.0, 5) == linear != schedules.Linear(1.0, 3.0, 6)
    cosine = schedules.Cosine(3.0, 1.0, 5)
    wanted = [3.0, 3.0, 2.0 + math.sqrt(0.5), 2.0, 2.0 - math.sqrt(0.5), 1.0, 1.0]
    assert [cosine(step) for step in (0, 1, 2, 3, 4, 5, 100)] == pytest.approx(wanted, rel=bound("closed_form"))
    assert cosine(1) == 3.0 and cosine(5) == cosine(100) == 1.0
    cooling = schedules.LogCooling(2.0, 10)
    assert cooling(1) == cooling(0) == 2.0
    assert cooling(11) == pytest.approx(2.0 / math.log(math.e + 1.0), rel=bound("closed_form"))
    sigma = 1.2 / math.sqrt(math.log(35 / 10 + math.e))  # as the source writes it
    assert schedules.LogCooling(temperature.from_sigma(1.2), 10)(36) == pytest.approx(
        temperature.from_sigma(sigma), rel=bound("closed_form")
    )
    cyclical = schedules.Cyclical(0.5, 5, 0.6)
    assert [cyclical(step) for step in range(1, 12)] == [0.0, 0.0, 0.0, 0.5, 0.5] * 2 + [0.0]
    assert schedules.Cyclical(0.5, 3, 0.0)(1) == 0.5 and not any(schedules.Cyclical(0.5, 3, 1.0)(step) for step in range(7))
