"""A row's elements to and from memory: the mirror of ``csrc/cuda/memory.h``.

Addresses come from tables and are known to be aligned to nothing. A row that lies on 16 bytes and inside its tensor is moved
in whole quads, without masks; any other element by element.
"""

from __future__ import annotations

from typing import NamedTuple

import triton
import triton.language as tl

from .draw import GROUP, GROUPS
from .rounding import BFLOAT16, FLOAT32, bits_of, float_of, nearest_bits, round_to, widen

ROW = tl.constexpr(GROUPS.value * GROUP.value)


class Range(NamedTuple):
    """Where a row begins in its block, and the block's elements that lie in the tensor: [first, last)."""

    at: tl.tensor
    first: tl.tensor
    last: tl.tensor
    aligned: tl.tensor


@triton.jit
def whole_before(reach, aligned):
    """Before where a whole row of a chunk begins; aligned: its block lies on 16 bytes in every memory."""
    return tl.where(aligned, reach.last - (ROW - 1), 0)


@triton.jit
def range_of(reach, begin, whole):
    """The row that begins in a chunk's block at `begin`; whole: what whole_before() says."""
    at = tl.full((), begin, tl.int32)  # the interpreter has Python's number of a loop
    return Range(at, reach.first, reach.last, (at >= reach.first) & (at < whole))


@triton.constexpr_function
def bytes_of(storage):
    """The bytes of one element."""
    return 4 if int(storage) == 0 else 2


@triton.constexpr_function
def type_of(storage):
    """The unsigned integers of its patterns."""
    return tl.uint32 if int(storage) == 0 else tl.uint16


@triton.jit
def join_eight(x):
    """Eight tensors, one for each element of a group, to a row."""
    even = tl.join(tl.join(x[0], x[4]), tl.join(x[2], x[6]))
    odd = tl.join(tl.join(x[1], x[5]), tl.join(x[3], x[7]))
    return tl.trans(tl.reshape(tl.join(even, odd), (GROUPS, GROUP)))


@triton.jit
def split_four(x):
    """A tensor of (GROUPS, 2, 2) to four of (GROUPS,)."""
    even, odd = tl.split(x)
    first, third = tl.split(even)
    second, fourth = tl.split(odd)
    return first, second, third, fourth


@triton.jit
def split_eight(row):
    """A row to eight tensors, one for each element of a group."""
    even, odd = tl.split(tl.reshape(row, (GROUPS, 2, 2, 2)))
    x0, x2, x4, x6 = split_four(even)
    x1, x3, x5, x7 = split_four(odd)
    return x0, x1, x2, x3, x4, x5, x6, x7


@triton.jit
def unpack(STORAGE: tl.constexpr, words):
    """Words of two patterns each, the first below, to values."""
    if STORAGE == BFLOAT16:  # shifted and cut once, where widen() would take two operations
        first, second = float_of(words << 16), float_of(words & 0xFFFF0000)
    else:
        first, second = widen(STORAGE, words & 0xFFFF), widen(STORAGE, words >> 16)
    return tl.trans(tl.reshape(tl.join(first, second), (GROUPS, GROUP)))


@triton.jit
def unpack_stored(STORAGE: tl.constexpr, packed):
    """What pack() or pack_drawn() made, to values."""
    return tl.trans(widen(STORAGE, packed.to(tl.uint32)))


@triton.jit
def pack(STORAGE: tl.constexpr, values):
    """A row to the patterns that are stored, to nearest."""
    if STORAGE == FLOAT32:
        return bits_of(tl.trans(values))
    else:
        return nearest_bits(STORAGE, tl.trans(values))


@triton.jit
def pack_drawn(STORAGE: tl.constexpr, values, half):
    """As pack() does, stochastically by 16 random bits for each; for types of 16 bits."""
    bits = tl.trans(round_to(STORAGE, values, True, half))
    if STORAGE == BFLOAT16:
        bits = bits >> 16
    return bits.to(tl.uint16)


