"""Conversions between binary32 and the 16-bit types: to nearest even, with subnormals, Inf beyond the largest value."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .memory import Words
from .opcodes import opcode
from .registers import Action, Floats, expect, modifiers, raw, read_float, write
from .sass import ZERO_REGISTER, Instruction

CANONICAL_NAN = np.uint32(0x7FFF)  # of both types


def narrow_bfloat16(value: Floats) -> Words:
    """The upper half of the pattern, rounded."""
    bits = value.view(np.uint32).astype(np.uint64)
    rounded = (bits + np.uint64(0x7FFF) + (bits >> np.uint64(16) & np.uint64(1))) >> np.uint64(16)
    return np.where(np.isnan(value), CANONICAL_NAN, rounded.astype(np.uint32))


def narrow_float16(value: Floats) -> Words:
    """numpy's conversion, which is IEEE-754's."""
    with np.errstate(over="ignore", invalid="ignore"):
        bits = value.astype(np.float16).view(np.uint16).astype(np.uint32)
    return np.where(np.isnan(value), CANONICAL_NAN, bits)


@opcode("F2FP")
def narrow_two(i: Instruction) -> Action:
    """The first source goes to the upper half."""
    kinds = modifiers(i, "BF16", "F16", "F32", "PACK_AB")
    if "PACK_AB" not in kinds or "F32" not in kinds:
        raise i.complain("an unknown conversion")
    narrow = narrow_bfloat16 if "BF16" in kinds else narrow_float16
    destination, upper, lower = expect(i, 3)
    put, high, low = write(i, destination), read_float(i, upper), read_float(i, lower)
    return lambda w, mask: put(w, narrow(high(w)) << np.uint32(16) | narrow(low(w)), mask)


@opcode("HADD2")
def widen_half(i: Instruction) -> Action:
    """-0 plus one half of a register, in binary32: how binary16 is widened."""
    if modifiers(i, "F32") != {"F32"}:
        raise i.complain("a sum of halves")
    destination, zero, half = expect(i, 3)
    if zero.index != ZERO_REGISTER["R"] or zero.sign != "-" or half.text not in {".H0_H0", ".H1_H1"}:
        raise i.complain("a sum of halves")
    put, bits = write(i, destination), raw(i, replace(half, text="", sign=""))
    shift = np.uint32(16 if half.text == ".H1_H1" else 0)
    sign = np.uint32(0x8000 if half.sign == "-" else 0)

    def widen(words: Words) -> Words:
        halves = ((words >> shift & np.uint32(0xFFFF)) ^ sign).astype(np.uint16).view(np.float16)
        wide: Words = halves.astype(np.float32).view(np.uint32)
        return wide

    return lambda w, mask: put(w, widen(bits(w)), mask)
