"""Values to grids and to storage types: the mirror of quantize.h and round.h in ``csrc/core``.

Storage types are integer patterns. Of the machine's conversions two take part: fp16 to binary32, which is exact, and the one to
nearest (``nearest_bits``); a NaN may come out of them with another payload than out of csrc/core.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

INTERPRETED = tl.constexpr(bool(triton.knobs.runtime.interpret))
PTX = tl.constexpr(not (triton.knobs.runtime.interpret or torch.version.hip or getattr(torch.version, "xpu", None)))

# --- lanes.h ----------------------------------------------------------------------------------------------------------


@triton.jit
def float_of(bits):
    """The binary32 numbers of patterns."""
    return bits.to(tl.float32, bitcast=True)


@triton.jit
def bits_of(value):
    """The patterns of binary32 numbers."""
    return value.to(tl.uint32, bitcast=True)


@triton.jit
def magnitude(value):
    """The value without its sign."""
    return float_of(bits_of(value) & 0x7FFFFFFF)


# --- quantize.h -------------------------------------------------------------------------------------------------------

OFF, NEAREST, STOCHASTIC = tl.constexpr(0), tl.constexpr(1), tl.constexpr(2)
FLOOR, DITHER = tl.constexpr(3), tl.constexpr(4)


@triton.jit
def one_if(mask):
    """1 where the mask holds, else 0."""
    return tl.where(mask, 1.0, 0.0)


@triton.jit
def even_of(y):
    """The nearest integer for |y| < 2^22, ties to even: adding 1.5 * 2^23 leaves no fractional bits."""
    return (y + 12582912.0) - 12582912.0


@triton.jit
def floor_of(y):
    """floor(y); tl.floor flushes subnormals."""
    t = even_of(y)
    return t - one_if(t > y)


@triton.jit
def unit_of(half):
    """(half + 1/2) / 2^16: uniform in (0, 1) and never on the edge."""
    return (float_of(half | 0x4B000000) - 8388607.5) * 0.0000152587890625


@triton.jit
def draws_bits(rounding):
    """Whether a rounding reads random bits."""
    return (rounding == STOCHASTIC) | (rounding == DITHER)


@triton.jit
def quantize(x, rounding, resolution, spacing, half):
    """x to the grid of spacing 1 / resolution; `half` is read where draws_bits(rounding)."""
    y = x * resolution
    if rounding == DITHER:
        u = unit_of(half) - 0.5
        q = floor_of(y + u + 0.5) - u
    elif rounding == NEAREST:
        q = even_of(y)
        q = q + one_if(y - q >= 0.5)  # of ties only those that went down: floor(y + 1/2)
    else:
        q = floor_of(y)
        if rounding == STOCHASTIC:
            q = q + one_if(y - q > unit_of(half))
    # From 2^22 on the grid is finer than the number; Inf and NaN fail the comparison and pass as well.
    return tl.where(magnitude(y) < 4194304.0, q * spacing, x)


GRAD_BLOCK = tl.constexpr(128)  # elements, by their index in the unsharded tensor, that share a grid


@triton.jit
def pattern_of_magnitude(value):
    """Magnitudes in the order of their patterns, in which every NaN is beyond Inf."""
    return bits_of(value) & 0x7FFFFFFF


@triton.jit
def spacing_of_block(spacing_of_one, largest):
    """spacing_of_one 2^floor(log2(largest)), at least 2^-126; for Inf and NaN as for the largest numbers."""
    below_one = 0x3F800000 - bits_of(spacing_of_one).to(tl.int32)
    binade = tl.minimum((largest & 0x7F800000).to(tl.int32), 0x7F000000) - below_one
    return float_of(tl.where(binade > 0x00800000, binade, 0x00800000).to(tl.uint32))


@triton.jit
def quantize_block(x, rounding, spacing_of_one, largest, half):
    """As quantize(), with the grid of a block whose largest magnitude has the pattern `largest`."""
    spacing = spacing_of_block(spacing_of_one, largest)
    resolution = float_of(0x7F000000 - bits_of(spacing))  # 1 / spacing
    return quantize(x, rounding, resolution, spacing, half)


# --- round.h ----------------------------------------------------------------------------------------------------------

FLOAT32, BFLOAT16, FLOAT16 = tl.constexpr(0), tl.constexpr(1), tl.constexpr(2)
NO_SUM_REACHES_INF = tl.constexpr(float.fromhex("0x1.FEp127"))


@triton.jit
def widen(STORAGE: tl.constexpr, bits):
    """Patterns of a storage type to binary32."""
    if STORAGE == FLOAT32:
        return float_of(bits)
    elif STORAGE == BFLOAT16:
        return float_of(bits << 16)
    else:
        return bits.to(tl.uint16).to(tl.float16, bitcast=True).to(tl.float32)


@triton.jit
def nearest_bits(STORAGE: tl.constexpr, value):
    """To 16-bit patterns of a type of 16 bits, to nearest even: the machine's conversion."""
    if STORAGE == FLOAT16:
        return value.to(tl.float16).to(tl.uint16, bitcast=True)
    elif INTERPRETED:  # Triton's interpreter cuts
        return (round_upper(value, False, None) >> 16).to(tl.uint16)
    else:
        return value.to(tl.bfloat16).to(tl.uint16, bitcast=True)


