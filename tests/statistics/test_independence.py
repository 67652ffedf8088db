"""No correlation above 5 standard errors between draws whose coordinates differ in anything (tier T6)."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.core import oracle
from tests.core.noise_law import exact_law
from tests.tolerances import bound

from .draws import FULL, KEY, Array, draw_noise

COUNT = 2**22 if FULL else 2**19

STREAMS: dict[str, list[dict[str, int]]] = {
    "keys that differ in one bit": [{"key": KEY}, *({"key": KEY ^ 1 << bit} for bit in (0, 1, 7, 31, 32, 33, 47, 63))],
    "small keys": [{"key": key} for key in range(8)],
    "steps": [{"step": step} for step in (1, 2, 3, 4, 5, 8, 16, 1024, 65536, 2**31)],
    "chains": [{"chain": chain} for chain in (0, 1, 2, 3, 256, 2**16, 2**31, 2**32 - 1)],
    "parts of one tensor": [{"offset": 8 * offset} for offset in (0, 2**20, 2**29, 2**32, 2**33, 2**40, 3 * 2**41)],
    "step against chain": [{"step": 5, "chain": 6}, {"step": 6, "chain": 5}, {"step": 11, "chain": 0}, {"step": 1, "chain": 10}],
}


def check_correlation(x: Array, y: Array, what: str) -> None:
    """Of two streams of mean 0 and variance 1: of the values, of their squares, and of one with the other's square."""
    fourth = float((x**4).mean())
    for name, a, b in (("values", x, y), ("squares", x**2 - 1, y**2 - 1), ("values and squares", x, y**2 - 1)):
        spread = {"values": 1.0, "squares": fourth - 1, "values and squares": math.sqrt(fourth - 1)}[name]
        z = float((a * b).mean()) * math.sqrt(len(a)) / spread
        assert abs(z) < bound("z"), f"{what}, {name}: {z:.1f} standard errors"


@pytest.mark.parametrize("what", STREAMS)
def test_streams_of_other_coordinates(what: str) -> None:
    drawn = [draw_noise(COUNT, **coordinates) for coordinates in STREAMS[what]]
    for (i, x), (k, y) in itertools.combinations(enumerate(drawn), 2):
        check_correlation(x, y, f"{STREAMS[what][i]} and {STREAMS[what][k]}")


def test_lanes_of_a_group() -> None:
    lanes = draw_noise(8 * COUNT).reshape(-1, 8).T
    for i, k in itertools.combinations(range(8), 2):
        check_correlation(lanes[i], lanes[k], f"lanes {i} and {k}")


def test_neighbours() -> None:
    drawn = draw_noise(COUNT + 4096)
    for lag in (*range(1, 34), 64, 128, 256, 1000, 1024, 4096):
        check_correlation(drawn[:COUNT], drawn[lag : lag + COUNT], f"lag {lag}")


def unit_variance(halves: NDArray[np.int64]) -> Array:
    """16 bits as values of mean 0 and variance 1."""
    return (halves - 32767.5) * math.sqrt(12 / (2.0**32 - 1))


def test_purposes() -> None:
    """Half words of every purpose with each other; those of purposes 0 and 1 are halves of the noise words."""
    drawn = {purpose: unit_variance(oracle.draw_halves(KEY, 1, 0, COUNT, purpose)) for purpose in (0, 1, 2, 3, 4, 8, 9, 11)}
    for (i, x), (k, y) in itertools.combinations(drawn.items(), 2):
        check_correlation(x, y, f"purposes {i} and {k}")


def test_noise_against_the_bits_that_round() -> None:
    noise = draw_noise(COUNT)
    for purpose in (2, 3, 4, 8):
        check_correlation(unit_variance(oracle.draw_halves(KEY, 1, 0, COUNT, purpose)), noise, f"noise and purpose {purpose}")


def test_every_bit_of_a_word_is_fair_and_its_own() -> None:
    count = 2**17
    words = oracle.draw_words(KEY, 1, 0, count)
    bits = (1 - 2 * (words >> np.arange(32)[:, None] & 1)).astype(np.float32)  # sums of 2^17 signs are exact
    correlations = bits @ bits.T / math.sqrt(count)
    np.fill_diagonal(correlations, 0.0)
    assert np.abs(correlations).max() < bound("z")
    assert np.abs(bits.sum(axis=1) / math.sqrt(count)).max() < bound("z")


def test_a_check_of_correlation_can_fail() -> None:
    x = draw_noise(COUNT)
    y = 0.02 * x + math.sqrt(1 - 0.02**2) * draw_noise(COUNT, step=2)
    with pytest.raises(AssertionError, match="standard errors"):
        check_correlation(x, y, "correlated streams")
    assert exact_law().moment(4) > 1
