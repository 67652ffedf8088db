"""How many instructions each step kernel takes for an element, beside what the memory's bandwidth leaves room for.

``python -m tests.machine.instructions --write`` counts and writes benchmarks/results/instructions; without --write it prints.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from tests.core.cases import RULE_ROWS
from tests.core.kernels import DTYPES, Job, Step, settings

from .binaries import Kernel, load_binaries
from .launch import Launch, Placement
from .layout import Layout, load_layout
from .pipes import INTEGER_PER_BYTE, PIPES, TOTAL_PER_BYTE, pipe_of, resident_warps
from .tools import ROOT
from .warp import Program

ARCHITECTURE = 90
FOLDER = ROOT / "benchmarks" / "results" / "instructions"
TABLE = FOLDER / f"sm_{ARCHITECTURE}.json"
COLUMNS = ("total", *PIPES)
GROUP, COLUMNS_OF_ROW = 8, 256  # elements of a thread, and of a warp, in one turn of the loop
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}

EVERYTHING: dict[str, Any] = {"temperature": 1e-4, "noise": "gaussian", "stochastic_param": True, "stochastic_state": True}
PATHS: dict[str, dict[str, Any]] = {
    "plain": {},
    "noise": {"temperature": 1e-4, "noise": "gaussian"},
    "everything": EVERYTHING,
    "everything, update nearest": EVERYTHING | {"update_rounding": "nearest", "update_resolution": 1024.0},
    "everything, update stochastic": EVERYTHING | {"update_rounding": "stochastic", "update_resolution": 1024.0},
    "everything, gradient stochastic": EVERYTHING | {"grad_rounding": "stochastic", "grad_resolution": 64.0},
}


def own_hypers(rule: str) -> Mapping[str, Any]:
    """Values of a rule's own hyper-parameters: those of its first row in the parity matrix."""
    return next(values for name, values in RULE_ROWS.values() if name == rule)


@dataclass(frozen=True)
class Entry:
    """A row of the table: a kernel, and the storage types of parameter, gradient and states that it steps."""

    kernel: Kernel
    storage: tuple[str, str, str]

    @property
    def title(self) -> str:
        """For people."""
        if not self.kernel.takes_any:
            return self.kernel.title
        return f"{self.kernel.title} {'/'.join(self.storage[: 2 + bool(self.kernel.states)])}"


def list_entries(kernels: Iterable[Kernel]) -> list[Entry]:
    """Kernels of any types are counted for those that another kernel knows: so they can be compared."""
    known = list(kernels)
    entries = []
    for kernel in known:
        types = [one.storage for one in known if one.rule == kernel.rule and not one.takes_any]
        entries += [Entry(kernel, storage) for storage in (types if kernel.takes_any else [kernel.storage])]
    return sorted(entries, key=lambda one: one.title)


@cache
def program_of(kernel: Kernel) -> Program:
    """The kernel, ready to run."""
    return Program(kernel.parse())


def make_job(entry: Entry, rows: int) -> Job:
    """A tensor of whole rows with usual values."""
    generator = torch.Generator().manual_seed(rows)
    types = [DTYPES[name] for name in entry.storage]
    types = [types[0], types[1], *types[2:] * entry.kernel.states]
    values = [torch.randn(rows * COLUMNS_OF_ROW, generator=generator).abs() + 0.1 for _ in types]
    param, grad, *states = [value.to(one) for value, one in zip(values, types, strict=True)]
    return Job(param, grad, states, key=0x123456789ABCDEF)


def count_issued(entry: Entry, layout: Layout, path: str, rows: int) -> Counter[str]:
    """The instructions issued to one warp for some rows, by pipe."""
    rule, program = entry.kernel.rule, program_of(entry.kernel)
    h = settings(lr=1e-3, **PATHS[path], **own_hypers(rule))
    launch = Launch(layout, program)
    launch.run(Step(rule, [h]), [make_job(entry, rows)], Placement())
    found: Counter[str] = Counter()
    for index, times in launch.issued.items():
        found[pipe_of(program.code.instructions[index])] += times
    return found


def count_path(entry: Entry, layout: Layout, path: str) -> list[float]:
    """The instructions for an element of a row in the midst of many: all, and those of each pipe."""
    more, fewer = (count_issued(entry, layout, path, rows) for rows in (4, 3))
    counts = [(more[pipe] - fewer[pipe]) / GROUP for pipe in PIPES]
    return [sum(counts), *counts]


def bytes_of(entry: Entry) -> int:
    """The bytes that a step moves for an element: gradients are read, all else is read and written."""
    param, grad, state = (BYTES[name] for name in entry.storage)
    return 2 * param + grad + 2 * entry.kernel.states * state


def count_entry(entry: Entry) -> dict[str, Any]:
    """What the table says of it."""
    layout = load_layout()
    paths = {path: count_path(entry, layout, path) for path in PATHS}
    return {"bytes": bytes_of(entry), "registers": entry.kernel.resources.registers, "paths": paths}


def count_all(kernels: Iterable[Kernel]) -> dict[str, dict[str, Any]]:
    """The table."""
    torch.set_num_threads(1)
    return {entry.title: count_entry(entry) for entry in list_entries(kernels)}


def write_json(table: Mapping[str, Any]) -> str:
    """One line for each path, so that a change shows where it is."""
    entries = []
    for title, entry in table.items():
        paths = [f"      {json.dumps(path)}: {json.dumps(counts)}" for path, counts in entry["paths"].items()]
        rest = ", ".join(f'"{name}": {entry[name]}' for name in ("bytes", "registers"))
        entries.append(f'    {json.dumps(title)}: {{{rest}, "paths": {{\n' + ",\n".join(paths) + "\n    }}")
    return f'{{\n  "columns": {json.dumps(COLUMNS)},\n  "kernels": {{\n' + ",\n".join(entries) + "\n  }\n}\n"


def read_table(path: Path = TABLE) -> dict[str, dict[str, Any]]:
    """The committed table."""
    found = json.loads(path.read_text())
    assert tuple(found["columns"]) == COLUMNS, "the table has other columns; write it anew"
    kernels: dict[str, dict[str, Any]] = found["kernels"]
    return kernels


def room(byte_count: int) -> tuple[float, float]:
    """The instructions for an element, all and integer ones, that take as long as its bytes."""
    return TOTAL_PER_BYTE * byte_count, INTEGER_PER_BYTE * byte_count


def list_growth(title: str, found: Mapping[str, Any], known: Mapping[str, Any]) -> list[str]:
    """Which counts of a kernel grew over the table's, all instructions or the integer ones, and whether fewer warps fit."""
    grown = []
    for path, counts in found["paths"].items():
        for column in ("total", "integer"):
            old, new = known["paths"][path][COLUMNS.index(column)], counts[COLUMNS.index(column)]
            if new > old:  # eighths: exact
                grown.append(f"{title}, {path}: {column} {old} -> {new}")
    if resident_warps(found["registers"]) < resident_warps(known["registers"]):
        grown.append(f"{title}: fewer warps fit, {known['registers']} -> {found['registers']} registers")
    return grown


def main() -> None:
    from .report import write_report

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"write {FOLDER.relative_to(ROOT)}")
    table = count_all(load_binaries().steps(ARCHITECTURE))
    if not parser.parse_args().write:
        print(write_report(table))
        return
    FOLDER.mkdir(parents=True, exist_ok=True)
    TABLE.write_text(write_json(table))
    (FOLDER / "README.md").write_text(write_report(table))


if __name__ == "__main__":
    main()
