"""Every kernel that a rule and storage types ask for, compiled ahead of time: no GPU is needed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from qlangevin import reference_rules
from qlangevin.triton_kernels import step

from ..core.kernels import DTYPES
from ..machine import tools
from ..machine.binaries import Kernel, read_cubin

STORAGE = {dtype: name for name, dtype in DTYPES.items()}
POINTERS = {"chunks": "*i64", "tensors": "*i64", "grads": "*i64", "rows": "*i32", "found_inf": "*fp32"}


@dataclass(frozen=True)
class Specialization:
    """What a kernel is compiled for."""

    kernel: str
    param: torch.dtype
    grad: torch.dtype
    state: torch.dtype

    @property
    def states(self) -> int:
        """How many states its rule has."""
        return len(reference_rules.RULES[self.kernel].states)

    @property
    def dtypes(self) -> tuple[torch.dtype, torch.dtype, torch.dtype]:
        """The storage types of parameters, gradients and states."""
        return self.param, self.grad, self.state

    @property
    def title(self) -> str:
        """For people, as the CUDA kernels are called."""
        return " ".join([self.kernel, "/".join(STORAGE[dtype] for dtype in self.dtypes[: 2 + bool(self.states)])])


def list_specializations() -> list[Specialization]:
    """All that there are."""
    found = []
    for kernel in dict.fromkeys(step.KERNELS.values()):
        states = (torch.float32, torch.bfloat16) if reference_rules.RULES[kernel].states else (torch.float32,)
        found += [Specialization(kernel, *dtypes) for dtypes in product(DTYPES.values(), DTYPES.values(), states)]
    return found


@dataclass(frozen=True)
class Compiled:
    """One kernel for one architecture."""

    specialization: Specialization
    kernel: Kernel
    ptx: str
    layouts: str  # Triton's own form, which says where each value lies
    shared: int


@cache
def compile_kernel(specialization: Specialization, architecture: int) -> Compiled:
    """Compiles a kernel; Triton keeps it until its source changes."""
    os.environ.setdefault("TRITON_CACHE_DIR", str(tools.cache_folder() / "triton"))
    constants = {"KERNEL": step.specialize(specialization.kernel, specialization.dtypes), "STORES": True, "statistics": None}
    source = ASTSource(step.step_kernel, POINTERS | dict.fromkeys(constants, "constexpr"), constants)
    found = triton.compile(source, target=GPUTarget("cuda", architecture, 32), options=step.OPTIONS)
    path = tools.cache_folder() / f"triton-{found.hash}.cubin"
    path.write_bytes(found.asm["cubin"])
    (kernel,) = read_cubin(path, architecture)
    return Compiled(specialization, kernel, found.asm["ptx"], found.asm["ttgir"], found.metadata.shared)


def compile_all(specializations: Sequence[Specialization], architecture: int) -> list[Compiled]:
    """Several kernels, one after another: Python 3.11's parser, which Triton calls, fails now and then in several threads."""
    return [compile_kernel(one, architecture) for one in specializations]
