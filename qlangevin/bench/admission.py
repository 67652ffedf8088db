"""Which cases may be timed on this machine, and why the others are left out."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from .. import selftest
from ..backends import explain_backends
from .cases import Case, kernel_backend


@dataclass(frozen=True)
class LeftOut:
    """Something that is not timed, and why."""

    what: str
    why: str


@dataclass
class Admission:
    """The cases that may be timed, those that may not, and whether that is an error."""

    cases: list[Case] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    red: bool = False


def describe_error(error: BaseException) -> str:
    """An error's type and first line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def admit(cases: Sequence[Case], device: torch.device) -> Admission:
    """Sorts the cases; the self-test of the backend runs here, before anything is timed."""
    admission = Admission()
    own = [case for case in cases if case.family == "qlangevin"]
    refusal = None
    if own:
        refusal, admission.red = why_no_kernels(device)
        if refusal is not None:
            admission.left_out.append(LeftOut(f"{len(own)} cases of qlangevin", refusal))
    for case in cases:
        if case.needs is not None and importlib.util.find_spec(case.needs.module) is None:
            why = f"not installed: {case.needs.module} (pip install {case.needs.install})"
            admission.left_out.append(LeftOut(case.name, why))
        elif case.family != "qlangevin" or refusal is None:
            admission.cases.append(case)
    return admission


def why_no_kernels(device: torch.device) -> tuple[str | None, bool]:
    """Why this package's kernels are not timed on a device, None if they are; and whether they are wrong there."""
    name = kernel_backend(device)
    if name is None:
        reasons = explain_backends(device, (torch.float32,) * 3)
        told = "; ".join(f"{key}: {why}" for key, why in reasons.items() if why is not None)
        return f"no backend with kernels for {device.type} tensors ({told})", False
    failed = what_fails(name, device)
    return failed, failed is not None


def what_fails(name: str, device: torch.device) -> str | None:
    """What of its self-test a backend fails with tensors on a device; None if nothing."""
    try:
        failed = [case for case, passed in selftest.check_backend(name, device).items() if not passed]
    except Exception as error:  # such as a native module that is older than the package
        failed = [describe_error(error)]
    return f"backend {name} fails its self-test ({'; '.join(failed)}): wrong results are not timed" if failed else None
