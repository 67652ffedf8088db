"""Prints what a fresh process waits for before its first step through Triton, and what an ordinary run makes it compile.

Usage: python -m benchmarks.gpu.first_step
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Sequence
from unittest import mock

import torch

from qlangevin import SGLD
from qlangevin.bench.cases import LR, SR, WARM
from qlangevin.bench.measure import wrap_params

SIZE = 1 << 16
STEPS = 5


@contextlib.contextmanager
def count_compiled() -> Iterator[list[str]]:
    """The names of the kernels that the block makes Triton compile, or read from its cache on disk."""
    from triton import knobs  # noqa: PLC0415  where there is one

    compiled: list[str] = []
    with mock.patch.object(knobs.runtime, "jit_post_compile_hook", lambda **facts: compiled.append(facts["fn"].name)):
        yield compiled


def run(dtypes: Sequence[torch.dtype], device: torch.device, steps: int) -> float:
    """Seconds of the first step of a tensor of each dtype; more steps follow it, each with an lr of its own."""
    values = [torch.ones(SIZE, dtype=dtype, device=device) for dtype in dtypes]
    params = wrap_params((value, torch.ones_like(value)) for value in values)
    torch.cuda.synchronize(device)
    start = time.perf_counter()
    optimizer = SGLD(params, lr=LR, seed=0, backend="triton", **{**WARM, **SR})
    optimizer.step()
    torch.cuda.synchronize(device)
    seconds = time.perf_counter() - start
    for number in range(1, steps):
        optimizer.param_groups[0]["lr"] = LR / (1 + number)
        optimizer.step()
    return seconds


def main() -> None:
    """Prints one line of JSON."""
    device = torch.device("cuda", 0)
    start = time.perf_counter()
    with count_compiled() as compiled:
        seconds = time.perf_counter() - start  # of Triton's import
        seconds += run([torch.bfloat16], device, 1)
        run([torch.bfloat16, torch.float32], device, STEPS)
    print(json.dumps({"seconds": seconds, "compiled": compiled}))


if __name__ == "__main__":
    main()
