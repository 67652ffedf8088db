"""The compiled kernel's machine code, executed by the interpreter of tests/machine over the tables that a backend makes.

``python -m tests.triton.machine --write`` counts instructions and writes benchmarks/results/instructions; else it prints.
"""

from __future__ import annotations

import argparse
import struct
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qlangevin.reference import STATISTICS
from qlangevin.triton_kernels.squares import Shape
from qlangevin.triton_kernels.step import Tables
from qlangevin.triton_kernels.tables import FIRST_STATE

from ..core.kernels import Job, Step, settings
from ..machine.instructions import COLUMNS, FOLDER, GROUP, PATHS, TABLE, own_hypers, read_table, write_json
from ..machine.launch import PARAMETERS, Launch, Placed
from ..machine.memory import Memory, Region
from ..machine.pipes import PIPES, pipe_of, resident_warps
from ..machine.warp import Program, Warp
from .compiled import Binary, Compiled, Specialization, compile_all, list_specializations
from .launching import make_tables

ARCHITECTURE = 90
OWN_TABLE, PAGE = FOLDER / f"triton_sm_{ARCHITECTURE}.json", FOLDER / "triton.md"
ROW, CHUNK = 256, 4096
BYTES = {torch.float32: 4, torch.bfloat16: 2, torch.float16: 2}
GOAL = 1.3  # times the instructions of the CUDA kernel


@cache
def program_of(compiled: Binary) -> Program:
    return Program(compiled.kernel.parse())


