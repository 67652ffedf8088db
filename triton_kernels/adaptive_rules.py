"""The rules with a diagonal preconditioner P: the mirror of ``csrc/core/adaptive_rules.h``.

Which steps leave P as it is, is known for a whole tensor: there what C++ branches on is a branch here too.
"""

from __future__ import annotations

from typing import NamedTuple

import triton
import triton.language as tl

from .root import inverse_root
from .scalars import LARGEST, MINUS_ONE, power, round_once


class RMSpropScalars(NamedTuple):
    """RMSprop's scalars of one step."""

    decay: tl.tensor
    square_factor: tl.tensor
    eps: tl.tensor
    displacement_factor: tl.tensor
    frozen: tl.tensor


class AdamScalars(NamedTuple):
    """Adam's scalars of one step."""

    beta1: tl.tensor
    grad_factor: tl.tensor
    beta2: tl.tensor
    square_factor: tl.tensor
    root_factor: tl.tensor
    eps: tl.tensor
    displacement_factor: tl.tensor
    momentum_in_drift: tl.tensor
    frozen: tl.tensor


class AdadeltaScalars(NamedTuple):
    """Adadelta's scalars of one step."""

    rho: tl.tensor
    square_factor: tl.tensor
    eps: tl.tensor
    displacement_factor: tl.tensor
    inverse_lr: tl.tensor
    frozen: tl.tensor


@triton.jit
def is_frozen(frozen_at, step):
    """Whether P is fixed: after the step frozen_at of a tensor's own count; never for 0."""
    return (frozen_at > 0.0) & (step.to(tl.float64) > frozen_at)


@triton.jit
def hold_unseen(frozen, moment, root):
    """sqrt(P), and 0 where the second moment is 0 once P is fixed."""
    if frozen:
        root = tl.where(moment == 0.0, 0.0, root)
    return root


@triton.jit
def root_of_inverse(moment, factor, eps):
    """sqrt(P) of P = 1 / (sqrt(moment) * factor + eps)."""
    return inverse_root(moment * inverse_root(moment) * factor + eps)


@triton.jit
def average_square(frozen, average, decay, value, factor):
    """The average of squares with one more; as it was if P is fixed."""
    if frozen:  # noqa: SIM108  # Triton takes both sides of a conditional expression
        new = average
    else:
        new = average * decay + value * value * factor
    return new


@triton.jit
def rmsprop_noise_variance(h, step):
    """2 lr T."""
    return 2.0 * h.lr * h.temperature


@triton.jit
def rmsprop_prepare(h, step):
    """An average of squares."""
    decay, square_factor = round_once(h.rule[0]), round_once(1.0 - h.rule[0])
    return RMSpropScalars(decay, square_factor, round_once(h.rule[1]), round_once(h.lr) * MINUS_ONE, is_frozen(h.rule[2], step))


@triton.jit
def rmsprop_accumulate(s, g, x):
    """The second moment."""
    return (average_square(s.frozen, x[0], s.decay, g, s.square_factor),)


@triton.jit
def rmsprop_precondition(s, x):
    """P = 1 / (sqrt(square_avg) + eps)."""
    return hold_unseen(s.frozen, x[0], root_of_inverse(x[0], 1.0, s.eps))


@triton.jit
def rmsprop_displace(s, g, r, x):
    """-lr P g."""
    return g * (r * r) * s.displacement_factor


@triton.jit
def rmsprop_finish(s, delta, x):
    """Nothing needs the final displacement."""
    return x


@triton.jit
def decayed_lr(h, step):
    """lr / (1 + (step - 1) lr_decay)."""
    return h.lr / (1.0 + (step - 1).to(tl.float64) * h.rule[0])


@triton.jit
def adagrad_noise_variance(h, step):
    """2 lr T of the decayed lr."""
    return 2.0 * decayed_lr(h, step) * h.temperature


@triton.jit
def adagrad_prepare(h, step):
    """RMSprop's scalars of a sum."""
    one, factor = tl.full(step.shape, 1.0, tl.float32), round_once(decayed_lr(h, step)) * MINUS_ONE
    return RMSpropScalars(one, one, round_once(h.rule[1]), factor, is_frozen(h.rule[2], step))


