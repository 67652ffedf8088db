"""What the optimizers with a diagonal preconditioner have in common."""

from __future__ import annotations

from typing import Any, ClassVar

from ..errors import HyperparameterError
from ..fields import Number, Word
from ..group_hypers import steps_taken
from .base import LangevinOptimizer

FREEZABLE: dict[str, Any] = {"eps": Number(), "frozen_at": Word(32)}  # what all of their rules have


class PreconditionedOptimizer(LangevinOptimizer):
    """An optimizer with a diagonal preconditioner P, made of second moments of the gradients, that may be fixed."""

    own_defaults: ClassVar[dict[str, Any]] = {"frozen_at": 0}

    def freeze_preconditioner(self) -> None:
        """Fixes P from the next step on: without Adam's momentum the chain's law is then exp(-U / T) for small lr, whatever P.

        Each parameter keeps the second moment that it has after as many steps as the furthest parameter has taken now. Elements
        whose second moment, or variance, is 0 then move by decoupled decay alone, and by what is left of RMSprop's velocity: P
        says nothing of them, and of no element if amsgrad is switched on later. Adam's factor 1 / (1 - beta_1^k) goes on to 1.
        A graph that was captured before does not see it. Waits for the device where it counts the steps. Once a group is fixed,
        calling it again changes nothing in it; one that is added later is fixed by the next call.

        Raises:
            HyperparameterError: no step was taken yet.
        """
        taken = max(steps_taken(self), default=0)
        if taken == 0:
            raise HyperparameterError("freeze_preconditioner() needs a step before it: there is no preconditioner to fix yet")
        for group in self.param_groups:
            group["frozen_at"] = group["frozen_at"] or taken
