"""Coordinates -> everything random: the mirror of philox.h, draw.h and normal.h in ``csrc/core``.

A row of elements is a tensor of (8, GROUPS), a thread's group in a column: so Triton lays it out by itself, counters of (GROUPS,)
as well, and what a counter serves stays in the thread that made it.
"""

from __future__ import annotations

from typing import NamedTuple

import triton
import triton.language as tl

from .rounding import PTX

# --- philox.h ---------------------------------------------------------------------------------------------------------

ROUNDS = tl.constexpr(10)
MULTIPLIER0, MULTIPLIER1 = tl.constexpr(0xD2511F53), tl.constexpr(0xCD9E8D57)
WEYL0, WEYL1 = tl.constexpr(0x9E3779B9), tl.constexpr(0xBB67AE85)


class PhiloxKey(NamedTuple):
    """The two words of a tensor's key."""

    k0: tl.tensor
    k1: tl.tensor


@triton.jit
def multiply(word, factor: tl.constexpr):
    """The 64-bit product of two 32-bit words, upper and lower; the assembler makes one instruction of both.

    A product of 64-bit numbers would widen whatever it meets, which takes twice the registers.
    """
    return tl.umulhi(word, tl.full((), factor, tl.uint32)), word * factor


@triton.jit
def high(product):
    """The upper word of a product."""
    return product[0]


@triton.jit
def low(product):
    """The lower word of a product."""
    return product[1]


@triton.jit
def philox(key, c, FIRST: tl.constexpr):
    """A counter of four words to its four random words; FIRST rounds are done already."""
    c0, c1, c2, c3 = c
    for number in tl.static_range(FIRST, ROUNDS):
        p0 = multiply(c0, MULTIPLIER0)
        p1 = multiply(c2, MULTIPLIER1)
        c0 = high(p1) ^ c1 ^ (key.k0 + (number * WEYL0) % 0x100000000)
        c1 = low(p1)
        c2 = high(p0) ^ c3 ^ (key.k1 + (number * WEYL1) % 0x100000000)
        c3 = low(p0)
    return c0, c1, c2, c3


# --- draw.h -----------------------------------------------------------------------------------------------------------

NOISE, PARAM_ROUNDING, GRAD_QUANTIZER = tl.constexpr(0), tl.constexpr(2), tl.constexpr(3)
UPDATE_QUANTIZER, STATE_ROUNDING = tl.constexpr(4), tl.constexpr(8)
GROUP = tl.constexpr(8)
GROUPS = tl.constexpr(32)  # of a row: one for each thread of a program


class Coordinates(NamedTuple):
    """Where the draws of a chunk come from; the groups of a chunk share their high bits."""

    key: PhiloxKey
    step: tl.tensor
    chain: tl.tensor
    group_high: tl.tensor


class GroupPart(NamedTuple):
    """After two rounds what knows the group's low bits: (c0, c1, c2 ^ PurposePart.c2, PurposePart.c3) goes on."""

    c0: tl.tensor
    c1: tl.tensor
    c2: tl.tensor


class PurposePart(NamedTuple):
    """After two rounds what knows the purpose and the group's high bits."""

    c2: tl.tensor
    c3: tl.tensor


class Draws(NamedTuple):
    """The draws of one row, each made where it is read, but for noise that was drawn already."""

    at: Coordinates
    groups: GroupPart
    noise: tl.tensor | None
    averages: tl.tensor | None  # whether noise is averaged with the next step's; None: it never is


@triton.jit
def group_part(at, group_low):
    """GroupPart of the groups with these low bits."""
    p0 = multiply(group_low, MULTIPLIER0)
    c1 = at.step * MULTIPLIER1  # the step is in the result's c0 alone
    p1 = multiply(high(p0) ^ (at.chain ^ at.key.k1), MULTIPLIER1)
    return GroupPart(high(p1) ^ (c1 ^ (at.key.k0 + WEYL0)), low(p1), low(p0))


@triton.jit
def purpose_base(at):
    """What PurposePart begins with, the same for all purposes."""
    return high(multiply(at.step, MULTIPLIER1)) ^ at.group_high ^ at.key.k0


@triton.jit
def purpose_part(base, key, PURPOSE: tl.constexpr):
    """PurposePart of a purpose."""
    p0 = multiply(base ^ (PURPOSE << 16), MULTIPLIER0)
    return PurposePart(high(p0) ^ (key.k1 + WEYL1), low(p0))


@triton.jit
def draw(draws, PURPOSE: tl.constexpr):
    """The four random words of each group for a purpose."""
    groups = draws.groups
    purpose = purpose_part(purpose_base(draws.at), draws.at.key, PURPOSE)
    c3 = tl.zeros_like(groups.c0) + purpose.c3
    return philox(draws.at.key, (groups.c0, groups.c1, groups.c2 ^ purpose.c2, c3), 2)


@triton.jit
def draws_of_next_step(draws):
    """What the same groups draw at the next step."""
    at, groups = draws.at, draws.groups
    after = Coordinates(at.key, at.step + 1, at.chain, at.group_high)
    c0 = groups.c0 ^ (at.step * MULTIPLIER1 ^ after.step * MULTIPLIER1)
    return Draws(after, GroupPart(c0, groups.c1, groups.c2), None, None)


