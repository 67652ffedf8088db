"""Symmetric alpha-stable noise in plain torch: the mirror of ``csrc/cpu/levy.cpp``, equal to it but for the last bits.

sin, log and pow round as a library likes: this noise is outside of the bit contract.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

QUARTER_TURN = math.pi / 2.0


def levy(first: Tensor, second: Tensor, tail_index: float) -> Tensor:
    """Two 32-bit words to one binary32 value of the law E exp(i w S) = exp(-|w|^tail_index), tail_index in (1, 2].

    Chambers, Mallows, Stuck, JASA 1976, for an angle of +-(pi / 2) (1 - v) and an exponential w::

        S = sin(alpha angle) / cos(angle) * (w cos(angle) / cos((alpha - 1) angle))^((alpha - 1) / alpha)

    The tails are where v is small: it has 40 of the 64 bits and is never 0, so that no |S| reaches 2^40.
    """
    magnitude = ((first & 0x7FFFFFFF) << 8) | (second >> 24)
    v = (magnitude.double() + 0.5) * 2.0**-39
    w = -((second & 0xFFFFFF).double() + 0.5).mul(2.0**-24).log()
    angle, rest, gap = QUARTER_TURN * (1.0 - v), QUARTER_TURN * v, QUARTER_TURN * (2.0 - tail_index)
    cosine, smaller = rest.sin(), (gap + (tail_index - 1.0) * rest).sin()
    sine = torch.where(v < 0.5, (gap + tail_index * rest).sin(), (tail_index * angle).sin())
    value = sine / cosine * (w * cosine / smaller) ** ((tail_index - 1.0) / tail_index)
    return torch.where(first >> 31 != 0, -value, value).to(torch.float32)
