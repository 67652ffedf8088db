"""The executions of one optimizer, kept by which of its parameters have gradients, so that known patterns may alternate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .execution import Execution
from .native_module import native

if TYPE_CHECKING:
    from .optim.base import LangevinOptimizer

MOST = 8  # a plan costs about 1 KB a tensor


def which_have_grads_slowly(groups: Sequence[dict[str, Any]]) -> bytes:
    """A byte for each parameter of all groups: whether it has a gradient."""
    return bytes(param.grad is not None for group in groups for param in group["params"])


which_have_grads = which_have_grads_slowly if native is None else native.which_have_grads


class Executions:
    """The executions for the latest patterns of gradients, at most MOST."""

    def __init__(self) -> None:
        self.latest: Execution | None = None
        self.by_pattern: dict[bytes, Execution] = {}  # the one used last stands last
        self.captured: list[Execution] = []  # in graphs, which may be replayed at any time: their plans' memory must stay

    def clear(self) -> None:
        """Forgets all of them."""
        self.latest = None
        self.by_pattern.clear()

    def find(self, optimizer: LangevinOptimizer) -> Execution | None:
        """The execution for the coming step, which has read its gradients and hyper-parameters; None if there is no gradient.

        Raises:
            QlangevinError: a hyper-parameter or tensor that the step cannot take; nothing has been written.
        """
        if self.latest is not None and self.latest.is_current(optimizer):
            return self.latest
        pattern = which_have_grads(optimizer.param_groups)
        known = self.by_pattern.get(pattern)
        if known is None or known is self.latest or not known.is_current(optimizer):
            known = self._prepare(optimizer, pattern)
        if known is not None:
            self.by_pattern.pop(pattern, None)
            self.by_pattern[pattern] = known
        self.latest = known
        return known

    def keep_if_captured(self, execution: Execution) -> None:
        """Keeps an execution for good if its step has just become a part of a graph."""
        if not execution.is_capturing():
            return
        execution.keep_for_graph()
        if execution not in self.captured:
            self.captured.append(execution)

    def check_overrun(self) -> None:
        """Refuses to go on after a schedule's table has ended; waits for the device.

        Raises:
            HyperparameterError: a step was taken that a table does not have.
        """
        for execution in {*self.captured, *self.by_pattern.values()}:
            if execution.overrun is not None:
                execution.overrun.check(waits=True)

    def _prepare(self, optimizer: LangevinOptimizer, pattern: bytes) -> Execution | None:
        """A new execution. The others go if more changed than the pattern, so that they keep no tensor that was replaced."""
        made = Execution.prepare(optimizer)
        self.by_pattern.pop(pattern, None)
        if not all(other.watch.holds_apart_from_grads(optimizer) for other in self.by_pattern.values()):
            self.by_pattern.clear()
        while len(self.by_pattern) >= MOST:
            del self.by_pattern[next(iter(self.by_pattern))]
        return made
