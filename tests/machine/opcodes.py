"""The meaning of each opcode: a function from an instruction to the action that executes it on a warp.

The uniform twin of an opcode (UIADD3 of IADD3) means the same, on one lane. Sources: the CUDA Binary Utilities' list of
opcodes, and what the compiled kernels must do for their results to equal the reference's; the tests compare those.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from .registers import Action, Mask
from .sass import Instruction

if TYPE_CHECKING:
    from .warp import Warp

Maker = Callable[[Instruction], Action]
MAKERS: dict[str, Maker] = {}


def opcode(*names: str) -> Callable[[Maker], Maker]:
    """Registers what an opcode means."""

    def register(maker: Maker) -> Maker:
        MAKERS.update(dict.fromkeys(names, maker))
        return maker

    return register


def make_action(i: Instruction) -> Action:
    """What an instruction does."""
    if i.opcode not in MAKERS:
        raise i.complain(f"unknown opcode {i.opcode}")
    return MAKERS[i.opcode](i)


@opcode("NOP", "WARPSYNC", "ENDCOLLECTIVE")
def nothing(i: Instruction) -> Action:
    """Lanes that run together are synchronized already; SHFL itself complains of those that do not."""

    def act(w: Warp, mask: Mask) -> None:
        pass

    return act


@opcode("BREAK")
def leave_barrier(i: Instruction) -> Action:
    """A convergence barrier no longer waits for these lanes."""
    name = i.operands[0].text

    def act(w: Warp, mask: Mask) -> None:
        w.barriers[name] = w.barriers[name] & ~(np.ones(32, bool) if mask is None else mask)
        if name in w.arrived:
            w.release(name)

    return act
