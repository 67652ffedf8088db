"""An independent statement of the contract's random numbers: Philox in plain Python integers, and the same over numpy arrays.

Shares no code with the package. Coordinates are numerics.md section 2: element groups of 8, counter (group, its high half and
the purpose, step, chain), key = the tensor's.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MASK = 0xFFFFFFFF
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)


def philox(counter: tuple[int, int, int, int], key: int, rounds: int = 10) -> tuple[int, int, int, int]:
    """Four random words of one counter, in Python's unbounded integers."""
    c0, c1, c2, c3 = counter
    k0, k1 = key & MASK, key >> 32
    for _ in range(rounds):
        high0, low0 = divmod(c0 * MULTIPLIERS[0], 1 << 32)
        high1, low1 = divmod(c2 * MULTIPLIERS[1], 1 << 32)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + WEYL[0]) & MASK, (k1 + WEYL[1]) & MASK
    return c0, c1, c2, c3


def counter_of(group: int, purpose: int, step: int, chain: int) -> tuple[int, int, int, int]:
    """The counter of a group of 8 elements."""
    return group & MASK, (group >> 32) | purpose << 16, step, chain


def draw_word(key: int, step: int, chain: int, element: int) -> int:
    """The 32 bits of one element's Gaussian noise."""
    group, lane = divmod(element, 8)
    return philox(counter_of(group, lane // 4, step, chain), key)[lane % 4]


def draw_half(key: int, step: int, chain: int, element: int, purpose: int) -> int:
    """The 16 bits of one element for a purpose."""
    group, lane = divmod(element, 8)
    return philox(counter_of(group, purpose, step, chain), key)[lane // 2] >> (16 * (lane % 2)) & 0xFFFF


def philox_array(key: int, purpose: int, step: int, chain: int, first_group: int, groups: int) -> NDArray[np.uint64]:
    """The words of consecutive groups, as (groups, 4)."""
    group = np.arange(first_group, first_group + groups, dtype=np.uint64)
    c = [group & MASK, (group >> 32) | (purpose << 16), np.full_like(group, step), np.full_like(group, chain)]
    k0, k1 = key & MASK, key >> 32
    for _ in range(10):
        p0, p1 = c[0] * np.uint64(MULTIPLIERS[0]), c[2] * np.uint64(MULTIPLIERS[1])
        c = [(p1 >> 32) ^ c[1] ^ k0, p1 & MASK, (p0 >> 32) ^ c[3] ^ k1, p0 & MASK]
        k0, k1 = (k0 + WEYL[0]) & MASK, (k1 + WEYL[1]) & MASK
    return np.stack(c, axis=1)


def draw_words(key: int, step: int, chain: int, count: int) -> NDArray[np.int64]:
    """The noise words of elements 0 to count - 1."""
    groups = -(-count // 8)
    quads = [philox_array(key, purpose, step, chain, 0, groups) for purpose in (0, 1)]
    return np.concatenate(quads, axis=1).reshape(-1)[:count].astype(np.int64)


def draw_halves(key: int, step: int, chain: int, count: int, purpose: int) -> NDArray[np.int64]:
    """The 16 bits of elements 0 to count - 1 for a purpose."""
    words = philox_array(key, purpose, step, chain, 0, -(-count // 8))
    return np.stack([words & 0xFFFF, words >> 16], axis=2).reshape(-1)[:count].astype(np.int64)
