"""Values to grids in plain torch: the mirror of ``csrc/core/quantize.h``."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .scalar_values import LARGEST

# --- quantize.h -------------------------------------------------------------------------------------------------------


def even_of(y: Tensor) -> Tensor:
    """The nearest integer for |y| < 2^22 (2^51 in binary64), ties to even: adding 1.5 * 2^23 (2^52) leaves no fractional bits."""
    magic = 12582912.0 if y.dtype == torch.float32 else 1.5 * 2.0**52
    return (y + magic) - magic


def floor_of(y: Tensor) -> Tensor:
    """floor(y) where even_of rounds."""
    t = even_of(y)
    return torch.where(t > y, t - 1.0, t)


def unit_of(half: Tensor, dtype: torch.dtype) -> Tensor:
    """(half + 1/2) / 2^16: uniform in (0, 1) and never on the edge."""
    return (half.to(dtype) + 0.5) * 2.0**-16


DRAWING = ("stochastic", "dither")  # the roundings that need random bits


def quantize(x: Tensor, rounding: str, resolution: float | Tensor, spacing: float | Tensor, half: Tensor | None) -> Tensor:
    """x to the grid of spacing 1 / resolution; rounding is nearest, stochastic, floor or dither (numerics.md section 5)."""
    y = x * resolution
    if rounding == "dither":
        assert half is not None
        u = unit_of(half, x.dtype) - 0.5
        q = floor_of(y + u + 0.5) - u
    elif rounding == "nearest":
        q = even_of(y)
        q = torch.where(y - q >= 0.5, q + 1.0, q)  # of ties only those that went down: floor(y + 1/2)
    else:
        q = floor_of(y)
        if rounding == "stochastic":
            assert half is not None
            q = torch.where(y - q > unit_of(half, x.dtype), q + 1.0, q)
    return torch.where(y.abs() < 4194304.0, q * spacing, x)


GRAD_BLOCK = 128  # elements that share a grid, by their index in the unsharded tensor


def spacing_of_block(spacing_of_one: float, largest: Tensor) -> Tensor:
    """spacing_of_one 2^floor(log2(largest)), at least 2^-126; for Inf and NaN as for the largest binary32 numbers."""
    finite = torch.where(largest <= LARGEST, largest, LARGEST)
    exponent = torch.where(finite > 0.0, torch.frexp(finite).exponent - 1, -127) + round(math.log2(spacing_of_one))
    patterns = (exponent.clamp(min=-126) + 127) << 23
    return patterns.to(torch.int32).view(torch.float32).to(largest.dtype)


def quantize_block(x: Tensor, rounding: str, spacing_of_one: float, largest: Tensor, half: Tensor | None) -> Tensor:
    """As quantize, with the grid of a block whose largest magnitude is given."""
    spacing = spacing_of_block(spacing_of_one, largest)
    return quantize(x, rounding, 1.0 / spacing, spacing, half)


# --- csrc/cpu/step.h --------------------------------------------------------------------------------------------------


def largest_of_block(x: Tensor, offset: int) -> Tensor:
    """For each element the largest magnitude of its block, NaN where there is one; of a shard's part, where it cuts a block."""
    before, size = offset % GRAD_BLOCK, x.numel()
    padded = torch.nn.functional.pad(x.abs(), (before, -(before + size) % GRAD_BLOCK))
    return padded.view(-1, GRAD_BLOCK).amax(dim=1).repeat_interleave(GRAD_BLOCK)[before : before + size]
