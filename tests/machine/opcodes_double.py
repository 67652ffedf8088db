"""binary64: sums, products, comparisons and conversions. numpy's are IEEE-754's, rounded to nearest even: as the GPU's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .opcodes import opcode
from .opcodes_float import COMPARISONS, pattern
from .opcodes_select import combine_predicates
from .registers import (
    Action,
    Wide,
    choose,
    expect,
    modifiers,
    raw,
    read,
    read_float,
    read_pair,
    read_predicate,
    write,
    write_pair,
)
from .sass import ZERO_REGISTER, Instruction, Operand

Doubles = NDArray[np.float64]
SIGN, MAGNITUDE = np.uint64(1 << 63), np.uint64((1 << 63) - 1)
HALVES = {"": 0, ".H0": 0, ".H1": 16}  # where half of a register begins


def read_double(i: Instruction, operand: Operand) -> Callable[[Any], Doubles]:
    """A binary64 operand in two registers."""
    if operand.sign == "~":
        raise i.complain("the complement of a float")
    bits = read_pair(i, replace(operand, sign="", absolute=False))
    keep = MAGNITUDE if operand.absolute else MAGNITUDE | SIGN
    flip = SIGN if operand.sign == "-" else np.uint64(0)
    return lambda w: ((bits(w) & keep) ^ flip).view(np.float64)


def bits_of(value: Doubles) -> Wide:
    return np.ascontiguousarray(value, np.float64).view(np.uint64)


@opcode("DADD", "DMUL")
def add_or_multiply(i: Instruction) -> Action:
    modifiers(i)
    destination, a, b = expect(i, 3)
    put, x, y = write_pair(i, destination), read_double(i, a), read_double(i, b)
    if i.opcode == "DADD":
        return lambda w, mask: put(w, bits_of(x(w) + y(w)), mask)
    return lambda w, mask: put(w, bits_of(x(w) * y(w)), mask)


@opcode("DSETP")
def compare_doubles(i: Instruction) -> Action:
    modifiers(i, *COMPARISONS, "AND", "OR")
    destination, none, a, b, p = expect(i, 5)
    if none.index != ZERO_REGISTER[none.kind]:
        raise i.complain("the second result of a comparison")
    compare = COMPARISONS[choose(i, *COMPARISONS)]
    put, x, y, other = write(i, destination), read_double(i, a), read_double(i, b), read_predicate(i, p)
    return lambda w, mask: put(w, combine_predicates(i, compare(x(w), y(w)), other(w)), mask)


@opcode("F2F")
def convert(i: Instruction) -> Action:
    """To binary64 from binary32 or half of a register, which is exact; from it to binary32."""
    if i.modifiers not in (("F64", "F32"), ("F64", "F16"), ("F32", "F64")):
        raise i.complain("an unknown conversion")
    destination, source = expect(i, 2)
    if i.modifiers == ("F32", "F64"):
        put, wide = write(i, destination), read_double(i, source)
        return lambda w, mask: put(w, pattern(wide(w).astype(np.float32)), mask)
    put_wide = write_pair(i, destination)
    if i.modifiers == ("F64", "F32"):
        narrow = read_float(i, source)
        return lambda w, mask: put_wide(w, bits_of(narrow(w).astype(np.float64)), mask)
    if source.text not in HALVES or source.sign or source.absolute:
        raise i.complain("an unknown half")
    bits, shift = raw(i, replace(source, text="")), np.uint32(HALVES[source.text])

    def widen(w: Any, mask: Any) -> None:
        half = (bits(w) >> shift & np.uint32(0xFFFF)).astype(np.uint16).view(np.float16)
        put_wide(w, bits_of(half.astype(np.float64)), mask)

    return widen


@opcode("I2F")
def convert_integer(i: Instruction) -> Action:
    if i.modifiers != ("F64",):
        raise i.complain("an unknown conversion")
    destination, source = expect(i, 2)
    put, x = write_pair(i, destination), read(i, source)
    return lambda w, mask: put(w, bits_of(x(w).view(np.int32).astype(np.float64)), mask)
