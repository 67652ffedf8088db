"""CoolMomentum's three coolings in the forms of the paper and its code, in numbers, and the warm-up."""

from __future__ import annotations

import math
import warnings

import pytest

from qlangevin.schedules import COOLINGS, Cooling
from tests.tolerances import bound

STEPS = 1000
STARTS = (0.99, 0.9, 0.5)


def published(form: str, start: float, taken: int, steps: int = STEPS) -> float:
    """As the paper (eq. 20) and the code's variants have them: by powers of alpha, of beta, and by 1 - 1 / (1 / (1 - rho))."""
    if form == "geometric":
        alpha = (1 - start) ** (1 / steps)
        return max(0.0, 1 - (1 - start) / alpha**taken)
    if form == "exponential":
        c = (1 - start) / (1 + start)
        beta = c ** (1 / steps)
        return max(0.0, (1 - c / beta**taken) / (1 + c / beta**taken))
    inverse = 1 / (1 - start)
    return 1 - 1 / (inverse + (1 - inverse) * taken / steps)


def temperature(rho: float) -> float:
    """Over lr s^2 / 4."""
    return (1 + rho) / (1 - rho)


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("form", COOLINGS)
def test_every_step_is_the_published_one(form: str, start: float) -> None:
    cooling = Cooling(total_steps=STEPS, start=start, form=form)
    for taken in range(STEPS):
        assert abs(cooling(taken + 1) - published(form, start, taken)) <= bound("closed_form")


ROOT = math.sqrt(199.0)  # r = (1 + rho) / (1 - rho) is 199 at first, and rho = (r - 1) / (r + 1)
FOURTH = math.sqrt(ROOT)


@pytest.mark.parametrize(
    ("form", "values"),
    [
        ("geometric", (0.99, 0.96837722339832, 0.9, 0.68377223398316)),  # 1 - 0.01^(1, 3/4, 1/2, 1/4)
        ("exponential", (0.99, *((r - 1) / (r + 1) for r in (ROOT * FOURTH, ROOT, FOURTH)))),
        ("linear", (0.99, 74.25 / 75.25, 49.5 / 50.5, 24.75 / 25.75)),  # 1 / (1 - rho) = 100, 75.25, 50.5, 25.75
    ],
)
def test_values_worked_by_hand(form: str, values: tuple[float, ...]) -> None:
    cooling = Cooling(total_steps=STEPS, form=form)
    for quarter, value in enumerate(values):
        assert math.isclose(cooling(STEPS * quarter // 4 + 1), value, rel_tol=bound("closed_form"))


@pytest.mark.parametrize("form", COOLINGS)
def test_it_ends_at_zero_and_says_so_once(form: str) -> None:
    cooling = Cooling(total_steps=STEPS, form=form)
    assert 0.0 < cooling(STEPS) < 0.1
    with pytest.warns(UserWarning, match="over after 1000 steps"):
        assert cooling(STEPS + 1) == 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cooling(STEPS + 2) == cooling(10**6) == 0.0


@pytest.mark.parametrize("start", STARTS)
def test_what_each_form_makes_straight(start: float) -> None:
    """Geometric: log 1 / (1 - rho), of slope log alpha; exponential: log T, of slope log beta; linear: 1 / (1 - rho)."""
    straight = {
        "geometric": (lambda rho: math.log(1 / (1 - rho)), math.log(1 - start)),
        "exponential": (lambda rho: math.log(temperature(rho)), math.log((1 - start) / (1 + start))),
        "linear": (lambda rho: 1 / (1 - rho), 1 - 1 / (1 - start)),
    }
    for form, (of, fall) in straight.items():
        cooling = Cooling(total_steps=STEPS, start=start, form=form)
        for step in (1, 100, 500, 999):
            assert abs(of(cooling(step + 1)) - of(cooling(step)) - fall / STEPS) <= bound("closed_form")


def test_the_temperature_falls_199_times() -> None:
    assert math.isclose(temperature(Cooling(total_steps=10)(1)), 199.0, rel_tol=bound("closed_form"))


@pytest.mark.parametrize("form", COOLINGS)
def test_the_warm_up_delays_nothing(form: str) -> None:
    plain, warmed = (Cooling(total_steps=STEPS, form=form, warmup_steps=steps) for steps in (0, 50))
    assert all(warmed(step) == 0.0 for step in range(1, 51))
    assert all(warmed(step) == plain(step) > 0.0 for step in range(51, STEPS))
