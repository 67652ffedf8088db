"""The exact law of the Gaussian noise over all 2^32 words: nothing is sampled.

The weighted byte sum's law is a convolution of four uniform ones, counted in integers. Each sum that occurs is realised by one
word, and the value is what the reference gives for that word.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

from qlangevin import reference_numbers


@dataclass(frozen=True)
class Law:
    """Atoms in increasing order of the byte sum: the sum, its probability, the value it gives."""

    sums: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    values: NDArray[np.float64]

    def moment(self, power: int) -> float:
        """The mean of the value's power."""
        return float((self.probabilities * self.values**power).sum())

    def below(self) -> NDArray[np.float64]:
        """The probability of smaller sums."""
        return np.cumsum(self.probabilities) - self.probabilities


def count_sums(weights: tuple[int, ...]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For every sum from 0 to 255 * sum(weights): how many words give it, and one of them (-1 if none does)."""
    size = 255 * sum(weights) + 1
    counts, words = np.zeros(size, np.int64), np.full(size, -1, np.int64)
    counts[0], words[0] = 1, 0
    filled = 1
    for position, weight in enumerate(weights):
        old_counts, old_words = counts[:filled].copy(), words[:filled].copy()
        known = np.flatnonzero(old_words >= 0)
        counts[:] = 0
        for byte in range(256):
            counts[byte * weight : byte * weight + filled] += old_counts
            words[byte * weight + known] = old_words[known] | byte << (8 * position)
        filled += 255 * weight
    return counts, words


@cache
def exact_law() -> Law:
    """The law of reference_numbers.gaussian."""
    counts, words = count_sums(reference_numbers.BYTE_WEIGHTS)
    assert counts.sum() == 2**32
    sums = np.flatnonzero(counts)
    values = reference_numbers.gaussian(torch.from_numpy(words[sums])).double().numpy()
    return Law(sums, counts[sums] / 2**32, values)


def sums_of(words: NDArray[np.int64]) -> NDArray[np.int64]:
    """The weighted byte sums of words."""
    return sum(weight * (words >> (8 * i) & 0xFF) for i, weight in enumerate(reference_numbers.BYTE_WEIGHTS))
