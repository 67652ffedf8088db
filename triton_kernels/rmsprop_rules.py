"""torch.optim.RMSprop's other rules, centred and with momentum: the mirror of ``csrc/core/rmsprop_rules.h``."""

from __future__ import annotations

from typing import NamedTuple

import triton
import triton.language as tl

from .adaptive_rules import hold_unseen, rmsprop_accumulate, rmsprop_precondition, rmsprop_prepare, root_of_inverse
from .scalars import round_once


class RMSpropMomentumScalars(NamedTuple):
    """The scalars of one step of RMSprop with momentum."""

    decay: tl.tensor
    square_factor: tl.tensor
    eps: tl.tensor
    momentum: tl.tensor
    displacement_factor: tl.tensor
    frozen: tl.tensor


@triton.jit
def variance(x):
    """square_avg - grad_avg^2, and the second moment itself where rounding leaves less than 0."""
    difference = x[0] - x[1] * x[1]
    return tl.where(difference < 0.0, x[0], difference)


@triton.jit
def rmsprop_centered_accumulate(s, g, x):
    """The second moment and the mean."""
    (square_avg,) = rmsprop_accumulate(s, g, (x[0],))
    if s.frozen:  # noqa: SIM108  # Triton takes both sides of a conditional expression
        grad_avg = x[1]
    else:
        grad_avg = x[1] * s.decay + g * s.square_factor
    return square_avg, grad_avg


@triton.jit
def rmsprop_centered_precondition(s, x):
    """P of the variance."""
    v = variance(x)
    return hold_unseen(s.frozen, v, root_of_inverse(v, 1.0, s.eps))


@triton.jit
def rmsprop_momentum_noise_variance(h, step):
    """2 (1 - momentum) T / lr for the velocity."""
    return 2.0 * (1.0 - h.rule[3]) * h.temperature / h.lr


@triton.jit
def rmsprop_momentum_prepare(h, step):
    """RMSprop's scalars, and the momentum."""
    s = rmsprop_prepare(h, step)
    return RMSpropMomentumScalars(s.decay, s.square_factor, s.eps, round_once(h.rule[3]), s.displacement_factor, s.frozen)


@triton.jit
def gather(s, g, r, velocity):
    """The velocity with P g."""
    return velocity * s.momentum + g * (r * r)


@triton.jit
def rmsprop_momentum_accumulate(s, g, x):
    """The second moment, and the velocity of P g."""
    (square_avg,) = rmsprop_accumulate(s, g, (x[1],))
    return gather(s, g, rmsprop_precondition(s, (square_avg,)), x[0]), square_avg


@triton.jit
def rmsprop_momentum_precondition(s, x):
    """RMSprop's."""
    return rmsprop_precondition(s, (x[1],))


@triton.jit
def rmsprop_momentum_displace(s, g, r, x):
    """-lr velocity."""
    return x[0] * s.displacement_factor


@triton.jit
def rmsprop_momentum_finish(s, delta, x):
    """Nothing needs the final displacement."""
    return x


@triton.jit
def rmsprop_centered_momentum_accumulate(s, g, x):
    """Both moments, and the velocity of P g."""
    square_avg, grad_avg = rmsprop_centered_accumulate(s, g, (x[1], x[2]))
    root = rmsprop_centered_precondition(s, (square_avg, grad_avg))
    return gather(s, g, root, x[0]), square_avg, grad_avg


@triton.jit
def rmsprop_centered_momentum_precondition(s, x):
    """That of the variance."""
    return rmsprop_centered_precondition(s, (x[1], x[2]))
