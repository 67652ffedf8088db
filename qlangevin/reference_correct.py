"""The variance-corrected quantizer in plain torch: the mirror of ``csrc/core/correct.h``, which says what it is."""

from __future__ import annotations

import torch
from torch import Tensor

from .reference_numbers import even_of, floor_of, unit_of
from .reference_root import inverse_root

# --- correct.h --------------------------------------------------------------------------------------------------------

FINEST = {torch.bfloat16: (2.0**-7, 2.0**-126), torch.float16: (2.0**-10, 2.0**-24)}  # of 1, and the least


def spacing_of(dtype: torch.dtype, magnitude: Tensor) -> Tensor:
    """The distance of the storage type's neighbours around values of at most this magnitude."""
    relative, least = FINEST[dtype]
    power_of_two = (magnitude.view(torch.int32) & 0x7F800000).view(torch.float32)
    return (power_of_two * relative).clamp(min=least)


def correct_wide(y: Tensor, variance: Tensor, noise: Tensor, unit: Tensor) -> Tensor:
    """In units of the spacing, for noise wider than half of it."""
    excess = variance - 0.25
    x = y + excess * inverse_root(excess) * noise
    q = even_of(x)
    error = (x - q).abs()
    towards = (error + 0.5) * (error + 0.5) * 0.5
    away = (0.5 - error) * (0.5 - error) * 0.5
    step = (towards > unit).float() - (unit > 1.0 - away).float()
    return q + torch.where(x - q < 0.0, -step, step)


def correct_narrow(y: Tensor, variance: Tensor, unit: Tensor) -> Tensor:
    """The same for narrower noise."""
    q = floor_of(y)
    above = y - q
    below = 1.0 - above
    missing = variance - above * below
    p = torch.where(missing > 0.0, missing, 0.0) * 0.5
    first = below * p
    last = 1.0 - above * p
    second = first + below * (1.0 - 2.0 * p) + above * p
    return q - 1.0 + (unit > first).float() + (unit > second).float() + (unit > last).float()


def correct(dtype: torch.dtype, mean: Tensor, scale: Tensor, noise: Tensor, half: Tensor | None) -> Tensor:
    """A value of the storage grid with this mean and with the noise's variance, scale^2; beyond 2^126 the sum of both."""
    if half is None:  # types of 32 bits and more
        return mean + scale * noise
    magnitude = mean.abs() * 1.0078125 + scale * 5.0
    spacing = spacing_of(dtype, magnitude)
    inverse = (0x7F000000 - spacing.view(torch.int32)).view(torch.float32)
    y, deviation, unit = mean * inverse, scale * inverse, unit_of(half, mean.dtype)
    variance = deviation * deviation
    wide, narrow = correct_wide(y, variance, noise, unit), correct_narrow(y, variance, unit)
    corrected = torch.where(variance > 0.25, wide, narrow) * spacing
    return torch.where(magnitude < 2.0**126, corrected, mean + scale * noise)
