"""The native module, where it is built, and why it or its CUDA kernels are not usable."""

from __future__ import annotations

import importlib
from typing import Any

native: Any = None
missing: str | None = None
try:
    native = importlib.import_module("qlangevin._native")
except ImportError as error:
    missing = f"the native module could not be imported ({error}); reinstall with a C++20 compiler, CMake and Ninja"

HOW_TO_GET_CUDA = (
    "for them, put nvcc (CUDA 12.0 or later) on the PATH or name its folder in CUDA_HOME, or install PyPI's nvidia-cuda-nvcc as "
    "README.md says, and install qlangevin again with QLANGEVIN_CUDA=ON in the environment, which tells what is missing"
)


def cuda_architectures() -> tuple[int, ...]:
    """Ten times the compute capabilities that the CUDA kernels are compiled for; none where there are no CUDA kernels."""
    return () if native is None else tuple(native.cuda_architectures)


def explain_cuda(device_index: int) -> str | None:
    """Why the CUDA kernels cannot run on a device and what to do about it; None if they can."""
    if native is None:
        return f"the native module is not installed, and with it there are no CUDA kernels; {HOW_TO_GET_CUDA}"
    if not native.cuda_architectures:
        return (
            "this build has no CUDA kernels: there was no nvcc when it was installed, or QLANGEVIN_CUDA was OFF; "
            f"{HOW_TO_GET_CUDA}"
        )
    why = native.why_no_cuda(device_index)
    return f"CUDA device {device_index} is not usable: {why}" if why else None
