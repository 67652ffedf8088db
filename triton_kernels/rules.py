"""All rules: the mirror of ``csrc/core/rules.h``; ``csrc/core/rule.h`` says what the members of a rule are.

A rule is a name that a kernel is compiled for; the functions here choose by it. A step's kernel is compiled for a name of
KERNELS' values: CoolMomentum has Momentum's kernel, and a row of scalars (``noise_variance``, ``prepare``) of its own.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .adaptive_rules import (
    adadelta_accumulate,
    adadelta_displace,
    adadelta_finish,
    adadelta_noise_variance,
    adadelta_precondition,
    adadelta_prepare,
    adagrad_noise_variance,
    adagrad_prepare,
    adam_accumulate,
    adam_amsgrad_accumulate,
    adam_amsgrad_precondition,
    adam_displace,
    adam_finish,
    adam_noise_variance,
    adam_precondition,
    adam_prepare,
    rmsprop_accumulate,
    rmsprop_displace,
    rmsprop_finish,
    rmsprop_noise_variance,
    rmsprop_precondition,
    rmsprop_prepare,
)
from .momentum_rules import (
    cool_momentum_noise_variance,
    cool_momentum_prepare,
    momentum_accumulate,
    momentum_displace,
    momentum_finish,
    momentum_noise_variance,
    momentum_precondition,
    momentum_prepare,
    plain_accumulate,
    plain_displace,
    plain_finish,
    plain_noise_variance,
    plain_precondition,
    plain_prepare,
    sghmc_noise_variance,
    sghmc_prepare,
)
from .rmsprop_rules import (
    rmsprop_centered_accumulate,
    rmsprop_centered_momentum_accumulate,
    rmsprop_centered_momentum_precondition,
    rmsprop_centered_precondition,
    rmsprop_momentum_accumulate,
    rmsprop_momentum_displace,
    rmsprop_momentum_finish,
    rmsprop_momentum_noise_variance,
    rmsprop_momentum_precondition,
    rmsprop_momentum_prepare,
)

KERNELS = {  # the rule whose kernel steps a rule
    "plain": "plain",
    "momentum": "momentum",
    "cool_momentum": "momentum",
    "sghmc": "momentum",
    "rmsprop": "rmsprop",
    "adagrad": "rmsprop",
    "adam": "adam",
    "adam_amsgrad": "adam_amsgrad",
    "adadelta": "adadelta",
    "rmsprop_centered": "rmsprop_centered",
    "rmsprop_momentum": "rmsprop_momentum",
    "rmsprop_centered_momentum": "rmsprop_centered_momentum",
}


@triton.constexpr_function
def base_of(rule):
    """The rule whose members a rule has, but for `accumulate` and `precondition`."""
    bases = {"adam_amsgrad": "adam", "rmsprop_centered": "rmsprop", "rmsprop_centered_momentum": "rmsprop_momentum"}
    return bases[rule] if rule in bases else rule  # noqa: SIM401  # Triton does not take a dictionary's get()


@triton.constexpr_function
def hypers_of(rule):
    """How many hyper-parameters a rule has of its own."""
    numbers = {"plain": 0, "momentum": 3, "cool_momentum": 1, "sghmc": 2, "rmsprop": 3, "adagrad": 3, "adam": 6}
    numbers |= {"adam_amsgrad": 6, "adadelta": 3}
    return (numbers | {"rmsprop_centered": 3, "rmsprop_momentum": 4, "rmsprop_centered_momentum": 4})[rule]


@triton.constexpr_function
def states_of(rule):
    """How many state tensors a rule has."""
    states = {"plain": 0, "momentum": 1, "rmsprop": 1, "adam": 2, "adam_amsgrad": 3, "adadelta": 2}
    return (states | {"rmsprop_centered": 2, "rmsprop_momentum": 2, "rmsprop_centered_momentum": 3})[rule]


@triton.constexpr_function
def site_of(rule):
    """Where a rule's noise goes."""
    sites = {"plain": "displacement", "momentum": "velocity", "rmsprop": "displacement", "adam": "displacement"}
    sites |= {"adam_amsgrad": "displacement", "adadelta": "displacement", "rmsprop_centered": "displacement"}
    return (sites | {"rmsprop_momentum": "velocity", "rmsprop_centered_momentum": "velocity"})[rule]


@triton.constexpr_function
def second_moment_of(rule):
    """Which state is the second moment that P is made of; -1: P is 1."""
    moments = {"plain": -1, "momentum": -1, "rmsprop": 0, "adam": 1, "adam_amsgrad": 2, "adadelta": 0}
    return (moments | {"rmsprop_centered": 0, "rmsprop_momentum": 1, "rmsprop_centered_momentum": 1})[rule]


@triton.constexpr_function
def averages_noise(rule):
    """Whether a rule has an integrator that averages noise."""
    return rule == "plain"


