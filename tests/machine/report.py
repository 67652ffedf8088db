"""The table of instructions for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .instructions import ARCHITECTURE, COLUMNS, room
from .pipes import GIGAHERTZ, INTEGER_LANES, INTEGER_PER_BYTE, LANES, MULTIPROCESSORS, TERABYTES, TOTAL_PER_BYTE, resident_warps

GOALS: dict[tuple[str, str], tuple[int, int | None]] = {
    ("momentum bfloat16/bfloat16/bfloat16", "everything"): (60, 32),
    ("momentum bfloat16/bfloat16/bfloat16", "plain"): (24, None),
}

ISSUED = MULTIPROCESSORS * LANES * GIGAHERTZ / 1000

HEAD = f"""# Instructions for an element

Counted in the machine code of the step kernels for sm_{ARCHITECTURE} by an interpreter that executes it, and whose results equal
the reference's bits (`tests/machine`). No GPU is needed, and nothing here is a time. `python -m tests.machine.instructions
--write` writes this page and `sm_{ARCHITECTURE}.json`; a test fails when a count grows over the file's.

A count is that of one turn of the kernel's loop, in the midst of many, over the 8 elements that each lane has: aligned tensors,
`lr` not 0, no weight decay, no clipping. {MULTIPROCESSORS} multiprocessors of an H200 can issue {LANES} lanes at {GIGAHERTZ} GHz,
{ISSUED:.1f} thousand billion instructions a second, while its memory moves {TERABYTES} TB: {TOTAL_PER_BYTE:.1f}
instructions take as long as a byte; of integer instructions, for which there are {INTEGER_LANES} lanes,
{INTEGER_PER_BYTE:.2f}. A kernel above either is slower than the memory; below, the memory decides if loads overlap with
computing.

- **path**: what is on. *plain*: no noise, all rounded to nearest. *noise*: Gaussian noise. *everything*: that, and all 16-bit
  tensors rounded stochastically; with it, an update or gradient quantizer.
- **total**: all instructions, each of which takes an issue slot; **room**: what the bytes leave room for.
- **integer**: those of the integer pipe (logic, sums, shifts, comparisons and selections, of floats too); **room**: as above.
- **multiply**: integer products (half the rate of floats) and the moves that the compiler makes of them.
- **float**: binary32 sums and products.
- **uniform**: done once for a warp, beside the others, but issued like them.
- **special**: square roots, divisions, conversions. **memory**: loads and stores. **control**: branches.
- **over**: which room is exceeded, and by how much. **goal**: total (and integer) instructions that are aimed at.

Kernels are named by rule and by the storage types of parameter, gradient and states. Those of *any* types learn them from each
launch: they step gradients that are stored otherwise than their parameters and, *observed*, all that statistics are taken of.
They are counted for the types that have kernels of their own. **bytes** are those an element moves, **warps** as many as a
multiprocessor has the registers for. None has a stack, so that none spills.
"""


def describe_over(total: float, integer: float, byte_count: int) -> str:
    """By how much a path exceeds what the bytes leave room for."""
    names = ("total", "integer")
    return ", ".join(
        f"{name} {count / most - 1:+.0%}"
        for name, count, most in zip(names, (total, integer), room(byte_count), strict=True)
        if count > most
    )


def describe_goal(title: str, path: str) -> str:
    total, integer = GOALS.get((title, path), (None, None))
    return "" if total is None else f"{total}" if integer is None else f"{total} ({integer})"


def write_path(title: str, path: str, counts: list[float], byte_count: int) -> str:
    """One row of a kernel's table."""
    found = dict(zip(COLUMNS, counts, strict=True))
    all_room, integer_room = room(byte_count)
    cells = [path, f"{found['total']:.1f}", f"{all_room:.0f}", f"{found['integer']:.1f}", f"{integer_room:.1f}"]
    cells += [f"{found[name]:.1f}" for name in COLUMNS[2:]]
    cells += [describe_over(found["total"], found["integer"], byte_count), describe_goal(title, path)]
    return f"| {' | '.join(cells)} |"


def write_kernel(title: str, entry: Mapping[str, Any]) -> str:
    """The table of one kernel."""
    head = ["path", "total", "room", "integer", "room", *COLUMNS[2:], "over", "goal"]
    lines = [
        f"## {title}",
        "",
        f"{entry['bytes']} bytes, {entry['registers']} registers, {resident_warps(entry['registers'])} warps.",
        "",
    ]
    lines += [f"| {' | '.join(head)} |", f"|---|{'---:|' * (len(head) - 3)}---|---|"]
    lines += [write_path(title, path, counts, entry["bytes"]) for path, counts in entry["paths"].items()]
    return "\n".join(lines) + "\n"


def write_report(table: Mapping[str, Mapping[str, Any]]) -> str:
    """The whole page."""
    return "\n".join([HEAD, *(write_kernel(title, entry) for title, entry in table.items())])
