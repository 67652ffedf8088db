"""The exact laws of the three kinds of noise, computed over all words or halves."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import norm

from qlangevin import reference_numbers
from tests.tolerances import bound

from .noise_law import count_sums, exact_law, sums_of

HEADER = Path(__file__).parents[2] / "csrc" / "core" / "normal.h"


def kolmogorov_distance() -> float:
    """The largest distance to the normal distribution function, on both sides of every atom."""
    law = exact_law()
    below, normal = law.below(), norm.cdf(law.values)
    return float(max(np.abs(below - normal).max(), np.abs(below + law.probabilities - normal).max()))


def test_every_sum_is_realised_by_its_word() -> None:
    counts, words = count_sums(reference_numbers.BYTE_WEIGHTS)
    reached = np.flatnonzero(counts)
    assert (sums_of(words[reached]) == reached).all()
    assert (words[counts == 0] == -1).all()
    assert counts.sum() == 2**32
    assert (counts == counts[::-1]).all()


def test_the_mean_and_scale_constants_are_those_of_the_byte_sum() -> None:
    law = exact_law()
    mean = float((law.probabilities * law.sums).sum())
    deviation = math.sqrt(float((law.probabilities * (law.sums - mean) ** 2).sum()))
    assert mean == pytest.approx(reference_numbers.BYTE_SUM_MEAN, rel=bound("binary64_law"))
    assert np.float32(1 / deviation) == np.float32(reference_numbers.BYTE_SUM_INVERSE_SD)


def test_gaussian_noise_is_normal_within_the_kolmogorov_distance() -> None:
    assert kolmogorov_distance() <= bound("kolmogorov_distance")


def test_gaussian_noise_has_mean_0_and_variance_1() -> None:
    assert abs(exact_law().moment(1)) <= bound("binary64_law")
    assert abs(exact_law().moment(2) - 1.0) <= bound("noise_variance")


def test_gaussian_noise_has_the_normal_moments() -> None:
    assert abs(exact_law().moment(3)) <= bound("binary64_law")
    assert abs(exact_law().moment(4) - 3.0) <= bound("noise_moment_4")
    assert abs(exact_law().moment(6) - 15.0) <= bound("noise_moment_6")


@pytest.mark.parametrize("sigma", [1.0, 2.0, 3.0, 3.5, 4.0, 4.25, 4.5, 4.6, 4.7, 4.75])
def test_gaussian_noise_has_the_normal_tails(sigma: float) -> None:
    law = exact_law()
    tail = float(law.probabilities[np.abs(law.values) > sigma].sum())
    assert abs(tail / (2 * norm.sf(sigma)) - 1.0) <= bound("noise_tail")


def test_gaussian_noise_is_monotone_and_odd_in_the_byte_sum() -> None:
    values = exact_law().values
    assert (np.diff(values) > 0).all()
    assert (values == -values[::-1]).all()
    assert np.unique(values).size == values.size


def test_the_documented_distance_is_the_computed_one() -> None:
    wanted = f"{kolmogorov_distance():.1e}".replace("e-06", "e-6")
    for text in (reference_numbers.gaussian.__doc__ or "", HEADER.read_text()):
        claims = re.findall(r"\d\.\de-\d", text)
        assert claims and set(claims) == {wanted}


def test_the_weights_fit_signed_multiply_add_of_bytes_pairs() -> None:
    """Two products of a byte and a weight stay below 2^31, and the sum is an exact binary32 integer."""
    assert all(0 < weight < 256 for weight in reference_numbers.BYTE_WEIGHTS)
    assert 255 * sum(reference_numbers.BYTE_WEIGHTS) < 2**23
    assert sum(reference_numbers.BYTE_WEIGHTS) % 2 == 0


def test_uniform_noise_is_evenly_spaced_with_variance_1() -> None:
    values = reference_numbers.uniform(torch.arange(65536)).double().numpy()
    exact = (np.arange(65536) - 32767.5) * math.sqrt(12 / (2**32 - 1))
    assert np.abs(values / exact - 1).max() <= 2.0**-23  # the spacing's rounding and the product's
    assert (values == -values[::-1]).all()
    assert abs((values**2).mean() - 1.0) <= bound("noise_variance")
    assert abs((values**4).mean() - 1.8) <= 2 * bound("noise_variance") * 1.8


def test_rademacher_noise_is_a_fair_sign() -> None:
    values = reference_numbers.rademacher(torch.arange(65536))
    assert values.abs().eq(1.0).all()
    assert float(values.sum()) == 0.0
