"""Bytes, selections, comparisons, predicates, and moves between the register files."""

from __future__ import annotations

from typing import Any

import numpy as np

from .memory import Words
from .opcodes import opcode
from .opcodes_integer import COMPARISONS
from .registers import Action, Bools, choose, expect, modifiers, read, read_predicate, write
from .sass import ZERO_REGISTER, Instruction


@opcode("PRMT", "UPRMT")
def permute_bytes(i: Instruction) -> Action:
    """Four bytes of (c above a); each nibble of b says which, and its top bit to spread that byte's sign instead."""
    modifiers(i)
    destination, a, b, c = expect(i, 4)
    put, low, selector, high = write(i, destination), read(i, a), read(i, b), read(i, c)

    def act(w: Any, mask: Any) -> None:
        whole = low(w).astype(np.uint64) | high(w).astype(np.uint64) << np.uint64(32)
        chosen = selector(w)
        result = np.zeros(1, np.uint32)
        for k in range(4):
            nibble = chosen >> np.uint32(4 * k)
            byte = (whole >> ((nibble & np.uint32(7)).astype(np.uint64) * np.uint64(8))).astype(np.uint32) & np.uint32(0xFF)
            spread = np.where(byte & np.uint32(0x80), np.uint32(0xFF), np.uint32(0))
            result = result | np.where(nibble & np.uint32(8), spread, byte) << np.uint32(8 * k)
        put(w, result, mask)

    return act


@opcode("IDP")
def dot_product(i: Instruction) -> Action:
    """The sum of the products of four unsigned bytes, and an addend."""
    if i.modifiers != ("4A", "U8", "U8"):
        raise i.complain("an unknown dot product")
    destination, a, b, c = expect(i, 4)
    put, x, y, z = write(i, destination), read(i, a), read(i, b), read(i, c)

    def act(w: Any, mask: Any) -> None:
        first, second, total = x(w), y(w), z(w)
        for k in (0, 8, 16, 24):
            total = total + (first >> np.uint32(k) & np.uint32(0xFF)) * (second >> np.uint32(k) & np.uint32(0xFF))
        put(w, total, mask)

    return act


@opcode("SEL", "USEL")
def select(i: Instruction) -> Action:
    modifiers(i)
    destination, a, b, p = expect(i, 4)
    put, first, second, chosen = write(i, destination), read(i, a), read(i, b), read_predicate(i, p)
    return lambda w, mask: put(w, np.where(chosen(w), first(w), second(w)), mask)


@opcode("VIMNMX", "VIMNMX3", "IMNMX", "UIMNMX")
def smaller_or_larger(i: Instruction) -> Action:
    """The smallest of two or three if the predicate holds, else the largest."""
    signed = "U32" not in modifiers(i, "U32", "S32")
    destination, *sources, p = expect(i, 5 if i.opcode == "VIMNMX3" else 4)
    put, smaller, reads = write(i, destination), read_predicate(i, p), [read(i, one) for one in sources]

    def act(w: Any, mask: Any) -> None:
        first, *others = (one(w) for one in reads)
        for second in others:
            less = first.view(np.int32) < second.view(np.int32) if signed else first < second
            first = np.where(less == smaller(w), first, second)
        put(w, first, mask)

    return act


@opcode("VIADDMNMX")
def add_and_compare(i: Instruction) -> Action:
    """The smaller of a + b and c if the predicate holds, else the larger; what a sum of more than 32 bits does is not known."""
    modifiers(i, "S32")
    destination, a, b, c, p = expect(i, 5)
    put, x, y, z, smaller = write(i, destination), read(i, a), read(i, b), read(i, c), read_predicate(i, p)

    def act(w: Any, mask: Any) -> None:
        total = np.broadcast_to(x(w).view(np.int32).astype(np.int64) + y(w).view(np.int32), 32)
        if (np.abs(total if mask is None else total[mask]) >= 1 << 31).any():
            raise i.complain("a sum beyond 32 bits")
        other = z(w).view(np.int32)
        put(w, np.where((total < other) == smaller(w), total, other).astype(np.int32).view(np.uint32), mask)

    return act


def combine_predicates(i: Instruction, found: Bools, other: Bools) -> Bools:
    """How a comparison goes on with another predicate."""
    return found & other if choose(i, "AND", "OR") == "AND" else found | other


