"""The backends: what each can step, and why one is not usable here."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor

from ..buckets import Bucket
from ..errors import BackendError
from . import cuda
from .cuda import CudaPlan
from .native import NativeBackend, NativePlan, check_cpu_path, step_together
from .plan import Plan, StepInput
from .reference import ReferenceBackend

__all__ = ["NAMES", "Backend", "Plan", "choose_backend", "explain_backends", "step_plans"]


class Backend(Protocol):
    """One way to step a bucket."""

    name: str

    def why_not(self, device: torch.device, dtypes: tuple[torch.dtype, ...]) -> str | None:
        """Why it cannot step such tensors here; None if it can."""

    def make_plan(self, bucket: Bucket) -> Plan:
        """The plan of one bucket, kept between steps."""

    def counts_on_device(self, device: torch.device) -> bool:
        """Whether its plans can count steps on the device."""


class TritonBackend:
    """The mirror that runs where nothing is compiled; its kernels stand in triton_kernels, but nothing hands them tensors yet."""

    name = "triton"

    def why_not(self, device: torch.device, dtypes: tuple[torch.dtype, ...]) -> str | None:
        """Always a reason."""
        return "this version of qlangevin has Triton kernels, but no backend that hands them tensors yet"

    def make_plan(self, bucket: Bucket) -> Plan:
        """Never."""
        raise BackendError("this version of qlangevin has Triton kernels, but no backend that hands them tensors yet")

    def counts_on_device(self, device: torch.device) -> bool:
        """Never."""
        return False


BACKENDS: tuple[Backend, ...] = (NativeBackend(), TritonBackend(), ReferenceBackend())  # in the order "auto" prefers
NAMES = ("auto", *(backend.name for backend in BACKENDS))


def explain_backends(device: torch.device, dtypes: tuple[torch.dtype, ...]) -> dict[str, str | None]:
    """For each backend why it cannot step such tensors; None if it can."""
    return {backend.name: backend.why_not(device, dtypes) for backend in BACKENDS}


def check_backend_name(name: str) -> None:
    """Refuses an unknown backend name.

    Raises:
        BackendError: listing the valid names, and for each backend why it is not usable for CPU tensors.
    """
    if name in NAMES:
        return
    reasons = explain_backends(torch.device("cpu"), (torch.float32,) * 3)
    known = "; ".join(f"{key} (not usable here: {why})" if why else key for key, why in reasons.items())
    raise BackendError(f"backend must be one of auto; {known}; got {name!r}")


def choose_backend(name: str, bucket: Bucket) -> Backend:
    """The named backend, or for "auto" the first that can step the bucket.

    Raises:
        BackendError: the named backend cannot; no fallback is taken.
    """
    check_backend_name(name)
    check_cpu_path()
    reasons = explain_backends(bucket.device, bucket.dtypes)
    for backend in BACKENDS:
        if name in ("auto", backend.name) and reasons[backend.name] is None:
            if name == "auto" and backend.name == "reference":
                told = (
                    f"qlangevin steps with the slow reference backend: native: {reasons['native']}; triton: {reasons['triton']}"
                )
                warnings.warn(told, RuntimeWarning, stacklevel=2)  # Python shows an equal warning once
            return backend
    dtypes = ", ".join(str(dtype).removeprefix("torch.") for dtype in bucket.dtypes)
    usable = ", ".join(key for key, why in reasons.items() if why is None)
    raise BackendError(
        f"backend {name!r} cannot step parameters, gradients, states of {dtypes} on {bucket.device}: {reasons.get(name)}. "
        f"Usable for them: {usable}"
    )


def step_plans(parts: Sequence[tuple[Plan, StepInput]], observes: bool) -> list[Tensor | None]:
    """Steps every plan, whose counters are known to fit; with `observes` returns the statistics of each.

    Ctrl-C leaves either all native plans stepped or none. The reference steps tensor by tensor and can be stopped between two.
    """
    found: dict[int, Tensor | None] = {}
    for of_one_kind, step_them in split_plans(parts):
        stepped = step_them([parts[i] for i in of_one_kind], observes)
        found.update(zip(of_one_kind, stepped, strict=True))
    for i, (plan, part) in enumerate(parts):
        if i not in found:
            found[i] = plan.step(part, observes)
    return [found[i] for i in range(len(parts))]


def split_plans(parts: Sequence[tuple[Plan, StepInput]]) -> Iterator[tuple[list[int], Callable[..., list[Tensor | None]]]]:
    """The places of the plans that are stepped in one native call, and what steps them."""
    if on_cpu := [i for i, (plan, _) in enumerate(parts) if isinstance(plan, NativePlan)]:
        yield on_cpu, step_together
    devices: dict[torch.device, list[int]] = {}
    for i, (plan, _) in enumerate(parts):
        if isinstance(plan, CudaPlan):
            devices.setdefault(plan.device, []).append(i)
    for places in devices.values():
        yield places, cuda.step_together
