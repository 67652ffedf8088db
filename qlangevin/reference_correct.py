"""The variance-corrected quantizer in plain torch: the mirror of ``csrc/core/correct.h``, which says what it is."""

from __future__ import annotations

import torch
from torch import Tensor

from .reference_grids import even_of, floor_of, unit_of
from .reference_root import inverse_root

# --- correct.h --------------------------------------------------------------------------------------------------------

# Of each grid the spacing of 1, the least spacing, and how many spacings the end of a binade is from 0.
GRIDS = {
    torch.float32: (0.0, 0.0, 0.0),
    torch.float64: (0.0, 0.0, 0.0),
    torch.bfloat16: (2.0**-7, 2.0**-126, 256.0),
    torch.float16: (2.0**-10, 2.0**-24, 2048.0),
}
TWO_THIRDS, ONE_THIRD = float.fromhex("0x1.555556p-1"), float.fromhex("0x1.555556p-2")


def grid_of(dtype: torch.dtype) -> tuple[float, float, float]:
    """A storage type's grid."""
    return GRIDS[dtype]


def spacing_of(grid: tuple[float, float, float], magnitude: Tensor) -> Tensor:
    """The distance of the grid's neighbours at a magnitude."""
    of_one, least, _ = grid
    power_of_two = (magnitude.view(torch.int32) & 0x7F800000).view(torch.float32)
    spacing = power_of_two * of_one
    return torch.where(spacing > least, spacing, least)


def correct_wide(y: Tensor, variance: Tensor, noise: Tensor, unit: Tensor, top: float) -> Tensor:
    """In units of the spacing, for noise wider than half of it."""
    excess = variance - 0.25
    x = y + excess * inverse_root(excess) * noise
    q = even_of(x)
    error = (x - q).abs()
    towards = (error + 0.5) * (error + 0.5) * 0.5
    away = (0.5 - error) * (0.5 - error) * 0.5
    step = (towards > unit).float() - (unit > 1.0 - away).float()
    side = (x - q < 0.0).float() * -2.0 + 1.0
    place = q + step * side
    stored = torch.where(even_of(place * 0.5) * 2.0 == place, place, place + side)
    return torch.where(place.abs() > top, stored, place)


def correct_narrow(y: Tensor, variance: Tensor, unit: Tensor, top: float) -> Tensor:
    """The same for narrower noise and y >= 0."""
    q = floor_of(y)
    above = y - q
    below = 1.0 - above
    missing = variance - above * below
    p = torch.where(missing > 0.0, missing, 0.0) * 0.5
    end = (q == top - 1.0).float()
    furthest = above * p * (1.0 - end * TWO_THIRDS)
    first = below * p
    second = first + below * (1.0 - 2.0 * p) + above * p * (1.0 - end * ONE_THIRD)
    return q - 1.0 + (unit > first).float() + (unit > second).float() + (unit > 1.0 - furthest).float() * (1.0 + end)


def correct(dtype: torch.dtype, mean: Tensor, scale: Tensor, noise: Tensor, half: Tensor | None) -> Tensor:
    """A value of the storage grid with this mean and with the noise's variance, scale^2; beyond 2^126 the sum of both."""
    grid = grid_of(dtype)
    if half is None:  # as the grid says
        return mean + scale * noise
    magnitude = mean.abs()
    reach = magnitude + scale * 5.0
    finest = spacing_of(grid, magnitude)
    spacing = torch.where(scale > finest, spacing_of(grid, reach), finest)
    inverse = (0x7F000000 - spacing.view(torch.int32)).view(torch.float32)
    deviation, unit = scale * inverse, unit_of(half, mean.dtype)
    variance = deviation * deviation
    wide = correct_wide(mean * inverse, variance, noise, unit, grid[2])
    narrow = correct_narrow(magnitude * inverse, variance, unit, grid[2])
    corrected = torch.where(variance > 0.25, wide, torch.where(mean < 0.0, -narrow, narrow)) * spacing
    return torch.where(reach < 2.0**126, corrected, mean + scale * noise)
