"""The tables that programs read: chunks, tensors, groups, gradients' addresses, made by the host; rows of scalars, by prepare.py.

A row is laid out as ``Row<Rule>`` of ``csrc/core/scalars.h`` is in memory, in words of 32 bits: 10 numbers, 3 enumerations and
four bytes of Scalars; the rule's own (``rule_scalars.py``); step; chain. A group begins with its
``Hyper``, as in memory.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from .draw import Coordinates, PhiloxKey
from .rule_scalars import load_numbers, load_rule, rule_numbers, rule_words
from .scalars import MAX_RULE_HYPERS, Hyper, Row, Scalars

CHUNK = tl.constexpr(4096)  # elements; a chunk ends where the index in the unsharded tensor is a multiple of it
MAX_STATES = 4
FIRST_STATE = tl.constexpr(7)
TENSOR_WORDS = tl.constexpr(FIRST_STATE.value + MAX_STATES)
NUMBERS, COMMON_WORDS = tl.constexpr(10), tl.constexpr(14)
NOISE_CODES = {"gaussian": 1, "uniform": 2, "rademacher": 3, "levy": 4}  # the last may be that of another bucket's group
NOISE_CODES |= {f"averaged_{name}": NOISE_CODES[name] + 4 for name in ("gaussian", "uniform", "rademacher")}
ROUNDING_CODES = {"off": 0, "nearest": 1, "stochastic": 2, "floor": 3, "dither": 4}
NUMBER_CODES = {"": 0, "float32": 1, "float64": 2}  # the type of a number on the device
HYPER, GROUP = struct.Struct("<15d3i4?"), struct.Struct("<6q2d2q")
HYPER_WORDS = tl.constexpr(HYPER.size // 8)
GROUP_WORDS = tl.constexpr((HYPER.size + GROUP.size) // 8)


class Part(NamedTuple):
    """One tensor of a bucket, in 64-bit words; addresses of memory on the device."""

    param: int
    size: int
    offset: int  # where its first element lies in the unsharded tensor
    key: int
    group: int  # whose hyper-parameters it has
    noise: bool
    states: Sequence[int] = ()
    step: int = 0  # its counter of 64 bits; 0: the host counts


def make_tensors(parts: Sequence[Part]) -> Tensor:
    """The table of tensors."""
    rows = []
    for part in parts:
        key = part.key - (1 << 64) if part.key >> 63 else part.key
        states = [*part.states, *[0] * (MAX_STATES - len(part.states))]
        rows.append([part.param, part.size, part.offset, key, part.group, int(part.noise), part.step, *states])
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


def pack_hyper(values: Mapping[str, Any], rule_hypers: Sequence[str]) -> bytes:
    """One group's resolved hyper-parameters as ``Hyper`` of ``csrc/core/scalars.h`` lies in memory.

    Args:
        values: as the native modules take them, enumerations by name.
        rule_hypers: the names of the rule's own, in its order.
    """
    rule = [float(values[name]) for name in rule_hypers]
    numbers = [*(values[name] for name in Hyper._fields[:7]), *rule, *[0.0] * (MAX_RULE_HYPERS - len(rule))]
    codes = NOISE_CODES[values["noise"]], ROUNDING_CODES[values["grad_rounding"]], ROUNDING_CODES[values["update_rounding"]]
    return HYPER.pack(*numbers, *codes, *(values[name] for name in Hyper._fields[11:]))


class Group(NamedTuple):
    """What the device makes a group's scalars of; addresses of memory on the device, 0 for none."""

    hyper: bytes  # what pack_hyper makes
    lr: tuple[int, str] = (0, "")  # address and type of a number in place of the hyper-parameters'
    temperature: tuple[int, str] = (0, "")
    schedule: int = 0  # of one packed hyper for each step from the first on, in place of `hyper`
    schedule_steps: int = 0
    grad_multiplier: float = 1.0  # sign (maximize), and whatever of scale and clip coefficient the host knows
    max_grad_norm: float = 0.0  # 0: no clipping on the device
    compensates: bool = False  # on the device, as the hyper-parameter `compensation` says
    compensation_global: bool = False  # by the norm of all displacements


def pack_group(group: Group) -> bytes:
    """One row of the table of groups."""
    numbers = [(address, NUMBER_CODES[kind]) for address, kind in (group.lr, group.temperature)]
    return group.hyper + GROUP.pack(*numbers[0], *numbers[1], *group[3:])


def make_groups(groups: Sequence[Group]) -> Tensor:
    """The table of groups."""
    packed = bytearray(b"".join(map(pack_group, groups)))
    return torch.frombuffer(packed, dtype=torch.int64).view(-1, GROUP_WORDS.value)


