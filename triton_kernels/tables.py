"""The tables that the host makes and a program reads: chunks, tensors, gradients' addresses, rows of scalars.

A row is laid out as ``Row<Rule>`` of ``csrc/core/scalars.h`` is in memory, in words of 32 bits, so that the native module may
make it as well: 10 numbers, 3 enumerations and two bytes (a word with its padding) of Scalars; the rule's own; step; chain.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from .draw import Coordinates, PhiloxKey
from .rules import MomentumScalars, PlainScalars
from .update import Row, Scalars

CHUNK = tl.constexpr(4096)  # elements; a chunk ends where the index in the unsharded tensor is a multiple of it
MAX_STATES = 4
TENSOR_WORDS = tl.constexpr(6 + MAX_STATES)
NUMBERS, COMMON_WORDS = tl.constexpr(10), tl.constexpr(14)
NOISE_CODES = {"gaussian": 1, "uniform": 2, "rademacher": 3}
ROUNDING_CODES = {"off": 0, "nearest": 1, "stochastic": 2, "floor": 3, "dither": 4}
RULE_FORMATS = {"plain": "f", "momentum": "3f?3x"}  # of a rule's own scalars, by kernel


class Part(NamedTuple):
    """One tensor of a bucket, in 64-bit words; addresses of memory on the device."""

    param: int
    size: int
    offset: int  # where its first element lies in the unsharded tensor
    key: int
    row: int  # which row of scalars is its own
    noise: bool
    states: Sequence[int] = ()


def make_tensors(parts: Sequence[Part]) -> Tensor:
    """The table of tensors."""
    rows = []
    for part in parts:
        key = part.key - (1 << 64) if part.key >> 63 else part.key
        states = [*part.states, *[0] * (MAX_STATES - len(part.states))]
        rows.append([part.param, part.size, part.offset, key, part.row, int(part.noise), *states])
    return torch.tensor(rows, dtype=torch.int64, device="cpu").view(-1, TENSOR_WORDS.value)


def make_chunks(extents: Sequence[tuple[int, int]]) -> Tensor:
    """The table of chunks: (tensor, begin) for each of a list of (size, offset); csrc/core/plan.h has the same ones."""
    chunk = CHUNK.value
    tables = [torch.zeros((0, 2), dtype=torch.int64, device="cpu")]
    for tensor, (size, offset) in enumerate(extents):
        if size < 0 or offset < 0:
            raise ValueError("sizes and offsets must not be negative")
        begins = torch.arange(-(offset % chunk), size, chunk, dtype=torch.int64, device="cpu").clamp(min=0)
        begins = begins if size else begins[:0]
        tables.append(torch.stack([torch.full_like(begins, tensor), begins], dim=1))
    return torch.cat(tables)


def make_rows(kernel: str, rows: Sequence[Any]) -> Tensor:
    """The table of scalars from rows whose fields are those of Row; enumerations by name."""
    layout = struct.Struct(f"<{NUMBERS.value}f3i2?2x{RULE_FORMATS[kernel]}2I")
    packed = bytearray(layout.size * len(rows))
    for i, row in enumerate(rows):
        values = [getattr(row.common, name) for name in Scalars._fields]
        codes = [NOISE_CODES[values[10]], ROUNDING_CODES[values[11]], ROUNDING_CODES[values[12]]]
        own = row.rule.values()
        layout.pack_into(packed, i * layout.size, *values[:10], *codes, *values[13:], *own, row.step, row.chain)
    return torch.frombuffer(packed, dtype=torch.int32).view(len(rows), -1)


class Reach(NamedTuple):
    """Where a chunk's block begins in the unsharded tensor and from the tensor's first element; its elements [first, last)."""

    block: tl.tensor
    before: tl.tensor
    first: tl.tensor
    last: tl.tensor


class Facts(NamedTuple):
    """What the table of tensors says of one."""

    param: tl.tensor
    row: tl.tensor
    noise: tl.tensor
    states: tuple[tl.tensor, ...]
    key: PhiloxKey


@triton.jit
def load_number(words):
    """A binary32 number."""
    return tl.load(words).to(tl.float32, bitcast=True)


@triton.jit
def load_numbers(words, COUNT: tl.constexpr):
    """Consecutive binary32 numbers."""
    numbers = ()
    for k in tl.static_range(COUNT):
        numbers = numbers + (load_number(words + k),)  # noqa: RUF005  # Triton has no star in a tuple
    return numbers


@triton.jit
def load_common(words):
    """The scalars that every rule has."""
    flags = tl.load(words + 13)
    numbers = load_numbers(words, NUMBERS)
    codes = tl.load(words + 10), tl.load(words + 11), tl.load(words + 12)
    return Scalars(*numbers, *codes, (flags & 0xFF) != 0, (flags & 0xFF00) != 0)


@triton.jit
def load_rule(RULE: tl.constexpr, words):
    """A rule's own scalars."""
    if RULE == "plain":
        return PlainScalars(load_number(words))
    else:
        numbers = load_numbers(words, 3)
        return MomentumScalars(*numbers, (tl.load(words + 3) & 0xFF) != 0)


