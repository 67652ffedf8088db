"""Sums in binary64 in a fixed order: the mirror of ``csrc/core/norm.h``."""

from __future__ import annotations

import triton
import triton.language as tl

from .draw import GROUP, GROUPS

GROUPS_HALVINGS, GROUP_HALVINGS = tl.constexpr(5), tl.constexpr(3)  # until one of the groups, of a group's elements is left


@triton.jit
def no_columns():
    """The columns of a sum of nothing."""
    return tl.full((GROUP, GROUPS), 0.0, tl.float64)


@triton.jit
def fold_columns(columns):
    """The upper half of a row's columns is added to the lower one until one is left; a tensor of one number.

    A sum of two has one order; they meet where they lie, while a split would first bring all columns into each thread.
    """
    x = columns
    for level in tl.static_range(GROUPS_HALVINGS):
        x = tl.sum(tl.reshape(x, (GROUP, 2, (GROUPS // 2) >> level)), 1)
    for level in tl.static_range(GROUP_HALVINGS):
        x = tl.sum(tl.reshape(x, (2, (GROUP // 2) >> level)), 0)
    return x


@triton.jit
def add_squares(columns, values):
    """The squares of a row's elements, each added to its column."""
    wide = values.to(tl.float64)
    return columns + wide * wide
