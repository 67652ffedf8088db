"""Counting real native launches, and poisoning backends, so that a silent fallback cannot pass for the backend under test."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from unittest import mock

from qlangevin import _native
from qlangevin.backends import cuda, native, reference, triton


class Poisoned(Exception):
    """A backend was used that must not be; no error that the package knows or catches."""


@dataclass
class Launches:
    """How often the native module stepped a plan."""

    count: int = 0


class CountingPlan:
    """A native plan whose steps are counted."""

    def __init__(self, launches: Launches, *facts: Any) -> None:
        self.launches = launches
        self.plan = _native.CpuPlan(*facts)

    def __getattr__(self, name: str) -> Any:
        """Everything else is the native plan's."""
        return getattr(self.plan, name)


def count_launches(plans: list[CountingPlan], inputs: list[Any], observes: bool) -> list[list[float]]:
    """Steps the native plans, and counts each."""
    found = _native.step_together([plan.plan for plan in plans], inputs, observes)
    for plan in plans:
        plan.launches.count += 1
    return list(found)


def refuse(*args: Any, **kwargs: Any) -> None:
    """Stands in for a poisoned function."""
    raise Poisoned("this backend is poisoned")


@contextlib.contextmanager
def only_native() -> Iterator[Launches]:
    """The reference raises if it plans or steps, and the Triton backend if it plans; native launches are counted."""
    launches = Launches()

    def counting(step_together: Any) -> Any:
        def step(parts: list[Any], observes: bool) -> list[Any]:
            launches.count += len(parts)
            return list(step_together(parts, observes))

        return step

    module = mock.Mock(wraps=_native)
    module.CpuPlan = lambda *facts: CountingPlan(launches, *facts)
    module.step_together = count_launches
    with (
        mock.patch.object(reference.ReferenceBackend, "make_plan", refuse),
        mock.patch.object(reference.ReferencePlan, "step", refuse),
        mock.patch.object(triton.TritonBackend, "make_plan", refuse),
        mock.patch.object(native, "_native", module),
        mock.patch.object(cuda, "step_together", counting(cuda.step_together)),
        mock.patch.object(triton, "step_together", counting(triton.step_together)),  # where it stands in for native code
    ):
        yield launches


@contextlib.contextmanager
def only_reference() -> Iterator[None]:
    """The native and Triton backends raise if they plan or step."""
    with (
        mock.patch.object(native.NativeBackend, "make_plan", refuse),
        mock.patch.object(native, "step_together", refuse),
        mock.patch.object(triton, "step_together", refuse),
        mock.patch.object(cuda, "step_together", refuse),
        mock.patch.object(triton.TritonBackend, "make_plan", refuse),
    ):
        yield
