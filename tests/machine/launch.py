"""Steps tensors with an interpreted kernel: what the code that launches kernels does, over made-up memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qlangevin.reference import STATISTICS
from tests.core.kernels import DTYPES, Job, Step, bits_of

from .layout import Layout
from .memory import Memory, Region
from .warp import Program, Warp

BLOCK = 4096  # kNormBlock of csrc/core/norm.h
GUARD = 512  # bytes before and behind each tensor
JUNK = 0xA5
STORAGE_CODES = {DTYPES[name]: code for code, name in enumerate(("float32", "bfloat16", "float16"))}  # of csrc/core/round.h
PARAMETERS = 0x210  # where a kernel's parameters begin in the constant bank of sm_90
PARAMETER_ADDRESS = 0x198  # where the bank says at which address they can be read like memory


@dataclass(frozen=True)
class Placement:
    """Where things are: misalignment of each tensor in elements, rows and gradients in memory or inside the arguments."""

    misalignments: Sequence[int] = (0,)
    rows_in_memory: bool = False
    grads_in_memory: bool = False
    skip: int | None = None
    stores: bool = True  # of an observed step


@dataclass
class Placed:
    """A tensor inside a region."""

    tensor: Tensor
    region: Region
    begin: int

    @property
    def address(self) -> int:
        return self.region.base + self.begin

    def take(self) -> list[str]:
        """Copies the region's values into the tensor; which of the bytes around it were written to."""
        raw = self.region.bytes
        end = self.begin + self.tensor.numel() * self.tensor.element_size()
        if self.tensor.numel():
            bits = bits_of(self.tensor)
            bits.copy_(torch.from_numpy(raw[self.begin : end].copy()).view(bits.dtype))
        outside = np.concatenate([raw[: self.begin], raw[end:]])
        return [] if (outside == JUNK).all() else [f"memory beside {self.region.name} was written"]


