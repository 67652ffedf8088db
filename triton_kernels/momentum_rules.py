"""The rules without a preconditioner: the mirror of ``csrc/core/momentum_rules.h``.

A rule is a group of functions that begin with its name; what it has none of is the rule's whose kernel it has.
"""

from __future__ import annotations

from typing import NamedTuple

import triton
import triton.language as tl

from .scalars import MINUS_ONE, round_once


class PlainScalars(NamedTuple):
    """Plain's scalars of one step."""

    displacement_factor: tl.tensor


class MomentumScalars(NamedTuple):
    """Momentum's scalars of one step."""

    momentum: tl.tensor
    grad_factor: tl.tensor
    displacement_factor: tl.tensor
    nesterov: tl.tensor


@triton.jit
def plain_noise_variance(h, step):
    """2 lr T."""
    return 2.0 * h.lr * h.temperature


@triton.jit
def plain_prepare(h, step):
    """-lr."""
    return PlainScalars(round_once(h.lr) * MINUS_ONE)


@triton.jit
def plain_accumulate(s, g, x):
    """Plain has no states."""
    return x


@triton.jit
def plain_precondition(s, x):
    """P is 1."""
    return tl.full((), 1.0, tl.float32)


@triton.jit
def plain_displace(s, g, r, x):
    """-lr g."""
    return g * s.displacement_factor


@triton.jit
def plain_finish(s, delta, x):
    """Nothing needs the final displacement."""
    return x


@triton.jit
def momentum_noise_variance(h, step):
    """2 (1 - momentum) lr T for the displacement, so that over lr^2 for the velocity."""
    return 2.0 * (1.0 - h.rule[0]) * h.temperature / h.lr


@triton.jit
def momentum_prepare(h, step):
    """The first gradient enters undamped."""
    grad_factor = tl.where(step == 1, 1.0, round_once(1.0 - h.rule[1]))
    return MomentumScalars(round_once(h.rule[0]), grad_factor, round_once(h.lr) * MINUS_ONE, h.rule[2] != 0.0)


@triton.jit
def momentum_accumulate(s, g, x):
    """The velocity."""
    return (x[0] * s.momentum + g * s.grad_factor,)


@triton.jit
def momentum_precondition(s, x):
    """P is 1."""
    return tl.full((), 1.0, tl.float32)


@triton.jit
def momentum_displace(s, g, r, x):
    """-lr velocity, or Nesterov's."""
    delta = x[0] * s.displacement_factor
    if s.nesterov:
        delta = (g + x[0] * s.momentum) * s.displacement_factor
    return delta


@triton.jit
def momentum_finish(s, delta, x):
    """Nothing needs the final displacement."""
    return x


@triton.jit
def cool_momentum_noise_variance(h, step):
    """The velocity, minus the displacement, includes lr."""
    return h.lr * h.temperature * (1.0 - h.rule[0] * h.rule[0])


@triton.jit
def cool_momentum_prepare(h, step):
    """Momentum's scalars of another meaning."""
    grad_factor = round_once(h.lr * (1.0 + h.rule[0]) / 2.0)
    factor, nesterov = tl.full(step.shape, MINUS_ONE, tl.float32), tl.full(step.shape, False, tl.int1)
    return MomentumScalars(round_once(h.rule[0]), grad_factor, factor, nesterov)


@triton.jit
def sghmc_noise_variance(h, step):
    """The heat of the friction that the gradients' own noise does not bring."""
    return 2.0 * (h.rule[0] - h.rule[1]) * h.lr * h.temperature


@triton.jit
def sghmc_prepare(h, step):
    """Momentum's scalars; the velocity, minus the displacement, includes lr."""
    factor, nesterov = tl.full(step.shape, MINUS_ONE, tl.float32), tl.full(step.shape, False, tl.int1)
    return MomentumScalars(round_once(1.0 - h.rule[0]), round_once(h.lr), factor, nesterov)