@dataclass
class TritonLaunch:
    """One launch. issued: how often each instruction was issued, over all programs."""

    program: Program
    memory: Memory = field(default_factory=Memory)
    issued: Counter[int] = field(default_factory=Counter)

    def place(self, jobs: Sequence[Job], shifts: Sequence[int]) -> list[list[Placed]]:
        """Parameter, gradient and states of each tensor between guards, `shifts` elements beside 16 bytes."""
        place = Launch.place  # of the other kernels' launches: it asks for the memory alone
        found = []
        for t, job in enumerate(jobs):
            tensors = [("param", job.param), ("gradient", job.grad), *((f"state {k}", one) for k, one in enumerate(job.states))]
            found.append(
                [
                    place(self, f"{name} of tensor {t}", one, shifts[(t + k) % len(shifts)], name != "gradient")  # type: ignore[arg-type]
                    for k, (name, one) in enumerate(tensors)
                ]
            )
        return found

    def add(self, name: str, table: Tensor) -> bytes:
        """A table in memory; its address as the kernel takes it."""
        return address_of(self.memory.add(name, table.numpy().tobytes()))

    def arrange(
        self, step: Step, jobs: Sequence[Job], shifts: Sequence[int], found_inf: float = 0.0
    ) -> tuple[list[list[Placed]], Tables]:
        """The tensors in memory, and tables that point to them."""
        placed = self.place(jobs, shifts)
        made = make_tables(step, jobs, found_inf)
        for i, one in enumerate(placed):
            made.tensors[i, 0], made.grads[i] = one[0].address, one[1].address
            for k, state in enumerate(one[2:]):
                made.tensors[i, FIRST_STATE.value + k] = state.address
        return placed, made

    def run(self, step: Step, jobs: Sequence[Job], shifts: Sequence[int] = (0,), found_inf: float = 0.0) -> list[str]:
        """Steps the tensors; what was written that must not be."""
        placed, made = self.arrange(step, jobs, shifts, found_inf)
        self.start(self.add_all(made), made.chunks.shape[0])
        for job in jobs:
            job.steps += 1
        return take(placed)

    def watch(self, step: Step, jobs: Sequence[Job], shifts: Sequence[int] = (0,)) -> tuple[list[str], Tensor]:
        """As run() does, with a kernel that sees; the statistics of each chunk besides."""
        placed, made = self.arrange(step, jobs, shifts)
        region = self.add_numbers("statistics", made.chunks.shape[0] * len(STATISTICS))
        self.start(self.add_all(made) + address_of(region), made.chunks.shape[0])
        return take(placed), numbers_of(region).view(-1, len(STATISTICS))

    def square(self, jobs: Sequence[Job], shifts: Sequence[int] = (0,)) -> Tensor:
        """The sums of squares of each chunk's gradient."""
        _, made = self.arrange(Step("plain", [settings()] * 2, (1.0, 1.0)), jobs, shifts)
        region = self.add_numbers("sums", made.chunks.shape[0])
        self.start(self.add_all(made[:3]) + address_of(region), made.chunks.shape[0])
        return numbers_of(region)[: made.chunks.shape[0], None]

    def fold(self, values: Tensor, folds: Tensor | int, sums: int, shape: Shape, found_inf: float = 0.0) -> Tensor:
        """`sums` numbers, of which those are NaN that no fold makes."""
        listed = isinstance(folds, Tensor)
        number, count = (folds.shape[0], 0) if isinstance(folds, Tensor) else (-(-folds // CHUNK), folds)
        table = folds if isinstance(folds, Tensor) else torch.zeros((1, 3), dtype=torch.int64)
        region = self.add_numbers("sums", sums)
        tables = [address_of(region), self.add("folds", table), self.add("found_inf", torch.tensor([found_inf]))]
        arguments = struct.pack("<5i4x", listed, count, *shape)
        self.start(b"".join([self.add("values", values), *tables, arguments]), number, shape.width)
        return numbers_of(region)[:sums]

    def add_all(self, tables: Sequence[Tensor]) -> bytes:
        """Several tables in memory; their addresses."""
        return b"".join(self.add(f"table {i}", table) for i, table in enumerate(tables))

    def add_numbers(self, name: str, count: int) -> Region:
        """Memory for numbers, NaN at first."""
        return self.memory.add(name, np.full(count, np.nan).tobytes(), True)

    def start(self, arguments: bytes, programs: int, width: int = 1) -> None:
        """Runs the kernel's programs, given what it is handed."""
        bank = bytes(PARAMETERS) + arguments + bytes(16)  # Triton's own scratch memory, of which no kernel here has any
        for program, second in product(range(programs), range(width)):
            self.issued += Warp(self.program, self.memory, bank, program, second).run().issued


def address_of(region: Region) -> bytes:
    """An address as a kernel takes it."""
    return int(region.base).to_bytes(8, "little")


def numbers_of(region: Region) -> Tensor:
    """The numbers that lie in memory."""
    return torch.from_numpy(region.bytes.copy()).view(torch.float64)


def take(placed: Sequence[Sequence[Placed]]) -> list[str]:
    """Copies parameters and states back; what was written beside them."""
    return [problem for tensors in placed for k, one in enumerate(tensors) if k != 1 for problem in one.take()]


def count_issued(compiled: Compiled, path: str, rows: int) -> Counter[str]:
    """The instructions issued to one program for some rows, by pipe."""
    one, program = compiled.specialization, program_of(compiled)
    generator = torch.Generator().manual_seed(rows)
    types = [one.param, one.grad, *[one.state] * one.states]
    param, grad, *states = [(torch.randn(rows * ROW, generator=generator).abs() + 0.1).to(dtype) for dtype in types]
    launch = TritonLaunch(program)
    h = settings(lr=1e-3, **PATHS[path], **own_hypers(one.kernel))
    launch.run(Step(one.kernel, [h]), [Job(param, grad, states, key=0x123456789ABCDEF)])
    found: Counter[str] = Counter()
    for index, times in launch.issued.items():
        found[pipe_of(program.code.instructions[index])] += times
    return found


def count_kernel(compiled: Compiled) -> dict[str, Any]:
    """The table's entry of one kernel: instructions for an element of a row in the midst of many."""
    paths = {}
    for path in PATHS:
        more, fewer = (count_issued(compiled, path, rows) for rows in (4, 3))
        counts = [(more[pipe] - fewer[pipe]) / GROUP for pipe in PIPES]
        paths[path] = [sum(counts), *counts]
    one = compiled.specialization
    moved = 2 * BYTES[one.param] + BYTES[one.grad] + 2 * one.states * BYTES[one.state]
    return {"bytes": moved, "registers": compiled.kernel.resources.registers, "paths": paths}


def list_counted() -> list[Specialization]:
    """The kernels that the table is of: gradients have their parameter's type, as they nearly always do."""
    return [one for one in list_specializations() if one.grad == one.param]


def count_all(specializations: Sequence[Specialization]) -> dict[str, dict[str, Any]]:
    """The table."""
    torch.set_num_threads(1)
    found = {one.specialization.title: count_kernel(one) for one in compile_all(specializations, ARCHITECTURE)}
    return dict(sorted(found.items()))


HEAD = f"""# Instructions for an element: the Triton kernel

Counted as those of the CUDA kernels beside (README.md), in the machine code that Triton makes for sm_{ARCHITECTURE}, for a row
that lies on 16 bytes; nothing here is a time. `python -m tests.triton.machine --write` writes this page and
`triton_sm_{ARCHITECTURE}.json`; a test fails when a count, all or integer, grows over the file's. In parentheses: how many times
those of the CUDA kernel that is compiled for the same types, if there is one; {GOAL} is aimed at, and **over** says where it is
exceeded. **warps**: as many as a multiprocessor has the registers for.

| kernel | registers | warps | {" | ".join(PATHS)} |
|---|---:|---:|{"---:|" * len(PATHS)}
"""


def compare(total: float, other: Mapping[str, Any], path: str) -> str:
    """How many times the other kernel's."""
    cuda = other["paths"][path][COLUMNS.index("total")]
    return f" ({total / cuda:.2f}{' **over**' if total > GOAL * cuda else ''})"


def write_page(table: Mapping[str, Mapping[str, Any]]) -> str:
    """The table for people."""
    other, lines = read_table(TABLE), []
    for title, entry in table.items():
        cells = [title, str(entry["registers"]), str(resident_warps(entry["registers"]))]
        for path, counts in entry["paths"].items():
            cells.append(f"{counts[0]:.1f}{compare(counts[0], other[title], path) if title in other else ''}")
        lines.append(f"| {' | '.join(cells)} |")
    return HEAD + "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/instructions")
    writes = parser.parse_args().write
    with np.errstate(all="ignore"):
        table = count_all(list_counted())
    if writes:
        OWN_TABLE.write_text(write_json(table))
        PAGE.write_text(write_page(table))
    else:
        print(write_page(table))


if __name__ == "__main__":
    main()