@triton.constexpr_function
def rule_words(rule):
    """How many words a rule's own scalars take."""
    return {"plain": 1, "momentum": 4}[rule]


@triton.jit
def load_row(RULE: tl.constexpr, rows, index):
    """One row of scalars."""
    words = rows + index * (COMMON_WORDS + rule_words(RULE) + 2)
    last = words + COMMON_WORDS + rule_words(RULE)
    step = tl.load(last).to(tl.uint32, bitcast=True)
    chain = tl.load(last + 1).to(tl.uint32, bitcast=True)
    return Row(load_common(words), load_rule(RULE, words + COMMON_WORDS), step, chain)


@triton.jit
def load_tensor(tensors, index, STATES: tl.constexpr):
    """One row of the table of tensors."""
    words = tensors + index * TENSOR_WORDS
    key = tl.load(words + 3).to(tl.uint64, bitcast=True)
    states = ()
    for k in tl.static_range(STATES):
        states = states + (tl.load(words + 6 + k),)  # noqa: RUF005
    key = PhiloxKey(key.to(tl.uint32), (key >> 32).to(tl.uint32))
    return Facts(tl.load(words), tl.load(words + 4), tl.load(words + 5) != 0, states, key)


@triton.jit
def reach_of(tensors, index, begin):
    """The reach of the chunk that begins at a tensor's element `begin`."""
    words = tensors + index * TENSOR_WORDS
    size, offset = tl.load(words + 1), tl.load(words + 2)
    block = (offset + begin) & -CHUNK
    before = block - offset
    return Reach(block, before, (begin - before).to(tl.int32), tl.minimum(size - before, CHUNK).to(tl.int32))


@triton.jit
def coordinates_of(key, row, block):
    """Where the draws of a chunk come from."""
    return Coordinates(key, row.step, row.chain, (block >> 35).to(tl.uint32))


def make_folds(extents: Sequence[tuple[int, int]]) -> tuple[Tensor, Tensor, int]:
    """How the numbers of chunks come to one of each of a list of (size, offset): folds, last folds, and segments.

    A fold is (first, count, to). The sums are one of each tensor, then the segments': a tensor of more than 4096 chunks is
    summed over segments of as many, which the last folds sum. Plan::plan_tasks of csrc/cuda/plan.cpp makes the same ones.
    """
    most = CHUNK.value
    folds: list[tuple[int, int, int]] = []
    last_folds: list[tuple[int, int, int]] = []
    first = segments = 0
    for tensor, (size, offset) in enumerate(extents):
        chunks = (offset + size - 1) // most - offset // most + 1 if size else 0
        if chunks > most * most:
            raise ValueError("a tensor has more than 2^36 elements")
        if chunks <= most:
            folds.append((first, chunks, tensor))
        else:
            begins = range(0, chunks, most)
            last_folds.append((len(extents) + segments, len(begins), tensor))
            for begin in begins:
                folds.append((first + begin, min(most, chunks - begin), len(extents) + segments))
                segments += 1
        first += chunks
    table, last_table = (torch.tensor(rows, dtype=torch.int64, device="cpu").view(-1, 3) for rows in (folds, last_folds))
    return table, last_table, segments
