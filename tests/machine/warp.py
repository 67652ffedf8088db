"""Executes the instructions of one warp, 32 lanes at once.

Lanes that branch apart run on their own: always those first that are furthest behind, until a convergence barrier (BSSY,
BSYNC) or the same place joins them. That is one of the orders a GPU may choose; kernels without barriers may not depend on it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from . import (  # noqa: F401  (they register their opcodes)
    opcodes_double,
    opcodes_float,
    opcodes_half,
    opcodes_integer,
    opcodes_memory,
    opcodes_select,
)
from .memory import AccessError, Memory, Words
from .opcodes import make_action
from .registers import Action, Bools, Mask, read_predicate
from .sass import Code, Instruction

WARP = 32
STEP = 16  # bytes of an instruction
CONTROL = frozenset(("BRA", "BRX", "EXIT", "BSSY", "BSYNC"))
LIMIT = 20_000  # branches of one warp; a task takes a tenth


@dataclass
class Program:
    """A kernel, ready to run."""

    code: Code

    @cached_property
    def actions(self) -> list[Action | None]:
        """What each instruction does; those of the flow of control are the warp's own."""
        return [None if one.opcode in CONTROL else make_action(one) for one in self.code.instructions]


class Warp:
    """The registers of one warp, filled with junk at first, and where its lanes are."""

    def __init__(self, program: Program, memory: Memory, constants: bytes, block: int, second: int = 0) -> None:
        junk = np.random.default_rng(block)
        self.program, self.memory = program, memory
        self.constants = {0: np.frombuffer(constants, np.uint8), 2: np.frombuffer(program.code.tables, np.uint8)}
        self.r: Words = junk.integers(0, 1 << 32, (256, WARP), np.uint32)
        self.ur: Words = junk.integers(0, 1 << 32, (64, 1), np.uint32)
        self.p: Bools = junk.random((8, WARP)) < 0.5
        self.up: Bools = junk.random((8, 1)) < 0.5
        self.r[255] = self.ur[63] = 0
        self.p[7] = self.up[7] = True
        self.special = {"SR_TID.X": np.arange(WARP, dtype=np.uint32), "SR_CTAID.X": np.array([block], np.uint32)}
        self.special["SR_CTAID.Y"] = np.array([second], np.uint32)
        self.groups: dict[int, Bools] = {0: np.ones(WARP, bool)}  # where the lanes are that may go on
        self.barriers: dict[str, Bools] = {}  # whom each convergence barrier waits for
        self.arrived: dict[str, Bools] = {}
        self.resume: dict[str, int] = {}
        self.issued: Counter[int] = Counter()  # how often each instruction was issued to the warp
        self.branches = 0

    def constant_words(self, bank: int, offset: Words, size: int) -> list[Words]:
        """Registers full of a constant bank."""
        constants = self.constants[bank]
        if (offset % np.uint32(size)).any() or int(offset.max()) + size > len(constants):
            raise AccessError(f"{size} bytes at {int(offset.max()):#x} of the constants")
        unit = min(size, 4)
        view = constants.view({1: np.uint8, 2: np.uint16, 4: np.uint32}[unit])
        return [view[offset // np.uint32(unit) + np.uint32(k)].astype(np.uint32) for k in range(size // unit)]

    def run(self) -> Warp:
        """Itself, after the last lane's exit."""
        with np.errstate(all="ignore"):
            while self.groups:
                pc = min(self.groups)
                self.branches += 1
                if self.branches > LIMIT:
                    raise RuntimeError("the kernel does not end")
                self.run_group(pc, self.groups.pop(pc))
        if self.arrived:
            raise RuntimeError("lanes wait for others that are gone")
        return self

    def join(self, pc: int, lanes: Bools) -> None:
        """Lanes that go on somewhere."""
        if lanes.any():
            self.groups[pc] = self.groups[pc] | lanes if pc in self.groups else lanes

    def run_group(self, pc: int, lanes: Bools) -> None:
        """Runs lanes that stand at one place until they part, end, wait or reach others."""
        instructions, actions = self.program.code.instructions, self.program.actions
        limit = min(self.groups, default=len(instructions) + 1)
        everyone: Mask = None if lanes.all() else lanes
        while pc < limit:
            one, action = instructions[pc], actions[pc]
            self.issued[pc] += 1
            mask = everyone if one.guard is None else self.guarded(one, lanes)
            if action is None:
                if self.steer(pc, one, lanes, lanes if mask is None else mask):
                    return
            elif mask is None or mask.any():
                action(self, mask)
            pc += 1
        self.join(pc, lanes)

    def guarded(self, one: Instruction, lanes: Bools) -> Mask:
        """The lanes whose predicate holds."""
        assert one.guard is not None
        mask = lanes & read_predicate(one, one.guard)(self)
        return None if mask.all() else mask

    def steer(self, pc: int, one: Instruction, lanes: Bools, taken: Bools) -> bool:
        """An instruction of the flow of control, for the lanes that take it; False if all lanes just go on."""
        if not taken.any():
            return False
        if one.opcode == "BSSY":
            self.barriers[one.operands[0].text] = taken.copy()
            return False
        if one.opcode == "BRX":
            self.scatter(one, taken)
        elif one.opcode == "BRA":
            taken = self.branching(one, taken)
            if not taken.any():
                return False
            self.join(one.target, taken)
        elif one.opcode == "EXIT":
            self.leave(taken)
        else:
            self.wait(one.operands[0].text, pc + 1, taken)
        self.join(pc + 1, lanes & ~taken)
        return True

    def branching(self, one: Instruction, taken: Bools) -> Bools:
        """The lanes that branch."""
        if "DIV" in one.modifiers:  # away from code that needs the whole warp
            return taken if not taken.all() else ~taken
        if one.modifiers and one.modifiers != ("U",):
            raise one.complain("an unknown branch")
        for operand in one.operands[:-1]:
            taken = taken & read_predicate(one, operand)(self)
        return taken

    def scatter(self, one: Instruction, lanes: Bools) -> None:
        """A branch to where a register says."""
        (table,) = one.operands
        place = (self.r[table.index] + np.uint32(table.value) + np.uint32(one.address + STEP)) // np.uint32(STEP)
        for pc in np.unique(place[lanes]).tolist():
            self.join(pc, lanes & (place == pc))

    def leave(self, lanes: Bools) -> None:
        """Lanes that end: no barrier waits for them."""
        for name in self.barriers:
            self.barriers[name] = self.barriers[name] & ~lanes
        for name in list(self.arrived):
            self.release(name)

    def wait(self, name: str, resume: int, lanes: Bools) -> None:
        """Lanes that arrive at a barrier."""
        self.arrived[name] = self.arrived[name] | lanes if name in self.arrived else lanes
        if self.resume.setdefault(name, resume) != resume:
            raise RuntimeError("one barrier at two places")
        self.release(name)

    def release(self, name: str) -> None:
        """Lets the lanes at a barrier go on if none is missing."""
        if not (self.barriers[name] & ~self.arrived[name]).any():
            self.join(self.resume.pop(name), self.arrived.pop(name))
