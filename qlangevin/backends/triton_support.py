"""Whether Triton can step the tensors of a device, and why not; Triton is imported only where it may be used."""

from __future__ import annotations

import importlib
import importlib.util
from functools import cache
from types import SimpleNamespace
from typing import Any

import torch

from .device import is_interpreting

OLDEST = (3, 6)
HOW_TO_GET = f"pip install 'triton>={OLDEST[0]}.{OLDEST[1]}'"
OLDEST_CAPABILITY = (8, 0)  # that Triton's NVIDIA backend supports
VENDORS = {"nvidia": "NVIDIA", "amd": "AMD", "intel": "Intel"}
MODULES = ("folds", "launch", "prepare", "squares", "step", "tables")


@cache
def load_kernels() -> Any:
    """The modules of qlangevin.triton_kernels."""
    return SimpleNamespace(**{name: importlib.import_module(f"qlangevin.triton_kernels.{name}") for name in MODULES})


def why_not(device: torch.device) -> str | None:
    """Why Triton cannot run on a device; None if it can."""
    if device.type == "cpu" and not is_interpreting():
        return (
            "Triton's kernels run on GPUs, and on the CPU only in Triton's interpreter, for tests: TRITON_INTERPRET=1 in the "
            "environment before the start"
        )
    if device.type != "cpu" and is_interpreting():
        return "TRITON_INTERPRET=1 makes Triton run on the CPU's memory alone; start without it"
    if (why := why_no_triton() or why_no_kernels()) is not None or device.type == "cpu":
        return why
    return why_no_driver(device)


def why_no_kernels() -> str | None:
    """Why the kernels, as they were imported, are not for the tensors that they would step; None if they are."""
    if load_kernels().launch.is_interpreted(load_kernels().step.step_kernel) == is_interpreting():
        return None
    return "TRITON_INTERPRET was changed after Triton's kernels were imported; set it before the start"  # and they read addresses


@cache
def why_no_triton() -> str | None:
    """Why the Triton kernels cannot be imported; None if they can."""
    if importlib.util.find_spec("triton") is None:
        return f"Triton is not installed; {HOW_TO_GET}"
    version = "of an unknown version"
    try:
        version = importlib.import_module("triton").__version__
        if tuple(int(part) for part in version.split(".")[:2]) < OLDEST:
            return f"Triton {version} is too old; {HOW_TO_GET}"
        load_kernels()
    except Exception as error:  # whatever a broken installation raises
        return f"Triton {version} is installed, but its import failed: {error}"
    return None


@cache
def why_no_driver(device: torch.device) -> str | None:
    """Why the installed Triton has no way to a GPU; None if it has."""
    found: Any = importlib.import_module("triton.backends").backends
    name = ("amd" if torch.version.hip else "nvidia") if device.type == "cuda" else {"xpu": "intel"}.get(device.type, "")
    if name not in found:
        wanted = VENDORS.get(name, device.type)
        return f"the installed Triton has no backend for {wanted} devices, only for: {', '.join(sorted(found))}"
    if not found[name].driver.is_active():
        return f"Triton finds no usable driver for {VENDORS[name]} devices"
    if name == "nvidia" and (capability := torch.cuda.get_device_capability(device)) < OLDEST_CAPABILITY:
        wanted = ".".join(map(str, OLDEST_CAPABILITY))
        return f"Triton needs compute capability {wanted}, and {device} has {'.'.join(map(str, capability))}"
    return None