@triton.jit
def noise_variance(RULE: tl.constexpr, h, step):  # noqa: PLR0911  # one return for each rule
    """The variance over P that is added per step, at the rule's noise site."""
    BASE: tl.constexpr = base_of(RULE)
    if RULE == "plain":
        return plain_noise_variance(h, step)
    elif RULE == "momentum":
        return momentum_noise_variance(h, step)
    elif RULE == "cool_momentum":
        return cool_momentum_noise_variance(h, step)
    elif RULE == "sghmc":
        return sghmc_noise_variance(h, step)
    elif BASE == "rmsprop":
        return rmsprop_noise_variance(h, step)
    elif RULE == "adagrad":
        return adagrad_noise_variance(h, step)
    elif RULE == "adadelta":
        return adadelta_noise_variance(h, step)
    elif BASE == "rmsprop_momentum":
        return rmsprop_momentum_noise_variance(h, step)
    else:
        return adam_noise_variance(h, step)


@triton.jit
def prepare(RULE: tl.constexpr, h, step):  # noqa: PLR0911
    """The rule's own scalars of one step."""
    BASE: tl.constexpr = base_of(RULE)
    if RULE == "plain":
        return plain_prepare(h, step)
    elif RULE == "momentum":
        return momentum_prepare(h, step)
    elif RULE == "cool_momentum":
        return cool_momentum_prepare(h, step)
    elif RULE == "sghmc":
        return sghmc_prepare(h, step)
    elif BASE == "rmsprop":
        return rmsprop_prepare(h, step)
    elif RULE == "adagrad":
        return adagrad_prepare(h, step)
    elif RULE == "adadelta":
        return adadelta_prepare(h, step)
    elif BASE == "rmsprop_momentum":
        return rmsprop_momentum_prepare(h, step)
    else:
        return adam_prepare(h, step)


@triton.jit
def accumulate(RULE: tl.constexpr, s, g, x):  # noqa: PLR0911
    """The states x updated from the gradient g."""
    if RULE == "plain":
        return plain_accumulate(s, g, x)
    elif RULE == "momentum":
        return momentum_accumulate(s, g, x)
    elif RULE == "rmsprop":
        return rmsprop_accumulate(s, g, x)
    elif RULE == "adam":
        return adam_accumulate(s, g, x)
    elif RULE == "adam_amsgrad":
        return adam_amsgrad_accumulate(s, g, x)
    elif RULE == "adadelta":
        return adadelta_accumulate(s, g, x)
    elif RULE == "rmsprop_centered":
        return rmsprop_centered_accumulate(s, g, x)
    elif RULE == "rmsprop_momentum":
        return rmsprop_momentum_accumulate(s, g, x)
    else:
        return rmsprop_centered_momentum_accumulate(s, g, x)


@triton.jit
def precondition(RULE: tl.constexpr, s, x):  # noqa: PLR0911
    """sqrt(P) of the diagonal preconditioner P."""
    if RULE == "plain":
        return plain_precondition(s, x)
    elif RULE == "momentum":
        return momentum_precondition(s, x)
    elif RULE == "rmsprop":
        return rmsprop_precondition(s, x)
    elif RULE == "adam":
        return adam_precondition(s, x)
    elif RULE == "adam_amsgrad":
        return adam_amsgrad_precondition(s, x)
    elif RULE == "adadelta":
        return adadelta_precondition(s, x)
    elif RULE == "rmsprop_centered":
        return rmsprop_centered_precondition(s, x)
    elif RULE == "rmsprop_momentum":
        return rmsprop_momentum_precondition(s, x)
    else:
        return rmsprop_centered_momentum_precondition(s, x)


@triton.jit
def displace(RULE: tl.constexpr, s, g, r, x):
    """The displacement -lr * (...); r is sqrt(P)."""
    BASE: tl.constexpr = base_of(RULE)
    if RULE == "plain":
        return plain_displace(s, g, r, x)
    elif RULE == "momentum":
        return momentum_displace(s, g, r, x)
    elif BASE == "rmsprop":
        return rmsprop_displace(s, g, r, x)
    elif RULE == "adadelta":
        return adadelta_displace(s, g, r, x)
    elif BASE == "rmsprop_momentum":
        return rmsprop_momentum_displace(s, g, r, x)
    else:
        return adam_displace(s, g, r, x)


@triton.jit
def finish(RULE: tl.constexpr, s, delta, x):
    """The states after what must see the final displacement."""
    BASE: tl.constexpr = base_of(RULE)
    if RULE == "plain":
        return plain_finish(s, delta, x)
    elif RULE == "momentum":
        return momentum_finish(s, delta, x)
    elif BASE == "rmsprop":
        return rmsprop_finish(s, delta, x)
    elif RULE == "adadelta":
        return adadelta_finish(s, delta, x)
    elif BASE == "rmsprop_momentum":
        return rmsprop_momentum_finish(s, delta, x)
    else:
        return adam_finish(s, delta, x)
