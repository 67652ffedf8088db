"""One group of functions per update rule: the mirror of ``csrc/core/rules.h``, which says what the members of a rule are.

A rule is a name that a kernel is compiled for; the functions without a rule's name choose. A step's kernel is compiled for a
name of KERNELS' values: CoolMomentum has Momentum's kernel, and a row of scalars (``noise_variance``, ``prepare``) of its own.
"""

from __future__ import annotations

from typing import NamedTuple

import triton
import triton.language as tl

from .scalars import round_once

KERNELS = {"plain": "plain", "momentum": "momentum", "cool_momentum": "momentum"}  # the rule whose kernel steps a rule
MINUS_ONE = tl.constexpr(-1.0)  # times 0 it is -0, which a unary minus is not in every version of Triton


class PlainScalars(NamedTuple):
    """Plain's scalars of one step."""

    displacement_factor: tl.tensor


class MomentumScalars(NamedTuple):
    """Momentum's scalars of one step."""

    momentum: tl.tensor
    grad_factor: tl.tensor
    displacement_factor: tl.tensor
    nesterov: tl.tensor


@triton.constexpr_function
def hypers_of(rule):
    """How many hyper-parameters a rule has of its own."""
    return {"plain": 0, "momentum": 3, "cool_momentum": 1}[rule]


@triton.constexpr_function
def states_of(rule):
    """How many state tensors a rule has."""
    return {"plain": 0, "momentum": 1}[rule]


@triton.constexpr_function
def site_of(rule):
    """Where a rule's noise goes."""
    return {"plain": "displacement", "momentum": "velocity"}[rule]


@triton.jit
def plain_noise_variance(h):
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
def plain_displace(s, g, x):
    """-lr g."""
    return g * s.displacement_factor


@triton.jit
def plain_finish(s, delta, x):
    """Nothing needs the final displacement."""
    return x


@triton.jit
def momentum_noise_variance(h):
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
def momentum_displace(s, g, x):
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
def cool_momentum_noise_variance(h):
    """The velocity, minus the displacement, includes lr."""
    return h.lr * h.temperature * (1.0 - h.rule[0] * h.rule[0])


@triton.jit
def cool_momentum_prepare(h, step):
    """Momentum's scalars of another meaning."""
    grad_factor = round_once(h.lr * (1.0 + h.rule[0]) / 2.0)
    factor, nesterov = tl.full(step.shape, MINUS_ONE, tl.float32), tl.full(step.shape, False, tl.int1)
    return MomentumScalars(round_once(h.rule[0]), grad_factor, factor, nesterov)


@triton.jit
def noise_variance(RULE: tl.constexpr, h):
    """The variance that is added per step, at the rule's noise site."""
    if RULE == "plain":
        return plain_noise_variance(h)
    elif RULE == "momentum":
        return momentum_noise_variance(h)
    else:
        return cool_momentum_noise_variance(h)


@triton.jit
def prepare(RULE: tl.constexpr, h, step):
    """The rule's own scalars of one step."""
    if RULE == "plain":
        return plain_prepare(h, step)
    elif RULE == "momentum":
        return momentum_prepare(h, step)
    else:
        return cool_momentum_prepare(h, step)


@triton.jit
def accumulate(RULE: tl.constexpr, s, g, x):
    """The states x updated from the gradient g."""
    if RULE == "plain":
        return plain_accumulate(s, g, x)
    else:
        return momentum_accumulate(s, g, x)


@triton.jit
def displace(RULE: tl.constexpr, s, g, x):
    """The displacement -lr * (...)."""
    if RULE == "plain":
        return plain_displace(s, g, x)
    else:
        return momentum_displace(s, g, x)


@triton.jit
def finish(RULE: tl.constexpr, s, delta, x):
    """The states after what must see the final displacement."""
    if RULE == "plain":
        return plain_finish(s, delta, x)
    else:
        return momentum_finish(s, delta, x)
