"""Memory: what is free, what a list of tensors needs, and by how much a step's peak exceeds what it starts with."""

from __future__ import annotations

import ctypes
import gc
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from .admission import LeftOut
from .cases import Case
from .shapes import Shape

# Of what is free now: other processes grow too, and a machine that swaps is worse than a missing figure.
USABLE_SHARE = 0.85
MB = 1e6


def available_bytes(device: torch.device) -> int | None:
    """Bytes that can be allocated without swapping; None where the system does not say."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    free = read_kib(Path("/proc/meminfo"), "MemAvailable")
    limits = [] if free is None else [free]
    try:  # a container's own limit
        limit, used = (Path(f"/sys/fs/cgroup/memory.{name}").read_text().strip() for name in ("max", "current"))
        limits += [] if limit == "max" else [max(0, int(limit) - int(used))]
    except (OSError, ValueError):
        pass
    return min(limits, default=None)


def read_kib(path: Path, name: str) -> int | None:
    """The bytes of a line "name: N kB" of a file under /proc; None if there is no such line."""
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith(f"{name}:")]
    return int(found[0]) * 1024 if found else None


def fit(
    cases: Sequence[Case], state_bytes: Mapping[str, float], shapes: Sequence[Shape], device: torch.device, beside: int
) -> tuple[list[Case], list[LeftOut]]:
    """The cases whose tensors fit into the free memory together, and those that do not.

    Args:
        cases: in the order in which memory is given to them.
        state_bytes: for each case's name the bytes of states for one element.
        shapes: the list of tensors.
        device: where they will be.
        beside: bytes needed whatever the cases.
    """
    available = available_bytes(device)
    if available is None:
        return list(cases), []
    limit = USABLE_SHARE * available
    elements, largest = sum(map(math.prod, shapes)), max(map(math.prod, shapes))
    used = beside + 8.0 * largest  # temporaries of an eager loop
    dtypes: set[torch.dtype] = set()
    kept, left_out = [], []
    for case in cases:
        shared = 0 if case.dtype in dtypes else 2 * case.dtype.itemsize  # parameter and gradient, once for each dtype
        needed = elements * (state_bytes[case.name] + shared)
        if used + needed > limit:
            why = f"needs {needed / MB:,.0f} MB beside {used / MB:,.0f} MB for the rest; {limit / MB:,.0f} MB may be used"
            left_out.append(LeftOut(case.name, f"too little memory: {why}"))
            continue
        used += needed
        dtypes.add(case.dtype)
        kept.append(case)
    return kept, left_out


def measure_growth(step: Callable[[], object], device: torch.device) -> float | None:
    """MB by which the peak of allocated memory grows in a step; None where the system does not let us measure it."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        step()
        torch.cuda.synchronize(device)
        return (torch.cuda.max_memory_allocated(device) - before) / MB
    return_freed_memory()
    status = Path("/proc/self/status")
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the peak becomes the present size: proc(5)
    except OSError:
        return None
    resident, peak = read_kib(status, "VmRSS"), read_kib(status, "VmHWM")
    if resident is None or peak is None or peak - resident > MB:  # it was not reset: some sandboxes only pretend
        return None
    step()
    after = read_kib(status, "VmHWM")
    return None if after is None else max(0, after - resident) / MB


def return_freed_memory() -> None:
    """Gives the allocator's free pages back, so that a temporary in them counts; only glibc keeps so many."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
