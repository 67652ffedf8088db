"""One group of functions per update rule: the mirror of ``csrc/core/rules.h``, which says what the members of a rule are.

A rule is a name that a kernel is compiled for; the functions without a rule's name choose. CoolMomentum has Momentum's kernel
and scalars of its own, which the host makes, as it makes every scalar (``prepare`` and ``noise_variance`` are not here).
"""

from __future__ import annotations

from typing import NamedTuple

import triton
import triton.language as tl

KERNELS = {"plain": "plain", "momentum": "momentum", "cool_momentum": "momentum"}  # the rule whose kernel steps a rule


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
def states_of(rule):
    """How many state tensors a rule has."""
    return {"plain": 0, "momentum": 1}[rule]


@triton.constexpr_function
def site_of(rule):
    """Where a rule's noise goes."""
    return {"plain": "displacement", "momentum": "velocity"}[rule]


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
