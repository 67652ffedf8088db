"""Levy noise against the stable law: its characteristic function, its tails, its independence; never its variance (tier T6)."""

from __future__ import annotations

import itertools
import math
from functools import cache

import numpy as np
import pytest
import torch
from scipy.stats import kstest, norm

from tests.core.kernels import Job, Step, settings, step_native, step_reference
from tests.tolerances import bound

from .draws import FULL, KEY
from .stable_law import Array, check_law, phi, upper_tail

COUNTS = {"native": 20_000_000 if FULL else 1_000_000, "reference": 2_000_000 if FULL else 200_000}
TAIL_INDICES = (1.1, 1.5, 1.9, 2.0)


def draw(
    backend: str, alpha: float, count: int, *, dtype: torch.dtype = torch.float32, key: int = KEY, step: int = 1, chain: int = 0
) -> Array:
    """Draws of scale 1, as a step leaves them in a parameter that was 0; in 16 bits it is rounded stochastically."""
    values = [torch.zeros(count, dtype=dtype) for _ in range(2)]
    job = Job(values[0], values[1], key=key, steps=torch.tensor(step - 1))
    of_scale_1 = settings(lr=0.5, temperature=1.0, noise="levy", tail_index=alpha, stochastic_param=True)
    stepping = Step("plain", [of_scale_1], chain=chain)
    if backend == "reference":
        step_reference(stepping, [job])
    else:
        step_native(stepping, [job], threads=2)
    return job.param.double().numpy()


@cache
def sample(backend: str, alpha: float) -> Array:
    return draw(backend, alpha, COUNTS[backend])


@pytest.mark.parametrize("alpha", TAIL_INDICES)
@pytest.mark.parametrize("backend", COUNTS)
def test_the_characteristic_function(backend: str, alpha: float) -> None:
    check_law(sample(backend, alpha), alpha)


@pytest.mark.parametrize("alpha", TAIL_INDICES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_characteristic_function_as_stored_in_16_bits(dtype: torch.dtype, alpha: float) -> None:
    """Unbiased rounding of relative variance 2^-17 changes E cos(w S) by less than 1e-4 for w <= 2.5; its error is 1e-3 here."""
    check_law(draw("native", alpha, 400_000, dtype=dtype), alpha)


@pytest.mark.parametrize("alpha", TAIL_INDICES)
def test_half_of_the_draws_are_positive(alpha: float) -> None:
    drawn = sample("native", alpha)
    assert (drawn != 0.0).all()
    assert abs(float(np.sign(drawn).mean())) < bound("z") / math.sqrt(drawn.size)


@pytest.mark.parametrize("x", [0.1, 1.0, 3.0, 5.0])
def test_the_tail_s_integral_is_the_normal_one_s_at_2(x: float) -> None:
    assert math.isclose(upper_tail(2.0, x), 0.5 * math.erfc(x / 2.0), rel_tol=bound("closed_form"))


@pytest.mark.parametrize("x", [0.5, 2.0, 10.0, 100.0, 1000.0, 10_000.0])
@pytest.mark.parametrize("alpha", TAIL_INDICES[:-1])
def test_the_tails(alpha: float, x: float) -> None:
    drawn, expected = sample("native", alpha), upper_tail(alpha, x)
    if expected * drawn.size < 25.0:  # too few for a normal law of their number
        pytest.skip("so far out there are no draws")
    for count in ((drawn > x).sum(), (drawn < -x).sum()):
        z = (count / drawn.size - expected) / math.sqrt(expected * (1.0 - expected) / drawn.size)
        assert abs(z) < bound("z"), f"{z:.1f} standard errors"


@pytest.mark.parametrize("alpha", TAIL_INDICES)
def test_kolmogorov_smirnov(alpha: float) -> None:
    """At 200 points; at tail index 2 against the normal law itself, everywhere."""
    drawn = np.sort(sample("native", alpha))
    if alpha == 2.0:
        distance = float(kstest(drawn, norm(scale=math.sqrt(2.0)).cdf).statistic)
    else:
        points = np.geomspace(1e-2, 100.0, 200)
        above = 1.0 - np.searchsorted(drawn, points, side="right") / drawn.size
        distance = float(np.abs(above - [upper_tail(alpha, float(x)) for x in points]).max())
    assert math.sqrt(drawn.size) * distance < bound("kolmogorov_test")


STREAMS: dict[str, list[dict[str, int]]] = {
    "keys": [{"key": KEY}, *({"key": KEY ^ 1 << bit} for bit in (0, 31, 32, 63))],
    "steps": [{"step": step} for step in (1, 2, 3, 1024, 2**31)],
    "chains": [{"chain": chain} for chain in (0, 1, 256, 2**32 - 1)],
    "step against chain": [{"step": 5, "chain": 6}, {"step": 6, "chain": 5}],
}


def check_independence(x: Array, y: Array, alpha: float) -> None:
    """Of sines and cosines of two streams, of one's with the other's: bounded, of known mean and variance."""
    even, twice = phi(alpha, 1.0), phi(alpha, 2.0)
    spreads = (1.0 - twice) / 2.0, (1.0 + twice) / 2.0 - even * even
    features = [((np.sin(one), spreads[0]), (np.cos(one) - even, spreads[1])) for one in (x, y)]
    for (a, first), (b, second) in itertools.product(*features):
        z = float((a * b).mean()) * math.sqrt(x.size / (first * second))
        assert abs(z) < bound("z"), f"{z:.1f} standard errors"


@pytest.mark.parametrize("what", STREAMS)
def test_streams_of_other_coordinates(what: str) -> None:
    drawn = [draw("native", 1.5, 2**17, **coordinates) for coordinates in STREAMS[what]]
    for x, y in itertools.combinations(drawn, 2):
        check_independence(x, y, 1.5)


def test_neighbours() -> None:
    drawn = sample("native", 1.5)
    count = drawn.size - 4096
    for lag in (*range(1, 17), 64, 256, 1024, 4096):
        check_independence(drawn[:count], drawn[lag : lag + count], 1.5)
