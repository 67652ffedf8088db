"""The published schedules of resolution and compensation, against values worked by hand (algorithms of Seok and Cho)."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn import Parameter

from qlangevin import QuantizedSGD
from qlangevin.quantizers import AdaptiveResolution, Compensation, LogResolution
from tests.tolerances import bound

BATCHES = 1000
# ln(t + 2) passes 1, 2, 4 and 8 at t = e - 2, e^2 - 2, e^4 - 2, e^8 - 2: the first steps (from 1) whose epoch is beyond.
PASSED = {1: 720, 2: 5391, 4: 52600, 8: 2978959}


def test_the_steps_are_those_of_the_epochs() -> None:
    for power, step in PASSED.items():
        assert (step - 2) / BATCHES < math.exp(power) - 2 <= (step - 1) / BATCHES


@pytest.mark.parametrize(
    ("schedule", "table"),
    [
        (
            LogResolution(BATCHES),
            [(1, 262144), (PASSED[1], 524288), (PASSED[2], 1048576), (PASSED[4], 2097152), (PASSED[8], 4194304)],
        ),
        (LogResolution.of_the_paper(BATCHES), [(1, 2**8.5), (PASSED[1], 2**9.5), (PASSED[4], 2**10.5)]),
        (LogResolution(BATCHES, scale=1.0, base=4.0), [(1, 0.25), (PASSED[1], 1.0), (PASSED[4], 4.0)]),
    ],
    ids=["code", "paper", "base 4"],
)
def test_log_resolution_and_the_steps_where_it_changes(schedule: LogResolution, table: list[tuple[int, float]]) -> None:
    for (first, value), (last, _) in zip(table, [*table[1:], (0, 0.0)], strict=True):
        assert schedule(first) == value
        if last:
            assert schedule(last - 1) == value
    assert schedule(200 * BATCHES) == table[-2 if table[-1][0] > 200 * BATCHES else -1][1]


def test_log_resolution_is_at_most_the_logarithm_that_it_steps_towards() -> None:
    """sup Q = scale ln(t + 2), the paper's squared: sup Q^2 = scale^2 ln(t + 2); never below them by a step of the base."""
    for step in (1, 10, 700, 5000, 123456, 10**7):
        log = math.log((step - 1) / BATCHES + 2)
        assert 2.0**19 * log / 2 < LogResolution(BATCHES)(step) <= 2.0**19 * log
        assert 2.0**19 * log / 4 < LogResolution.of_the_paper(BATCHES)(step) ** 2 <= 2.0**19 * log * (1 + 2.0**-50)


@pytest.mark.parametrize(("epoch", "exponent"), [(0, 1), (2, 6), (18, 11), (198, 12)])
def test_the_adaptive_resolution_s_cooling(epoch: int, exponent: int) -> None:
    # T = 2^(40 / (t + 2)) 1e-6 / ln(t + 2): 1.513, 7.387e-4, 1.335e-6, 2.168e-7; log2(64 / (24 T)) / 2: 0.41, 5.91, 10.47, 11.78
    found = AdaptiveResolution(BATCHES, start=-10).exponent_at(epoch * BATCHES + 1, None)
    assert found == exponent
    assert AdaptiveResolution(BATCHES, start=4).exponent_at(epoch * BATCHES + 1, None) == max(4, exponent)
    assert AdaptiveResolution(BATCHES, start=4).exponent_at(epoch * BATCHES + 1, 9) == max(9, exponent)
    assert AdaptiveResolution(BATCHES, limit=5).exponent_at(epoch * BATCHES + 1, None) == max(2, min(5, exponent))


def test_the_adaptive_resolution_grows_until_an_update_counts() -> None:
    adaptive = AdaptiveResolution(start=0)
    for exponent, largest, wanted in ((0, 0.5, 0), (0, 0.4999, 1), (3, 1e-3, 9), (3, 10.0, 3), (0, 0.0, 0), (0, 1e-30, 32)):
        assert adaptive.raise_exponent(exponent, largest) == wanted


@pytest.mark.parametrize(("envelope", "factor"), [("tanh", 2.0), ("sigmoid", 1.0)])
def test_the_envelope_s_values(envelope: str, factor: float) -> None:
    """s = 1 / (1 + exp(f slope (t - warm-up))), f = 2 for the code's tanh: twice as steep as the paper's."""
    compensation = Compensation(40.0, BATCHES, slope=0.5, envelope=envelope)
    assert compensation(40 * BATCHES + 1) == 0.5
    for step in (1, 30 * BATCHES, 39 * BATCHES + 77, 43 * BATCHES, 60 * BATCHES):
        wanted = 1 / (1 + math.exp(factor * 0.5 * ((step - 1) / BATCHES - 40.0)))
        assert abs(compensation(step) - wanted) <= bound("closed_form")


@pytest.mark.parametrize("norm", ["tensor", "global"])
def test_the_compensation_is_colinear_and_as_long_as_it_says(norm: str) -> None:
    """r = lr s h / ||h||: ||r|| = lr s for each tensor, or for all of them together; none where h = 0."""
    generator = np.random.default_rng(2)
    grads = [generator.normal(size=size) * scale for size, scale in ((5, 1.0), (40, 1e-3))] + [np.zeros(3)]
    params = [Parameter(torch.zeros(grad.size, dtype=torch.float64)) for grad in grads]
    compensation = Compensation(1.0, 4, norm=norm)
    optimizer = QuantizedSGD(params, 0.125, update_quantizer=None, compensation=compensation, backend="reference")
    for step in (1, 2, 3):
        before = [param.detach().numpy().copy() for param in params]
        for param, grad in zip(params, grads, strict=True):
            param.grad = torch.from_numpy(grad.copy())
        optimizer.step()
        share = 0.125 / (1 + math.exp(4 * ((step - 1) / 4 - 1.0)))
        added = [param.detach().numpy() - old + 0.125 * grad for param, old, grad in zip(params, before, grads, strict=True)]
        whole = math.sqrt(sum((grad**2).sum() for grad in grads))
        for one, grad in zip(added, grads, strict=True):
            length = np.linalg.norm(grad) if norm == "tensor" else whole
            assert np.abs(one + share * grad / (length or 1.0)).max() <= bound("binary32_scalar") * share
