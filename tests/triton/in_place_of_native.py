"""A plugin of pytest: the Triton backend, in Triton's interpreter, takes the CPU's tensors in the place of the C++ kernels."""

from __future__ import annotations

from typing import Any

from qlangevin.backends import native, triton

from .interpreted.conftest import patch_once, quiet_numpy

__all__ = ["patch_once", "quiet_numpy"]  # fixtures of every test


def make_plan(self: native.NativeBackend, bucket: Any) -> Any:
    """A plan of the Triton backend."""
    assert triton.TritonBackend().why_not(bucket.device, bucket.dtypes) is None
    return triton.TritonPlan(bucket)


def pytest_configure() -> None:
    """Before any test is collected."""
    native.NativeBackend.make_plan = make_plan  # type: ignore[method-assign]
    native.NativeBackend.counts_on_device = triton.TritonBackend.counts_on_device  # type: ignore[method-assign,assignment]
