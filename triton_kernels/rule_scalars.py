"""How a rule's own scalars lie in a row of the table of scalars: numbers, then bytes of flags."""

from __future__ import annotations

import triton
import triton.language as tl

from .adaptive_rules import AdadeltaScalars, AdamScalars, RMSpropScalars
from .momentum_rules import MomentumScalars, PlainScalars
from .rmsprop_rules import RMSpropMomentumScalars
from .rules import KERNELS, base_of


@triton.jit
def load_number(words):
    """A binary32 number."""
    return tl.load(words).to(tl.float32, bitcast=True)


@triton.jit
def load_numbers(words, COUNT: tl.constexpr):
    """Consecutive binary32 numbers."""
    numbers = ()
    for k in tl.static_range(COUNT):
        numbers = numbers + (load_number(words + k),)  # noqa: RUF005  # Triton has no star in a tuple
    return numbers


@triton.jit
def load_rule(RULE: tl.constexpr, words):
    """A rule's own scalars."""
    numbers = load_numbers(words, rule_numbers(RULE))
    if RULE == "plain":
        return PlainScalars(*numbers)
    else:
        flags = tl.load(words + rule_numbers(RULE))
        if RULE == "momentum":
            return MomentumScalars(*numbers, (flags & 0xFF) != 0)
        elif base_of(RULE) == "rmsprop_momentum":
            return RMSpropMomentumScalars(*numbers, (flags & 0xFF) != 0)
        elif base_of(RULE) == "rmsprop":
            return RMSpropScalars(*numbers, (flags & 0xFF) != 0)
        elif RULE == "adadelta":
            return AdadeltaScalars(*numbers, (flags & 0xFF) != 0)
        else:
            return AdamScalars(*numbers, (flags & 0xFF) != 0, (flags & 0xFF00) != 0)


@triton.constexpr_function
def rule_numbers(rule):
    """How many numbers a rule's own scalars begin with; bytes of flags follow, a word with their padding."""
    numbers = {"plain": 1, "momentum": 3, "rmsprop": 4, "adam": 7, "adam_amsgrad": 7, "adadelta": 5}
    return (numbers | {"rmsprop_centered": 4, "rmsprop_momentum": 5, "rmsprop_centered_momentum": 5})[KERNELS[rule]]


@triton.constexpr_function
def rule_words(rule):
    """How many words a rule's own scalars take."""
    return rule_numbers(rule) + (KERNELS[rule] != "plain")