@opcode("ISETP", "UISETP")
def compare_integers(i: Instruction) -> Action:
    """.EX: of the upper words of 64 bits; the last predicate is what the lower ones said, and decides where they are equal."""
    kinds = modifiers(i, *COMPARISONS, "U32", "AND", "OR", "EX")
    extended = "EX" in kinds
    destination, none, a, b, p, *lower = expect(i, 6 if extended else 5)
    if none.index != ZERO_REGISTER[none.kind]:
        raise i.complain("the second result of a comparison")
    compare = COMPARISONS[choose(i, *COMPARISONS)]
    put, x, y, other = write(i, destination), read(i, a), read(i, b), read_predicate(i, p)
    below = read_predicate(i, lower[0]) if extended else None
    type_of: Any = np.uint32 if "U32" in kinds else np.int32

    def act(w: Any, mask: Any) -> None:
        first, second = x(w).view(type_of), y(w).view(type_of)
        found = compare(first, second)
        if below is not None:
            found = np.where(first == second, below(w), found)
        put(w, combine_predicates(i, found, other(w)), mask)

    return act


@opcode("PLOP3", "UPLOP3")
def predicate_logic(i: Instruction) -> Action:
    modifiers(i, "LUT")
    first, second, a, b, c, table, other_table = expect(i, 7)
    puts = [(write(i, first), table.value), (write(i, second), other_table.value)]
    sources = [read_predicate(i, one) for one in (a, b, c)]

    def act(w: Any, mask: Any) -> None:
        high, middle, low = (one(w).astype(np.int64) for one in sources)
        which = high << 2 | middle << 1 | low
        for put, bits in puts:
            put(w, (bits >> which & 1).astype(bool), mask)

    return act


@opcode("R2P")
def predicates_of_bits(i: Instruction) -> Action:
    """Sets the predicates that a mask names, each from the bit of its number."""
    modifiers(i)
    _, a, named = expect(i, 3)
    x = read(i, a)

    def act(w: Any, mask: Any) -> None:
        value = x(w)
        for k in range(7):
            if named.value >> k & 1:
                found = (value >> np.uint32(k) & np.uint32(1)).astype(bool)
                w.p[k] = found if mask is None else np.where(mask, found, w.p[k])

    return act


@opcode("MOV", "UMOV")
def move(i: Instruction) -> Action:
    modifiers(i)
    destination, a = expect(i, 2)
    put, x = write(i, destination), read(i, a)
    return lambda w, mask: put(w, x(w), mask)


def active(values: Any, mask: Any) -> Any:
    """The values of the lanes that execute."""
    every = np.broadcast_to(values, 32)
    return every if mask is None else every[mask]


@opcode("R2UR")
def to_uniform(i: Instruction) -> Action:
    """A register whose lanes are equal."""
    modifiers(i)
    destination, a = expect(i, 2)
    put, x = write(i, destination), read(i, a)

    def act(w: Any, mask: Any) -> None:
        values: Words = active(x(w), mask)
        if (values != values[0]).any():
            raise i.complain("lanes that differ")
        put(w, values[:1], mask)

    return act


@opcode("VOTEU", "VOTE")
def vote(i: Instruction) -> Action:
    modifiers(i, "ANY", "ALL")
    destination, p = expect(i, 2)
    put, x = write(i, destination), read_predicate(i, p)
    how = np.any if choose(i, "ANY", "ALL") == "ANY" else np.all
    return lambda w, mask: put(w, np.array([how(active(x(w), mask))]), mask)


@opcode("S2R", "S2UR")
def special_register(i: Instruction) -> Action:
    destination, source = expect(i, 2)
    put, name = write(i, destination), source.text
    if name not in {"SR_TID.X", "SR_CTAID.X", "SR_CTAID.Y"}:
        raise i.complain(f"unknown register {name}")
    return lambda w, mask: put(w, w.special[name], mask)


@opcode("CS2R")
def zeros(i: Instruction) -> Action:
    """Only ever used to clear a pair of registers."""
    width = modifiers(i, "32")
    destination, source = expect(i, 2)
    if source.text != "SRZ":
        raise i.complain("an unknown register")
    nought = np.zeros(1, np.uint32)
    puts = [write(i, destination)]
    if not width:
        puts.append(write(i, type(destination)("R", destination.index + 1)))

    def act(w: Any, mask: Any) -> None:
        for put in puts:
            put(w, nought, mask)

    return act


@opcode("P2R", "UP2UR")
def bits_of_predicates(i: Instruction) -> Action:
    """The predicates that a mask names, each at the bit of its number, among the other bits of a register."""
    modifiers(i)
    destination, _, a, named = expect(i, 4)
    put, x, bits = write(i, destination), read(i, a), np.uint32(named.value)
    is_uniform = i.opcode == "UP2UR"

    def act(w: Any, mask: Any) -> None:
        held = w.up if is_uniform else w.p
        packed = sum((held[k].astype(np.uint32) << np.uint32(k) for k in range(7)), np.zeros(1, np.uint32))
        put(w, x(w) & ~bits | packed & bits, mask)

    return act