@triton.jit
def load_aligned(address, STORAGE: tl.constexpr):
    """The values of a whole row that lies on 16 bytes."""
    words = tl.multiple_of(address.to(tl.pointer_type(tl.uint32)), 16)
    quad = tl.arange(0, GROUPS)[:, None] * (bytes_of(STORAGE) * GROUP // 4) + tl.arange(0, 4)[None, :]
    first = tl.load(words + quad)
    if STORAGE == FLOAT32:
        both = tl.permute(tl.join(first, tl.load(words + quad + 4)), (0, 2, 1))
        return float_of(tl.trans(tl.reshape(both, (GROUPS, GROUP))))
    else:
        return unpack(STORAGE, first)


@triton.jit
def store_aligned(address, STORAGE: tl.constexpr, packed):
    """A whole row that lies on 16 bytes."""
    if STORAGE == FLOAT32:
        words = tl.multiple_of(address.to(tl.pointer_type(tl.uint32)), 16)
        quad = tl.arange(0, GROUPS)[:, None] * GROUP + tl.arange(0, 4)[None, :]
        first, second = tl.split(tl.permute(tl.reshape(packed, (GROUPS, 2, 4)), (0, 2, 1)))
        tl.store(words + quad, first)
        tl.store(words + quad + 4, second)
    else:
        patterns = tl.multiple_of(address.to(tl.pointer_type(tl.uint16)), 16)
        tl.store(patterns + (tl.arange(0, GROUPS)[:, None] * GROUP + tl.arange(0, GROUP)[None, :]), packed)


@triton.jit
def load_column(address, STORAGE: tl.constexpr, row, ELEMENT: tl.constexpr):
    """The values of one element of each group, 0 where it does not lie in the tensor."""
    place = tl.arange(0, GROUPS) * GROUP + ELEMENT
    inside = (row.at + place >= row.first) & (row.at + place < row.last)
    return widen(STORAGE, tl.load(address.to(tl.pointer_type(type_of(STORAGE))) + place, inside, 0).to(tl.uint32))


@triton.jit
def load_partial(address, STORAGE: tl.constexpr, row):
    """The values of the row's elements that lie in the tensor, 0 for the others."""
    columns = ()
    for k in tl.static_range(GROUP):
        columns = columns + (load_column(address, STORAGE, row, k),)  # noqa: RUF005  # Triton has no star in a tuple
    return join_eight(columns)


@triton.jit
def store_partial(address, STORAGE: tl.constexpr, row, packed):
    """The row's elements that lie in the tensor."""
    columns = split_eight(packed)
    for k in tl.static_range(GROUP):
        place = tl.arange(0, GROUPS) * GROUP + k
        inside = (row.at + place >= row.first) & (row.at + place < row.last)
        tl.store(address.to(tl.pointer_type(type_of(STORAGE))) + place, columns[k], inside)


@triton.jit
def is_inside(row):
    """Which elements of a row lie in the tensor."""
    place = row.at + tl.arange(0, GROUPS)[None, :] * GROUP + tl.arange(0, GROUP)[:, None]
    return (place >= row.first) & (place < row.last)


@triton.jit
def load_group(memory, STORAGE: tl.constexpr, row):
    """The values of a row's elements; memory: the address of the block's first element, or where it would be."""
    address = memory + row.at * bytes_of(STORAGE)
    if row.aligned:  # noqa: SIM108  # Triton takes both sides of a conditional expression
        values = load_aligned(address, STORAGE)
    else:
        values = load_partial(address, STORAGE, row)
    return values


@triton.jit
def store_group(memory, STORAGE: tl.constexpr, row, packed):
    """What pack() or pack_drawn() made of a row's elements."""
    # For 16 bits as load_group() does not have it: else the address is kept meanwhile, in registers that more warps could have.
    at = row.at.to(tl.int32 if STORAGE == FLOAT32 else tl.int64)
    address = memory + at * bytes_of(STORAGE)
    if row.aligned:
        store_aligned(address, STORAGE, packed)
    else:
        store_partial(address, STORAGE, row, packed)