@dataclass
class Launch:
    """One launch of a kernel. issued: how often each instruction was issued, over all warps."""

    layout: Layout
    program: Program
    memory: Memory = field(default_factory=Memory)
    issued: Counter[int] = field(default_factory=Counter)
    statistics: Region = field(init=False)

    @property
    def seen(self) -> list[list[float]]:
        """What an observed step says of each task."""
        found: list[list[float]] = self.statistics.bytes.view(np.float64).reshape(-1, len(STATISTICS)).tolist()
        return found

    def place(self, name: str, tensor: Tensor, misalignment: int, writable: bool) -> Placed:
        """A tensor between guards."""
        raw = bits_of(tensor).numpy().tobytes()
        begin = GUARD + misalignment * tensor.element_size()
        contents = bytearray([JUNK]) * (-(-(begin + len(raw) + GUARD) // 16) * 16)
        contents[begin : begin + len(raw)] = raw
        return Placed(tensor, self.memory.add(name, contents, writable), begin)

    def place_all(self, jobs: Sequence[Job], placement: Placement) -> list[list[Placed]]:
        """Parameter, gradient and states of each tensor."""
        shifts = placement.misalignments
        found = []
        for t, job in enumerate(jobs):
            tensors = [("param", job.param), ("gradient", job.grad)]
            tensors += [(f"state {k}", state) for k, state in enumerate(job.states)]
            found.append(
                [
                    self.place(f"{name} of tensor {t}", tensor, shifts[(t + k) % len(shifts)], name != "gradient")
                    for k, (name, tensor) in enumerate(tensors)
                ]
            )
        return found

    def describe(self, job: Job, placed: Sequence[Placed]) -> bytearray:
        """ql::cuda::Tensor."""
        return self.layout.pack(
            "Tensor",
            param=placed[0].address,
            states=[one.address for one in placed[2:]],
            size=job.param.numel(),
            offset=job.offset,
            key=job.key,
            group=job.group,
            noise=int(job.noise),
        )

    def make_rows(self, step: Step, jobs: Sequence[Job], in_memory: bool) -> list[bytes]:
        """A row for each tensor, or for each group, whose tensors then must be at the same step and uncompensated alike."""

        def row(job: Job) -> bytes:
            at = int(job.steps) + 1
            h, multiplier = step.hypers[job.group], step.multipliers[job.group]
            return self.layout.make_row(step.rule, h, multiplier, at, step.chain, job.compensation)

        rows = [row(job) for job in jobs]
        if in_memory:
            return rows
        by_group: dict[int, bytes] = {}
        for job, one in zip(jobs, rows, strict=True):
            assert by_group.setdefault(job.group, one) == one, "the tensors of a group have different rows"
        return [by_group.get(group, bytes(len(rows[0]))) for group in range(len(step.hypers))]

    def make_arguments(self, step: Step, jobs: Sequence[Job], placed: Sequence[Sequence[Placed]], how: Placement) -> bytearray:
        """ql::cuda::Arguments, but for the tasks."""
        rows = b"".join(self.make_rows(step, jobs, how.rows_in_memory))
        self.statistics = self.memory.add("statistics", np.full((count_tasks(jobs), len(STATISTICS)), np.nan).tobytes(), True)
        grads = np.array([one[1].address for one in placed], np.uint64).tobytes()
        tensors = b"".join(bytes(self.describe(job, one)) for job, one in zip(jobs, placed, strict=True))
        inline, values = b"", dict[str, Any]()
        if "Arguments.task_count" in self.layout.fields:
            values["task_count"] = count_tasks(jobs)
        if how.rows_in_memory:
            values["rows"] = self.memory.add("rows", rows).base
        else:
            inline = rows + bytes(-len(rows) % 8)
        if how.grads_in_memory:
            values["grads"] = self.memory.add("gradients' addresses", grads).base
        else:
            values["grads_at"] = len(inline)
            inline += grads
        if how.skip is not None:
            name = "found_inf" if "Arguments.found_inf" in self.layout.fields else "skip"
            number = np.float32(how.skip) if name == "found_inf" else np.int32(how.skip)
            values[name] = self.memory.add(name, number.tobytes()).base
        return self.layout.pack(
            "Arguments",
            types=codes_of(jobs),
            statistics=self.statistics.base,
            tensors=self.memory.add("tensors", tensors).base,
            tasks=self.memory.add("tasks", self.make_tasks(jobs)).base,
            stores=int(how.stores),
            inline_bytes=inline,
            **values,
        )

    def make_tasks(self, jobs: Sequence[Job]) -> bytes:
        """A task for each block that a tensor touches."""
        return b"".join(
            bytes(self.layout.pack("Task", tensor=t, block=block))
            for t, job in enumerate(jobs)
            for block in range(count_blocks(job))
        )

    def run(self, step: Step, jobs: Sequence[Job], how: Placement) -> list[str]:
        """Steps the tensors; what was written that must not be."""
        placed = self.place_all(jobs, how)
        arguments = self.make_arguments(step, jobs, placed, how)
        bank = bytearray(PARAMETERS) + arguments
        at = self.memory.add("arguments", arguments).base
        bank[PARAMETER_ADDRESS : PARAMETER_ADDRESS + 8] = at.to_bytes(8, "little")
        for block in range(count_tasks(jobs)):
            self.issued += Warp(self.program, self.memory, bytes(bank), block).run().issued
        for job in jobs:
            job.steps += int(how.stores)
        return [problem for tensors in placed for k, one in enumerate(tensors) if k != 1 for problem in one.take()]


def codes_of(jobs: Sequence[Job]) -> bytes:
    """The storage types of parameter, gradient and states."""
    tensors = [jobs[0].param, jobs[0].grad, *jobs[0].states[:1]]
    return np.array([STORAGE_CODES[one.dtype] for one in tensors], np.int32).tobytes()


def count_blocks(job: Job) -> int:
    """The tasks of one tensor."""
    size = job.param.numel()
    return (job.offset + size - 1) // BLOCK - job.offset // BLOCK + 1 if size else 0


def count_tasks(jobs: Sequence[Job]) -> int:
    return sum(map(count_blocks, jobs))
