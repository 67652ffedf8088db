"""Every kernel that a rule and storage types ask for, compiled ahead of time: no GPU is needed."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

from qlangevin import reference_rules
from qlangevin.triton_kernels import prepare, squares, step

from ..core.cases import FULL
from ..core.kernels import DTYPES
from ..machine import tools
from ..machine.binaries import Kernel, read_cubin

FEW = 4  # kernels are compiled sooner than a process is started
STORAGE = {dtype: name for name, dtype in DTYPES.items()}
POINTERS = {"chunks": "*i64", "tensors": "*i64", "grads": "*i64", "rows": "*i32", "found_inf": "*fp32"}
PREPARE = POINTERS | {"groups": "*i64", "steps": "*i64", "compensations": "*fp32", "grad_scale": "*fp32"}
PREPARE |= {"grad_squares": "*fp64", "displacement_squares": "*fp64", "ahead": "*fp64", "overrun": "*i32"}
PREPARE |= dict.fromkeys(("count", *prepare.Request._fields), "i32")
FOLD = {"values": "*fp64", "sums": "*fp64", "folds": "*i64", "found_inf": "*fp32"}
FOLD |= dict.fromkeys(("listed", "count", "width", "value_stride", "sum_stride"), "i32")


@dataclass(frozen=True)
class Specialization:
    """What a kernel is compiled for."""

    kernel: str
    param: torch.dtype
    grad: torch.dtype
    state: torch.dtype
    sees: str = ""  # "observed", or "ahead": nothing is stored

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
        storage = "/".join(STORAGE[dtype] for dtype in self.dtypes[: 2 + bool(self.states)])
        return " ".join([self.kernel, storage, *([self.sees] if self.sees else [])])


def list_specializations(sees: str = "") -> list[Specialization]:
    """All that there are."""
    found = []
    for kernel in dict.fromkeys(step.KERNELS.values()):
        states = (torch.float32, torch.bfloat16) if reference_rules.RULES[kernel].states else (torch.float32,)
        found += [Specialization(kernel, *dtypes, sees) for dtypes in product(DTYPES.values(), DTYPES.values(), states)]
    return found


def take_specializations(sees: str = "") -> list[Specialization]:
    """What every test run compiles: all whose gradients have their parameter's type, and a fifth of the others."""
    every = list_specializations(sees)
    usual, others = [one for one in every if one.grad == one.param], [one for one in every if one.grad != one.param]
    return every if FULL else usual + others[::5]


@dataclass(frozen=True)
class Binary:
    """One kernel for one architecture."""

    title: str
    kernel: Kernel
    ptx: str
    layouts: str  # Triton's own form, which says where each value lies
    shared: int


@dataclass(frozen=True)
class Compiled(Binary):
    """One kernel that steps."""

    specialization: Specialization


def compile_source(kernel: JITFunction[Any], types: Mapping[str, str], constants: Mapping[str, Any], architecture: int) -> Binary:
    """Compiles a kernel; Triton keeps it until its source changes."""
    os.environ.setdefault("TRITON_CACHE_DIR", str(tools.cache_folder() / "triton"))
    source = ASTSource(kernel, dict(types) | dict.fromkeys(constants, "constexpr"), dict(constants))
    found = triton.compile(source, target=GPUTarget("cuda", architecture, 32), options=step.OPTIONS)
    path = tools.cache_folder() / f"triton-{found.hash}.cubin"
    path.write_bytes(found.asm["cubin"])
    (binary,) = read_cubin(path, architecture)
    return Binary(kernel.__name__, binary, found.asm["ptx"], found.asm["ttgir"], found.metadata.shared)


@cache
def compile_kernel(specialization: Specialization, architecture: int) -> Compiled:
    """Compiles a kernel that steps."""
    one = specialization
    constants = {"KERNEL": step.specialize(one.kernel, one.dtypes), "STORES": one.sees != "ahead"}
    types = POINTERS | ({"statistics": "*fp64"} if one.sees else {})
    found = compile_source(step.step_kernel, types, constants | ({} if one.sees else {"statistics": None}), architecture)
    return Compiled(one.title, found.kernel, found.ptx, found.layouts, found.shared, one)


@cache
def compile_squares(grad: torch.dtype, architecture: int) -> Binary:
    """Compiles the sums of squares of gradients."""
    types = {name: POINTERS[name] for name in ("chunks", "tensors", "grads")} | {"sums": "*fp64"}
    found = compile_source(squares.squares_kernel, types, {"GRAD": step.STORAGES[grad]}, architecture)
    return replace(found, title=f"squares {STORAGE[grad]}")


@cache
def compile_fold(architecture: int) -> Binary:
    """Compiles the kernel of which there is one."""
    return compile_source(squares.fold_kernel, FOLD, {}, architecture)


@cache
def compile_prepare(rule: str, architecture: int) -> Binary:
    """Compiles the kernel of a rule's scalars."""
    types = {name: PREPARE[name] for name in prepare.prepare_kernel.arg_names if name != "RULE"}
    return replace(compile_source(prepare.prepare_kernel, types, {"RULE": rule}, architecture), title=f"prepare {rule}")


def compile_all(specializations: Sequence[Specialization], architecture: int) -> list[Compiled]:
    """Several kernels, by as many processes as there are cores: in threads Python 3.11's parser, which Triton calls, fails."""
    parts = min(os.cpu_count() or 1, len(specializations) // FEW)
    if parts > 1:
        context = multiprocessing.get_context("spawn")
        with context.Pool(parts) as pool:  # what they compile, this process finds in Triton's cache
            pool.starmap(fill_cache, [(specializations[i::parts], architecture) for i in range(parts)])
    return [compile_kernel(one, architecture) for one in specializations]


def fill_cache(specializations: Sequence[Specialization], architecture: int) -> None:
    """Compiles kernels for another process."""
    for one in specializations:
        compile_kernel(one, architecture)