@triton.jit
def round_upper(value, RANDOM: tl.constexpr, half):
    """To patterns of bf16 in the upper half, with whatever was cut off below: to nearest even, or with 16 random bits."""
    bits = bits_of(value)
    if RANDOM:
        # Where a sum might reach Inf by chance, cutting the value itself gives what is right: Inf, or the largest finite value.
        # The sum with 0 sets the bit that keeps a NaN one when it is cut.
        return tl.where(magnitude(value) < NO_SUM_REACHES_INF, bits + half, bits_of(value + 0.0))
    else:
        pattern = bits + (0x7FFF + (bits >> 16 & 1))
        return tl.where(value != value, 0x7FC00000, pattern)  # noqa: PLR0124  # a NaN


@triton.jit
def round_float16(value, RANDOM: tl.constexpr, half):
    """To patterns of fp16: to nearest even, or with 16 random bits."""
    bits = bits_of(value)
    magnitude = bits & 0x7FFFFFFF
    scaled = float_of(magnitude) * 16777216.0
    if RANDOM:
        most = 0x7BFF  # stochastic rounding never makes an Inf
        carry = half >> 3  # 13 bits are dropped
        integer = quantize(scaled, STOCHASTIC, 1.0, 1.0, half)
    else:
        most = 0x7C00
        carry = 0x0FFF + (magnitude >> 13 & 1)
        integer = scaled
    normal = (magnitude + carry - 0x38000000) >> 13
    # Below 2^-14 the grid is 2^-24: adding 2^23 rounds to nearest even there, and leaves the integer in the low bits.
    subnormal = bits_of(integer + 8388608.0) & 0x07FF
    pattern = tl.where(normal > most, most, normal)
    pattern = tl.where(magnitude < 0x38800000, subnormal, pattern)
    pattern = tl.where(magnitude == 0x7F800000, 0x7C00, pattern)
    pattern = tl.where(magnitude > 0x7F800000, 0x7E00, pattern)
    return pattern | (bits >> 16 & 0x8000)


@triton.jit
def round_to(STORAGE: tl.constexpr, value, RANDOM: tl.constexpr, half):
    """To patterns of a storage type, those of bf16 in the upper half; RANDOM: stochastically, with 16 random bits."""
    if STORAGE == FLOAT32:
        return bits_of(value)
    elif STORAGE == BFLOAT16:
        return round_upper(value, RANDOM, half)
    else:
        return round_float16(value, RANDOM, half)
