"""The variance-corrected quantizer on a storage type's grid: the mirror of ``csrc/core/correct.h``, which says what it is."""

from __future__ import annotations

import triton
import triton.language as tl

from .draw import GROUP, GROUPS
from .root import inverse_root
from .rounding import FLOAT32, bits_of, even_of, float_of, floor_of, magnitude, one_if, unit_of
from .scalars import MINUS_ONE

# --- correct.h --------------------------------------------------------------------------------------------------------

# Of each grid the spacing of 1, the least spacing, and how many spacings the end of a binade is from 0; by BFLOAT16, FLOAT16.
GRIDS = {
    1: (float.fromhex("0x1p-7"), float.fromhex("0x1p-126"), 256.0),
    2: (float.fromhex("0x1p-10"), float.fromhex("0x1p-24"), 2048.0),
}
TWO_THIRDS, ONE_THIRD = tl.constexpr(float.fromhex("0x1.555556p-1")), tl.constexpr(float.fromhex("0x1.555556p-2"))
MOST = tl.constexpr(float.fromhex("0x1p126"))  # values beyond it are not corrected, nor are Inf and NaN


@triton.constexpr_function
def grid_of(storage):
    """A storage type's grid; binary32's rounding is far below any noise."""
    return GRIDS[int(storage)]


@triton.jit
def spacing_of(STORED: tl.constexpr, size):
    """The distance of the grid's neighbours at a magnitude."""
    GRID: tl.constexpr = grid_of(STORED)
    spacing = float_of(bits_of(size) & 0x7F800000) * GRID[0]
    return tl.where(spacing > GRID[1], spacing, GRID[1])


@triton.jit
def correct_wide(y, variance, noise, unit, TOP: tl.constexpr):
    """In units of the spacing, for noise wider than half of it."""
    excess = variance - 0.25
    x = y + excess * inverse_root(excess) * noise
    q = even_of(x)
    error = magnitude(x - q)
    towards = (error + 0.5) * (error + 0.5) * 0.5
    away = (0.5 - error) * (0.5 - error) * 0.5
    step = one_if(towards > unit) - one_if(unit > 1.0 - away)
    side = 1.0 - one_if(x - q < 0.0) * 2.0
    place = q + step * side
    stored = tl.where(even_of(place * 0.5) * 2.0 == place, place, place + side)
    return tl.where(magnitude(place) > TOP, stored, place)


@triton.jit
def correct_narrow(y, variance, unit, TOP: tl.constexpr):
    """The same for narrower noise and y >= 0."""
    q = floor_of(y)
    above = y - q
    below = 1.0 - above
    missing = variance - above * below
    p = tl.where(missing > 0.0, missing, 0.0) * 0.5
    end = one_if(q == TOP - 1.0)
    furthest = above * p * (1.0 - end * TWO_THIRDS)
    first = below * p
    second = first + below * (1.0 - 2.0 * p) + above * p * (1.0 - end * ONE_THIRD)
    return q - 1.0 + one_if(unit > first) + one_if(unit > second) + one_if(unit > 1.0 - furthest) * (1.0 + end)


@triton.jit
def correct(STORED: tl.constexpr, mean, scale, noise, half):
    """A value of the storage grid with this mean and the variance scale^2; `half` is read for types of 16 bits alone."""
    if STORED == FLOAT32:
        return mean + scale * noise
    else:
        TOP: tl.constexpr = grid_of(STORED)[2]
        size = magnitude(mean)
        reach = size + scale * 5.0
        finest = spacing_of(STORED, size)
        spacing = tl.where(scale > finest, spacing_of(STORED, reach), finest)
        inverse = float_of(0x7F000000 - bits_of(spacing))
        deviation, unit = scale * inverse, unit_of(half)
        variance = deviation * deviation
        wide = correct_wide(mean * inverse, variance, noise, unit, TOP)
        narrow = correct_narrow(size * inverse, variance, unit, TOP)
        signed = tl.where(mean < 0.0, narrow * MINUS_ONE, narrow)
        corrected = tl.where(variance > 0.25, wide, signed) * spacing
        return tl.where(reach < MOST, corrected, mean + scale * noise)


# --- a row of elements ------------------------------------------------------------------------------------------------


@triton.jit
def split_row(row):
    """A row's elements by two of each group."""
    lower, upper = tl.split(tl.permute(tl.reshape(row, (2, 2, 2, GROUPS)), (1, 2, 3, 0)))
    first, second = tl.split(tl.permute(lower, (1, 2, 0)))
    third, fourth = tl.split(tl.permute(upper, (1, 2, 0)))
    return first, second, third, fourth


@triton.jit
def join_row(x):
    """What split_row() split."""
    lower, upper = tl.permute(tl.join(x[0], x[1]), (2, 0, 1)), tl.permute(tl.join(x[2], x[3]), (2, 0, 1))
    return tl.reshape(tl.permute(tl.join(lower, upper), (3, 0, 1, 2)), (GROUP, GROUPS))


@triton.jit
def correct_row(STORED: tl.constexpr, mean, scale, noise, half, positive):
    """As correct() does, two elements of a thread after another: all eight at once take more registers than there are.

    positive: a number whose sign bit the compiler does not know to be 0, so that each two must wait for those before.
    """
    if STORED == FLOAT32:
        return correct(STORED, mean, scale, noise, half)
    else:
        scales = split_row(float_of(tl.zeros_like(half) | bits_of(scale)))
        means, noises, halves = split_row(mean), split_row(noise), split_row(half)
        results = (correct(STORED, means[0], scales[0], noises[0], halves[0]),)
        for k in tl.static_range(1, 4):
            waiting = float_of(bits_of(means[k]) | (bits_of(results[k - 1]) & (bits_of(positive) >> 31)))
            results = results + (correct(STORED, waiting, scales[k], noises[k], halves[k]),)  # noqa: RUF005  # no star in a tuple
        return join_row(results)
