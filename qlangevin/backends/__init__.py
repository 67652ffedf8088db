"""The backends: what each can step, and why one is not usable here."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor

from ..buckets import Bucket
from ..errors import BackendError
from . import cuda, native, reference, triton
from .cuda import CudaPlan
from .native import NativeBackend, NativePlan, check_cpu_path
from .plan import Plan, StepInput
from .reference import ReferenceBackend, ReferencePlan
from .triton import TritonBackend, TritonPlan

__all__ = ["NAMES", "Backend", "Plan", "choose_backend", "explain_backends", "find_automatic", "step_plans"]


class Backend(Protocol):
    """One way to step a bucket."""

    name: str

    def why_not(self, device: torch.device, dtypes: tuple[torch.dtype, ...]) -> str | None:
        """Why it cannot step such tensors here; None if it can."""

    def make_plan(self, bucket: Bucket) -> Plan:
        """The plan of one bucket, kept between steps."""

    def draws_levy(self, device: torch.device) -> bool:
        """Whether its plans draw Levy noise for tensors that it can step."""

    def is_chosen_by_name_only(self, device: torch.device) -> bool:
        """Whether "auto" passes it over for tensors that it can step."""

    def counts_on_device(self, device: torch.device) -> bool:
        """Whether its plans can count steps on the device."""


BACKENDS: tuple[Backend, ...] = (NativeBackend(), TritonBackend(), ReferenceBackend())  # in the order "auto" prefers
NAMES = ("auto", *(backend.name for backend in BACKENDS))


def why_not(backend: Backend, device: torch.device, dtypes: tuple[torch.dtype, ...], levy: bool) -> str | None:
    """Why a backend cannot step such tensors here; None if it can. levy: whether a group of theirs has Levy noise."""
    why = backend.why_not(device, dtypes)
    if why is None and levy and not backend.draws_levy(device):
        return f"it has no Levy noise on {device.type} devices; native has it for the CPU's tensors, the reference for all"
    return why


def explain_backends(device: torch.device, dtypes: tuple[torch.dtype, ...], levy: bool = False) -> dict[str, str | None]:
    """For each backend why it cannot step such tensors; None if it can."""
    return {backend.name: why_not(backend, device, dtypes, levy) for backend in BACKENDS}


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


def find_named(name: str) -> Backend:
    """The backend of a known name."""
    return next(backend for backend in BACKENDS if backend.name == name)


def find_automatic(device: torch.device, dtypes: tuple[torch.dtype, ...], levy: bool = False) -> Backend:
    """What "auto" takes: the first backend that can step such tensors; those behind it are not asked."""
    able = (one for one in BACKENDS if not one.is_chosen_by_name_only(device) and why_not(one, device, dtypes, levy) is None)
    return next(able)  # the reference can step anything


def warn_of_reference(bucket: Bucket) -> None:
    """Says once that a bucket is stepped slowly, and why."""
    reasons = explain_backends(bucket.device, bucket.dtypes, bucket.levy)
    told = "; ".join(f"{name}: {why}" for name, why in reasons.items() if why is not None)
    # Python shows an equal warning once.
    warnings.warn(f"qlangevin steps with the slow reference backend: {told}", RuntimeWarning, stacklevel=3)


def choose_backend(name: str, bucket: Bucket) -> Backend:
    """The named backend, or for "auto" the first that can step the bucket.

    Raises:
        BackendError: the named backend cannot; no fallback is taken.
    """
    check_backend_name(name)
    check_cpu_path()
    asked = bucket.device, bucket.dtypes, bucket.levy
    chosen = find_automatic(*asked) if name == "auto" else find_named(name)
    if why_not(chosen, *asked) is None:
        if name == "auto" and chosen.name == "reference":
            warn_of_reference(bucket)
        return chosen
    reasons = explain_backends(*asked)
    dtypes = ", ".join(str(dtype).removeprefix("torch.") for dtype in bucket.dtypes)
    usable = ", ".join(key for key, why in reasons.items() if why is None)
    raise BackendError(
        f"backend {name!r} cannot step parameters, gradients, states of {dtypes} on {bucket.device}: {reasons.get(name)}. "
        f"Usable for them: {usable}"
    )


def step_plans(parts: Sequence[tuple[Plan, StepInput]], observes: bool) -> list[Tensor | None]:
    """Steps every plan, whose counters are known to fit; with `observes` returns the statistics of each.

    Ctrl-C leaves either all plans of one backend and device stepped or none.
    """
    found: dict[int, Tensor | None] = {}
    for of_one_kind, step_them in split_plans([plan for plan, _ in parts]):
        stepped = step_them([parts[i] for i in of_one_kind], observes)
        found.update(zip(of_one_kind, stepped, strict=True))
    return [found[i] for i in range(len(parts))]


def split_plans(plans: Sequence[Plan]) -> Iterator[tuple[list[int], Callable[..., list[Tensor | None]]]]:
    """The places of the plans of one kind and device, and what steps them together."""
    together: dict[type, Callable[..., list[Tensor | None]]] = {
        NativePlan: native.step_together,
        CudaPlan: cuda.step_together,
        TritonPlan: triton.step_together,
        ReferencePlan: reference.step_together,
    }
    kinds: dict[tuple[type, torch.device], list[int]] = {}
    for i, plan in enumerate(plans):
        kinds.setdefault((type(plan), plan.bucket.device), []).append(i)
    for (kind, _), places in kinds.items():
        yield places, together[kind]
