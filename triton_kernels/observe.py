"""What a step is seen to do: each thread tallies its columns in registers; the mirror of ``csrc/cuda/observe.h``."""

from __future__ import annotations

from typing import NamedTuple

import triton
import triton.language as tl

from .draw import GROUPS
from .norm import add_squares, fold_columns, no_columns
from .rounding import magnitude


class Watched(NamedTuple):
    """Which statistics are not 0 or equal to another. displacement: it is quantized, or the pass stores nothing."""

    displacement: tl.tensor
    noise: tl.tensor
    rounding: tl.tensor


class Tally(NamedTuple):
    """A chunk's statistics in the order of ``csrc/core/statistics.h``: sums by column, the others by thread."""

    grad_squares: tl.tensor
    displacement_squares: tl.tensor
    displacement_sum: tl.tensor
    update_squares: tl.tensor
    quantizer_error: tl.tensor
    noise_squares: tl.tensor
    rounding_squares: tl.tensor
    unmoved: tl.tensor
    zeroed: tl.tensor
    largest_displacement: tl.tensor


STATISTICS = tl.constexpr(len(Tally._fields))


@triton.jit
def clear():
    """A tally of nothing."""
    sum = no_columns()
    count = tl.full((GROUPS,), 0, tl.int32)
    return Tally(sum, sum, sum, sum, sum, sum, sum, count, count, tl.full((GROUPS,), 0.0, tl.float32))


@triton.jit
def add_largest(largest, inside, values):
    """The largest magnitude so far; a NaN is not larger than 0."""
    size = magnitude(values)
    most = tl.max(tl.where(inside & (size > 0.0), size, 0.0), 0)
    return tl.where(most > largest, most, largest)


@triton.jit
def add_count(count, mask):
    """How many elements a mask holds for, by thread."""
    return count + tl.sum(mask.to(tl.int32), 0)


@triton.jit
def watch_displacement(tally, watched, inside, displacement, delta, STORES: tl.constexpr):
    """What is seen of the displacement before its quantizer; delta: after it."""
    squares, largest = tally.displacement_squares, tally.largest_displacement
    sum, error = tally.displacement_sum, tally.quantizer_error
    if watched.displacement:
        squares = add_squares(squares, tl.where(inside, displacement, 0.0))
        largest = add_largest(largest, inside, displacement)
        if STORES:
            wide = tl.where(inside, displacement, 0.0).to(tl.float64)
            sum = sum + wide
            error = error + (tl.where(inside, delta, 0.0).to(tl.float64) - wide)
    return squares, sum, error, largest


@triton.jit
def watch_stored(tally, watched, inside, old, param, stored):
    """What is seen of the parameter as it is stored; param: before it was rounded."""
    rounding = tally.rounding_squares
    if watched.rounding:
        rounding = add_squares(rounding, tl.where(inside, stored - param, 0.0))
    return rounding, add_count(tally.unmoved, inside & (stored == old))


@triton.jit
def finish(tally, watched, statistics, STORES: tl.constexpr):
    """Folds a tally into a chunk's row of the table of statistics."""
    squares = fold_columns(tally.displacement_squares)
    largest = tl.max(tally.largest_displacement, 0).to(tl.float64)
    at = statistics + tl.arange(0, 1)
    if STORES:
        updates = fold_columns(tally.update_squares)
        squares = tl.where(watched.displacement, squares, updates)
        tl.store(at, fold_columns(tally.grad_squares))
        tl.store(at + 2, fold_columns(tally.displacement_sum))
        tl.store(at + 3, updates)
        tl.store(at + 4, fold_columns(tally.quantizer_error))
        tl.store(at + 5, fold_columns(tally.noise_squares))
        tl.store(at + 6, fold_columns(tally.rounding_squares))
        tl.store(statistics + 7, tl.sum(tally.unmoved, 0).to(tl.float64))
        tl.store(statistics + 8, tl.sum(tally.zeroed, 0).to(tl.float64))
    else:
        for k in tl.static_range(STATISTICS - 1):
            if k != 1:
                tl.store(statistics + k, tl.full((), 0.0, tl.float64))
    tl.store(at + 1, squares)
    tl.store(statistics + 9, largest)