@triton.jit
def draw_words(draws, PURPOSE: tl.constexpr):
    """32 bits for each element: the words of two purposes serve elements 0 to 3 and 4 to 7 of a group."""
    lower = draw(draws, PURPOSE)
    upper = draw(draws, PURPOSE + 1)
    even = tl.join(tl.join(lower[0], upper[0]), tl.join(lower[2], upper[2]))
    odd = tl.join(tl.join(lower[1], upper[1]), tl.join(lower[3], upper[3]))
    return tl.trans(tl.reshape(tl.join(even, odd), (GROUPS, GROUP)))


@triton.jit
def draw_halves(draws, PURPOSE: tl.constexpr):
    """16 bits for each element: word i of a group holds elements 2i (low half) and 2i + 1 (high half)."""
    c0, c1, c2, c3 = draw(draws, PURPOSE)
    words = tl.join(tl.join(c0, c2), tl.join(c1, c3))
    return tl.trans(tl.reshape(tl.join(words & 0xFFFF, words >> 16), (GROUPS, GROUP)))


# --- normal.h ---------------------------------------------------------------------------------------------------------

GAUSSIAN, UNIFORM, RADEMACHER = tl.constexpr(1), tl.constexpr(2), tl.constexpr(3)
AVERAGED_GAUSSIAN, AVERAGED_UNIFORM, AVERAGED_RADEMACHER = tl.constexpr(5), tl.constexpr(6), tl.constexpr(7)
BYTE_SUM_MEAN = tl.constexpr(116535)
BYTE_SUM_INVERSE_SD = tl.constexpr(float.fromhex("0x1.eebed6p-16"))
NORMAL_COEFFICIENTS = tl.constexpr(
    (
        float.fromhex("0x1.ec6c56p-1"),
        float.fromhex("0x1.5f7fb6p-8"),
        float.fromhex("0x1.c248fep-8"),
        float.fromhex("-0x1.637c78p-9"),
        float.fromhex("0x1.1d6878p-11"),
        float.fromhex("-0x1.a3d7dap-15"),
        float.fromhex("0x1.ed2e0cp-20"),
    )
)
UNIFORM_SPACING = tl.constexpr(float.fromhex("0x1.bb67aep-15"))


@triton.jit
def weighted_bytes(word):
    """255 b0 + 233 b1 + 229 b2 + 197 b3 + 0x4B000000 over the bytes of a word: one instruction of NVIDIA's."""
    if PTX:
        return tl.inline_asm_elementwise("dp4a.u32.u32 $0, $1, 0xC5E5E9FF, 0x4B000000;", "=r,r", [word], tl.uint32, True, 1)
    else:
        # A byte is the word shifted less 256 times the word shifted further; the sum of that, modulo 2^32, takes no masks.
        sum = word * 255 + 0x4B000000
        sum = sum - (word >> 8) * (255 * 256 - 233)
        sum = sum - (word >> 16) * (233 * 256 - 229)
        return sum - (word >> 24) * (229 * 256 - 197)


@triton.jit
def averages(kind):
    """Whether a step's noise is averaged with the next step's."""
    return kind > 4


@triton.jit
def law_of(kind):
    """The law of each of the two that are averaged; of the only one."""
    return tl.where(averages(kind), kind - 4, kind)


@triton.jit
def gaussian(word):
    """The byte-sum normal."""
    sum = weighted_bytes(word)  # with the exponent of 2^23
    centred = sum.to(tl.float32, bitcast=True) - (8388608.0 + BYTE_SUM_MEAN)
    x = centred * BYTE_SUM_INVERSE_SD
    u = x * x
    p = u * NORMAL_COEFFICIENTS[6] + NORMAL_COEFFICIENTS[5]
    for k in tl.static_range(5):
        p = p * u + NORMAL_COEFFICIENTS[4 - k]
    return x * p


@triton.jit
def uniform(half):
    """The 2^16 midpoints of [-sqrt(3), sqrt(3)], scaled to variance 1."""
    return (((half | 0x4B000000).to(tl.float32, bitcast=True) - 8388608.0) - 32767.5) * UNIFORM_SPACING


@triton.jit
def rademacher(half):
    """+1 or -1: the top bit of 16."""
    return (((half & 0x8000) << 16) | 0x3F800000).to(tl.float32, bitcast=True)


@triton.jit
def noise_value(kind, draws):
    """Noise of a law, of mean 0 and variance 1, for each element."""
    if kind == GAUSSIAN:
        noise = gaussian(draw_words(draws, NOISE))
    else:
        half = draw_halves(draws, NOISE)
        noise = rademacher(half)
        if kind == UNIFORM:
            noise = uniform(half)
    return noise


@triton.jit
def average(now, next):
    """The averaged noise from this step's and the next one's."""
    return (now + next) * 0.5


@triton.jit
def draw_noise(kind, draws):
    """Noise of a kind, or what was drawn already."""
    if draws.noise is not None:
        return draws.noise
    elif draws.averages is None:
        return noise_value(kind, draws)
    else:
        law = law_of(kind)
        noise = noise_value(law, draws)
        if draws.averages:
            noise = average(noise, noise_value(law, draws_of_next_step(draws)))
        return noise
