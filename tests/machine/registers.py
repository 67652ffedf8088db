"""How operands are read and written: 32 lanes at once for R and P, one for the uniform UR and UP.

A reader turns the warp into an array of 32 lanes, or of 1 that numpy spreads over them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .memory import Words
from .sass import MASK, ZERO_REGISTER, Instruction, Operand, float_bits

if TYPE_CHECKING:
    from .warp import Warp

Bools = NDArray[np.bool_]
Wide = NDArray[np.uint64]
Floats = NDArray[np.float32]
Mask = Bools | None  # None: every lane
Action = Callable[["Warp", Mask], None]

SIGN = np.uint32(0x80000000)
MAGNITUDE = np.uint32(0x7FFFFFFF)
CANONICAL_NAN = np.uint32(0x7FFFFFFF)  # what every arithmetic instruction makes of a NaN
SHIFT = np.uint64(32)


def raw(i: Instruction, operand: Operand) -> Callable[[Warp], Words]:
    """The bits of an operand, without its sign."""
    k, value = operand.index, operand.value
    if operand.text and operand.kind in {"R", "UR"}:
        raise i.complain(f"unknown part of a register '{operand.text}'")
    if operand.kind == "R":
        return lambda w: w.r[k]
    if operand.kind == "UR":
        return lambda w: w.ur[k]
    if operand.kind == "number":
        number = np.array([value], np.uint32)
        return lambda _: number
    if operand.kind == "constant":
        return lambda w: w.constant_words(operand.bank, constant_offset(w, operand), 4)[0]
    raise i.complain(f"an operand that is no integer ({operand.kind})")


def constant_offset(w: Warp, operand: Operand) -> Words:
    """Where a constant begins, in each lane or in all."""
    file: Words = w.r if operand.text == "R" else w.ur
    offset: Words = file[operand.index] + np.uint32(operand.value)
    return offset


def read(i: Instruction, operand: Operand) -> Callable[[Warp], Words]:
    """An integer operand."""
    bits = raw(i, operand)
    if operand.absolute:
        raise i.complain("the magnitude of an integer")
    if operand.sign == "-":
        return lambda w: np.uint32(0) - bits(w)
    if operand.sign == "~":
        return lambda w: ~bits(w)
    return bits


def read_addend(i: Instruction, operand: Operand) -> Callable[[Warp], Wide]:
    """An addend of a sum whose carry counts: -x is 2^32 - x, so that the carry says that nothing was borrowed."""
    bits = raw(i, operand)
    if operand.sign == "-":
        whole = np.uint64(1 << 32)
        return lambda w: whole - bits(w).astype(np.uint64)
    plain = read(i, operand)
    return lambda w: plain(w).astype(np.uint64)


def read_pair(i: Instruction, operand: Operand) -> Callable[[Warp], Wide]:
    """A register and the one behind it, as 64 bits."""
    if operand.sign or operand.kind not in {"R", "UR"}:
        raise i.complain("an unknown pair")
    k = operand.index
    zero = k == ZERO_REGISTER[operand.kind]

    def pair(w: Warp) -> Wide:
        file = w.r if operand.kind == "R" else w.ur
        low: Wide = file[k].astype(np.uint64)
        return low if zero else low | file[k + 1].astype(np.uint64) << SHIFT

    return pair


def read_float(i: Instruction, operand: Operand) -> Callable[[Warp], Floats]:
    """A binary32 operand."""
    if operand.kind == "float":
        number = np.array([float_bits(operand.text)], np.uint32).view(np.float32)
        return lambda _: number
    bits = raw(i, operand)
    if operand.sign == "~":
        raise i.complain("the complement of a float")
    keep = MAGNITUDE if operand.absolute else np.uint32(MASK)
    flip = SIGN if operand.sign == "-" else np.uint32(0)
    if keep == MASK and flip == 0:
        return lambda w: bits(w).view(np.float32)
    return lambda w: ((bits(w) & keep) ^ flip).view(np.float32)


def read_predicate(i: Instruction, operand: Operand) -> Callable[[Warp], Bools]:
    k = operand.index
    if operand.kind not in {"P", "UP"}:
        raise i.complain("an operand that is no predicate")
    if operand.kind == "P":
        return (lambda w: ~w.p[k]) if operand.sign else (lambda w: w.p[k])
    return (lambda w: ~w.up[k]) if operand.sign else (lambda w: w.up[k])


def assign(row: NDArray[np.generic], value: NDArray[np.generic], mask: Mask) -> None:
    if mask is None:
        row[:] = value
    else:
        np.copyto(row, value, where=mask)


def write(i: Instruction, operand: Operand) -> Callable[[Warp, NDArray[np.generic], Mask], None]:
    """Where results go: to the active lanes, or to a uniform register."""
    k, kind = operand.index, operand.kind
    if kind not in ZERO_REGISTER or operand.sign or operand.absolute:
        raise i.complain("an unknown destination")
    if k == ZERO_REGISTER[kind]:
        return lambda w, value, mask: None
    if kind == "R":
        return lambda w, value, mask: assign(w.r[k], value, mask)
    if kind == "P":
        return lambda w, value, mask: assign(w.p[k], value, mask)

    def uniform(w: Warp, value: NDArray[np.generic], mask: Mask) -> None:
        if len(value) != 1:
            raise i.complain("a uniform result of operands that are not")
        (w.ur if kind == "UR" else w.up)[k] = value

    return uniform


def write_pair(i: Instruction, operand: Operand) -> Callable[[Warp, Wide, Mask], None]:
    """A 64-bit result."""
    if operand.index == ZERO_REGISTER[operand.kind]:
        return lambda w, value, mask: None
    low, high = write(i, operand), write(i, Operand(operand.kind, operand.index + 1))

    def put(w: Warp, value: Wide, mask: Mask) -> None:
        low(w, value.astype(np.uint32), mask)
        high(w, (value >> SHIFT).astype(np.uint32), mask)

    return put


def modifiers(i: Instruction, *known: str) -> set[str]:
    """Its modifiers; one that is not among the known is an error."""
    for one in i.modifiers:
        if one not in known:
            raise i.complain(f"unknown modifier .{one}")
    return set(i.modifiers)


def choose(i: Instruction, *choices: str) -> str:
    """Which one of the modifiers it has."""
    found = [one for one in i.modifiers if one in choices]
    if len(found) != 1:
        raise i.complain(f"not one of the modifiers {choices}")
    return found[0]


def expect(i: Instruction, *counts: int) -> tuple[Operand, ...]:
    """Its operands, of which there must be one of these numbers."""
    if len(i.operands) not in counts:
        raise i.complain(f"{len(i.operands)} operands")
    return i.operands
