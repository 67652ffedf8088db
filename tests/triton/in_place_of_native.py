"""A plugin of pytest: the Triton backend, in Triton's interpreter, takes the CPU's tensors in the place of the C++ kernels."""

from __future__ import annotations

from typing import Any

import torch

from qlangevin.backends import native
from qlangevin.backends.triton import TritonBackend

from .interpreted.conftest import patch_once, quiet_numpy

__all__ = ["patch_once", "quiet_numpy"]  # fixtures of every test


def pytest_configure() -> None:
    """Before any test is collected."""
    real = native.NativeBackend.make_plan

    def make_plan(self: native.NativeBackend, bucket: Any) -> Any:
        backend = TritonBackend()
        assert backend.why_not(bucket.device, bucket.dtypes) is None
        return backend.make_plan(bucket)

    def counts_on_device(self: native.NativeBackend, device: torch.device) -> bool:
        return TritonBackend().counts_on_device(device)

    assert real is not make_plan
    native.NativeBackend.make_plan = make_plan  # type: ignore[method-assign]
    native.NativeBackend.counts_on_device = counts_on_device  # type: ignore[method-assign]
