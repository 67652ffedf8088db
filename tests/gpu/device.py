"""The device under test: a CUDA device, or the host in its place with QLANGEVIN_GPU_ON_HOST=1; and the backend under test.

QLANGEVIN_GPU_BACKEND=triton tests the Triton backend in place of the native one; with TRITON_INTERPRET=1 the host is its device.
QLANGEVIN_GPU_SMALL=1 makes every test small. QLANGEVIN_GPU_REQUIRED=1, which `tests.gpu.run` sets, turns the skip for want of a
device into an error: a build that failed must not look like a machine without a GPU.
"""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor

from qlangevin.backends import cuda, triton_support
from qlangevin.backends.device import is_interpreting
from qlangevin.native_module import explain_cuda

BACKEND = os.environ.get("QLANGEVIN_GPU_BACKEND", "native")
DOUBLE = os.environ.get("QLANGEVIN_GPU_ON_HOST") == "1"
ON_HOST = DOUBLE or (BACKEND == "triton" and is_interpreting())
SMALL = os.environ.get("QLANGEVIN_GPU_SMALL") == "1"
REQUIRED = os.environ.get("QLANGEVIN_GPU_REQUIRED") == "1"
CPU = torch.device("cpu")
Body = Callable[[], object]


def find_missing() -> str | None:
    """Why there is no device to test; None if there is one."""
    if BACKEND == "triton":
        return triton_support.why_not(CPU if ON_HOST else torch.device("cuda", 0))
    if ON_HOST:
        try:
            cuda.find_module(CPU)
        except ImportError:
            return "the CUDA kernels were not compiled for the host (-DQLANGEVIN_TEST_PATHS=ON)"
        return None
    if not torch.cuda.is_available():
        return "torch finds no CUDA device"
    return explain_cuda(0)


MISSING = find_missing()
if MISSING is not None and REQUIRED:
    raise RuntimeError(f"a GPU is required: {MISSING}")
needs_device = pytest.mark.skipif(MISSING is not None, reason=MISSING or "")
needs_gpu = pytest.mark.skipif(MISSING is not None or ON_HOST, reason=MISSING or "streams, graphs and memory of a GPU are needed")
DEVICE = CPU if ON_HOST or MISSING is not None else torch.device("cuda", 0)
# Under QLANGEVIN_GPU_ON_HOST=1 the native backend of the CPU is what is tested.
ORACLE = "reference" if DOUBLE else "native"


def module() -> Any:
    """The native module whose kernels are tested."""
    return cuda.find_module(DEVICE)


def synchronize() -> None:
    """Waits for the device."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize(DEVICE)


@contextlib.contextmanager
def no_synchronization() -> Iterator[None]:
    """An operation of torch that waits for the device is an error in the block."""
    if DEVICE.type != "cuda":
        yield
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@contextlib.contextmanager
def no_memory() -> Iterator[None]:
    """The device has no memory left to give in the block."""
    if DEVICE.type != "cuda":
        error = torch.OutOfMemoryError("no memory is left")
        with mock.patch.object(torch, "empty", side_effect=error), mock.patch.object(torch, "full_like", side_effect=error):
            yield
        return
    gc.collect()
    synchronize()
    torch.cuda.empty_cache()
    held, total = torch.cuda.memory_reserved(DEVICE), torch.cuda.get_device_properties(DEVICE).total_memory
    torch.cuda.set_per_process_memory_fraction(held / total, DEVICE)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, DEVICE)


def capture(body: Body, params: list[Tensor]) -> Body:
    """Captures what a body launches, without running it; returns what replays it.

    On the host a replay calls the body again, with the gradients that were there when it was captured.
    """
    if DEVICE.type == "cuda":
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            body()
        return graph.replay
    grads = [param.grad for param in params]

    def replay() -> None:
        now = [param.grad for param in params]
        for param, grad in zip(params, grads, strict=True):
            param.grad = grad
        body()
        for param, grad in zip(params, now, strict=True):
            param.grad = grad

    return replay
