"""Launches without a search: Triton asks at each launch what to compile, which takes longer than the launch.

What a kernel is compiled for is known here by its constants, its device and the types of tensors; nothing else is specialized on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import Tensor
from triton.runtime.jit import JITFunction

compiled_kernels: dict[tuple[Any, ...], Any] = {}


class Call(NamedTuple):
    """A kernel with its arguments, of which the first is a tensor and the last are constants that it is compiled for."""

    kernel: Any
    grid: tuple[int, ...]
    arguments: Sequence[Any]
    constants: Sequence[Any]
    options: dict[str, Any]


def is_interpreted(kernel: Any) -> bool:
    """Whether a kernel runs in Triton's interpreter, on the memory of the CPU."""
    return not isinstance(kernel, JITFunction)


def find_compiled(call: Call) -> Any:
    """The kernel, compiled and loaded on the device of its first argument."""
    dtypes = tuple(one.dtype if isinstance(one, Tensor) else None for one in call.arguments)
    key = call.kernel, call.arguments[0].device, dtypes, *call.constants
    found = compiled_kernels.get(key)
    if found is None:
        found = call.kernel.warmup(*call.arguments, *call.constants, grid=call.grid, **call.options)
        found.run  # noqa: B018  # loads it
        compiled_kernels[key] = found
    return found


def compile_call(call: Call) -> None:
    """Compiles what a call launches, and loads it; nothing runs."""
    if not is_interpreted(call.kernel):
        find_compiled(call)


def launch(call: Call) -> None:
    """Launches on the current stream of the current device; nothing if there are no programs."""
    if 0 in call.grid:
        return
    if is_interpreted(call.kernel):
        call.kernel[call.grid](*call.arguments, *call.constants, **call.options)
    else:
        find_compiled(call)[(*call.grid, 1, 1)[:3]](*call.arguments, *call.constants)
