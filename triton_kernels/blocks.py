"""The largest magnitude of each block of gradients in a row, which csrc/cuda/step.h finds by shuffles."""

from __future__ import annotations

import triton
import triton.language as tl

from .draw import GROUP, GROUPS
from .rounding import GRAD_BLOCK, pattern_of_magnitude

LANES = tl.constexpr(GRAD_BLOCK.value // GROUP.value)  # groups of a block; a row has two blocks


@triton.jit
def largest_of_block(g):
    """For each element of a row the pattern of the largest magnitude in its block; elements outside of their tensor are 0."""
    patterns = pattern_of_magnitude(g)
    first = tl.arange(0, GROUPS)[None, :] < LANES
    of_first = tl.max(tl.max(tl.where(first, patterns, 0), 0), 0)
    of_second = tl.max(tl.max(tl.where(first, 0, patterns), 0), 0)
    return tl.where(first, of_first, of_second)
