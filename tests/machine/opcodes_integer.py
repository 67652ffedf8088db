"""Integer sums, products, shifts, logic, selections and comparisons."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .memory import Words
from .opcodes import opcode
from .registers import (
    Action,
    Wide,
    choose,
    expect,
    modifiers,
    read,
    read_addend,
    read_pair,
    read_predicate,
    write,
    write_pair,
)
from .sass import ZERO_REGISTER, Instruction, Operand

LOW = np.uint64(0xFFFFFFFF)
SHIFT = np.uint64(32)
COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "LT": np.less,
    "LE": np.less_equal,
    "GT": np.greater,
    "GE": np.greater_equal,
    "EQ": np.equal,
    "NE": np.not_equal,
}


def is_predicate(operand: Operand) -> bool:
    return operand.kind in {"P", "UP"}


def leading_predicates(operands: tuple[Operand, ...]) -> int:
    count = 0
    while is_predicate(operands[count]):
        count += 1
    return count


def write_carries(i: Instruction, operands: tuple[Operand, ...]) -> Callable[[Any, Wide, Any], None]:
    """The carry of a sum, as the number of carry predicates that are set."""
    puts = [write(i, one) for one in operands]

    def put(w: Any, total: Wide, mask: Any) -> None:
        carry = total >> SHIFT
        if puts and (carry > np.uint64(len(puts))).any():
            raise i.complain("a carry that is not kept")
        for k, one in enumerate(puts):
            one(w, carry > np.uint64(k), mask)

    return put


def add_plainly(put: Any, addends: list[Callable[[Any], Words]]) -> Action:
    """A sum of which nobody wants the carry."""
    first, *others = addends

    def act(w: Any, mask: Any) -> None:
        total = first(w)
        for one in others:
            total = total + one(w)
        put(w, total, mask)

    return act


@opcode("IADD3", "UIADD3", "VIADD")
def add(i: Instruction) -> Action:
    extended = "X" in modifiers(i, "X")
    destination, *rest = i.operands
    outs = leading_predicates(tuple(rest))
    sources = [one for one in rest[outs:] if not is_predicate(one)]
    ins = [one for one in rest[outs:] if is_predicate(one)]
    if len(sources) != (2 if i.opcode == "VIADD" else 3) or len(ins) != (2 if extended else 0):
        raise i.complain("an unknown form of a sum")
    put, carry = write(i, destination), write_carries(i, tuple(rest[:outs]))
    carried = [read_predicate(i, one) for one in ins]
    if not outs and not extended:
        return add_plainly(put, [read(i, one) for one in sources])
    addends = [read_addend(i, one) for one in sources]

    def act(w: Any, mask: Any) -> None:
        total = addends[0](w) + addends[1](w) + addends[2](w)
        for one in carried:
            total = total + one(w)
        put(w, total.astype(np.uint32), mask)
        carry(w, total, mask)

    return act


@opcode("IMAD", "UIMAD")
def multiply_add(i: Instruction) -> Action:
    """a * b + c; most of its names say only why the compiler chose it."""
    kinds = modifiers(i, "MOV", "U32", "IADD", "SHL", "X", "WIDE", "HI")
    if "HI" in kinds:
        return multiply_high(i)
    if "WIDE" in kinds:
        return multiply_wide(i, "U32" not in kinds)
    destination, a, b, c, *carry_in = expect(i, 5) if "X" in kinds else expect(i, 4)
    put, x, y, z = write(i, destination), read(i, a), read(i, b), read(i, c)
    if carry_in:
        carry = read_predicate(i, carry_in[0])
        return lambda w, mask: put(w, x(w) * y(w) + z(w) + carry(w), mask)
    if a.index == ZERO_REGISTER["R"] and a.kind == "R":
        return lambda w, mask: put(w, z(w), mask)
    return lambda w, mask: put(w, x(w) * y(w) + z(w), mask)


def multiply_wide(i: Instruction, signed: bool) -> Action:
    """A 64-bit product of 32-bit numbers, and a 64-bit addend."""
    destination, a, b, c = expect(i, 4)
    put, x, y, z = write_pair(i, destination), read(i, a), read(i, b), read_pair(i, c)
    if signed:
        return lambda w, mask: put(w, extend(x(w)) * extend(y(w)) + z(w), mask)
    return lambda w, mask: put(w, x(w).astype(np.uint64) * y(w).astype(np.uint64) + z(w), mask)


def multiply_high(i: Instruction) -> Action:
    """The upper half of a 64-bit product and a 64-bit addend."""
    destination, a, b, c = expect(i, 4)
    put, x, y, z = write(i, destination), read(i, a), read(i, b), read_pair(i, c)
    widen: Callable[[Words], Wide] = widen_unsigned if "U32" in i.modifiers else extend
    return lambda w, mask: put(w, (widen(x(w)) * widen(y(w)) + z(w) >> SHIFT).astype(np.uint32), mask)


def widen_unsigned(word: Words) -> Wide:
    return word.astype(np.uint64)


@opcode("SGXT", "USGXT")
def extend_bits(i: Instruction) -> Action:
    """The lowest bits of a word, with zeros above them."""
    modifiers(i, "U32")
    destination, a, b = expect(i, 3)
    if i.modifiers != ("U32",) or b.kind != "number":
        raise i.complain("an unknown extension")
    put, x, bits = write(i, destination), read(i, a), np.uint32((1 << b.value) - 1)
    return lambda w, mask: put(w, x(w) & bits, mask)


def extend(word: Words) -> Wide:
    """Sign extension to 64 bits."""
    return word.view(np.int32).astype(np.int64).view(np.uint64)


@opcode("LEA", "ULEA")
def load_effective_address(i: Instruction) -> Action:
    """(a << shift) + b, or with .HI the upper half of that of 64 bits: a below, and c or a's sign above."""
    kinds = modifiers(i, "HI", "X", "SX32")
    destination, *rest = i.operands
    outs = leading_predicates(tuple(rest))
    values = [one for one in rest[outs:] if not is_predicate(one)]
    ins = [one for one in rest[outs:] if is_predicate(one)]
    above = "HI" in kinds and "SX32" not in kinds
    if len(values) != (4 if above else 3) or len(ins) != int("X" in kinds) or values[-1].kind != "number":
        raise i.complain("an unknown form of an address")
    put, carry = write(i, destination), write_carries(i, tuple(rest[:outs]))
    shifted = shifted_part(i, kinds, values)
    b, carried = read_addend(i, values[1]), [read_predicate(i, one) for one in ins]

    def act(w: Any, mask: Any) -> None:
        total = shifted(w) + b(w)
        for one in carried:
            total = total + one(w)
        put(w, total.astype(np.uint32), mask)
        carry(w, total, mask)

    return act


