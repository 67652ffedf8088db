"""binary32 sums, products and comparisons. numpy's are IEEE-754's, with subnormals, rounded to nearest even: as the GPU's."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import numpy as np

from .memory import Words
from .opcodes import opcode
from .opcodes_select import combine_predicates
from .registers import (
    CANONICAL_NAN,
    Action,
    Bools,
    Floats,
    choose,
    expect,
    modifiers,
    read_float,
    read_predicate,
    write,
)
from .sass import ZERO_REGISTER, Instruction, Operand

ORDERED: dict[str, Callable[[Any, Any], Any]] = {
    "LT": np.less,
    "LE": np.less_equal,
    "GT": np.greater,
    "GE": np.greater_equal,
    "EQ": np.equal,
    "NE": lambda a, b: (a < b) | (a > b),
    "NUM": lambda a, b: ~(np.isnan(a) | np.isnan(b)),
}
# The opposite of a comparison that fails for NaN holds for NaN.
UNORDERED: dict[str, Callable[[Any, Any], Any]] = {
    "LTU": lambda a, b: ~(a >= b),
    "LEU": lambda a, b: ~(a > b),
    "GTU": lambda a, b: ~(a <= b),
    "GEU": lambda a, b: ~(a < b),
    "EQU": lambda a, b: ~((a < b) | (a > b)),
    "NEU": lambda a, b: a != b,
    "NAN": lambda a, b: np.isnan(a) | np.isnan(b),
}
COMPARISONS = ORDERED | UNORDERED


def pattern(value: Floats) -> Words:
    """The bits of a result; a NaN loses its sign and payload."""
    bits = value.view(np.uint32)
    nan = np.isnan(value)
    return np.where(nan, CANONICAL_NAN, bits) if nan.any() else bits


@opcode("FADD", "FMUL")
def add_or_multiply(i: Instruction) -> Action:
    """No modifier is known, so that .FTZ or a rounding mode is an error."""
    modifiers(i)
    destination, a, b = expect(i, 3)
    put, x, y = write(i, destination), read_float(i, a), read_float(i, b)
    if i.opcode == "FADD":
        return lambda w, mask: put(w, pattern(x(w) + y(w)), mask)
    return lambda w, mask: put(w, pattern(x(w) * y(w)), mask)


def comparison(i: Instruction, a: Operand, b: Operand, p: Operand) -> Callable[[Any], Bools]:
    compare = COMPARISONS[choose(i, *COMPARISONS)]
    x, y, other = read_float(i, a), read_float(i, b), read_predicate(i, p)
    return lambda w: combine_predicates(i, compare(x(w), y(w)), other(w))


@opcode("FSETP")
def compare_floats(i: Instruction) -> Action:
    modifiers(i, *COMPARISONS, "AND", "OR")
    destination, none, a, b, p = expect(i, 5)
    if none.index != ZERO_REGISTER[none.kind]:
        raise i.complain("the second result of a comparison")
    put, found = write(i, destination), comparison(i, a, b, p)
    return lambda w, mask: put(w, found(w), mask)


@opcode("FSET")
def float_of_comparison(i: Instruction) -> Action:
    """1.0 or 0.0."""
    if "BF" not in modifiers(i, *COMPARISONS, "AND", "OR", "BF"):
        raise i.complain("an unknown result")
    destination, a, b, p = expect(i, 4)
    put, found = write(i, destination), comparison(i, a, b, p)
    one, nought = np.uint32(0x3F800000), np.uint32(0)
    return lambda w, mask: put(w, np.where(found(w), one, nought), mask)


@opcode("HFMA2")
def load_halves(i: Instruction) -> Action:
    """-0 * 0 + two binary16 numbers, the first above: how a constant is put in a register."""
    modifiers(i, "MMA")
    destination, a, b, upper, lower = expect(i, 5)
    if (a.index, b.index, a.sign) != (ZERO_REGISTER["R"],) * 2 + ("-",) or upper.kind != "float" or lower.kind != "float":
        raise i.complain("a product of halves")
    high, low = (int.from_bytes(struct.pack("<e", float(one.text)), "little") for one in (upper, lower))
    put, value = write(i, destination), np.array([high << 16 | low], np.uint32)
    return lambda w, mask: put(w, value, mask)


@opcode("FSEL")
def select_float(i: Instruction) -> Action:
    """Patterns pass unchanged, but for a sign that an operand changes."""
    modifiers(i)
    destination, a, b, p = expect(i, 4)
    put, first, second, chosen = write(i, destination), read_float(i, a), read_float(i, b), read_predicate(i, p)
    return lambda w, mask: put(w, np.where(chosen(w), first(w).view(np.uint32), second(w).view(np.uint32)), mask)


@opcode("FMNMX")
def smaller_or_larger_float(i: Instruction) -> Action:
    """The smaller if the predicate holds, else the larger; a NaN is neither."""
    modifiers(i)
    destination, a, b, p = expect(i, 4)
    put, x, y, smaller = write(i, destination), read_float(i, a), read_float(i, b), read_predicate(i, p)
    return lambda w, mask: put(w, pattern(np.where(smaller(w), np.fmin(x(w), y(w)), np.fmax(x(w), y(w)))), mask)
