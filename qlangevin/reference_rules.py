"""The update rules in plain torch: the mirror of ``csrc/core/rules.h``; ``rule.h`` there says what the members of a rule are."""

from __future__ import annotations

from .reference_adaptive_rules import Adadelta, Adagrad, Adam, AdamAmsgrad, RMSprop
from .reference_momentum_rules import SGHMC, CoolMomentum, Momentum, Plain
from .reference_rmsprop_rules import RMSpropCentered, RMSpropCenteredMomentum, RMSpropMomentum

__all__ = [
    "RULES",
    "SGHMC",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamAmsgrad",
    "CoolMomentum",
    "Momentum",
    "Plain",
    "RMSprop",
    "RMSpropCentered",
    "RMSpropCenteredMomentum",
    "RMSpropMomentum",
]

ALL: tuple[type[Plain], ...] = (Plain, Momentum, CoolMomentum, SGHMC, RMSprop, Adagrad, Adam, AdamAmsgrad, Adadelta)
ALL += (RMSpropCentered, RMSpropMomentum, RMSpropCenteredMomentum)
RULES: dict[str, type[Plain]] = {rule.name: rule for rule in ALL}