def shifted_part(i: Instruction, kinds: set[str], values: list[Operand]) -> Callable[[Any], Wide]:
    shift = np.uint64(values[-1].value)
    negated = values[0].sign == "-"
    if "HI" not in kinds:
        a = read(i, Operand(values[0].kind, values[0].index, values[0].value))
        whole = np.uint64(1 << 32)
        if negated:  # as in a sum, such that the carry says that nothing was borrowed
            return lambda w: whole - (a(w).astype(np.uint64) << shift & LOW)
        return lambda w: a(w).astype(np.uint64) << shift & LOW
    if negated:
        raise i.complain("a negated upper half")
    a = read(i, values[0])
    if "SX32" in kinds:
        return lambda w: extend(a(w)) << shift >> SHIFT
    c = read(i, values[2])
    return lambda w: (a(w).astype(np.uint64) | c(w).astype(np.uint64) << SHIFT) << shift >> SHIFT


@opcode("SHF", "USHF")
def funnel_shift(i: Instruction) -> Action:
    """The 64 bits (b above a) shifted; .HI takes the upper word. Without .W the shift stops at the width."""
    kinds = modifiers(i, "L", "R", "W", "U32", "S32", "U64", "S64", "HI")
    direction, kind = choose(i, "L", "R"), choose(i, "U32", "S32", "U64", "S64")
    destination, a, shift, b = expect(i, 4)
    low, amount, high, put = read(i, a), read(i, shift), read(i, b), write(i, destination)
    out = SHIFT if "HI" in kinds else np.uint64(0)
    wrap = "W" in kinds
    bits = 32 if "32" in kind else 64
    signed = kind.startswith("S")

    def act(w: Any, mask: Any) -> None:
        count = amount(w).astype(np.uint64)
        count = count & np.uint64(bits - 1) if wrap else np.minimum(count, np.uint64(bits))
        whole = low(w).astype(np.uint64) | high(w).astype(np.uint64) << SHIFT
        far = count >= np.uint64(64)
        near = np.where(far, np.uint64(0), count)
        if direction == "L":
            value = np.where(far, np.uint64(0), whole << near)
        elif signed:
            value = (whole.view(np.int64) >> np.minimum(count, np.uint64(63)).astype(np.int64)).view(np.uint64)
        else:
            value = np.where(far, np.uint64(0), whole >> near)
        put(w, (value >> out).astype(np.uint32), mask)

    return act


@opcode("LOP3", "ULOP3")
def logic(i: Instruction) -> Action:
    """Any function of three bits: the table says what it is for each choice of them. A predicate says whether it is not 0."""
    modifiers(i, "LUT")
    outs = leading_predicates(i.operands)
    destination, a, b, c, table, last = i.operands[outs:]
    if outs > 1 or not is_predicate(last) or last.sign != "!" or last.index != 7:
        raise i.complain("an unknown form of logic")
    put, sources = write(i, destination), [read(i, one) for one in (a, b, c)]
    test = write(i, i.operands[0]) if outs else None
    combine = combination(table.value)

    def act(w: Any, mask: Any) -> None:
        result = combine(sources[0](w), sources[1](w), sources[2](w))
        put(w, result, mask)
        if test is not None:
            test(w, result != 0, mask)

    return act


COMMON_TABLES: dict[int, Callable[[Words, Words, Words], Words]] = {
    0xC0: lambda a, b, c: a & b,
    0x3C: lambda a, b, c: a ^ b,
    0xFC: lambda a, b, c: a | b,
    0x96: lambda a, b, c: a ^ b ^ c,
    0xF8: lambda a, b, c: a | b & c,
}


def combination(table: int) -> Callable[[Words, Words, Words], Words]:
    """The function of a table; the test of the tables compares the common ones with the sum of products."""
    if table in COMMON_TABLES:
        return COMMON_TABLES[table]
    return lambda a, b, c: sum_of_products(table, a, b, c)


def sum_of_products(table: int, a: Words, b: Words, c: Words) -> Words:
    result = (a | b | c) & np.uint32(0)
    for k in range(8):
        if table >> k & 1:
            result = result | (a if k & 4 else ~a) & (b if k & 2 else ~b) & (c if k & 1 else ~c)
    return result


@opcode("POPC")
def count_bits(i: Instruction) -> Action:
    modifiers(i)
    destination, a = expect(i, 2)
    put, x = write(i, destination), read(i, a)
    one = np.uint32(1)
    return lambda w, mask: put(w, sum((x(w) >> np.uint32(k) & one for k in range(1, 32)), x(w) & one), mask)
