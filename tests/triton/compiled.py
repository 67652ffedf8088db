"""Every kernel that a rule and storage types ask for, compiled ahead of time: no GPU is needed."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from qlangevin import reference_rules
from qlangevin.triton_kernels import prepare, step

from ..core.kernels import DTYPES
from ..machine import tools
from ..machine.binaries import Kernel, read_cubin

STORAGE = {dtype: name for name, dtype in DTYPES.items()}
POINTERS = {"chunks": "*i64", "tensors": "*i64", "grads": "*i64", "rows": "*i32", "found_inf": "*fp32"}
PREPARE_POINTERS = POINTERS | {"groups": "*i64", "steps": "*i64", "compensations": "*fp32", "grad_scale": "*fp32"}
PREPARE_POINTERS |= {"grad_squares": "*fp64", "displacement_squares": "*fp64", "ahead": "*fp64", "overrun": "*i32"}


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
class Built:
    """A kernel's code for one architecture."""

    kernel: Kernel
    ptx: str
    layouts: str  # Triton's own form, which says where each value lies
    shared: int


@dataclass(frozen=True)
class Compiled(Built):
    """One step kernel for one architecture."""

    specialization: Specialization


def build(source: ASTSource, options: dict[str, Any], architecture: int) -> Built:
    """Compiles a source; Triton keeps what it made until it changes."""
    os.environ.setdefault("TRITON_CACHE_DIR", str(tools.cache_folder() / "triton"))
    found = triton.compile(source, target=GPUTarget("cuda", architecture, 32), options=options)
    path = tools.cache_folder() / f"triton-{found.hash}.cubin"
    path.write_bytes(found.asm["cubin"])
    (kernel,) = read_cubin(path, architecture)
    return Built(kernel, found.asm["ptx"], found.asm["ttgir"], found.metadata.shared)


@cache
def compile_kernel(specialization: Specialization, architecture: int) -> Compiled:
    """Compiles a step kernel."""
    constants = {"KERNEL": step.specialize(specialization.kernel, specialization.dtypes)}
    source = ASTSource(step.step_kernel, POINTERS | {"KERNEL": "constexpr"}, constants)
    return Compiled(**vars(build(source, step.OPTIONS, architecture)), specialization=specialization)


def compile_prepare(rule: str, architecture: int) -> Built:
    """Compiles the kernel of a rule's scalars."""
    types = PREPARE_POINTERS | dict.fromkeys(("count", *prepare.Request._fields), "i32") | {"RULE": "constexpr"}
    signature = {name: types[name] for name in prepare.prepare_kernel.arg_names}
    return build(ASTSource(prepare.prepare_kernel, signature, {"RULE": rule}), prepare.OPTIONS, architecture)


def compile_all(specializations: Sequence[Specialization], architecture: int) -> list[Compiled]:
    """Several kernels, one after another: Python 3.11's parser, which Triton calls, fails now and then in several threads."""
    return [compile_kernel(one, architecture) for one in specializations]
