"""What the compiled kernels cost: no count over the committed one, no spills, whole quads to and from memory, no contractions."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import pytest

from .binaries import Binaries
from .instructions import ARCHITECTURE, FOLDER, Entry, count_entry, list_entries, list_growth, read_table
from .report import write_report

MOST_STACK = 128  # bytes
FORBIDDEN = re.compile(r"\b(?:fma\.\S+|\S+\.(?:ftz|approx|full)(?:\.\S+)?)")


@cache
def counted(entry: Entry) -> dict[str, Any]:
    return count_entry(entry)


def test_the_table_is_of_these_kernels(binaries: Binaries) -> None:
    titles = [one.title for one in list_entries(binaries.steps(ARCHITECTURE))]
    assert list(read_table()) == titles, "write the table anew: see benchmarks/results/instructions"


def test_no_kernel_takes_more_instructions_than_the_table_says(binaries: Binaries) -> None:
    table, grown = read_table(), []
    for entry in list_entries(binaries.steps(ARCHITECTURE)):
        if entry.title in table:
            grown += list_growth(entry.title, counted(entry), table[entry.title])
    assert not grown, "\n".join(grown)


def test_the_page_says_what_the_table_says() -> None:
    assert (FOLDER / "README.md").read_text() == write_report(read_table())


def test_no_kernel_has_a_stack(binaries: Binaries) -> None:
    """Spilled registers need one; only those of unusual steps that are observed have it, of 14 numbers a thread at most."""
    usual = [one for one in binaries.kernels if not one.is_seldom]
    found = [one.title for one in usual if one.resources.stack or one.resources.local]
    found += [one.title for one in usual if any(re.search(r"\b(LDL|STL)\b", line) for line in one.lines)]
    assert usual and not found, found
    assert max(one.resources.stack for one in binaries.kernels) <= MOST_STACK


def test_groups_are_moved_as_quads(binaries: Binaries) -> None:
    """Loads and stores of 16 bytes that are not kept in the caches: at least one for each tensor."""
    for kernel in binaries.kernels:
        if kernel.is_step:
            text = "\n".join(kernel.lines)
            loads = len(re.findall(r"LDG\.E\.EF\.128", text))
            stores = len(re.findall(r"STG\.E\.EF\.128", text))
            assert loads >= 2 + kernel.states and stores >= 1 + kernel.states, (kernel.title, kernel.architecture)


def test_nothing_is_contracted_or_approximated(binaries: Binaries) -> None:
    """The PTX says what is asked for; a quotient may be made of fused operations, but not asked for as one."""
    entries = sum(text.count(".entry") for text in binaries.ptx)
    assert entries > 0
    found = {match.group() for text in binaries.ptx for line in text.splitlines() for match in FORBIDDEN.finditer(code_of(line))}
    assert not found, sorted(found)


def code_of(line: str) -> str:
    """A line of PTX without its comment."""
    return line.split("//", maxsplit=1)[0]


@pytest.mark.parametrize("line", ["fma.rn.f32 %f1, %f2, %f3, %f4;", "add.ftz.f32 %f1, %f2, %f3;", "div.full.f32 %f1, %f2, %f3;"])
def test_the_search_finds_what_it_is_for(line: str) -> None:
    assert FORBIDDEN.search(code_of("\t" + line))
    assert not FORBIDDEN.search(code_of("\tadd.rn.f32 %f1, %f2, %f3; // fma.rn.f32"))