@triton.jit
def square_correction(h, step):
    """1 - beta2^step, of the last step that changed P."""
    return 1.0 - power(h.rule[1], tl.where(is_frozen(h.rule[5], step), h.rule[5].to(tl.int64), step))


@triton.jit
def correction(h, step):
    """What P has besides 1 / (sqrt(exp_avg_sq) root_factor + eps)."""
    return tl.where(h.rule[3] != 0.0, tl.sqrt(square_correction(h, step)), 1.0) / (1.0 - power(h.rule[0], step))


@triton.jit
def adam_noise_variance(h, step):
    """2 lr T of the corrected lr."""
    return 2.0 * h.lr * h.temperature * correction(h, step)


@triton.jit
def adam_prepare(h, step):
    """Averages of gradients and of squares, and what corrects them."""
    root_factor = tl.where(h.rule[3] != 0.0, 1.0, round_once(1.0 / tl.sqrt(square_correction(h, step))))
    return AdamScalars(
        round_once(h.rule[0]),
        round_once(1.0 - h.rule[0]),
        round_once(h.rule[1]),
        round_once(1.0 - h.rule[1]),
        root_factor,
        round_once(h.rule[2]),
        round_once(h.lr * correction(h, step)) * MINUS_ONE,
        h.rule[4] != 0.0,
        is_frozen(h.rule[5], step),
    )


@triton.jit
def adam_accumulate(s, g, x):
    """Both moments."""
    return (x[0] * s.beta1 + g * s.grad_factor, average_square(s.frozen, x[1], s.beta2, g, s.square_factor))


@triton.jit
def adam_precondition(s, x):
    """P = 1 / (sqrt(exp_avg_sq) root_factor + eps)."""
    return hold_unseen(s.frozen, x[1], root_of_inverse(x[1], s.root_factor, s.eps))


@triton.jit
def adam_displace(s, g, r, x):
    """-lr P exp_avg, or the gradient in its place."""
    drift = g
    if s.momentum_in_drift:
        drift = x[0]
    return drift * (r * r) * s.displacement_factor


@triton.jit
def adam_finish(s, delta, x):
    """Nothing needs the final displacement."""
    return x


@triton.jit
def adam_amsgrad_accumulate(s, g, x):
    """Adam's, and the largest second moment so far; a NaN stays in exp_avg_sq."""
    exp_avg, exp_avg_sq = adam_accumulate(s, g, (x[0], x[1]))
    if s.frozen:  # noqa: SIM108
        largest = x[2]
    else:
        largest = tl.where(x[2] >= exp_avg_sq, x[2], exp_avg_sq)
    return exp_avg, exp_avg_sq, largest


@triton.jit
def adam_amsgrad_precondition(s, x):
    """P of the largest second moment."""
    return hold_unseen(s.frozen, x[2], root_of_inverse(x[2], s.root_factor, s.eps))


@triton.jit
def adadelta_noise_variance(h, step):
    """2 lr T."""
    return 2.0 * h.lr * h.temperature


@triton.jit
def adadelta_prepare(h, step):
    """An average of squares, of displacements over lr too."""
    inverse = tl.where(h.lr > 0.0, 1.0 / h.lr, 0.0)
    return AdadeltaScalars(
        round_once(h.rule[0]),
        round_once(1.0 - h.rule[0]),
        round_once(h.rule[1]),
        round_once(h.lr) * MINUS_ONE,
        round_once(tl.where(inverse > LARGEST, LARGEST, inverse)),
        is_frozen(h.rule[2], step),
    )


@triton.jit
def adadelta_accumulate(s, g, x):
    """The second moment."""
    return (average_square(s.frozen, x[0], s.rho, g, s.square_factor), x[1])


@triton.jit
def adadelta_precondition(s, x):
    """P = sqrt((acc_delta + eps) / (square_avg + eps))."""
    numerator = x[1] + s.eps
    p = numerator * inverse_root(numerator * (x[0] + s.eps))
    return hold_unseen(s.frozen, x[0], p * inverse_root(p))


@triton.jit
def adadelta_displace(s, g, r, x):
    """-lr P g."""
    return g * (r * r) * s.displacement_factor


@triton.jit
def adadelta_finish(s, delta, x):
    """The average of squares of the final displacement over lr."""
    return (x[0], average_square(s.frozen, x[1], s.rho, delta * s.inverse_lr, s.square_factor))
