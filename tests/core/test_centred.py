"""The centred rules' P, element by element: made of square_avg - grad_avg^2, and of square_avg where that is negative."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from .kernels import USABLE_PATHS, Job, Step, bits_of, find_difference, settings, step_native, step_reference

NAN = float("nan")
STEPPERS = {"reference": step_reference} | {path: partial(step_native, path=path) for path in USABLE_PATHS}
# square_avg, grad_avg and what P is made of
ROWS = ((5.0, 2.0, 1.0), (1.0, 2.0, 1.0), (4.0, 2.0, 0.0), (9.0, 0.0, 9.0), (0.0, 0.0, 0.0), (0.25, -4.0, 0.25), (NAN, 1.0, NAN))
ROWS += ((1.0, NAN, NAN), (2.0**-100, 2.0**-40, 2.0**-100), (1.0, -0.5, 0.75))


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("stepper", STEPPERS)
@pytest.mark.parametrize("momentum", [False, True])
def test_p_is_that_of_the_variance_unless_it_is_negative(stepper: str, momentum: bool, frozen: bool) -> None:
    """A factor of 1 keeps the moments, a frozen P too: the step is that of the rule that is not centred from other moments."""
    square, mean, variance = (torch.tensor(values) for values in zip(*ROWS, strict=True))
    grad = torch.linspace(-2.0, 3.0, len(ROWS))
    velocity = [torch.linspace(1.0, 2.0, len(ROWS))] if momentum else []
    h = settings(lr=0.1, alpha=1.0, eps=1e-3, momentum=0.75, temperature=0.5, frozen_at=1 if frozen else 0)
    moved = []
    for name, moments in (("_centered", [square, mean]), ("", [variance])):
        states = [state.clone() for state in (*velocity, *moments)]
        job = Job(torch.zeros(len(ROWS)), grad, states, key=3, noise=False, steps=torch.tensor(4))
        STEPPERS[stepper](Step(f"rmsprop{name}{'_momentum' if momentum else ''}", [h]), [job])
        assert find_difference(job.states[-1], moments[-1]) is None
        moved.append(job.param)
    assert find_difference(moved[0], moved[1]) is None
    assert moved[0].isnan().tolist() == variance.isnan().tolist()
    still = (moved[0] == 0.0).tolist()
    assert still == [frozen and not momentum and value == 0.0 for _, _, value in ROWS]


@pytest.mark.parametrize("stepper", STEPPERS)
@pytest.mark.parametrize("rule", ["rmsprop_centered", "rmsprop_centered_momentum"])
def test_an_element_draws_no_noise_where_no_gradient_has_reached_it(stepper: str, rule: str) -> None:
    """Where square_avg is 0: not where the variance is."""
    square, mean = torch.tensor([0.0, 4.0, 5.0]), torch.tensor([0.0, 2.0, 2.0])
    states = [torch.zeros(3), square, mean] if "momentum" in rule else [square, mean]
    job = Job(torch.zeros(3), torch.zeros(3), states, steps=torch.tensor(4))
    h = settings(lr=0.1, alpha=1.0, eps=1e-3, temperature=0.5, noise="rademacher")
    STEPPERS[stepper](Step(rule, [h]), [job])
    moved = job.param.abs().tolist()
    assert moved[0] == 0.0 and 0.0 < 10.0 * moved[2] < moved[1]  # P is 1000 and nearly 1
    assert bits_of(job.states[-1]).equal(bits_of(torch.tensor([0.0, 2.0, 2.0])))