class Reach(NamedTuple):
    """Where a chunk's block begins in the unsharded tensor and from the tensor's first element; its elements [first, last)."""

    block: tl.tensor
    before: tl.tensor
    first: tl.tensor
    last: tl.tensor


class Facts(NamedTuple):
    """What the table of tensors says of one."""

    param: tl.tensor
    noise: tl.tensor
    states: tuple[tl.tensor, ...]
    key: PhiloxKey


@triton.jit
def load_common(words):
    """The scalars that every rule has."""
    flags = tl.load(words + 13)
    numbers = load_numbers(words, NUMBERS)
    codes = tl.load(words + 10), tl.load(words + 11), tl.load(words + 12)
    return Scalars(*numbers, *codes, (flags & 0xFF) != 0, (flags & 0xFF00) != 0, (flags & 0xFF0000) != 0, (flags >> 24) != 0)


@triton.constexpr_function
def row_words(rule):
    """How many words a row takes."""
    return COMMON_WORDS.value + rule_words(rule) + 2


@triton.jit
def load_row(RULE: tl.constexpr, rows, index):
    """One row of scalars."""
    words = rows + index * row_words(RULE)
    last = words + COMMON_WORDS + rule_words(RULE)
    step, chain = tl.load(last).to(tl.uint32, bitcast=True), tl.load(last + 1).to(tl.uint32, bitcast=True)
    return Row(load_common(words), load_rule(RULE, words + COMMON_WORDS), step, chain)


@triton.jit
def store_word(words, value, mine):
    """A word of each row that is `mine`."""
    tl.store(words, value.to(tl.int32, bitcast=True), mask=mine)


@triton.jit
def store_row(RULE: tl.constexpr, rows, index, row, mine):
    """A block of rows of scalars, those that are `mine`."""
    words = rows + index * row_words(RULE)
    s = row.common
    for k in tl.static_range(NUMBERS + 3):
        store_word(words + k, s[k], mine)
    flags = s.stochastic_param.to(tl.int32)
    for k in tl.static_range(1, 4):
        flags = flags | s[NUMBERS + 3 + k].to(tl.int32) << 8 * k
    store_word(words + 13, flags, mine)
    own = words + COMMON_WORDS
    for k in tl.static_range(rule_numbers(RULE)):
        store_word(own + k, row.rule[k], mine)
    if len(row.rule) > rule_numbers(RULE):
        flags = row.rule[rule_numbers(RULE)].to(tl.int32)
        for k in tl.static_range(1, len(row.rule) - rule_numbers(RULE)):
            flags = flags | row.rule[rule_numbers(RULE) + k].to(tl.int32) << 8 * k
        store_word(own + rule_numbers(RULE), flags, mine)
    last = words + COMMON_WORDS + rule_words(RULE)
    store_word(last, row.step.to(tl.int32), mine)
    store_word(last + 1, row.chain, mine)


@triton.jit
def load_wide(words):
    """A binary64 number."""
    return tl.load(words).to(tl.float64, bitcast=True)


@triton.jit
def load_hyper(words, COUNT: tl.constexpr):
    """Hyper-parameters, COUNT of them the rule's own."""
    numbers, rule = (), ()
    for k in tl.static_range(7):
        numbers = numbers + (load_wide(words + k),)  # noqa: RUF005
    for k in tl.static_range(COUNT):
        rule = rule + (load_wide(words + 7 + k),)  # noqa: RUF005
    codes, last = tl.load(words + HYPER_WORDS - 2), tl.load(words + HYPER_WORDS - 1)
    flags = (last >> 32 & 0xFF) != 0, (last >> 40 & 0xFF) != 0, (last >> 48 & 0xFF) != 0, (last >> 56) != 0
    return Hyper(*numbers, rule, codes.to(tl.int32), (codes >> 32).to(tl.int32), last.to(tl.int32), *flags)


@triton.jit
def load_tensor(tensors, index, STATES: tl.constexpr):
    """One row of the table of tensors."""
    words = tensors + index * TENSOR_WORDS
    key = tl.load(words + 3).to(tl.uint64, bitcast=True)
    states = ()
    for k in tl.static_range(STATES):
        states = states + (tl.load(words + FIRST_STATE + k),)  # noqa: RUF005
    key = PhiloxKey(key.to(tl.uint32), (key >> 32).to(tl.uint32))
    return Facts(tl.load(words), tl.load(words + 5) != 0, states, key)


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
