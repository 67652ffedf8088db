"""Loads, stores and constants, and what lanes tell each other."""

from __future__ import annotations

from typing import Any

import numpy as np

from .opcodes import opcode
from .registers import Action, choose, constant_offset, expect, modifiers, read, read_pair, write
from .sass import ZERO_REGISTER, Instruction, Operand

SIZES = {"U8": 1, "U16": 2, "64": 8, "128": 16}
HINTS = ("E", "EF", "EL", "CONSTANT", "SYS", "STRONG", "SM", "GPU")  # 64-bit addresses; what the caches should keep


def size_of(i: Instruction, *hints: str) -> int:
    """How many bytes one lane moves."""
    sizes = [SIZES[one] for one in modifiers(i, *SIZES, *hints) if one in SIZES]
    return sizes[0] if sizes else 4


def read_address(i: Instruction, operand: Operand) -> Any:
    if operand.kind != "memory":
        raise i.complain("an unknown address")
    base = read_pair(i, Operand("R", operand.index))
    offset = np.uint64((operand.value - (1 << 32 if operand.value > 1 << 31 else 0)) & ((1 << 64) - 1))
    return lambda w: base(w) + offset


@opcode("LDG", "LD")
def load(i: Instruction) -> Action:
    size = size_of(i, *HINTS)
    destination, source = expect(i, 2)
    address = read_address(i, source)
    count = max(1, size // 4)

    def act(w: Any, mask: Any) -> None:
        lanes = slice(None) if mask is None else mask
        words = w.memory.load(address(w)[lanes], size)
        for k in range(count):
            w.r[destination.index + k, lanes] = words[k]

    if destination.index % count or destination.index == ZERO_REGISTER["R"]:
        raise i.complain("an unknown destination")
    return act


@opcode("STG", "ST")
def store(i: Instruction) -> Action:
    size = size_of(i, *HINTS)
    target, source = expect(i, 2)
    address, zero = read_address(i, target), source.index == ZERO_REGISTER["R"]
    registers = [source.index + (0 if zero else k) for k in range(max(1, size // 4))]

    def act(w: Any, mask: Any) -> None:
        lanes = slice(None) if mask is None else mask
        w.memory.store(address(w)[lanes], size, [w.r[k, lanes] for k in registers])

    return act


@opcode("LDC", "ULDC", "LDCU")
def load_constant(i: Instruction) -> Action:
    size = size_of(i)
    destination, source = expect(i, 2)
    if source.kind != "constant" or source.sign:
        raise i.complain("an unknown constant")
    puts = [write(i, Operand(destination.kind, destination.index + k)) for k in range(max(1, size // 4))]

    def act(w: Any, mask: Any) -> None:
        offset = constant_offset(w, source)
        if mask is not None and len(offset) > 1:  # what the other lanes hold may be no place
            offset = np.where(mask, offset, offset[mask][0])
        words = w.constant_words(source.bank, offset, size)
        for put, word in zip(puts, words, strict=True):
            put(w, word, mask)

    return act


@opcode("SHFL")
def shuffle(i: Instruction) -> Action:
    """The register of another lane: the one that is `by` before or after (those without one keep their own), the one whose number
    differs in the bits of `by`, or the one whose number it is. All lanes take part."""
    kind = choose(i, "UP", "DOWN", "BFLY", "IDX")
    modifiers(i, kind)
    destination, a, other, clamp = expect(i, 5)[1:]
    in_range, put = write(i, i.operands[0]), write(i, destination)
    x, by, segment = read(i, a), read(i, other), read(i, clamp)
    own, last = np.arange(32), 0 if kind == "UP" else 31

    def act(w: Any, mask: Any) -> None:
        if mask is not None or (segment(w) != last).any():
            raise i.complain("a shuffle of a part of the warp")
        number = by(w).astype(np.int64)
        source = {"UP": own - number, "DOWN": own + number, "BFLY": own ^ number, "IDX": number + 0 * own}[kind]
        found = (source >= 0) & (source <= 31)
        if kind in ("BFLY", "IDX") and not found.all():
            raise i.complain("a lane that does not exist")
        put(w, x(w)[np.where(found, source, own)], mask)
        in_range(w, found, mask)

    return act


@opcode("REDUX")
def reduce_lanes(i: Instruction) -> Action:
    """The sum of all lanes' integers, or the largest without their signs."""
    if i.modifiers not in {("SUM", "S32"), ("MAX",)}:
        raise i.complain("an unknown reduction")
    reduce = np.add if i.modifiers[0] == "SUM" else np.maximum
    destination, a = expect(i, 2)
    put, x = write(i, destination), read(i, a)

    def act(w: Any, mask: Any) -> None:
        if mask is not None:
            raise i.complain("a reduction of a part of the warp")
        put(w, reduce.reduce(np.broadcast_to(x(w), 32), dtype=np.uint32, keepdims=True), mask)

    return act
