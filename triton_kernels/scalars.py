"""The scalars of one step: the mirror of ``csrc/core/scalars.h``, in binary64 from + - * / sqrt only, rounded once to binary32.

Every value may be a block, one lane a tensor: what C++ branches on is selected here. ``make_row`` is in prepare.py: it needs the
rules, which need what is here.
"""

from __future__ import annotations

from typing import NamedTuple

import triton
import triton.language as tl

from .rounding import OFF

# --- scalars.h --------------------------------------------------------------------------------------------------------

MAX_RULE_HYPERS = 8
LARGEST = tl.constexpr(float.fromhex("0x1.FFFFFEp127"))  # the largest binary32 number
INFINITY = tl.constexpr(float("inf"))
MINUS_ONE = tl.constexpr(-1.0)  # times 0 it is -0, which a unary minus is not in every version of Triton
EXPONENT_BITS = tl.constexpr(33)  # of what power() is asked for: steps, and P fixed at one that was taken


class Hyper(NamedTuple):
    """Hyper-parameters of a group; the rule's own in the order it names them."""

    lr: tl.tensor
    temperature: tl.tensor
    weight_decay: tl.tensor
    decoupled_weight_decay: tl.tensor
    grad_resolution: tl.tensor
    update_resolution: tl.tensor
    compensation: tl.tensor
    rule: tuple[tl.tensor, ...]
    noise: tl.tensor
    grad_rounding: tl.tensor
    update_rounding: tl.tensor
    stochastic_param: tl.tensor
    stochastic_state: tl.tensor
    corrected_param: tl.tensor
    grad_blocks: tl.tensor


class Scalars(NamedTuple):
    """What every rule needs of one step; absent stages are marked by 0 or OFF and skipped."""

    grad_multiplier: tl.tensor
    weight_decay: tl.tensor
    lr: tl.tensor
    decoupled_weight_decay: tl.tensor
    noise_scale: tl.tensor
    compensation: tl.tensor
    grad_resolution: tl.tensor
    grad_spacing: tl.tensor
    update_resolution: tl.tensor
    update_spacing: tl.tensor
    noise: tl.tensor
    grad_rounding: tl.tensor
    update_rounding: tl.tensor
    stochastic_param: tl.tensor
    stochastic_state: tl.tensor
    corrected_param: tl.tensor
    grad_blocks: tl.tensor


class Row(NamedTuple):
    """The scalars of one tensor at one step."""

    common: Scalars
    rule: NamedTuple
    step: tl.tensor
    chain: tl.tensor


@triton.jit
def round_once(value):
    """A binary64 number rounded to binary32."""
    return value.to(tl.float32)


@triton.jit
def power(base, exponent):
    """base^exponent by squaring, for exponents from 0 on of EXPONENT_BITS; powers beyond a lane's last are not taken."""
    result = tl.full(exponent.shape, 1.0, tl.float64)
    for _ in range(EXPONENT_BITS):
        result = tl.where((exponent & 1) != 0, result * base, result)
        base = base * base
        exponent = exponent >> 1
    return result


@triton.jit
def norm_of(squares):
    """The norm of a list from its sum of squares, rounded once to binary32."""
    return round_once(tl.sqrt(squares)).to(tl.float64)


@triton.jit
def clip_coefficient(norm, max_norm):
    """min(1, max_norm / (norm + 1e-6)); NaN for a NaN norm."""
    coefficient = max_norm / (norm + 1e-6)
    return tl.where(coefficient > 1.0, 1.0, coefficient)


@triton.jit
def compensation_factor(length, norm):
    """The compensation term over the displacement; 0 for a norm of 0, and without a term whatever the norm is."""
    factor = length / norm
    return tl.where((norm == 0.0) | (length == 0.0), 0.0, round_once(tl.where(factor > LARGEST, LARGEST, factor)))


@triton.jit
def effective_rounding(rounding, resolution):
    """A group's rounding; an infinite resolution is the identity."""
    return tl.where((resolution == INFINITY) | (resolution == -INFINITY), OFF, rounding)
