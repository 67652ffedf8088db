"""Samples of the native kernels' noise against its exact law and against the normal law (tier T6)."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import norm

from tests.core import oracle
from tests.core.noise_law import exact_law, sums_of
from tests.tolerances import bound

from .draws import CHUNK, DRAWS, KEY, draw_noise


@cache
def count_atoms() -> NDArray[np.int64]:
    """How often each value of the exact law occurs among DRAWS draws of one tensor; every draw must be such a value."""
    law = exact_law()
    counts = np.zeros(law.values.size, np.int64)
    for first in range(0, DRAWS, CHUNK):
        drawn = draw_noise(min(CHUNK, DRAWS - first), offset=first)
        drawn.sort()
        at = np.searchsorted(law.values, drawn)
        assert (law.values[np.minimum(at, law.values.size - 1)] == drawn).all()
        counts += np.bincount(at, minlength=counts.size)
    assert counts.sum() == DRAWS
    return counts


@pytest.mark.parametrize("power", [1, 2, 3, 4, 5, 6, 8])
def test_sampled_moments_are_the_exact_law_s(power: int) -> None:
    law = exact_law()
    sampled = float((count_atoms() * law.values**power).sum() / DRAWS)
    deviation = math.sqrt((law.moment(2 * power) - law.moment(power) ** 2) / DRAWS)
    assert abs(sampled - law.moment(power)) < bound("z") * deviation


@pytest.mark.parametrize("sigma", [1.0, 2.0, 3.0, 4.0, 4.5])
def test_sampled_tails_are_the_exact_law_s(sigma: float) -> None:
    law = exact_law()
    for tail in (law.values > sigma, law.values < -sigma):
        expected = float(law.probabilities[tail].sum())
        deviation = math.sqrt(expected * (1 - expected) / DRAWS)
        assert abs(count_atoms()[tail].sum() / DRAWS - expected) < bound("z") * deviation + 1 / DRAWS  # the count is an integer


def test_kolmogorov_smirnov_against_the_exact_law() -> None:
    law = exact_law()
    distance = np.abs(np.cumsum(count_atoms()) / DRAWS - np.cumsum(law.probabilities)).max()
    assert math.sqrt(DRAWS) * distance < bound("kolmogorov_test")


def test_kolmogorov_smirnov_against_the_normal_law() -> None:
    """The sample's distance is at most the test's bound and the law's own distance."""
    above = np.cumsum(count_atoms()) / DRAWS
    normal = norm.cdf(exact_law().values)
    distance = max(np.abs(above - normal).max(), np.abs(above - count_atoms() / DRAWS - normal).max())
    assert distance < bound("kolmogorov_test") / math.sqrt(DRAWS) + bound("kolmogorov_distance")


@pytest.mark.parametrize("against", ["exact law", "normal law"])
def test_anderson_darling(against: str) -> None:
    """A^2 = n sum (F_n - F)^2 / (F (1 - F)) p over atoms; F is the distribution function in the middle of an atom.

    Against the normal law its bias, n times the integral of a distance below 4e-6, is below 0.01 at 1e8 draws.
    """
    law, counts = exact_law(), count_atoms()
    sampled = (np.cumsum(counts) - 0.5 * counts) / DRAWS
    middle = law.below() + 0.5 * law.probabilities
    wanted = middle if against == "exact law" else norm.cdf(law.values)
    statistic = DRAWS * float(((sampled - wanted) ** 2 / (middle * (1 - middle)) * law.probabilities).sum())
    assert statistic < bound("anderson_darling")


def test_every_value_is_the_inverse_normal_of_its_words_rank() -> None:
    """An oracle on the same bits: a Philox in numpy, the exact rank of the byte sum, scipy's inverse normal."""
    count = 1_000_000
    law = exact_law()
    at = np.searchsorted(law.sums, sums_of(oracle.draw_words(KEY, 1, 0, count)))
    rank = law.below()[at] + 0.5 * law.probabilities[at]
    drawn = draw_noise(count)
    assert np.abs(norm.cdf(drawn) - rank).max() <= bound("kolmogorov_distance")
    body = np.abs(drawn) < 3
    assert np.abs(drawn[body] - ndtri(rank[body])).max() <= bound("kolmogorov_distance") / norm.pdf(3.0)


@pytest.mark.parametrize(("kind", "fourth"), [("uniform", 1.8), ("rademacher", 1.0)])
def test_other_noise_has_its_moments(kind: str, fourth: float) -> None:
    drawn = draw_noise(CHUNK, kind)
    assert abs(drawn.mean()) < bound("z") / math.sqrt(CHUNK)
    assert abs((drawn**2).mean() - 1.0) <= bound("z") * math.sqrt((fourth - 1.0) / CHUNK) + bound("noise_variance")
    if kind == "uniform":
        rank = np.arange(1, CHUNK + 1) / CHUNK
        distance = np.abs(np.sort(drawn) / math.sqrt(12) + 0.5 - rank).max()
        assert distance < bound("kolmogorov_test") / math.sqrt(CHUNK) + 2.0**-16  # the spacing of its values
    else:
        assert set(np.unique(drawn)) == {-1.0, 1.0}
