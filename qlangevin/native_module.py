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


def why_no_cuda(index: int) -> str | None:
    """Why the CUDA kernels cannot run on a device; None if they can."""
    if native is None:
        return missing
    if not hasattr(native, "CudaPlan"):
        return "it was built without CUDA kernels; install nvcc (PyPI's nvidia-cuda-nvcc has one) and reinstall"
    return native.why_no_cuda(index) or None
