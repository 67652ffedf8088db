"""The largest magnitude of each block of gradients in a row, which csrc/cuda/step.h finds by shuffles."""

from __future__ import annotations

import triton
import triton.language as tl

from .draw import GROUP, GROUPS
from .rounding import GRAD_BLOCK, pattern_of_magnitude

BLOCKS = tl.constexpr(GROUPS.value * GROUP.value // GRAD_BLOCK.value)  # of a row; elements outside of their tensor are 0


@triton.jit
def largest_of_block(g):
    """For each element of a row the pattern of the largest magnitude in its block."""
    of_groups = tl.reshape(tl.max(pattern_of_magnitude(g), 0), (BLOCKS, GROUPS // BLOCKS))
    of_blocks = tl.broadcast_to(tl.max(of_groups, 1)[:, None], (BLOCKS, GROUPS // BLOCKS))
    return tl.broadcast_to(tl.reshape(of_blocks, (1, GROUPS)), (GROUP, GROUPS))
