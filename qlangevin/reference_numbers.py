"""Random bits, noise values, grids and storage rounding in plain torch: the mirror of philox.h to round.h in ``csrc/core``.

Random bits are int64 tensors of 32-bit words or 16-bit halves. Fused torch operations and torch's square root are avoided
because they round differently.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .reference_grids import quantize
from .reference_levy import levy
from .scalar_values import LARGEST

GROUP = 8
MASK32 = 0xFFFFFFFF
NOISE, PARAM_ROUNDING, GRAD_QUANTIZER, UPDATE_QUANTIZER, STATE_ROUNDING, LEVY = 0, 2, 3, 4, 8, 16  # the purposes of a draw


# --- philox.h, draw.h -------------------------------------------------------------------------------------------------


def philox(c: list[Tensor], k0: int, k1: int, rounds: int = 10) -> list[Tensor]:
    """Philox4x32: four int64 tensors of 32-bit counter words to four of random words (Salmon et al., SC 2011)."""
    for _ in range(rounds):
        p0 = c[0] * 0xD2511F53  # wraps modulo 2^64: both halves of the product are right after masking
        p1 = c[2] * 0xCD9E8D57
        c0 = ((p1 >> 32) & MASK32) ^ c[1] ^ k0
        c2 = ((p0 >> 32) & MASK32) ^ c[3] ^ k1
        c = [c0, p1 & MASK32, c2, p0 & MASK32]
        k0 = (k0 + 0x9E3779B9) & MASK32
        k1 = (k1 + 0xBB67AE85) & MASK32
    return c


@dataclass(frozen=True)
class Coordinates:
    """Where a tensor's draws come from: its 64-bit key, step, chain, and its elements' place in the unsharded tensor."""

    key: int
    step: int
    chain: int
    offset: int
    size: int
    device: torch.device
    tail_index: float = 2.0  # of Levy noise

    def draw_quads(self, purpose: int) -> Tensor:
        """The four random words of each group of 8 elements that this part touches, as (groups, 4)."""
        first = self.offset // GROUP
        last = (self.offset + self.size + GROUP - 1) // GROUP
        group = torch.arange(first, last, dtype=torch.int64, device=self.device)
        c0 = group & MASK32
        c1 = (group >> 32) | (purpose << 16)
        c2 = torch.full_like(group, self.step & MASK32)
        c3 = torch.full_like(group, self.chain & MASK32)
        return torch.stack(philox([c0, c1, c2, c3], self.key & MASK32, self.key >> 32), dim=1)

    def draw_words(self, purpose: int = NOISE) -> Tensor:
        """32 bits for each element: purposes 0 and 1 serve elements 0 to 3 and 4 to 7 of a group."""
        quads = torch.cat([self.draw_quads(purpose), self.draw_quads(purpose + 1)], dim=1)
        return self._trim(quads)

    def draw_halves(self, purpose: int) -> Tensor:
        """16 bits for each element: word i of a group holds elements 2i (low half) and 2i + 1 (high half)."""
        quads = self.draw_quads(purpose)
        halves = torch.stack([quads & 0xFFFF, quads >> 16], dim=2)
        return self._trim(halves)

    def _trim(self, groups: Tensor) -> Tensor:
        start = self.offset % GROUP
        return groups.reshape(-1)[start : start + self.size]


# --- normal.h ---------------------------------------------------------------------------------------------------------

BYTE_WEIGHTS = (255, 233, 229, 197)
BYTE_SUM_MEAN = 116535
BYTE_SUM_INVERSE_SD = float.fromhex("0x1.eebed6p-16")
NORMAL_COEFFICIENTS = tuple(
    float.fromhex(c)
    for c in (
        "0x1.ec6c56p-1",
        "0x1.5f7fb6p-8",
        "0x1.c248fep-8",
        "-0x1.637c78p-9",
        "0x1.1d6878p-11",
        "-0x1.a3d7dap-15",
        "0x1.ed2e0cp-20",
    )
)
UNIFORM_SPACING = float.fromhex("0x1.bb67aep-15")


def gaussian(word: Tensor) -> Tensor:
    """The byte-sum normal: one 32-bit word to one value of a law 8.1e-6 (Kolmogorov distance) from the normal one.

    Its variance is 1 within 1e-7; its tails weigh 1.05, 1.06, 0.91 of the normal's at 4, 4.5, 4.75 sigma; no value exceeds 5.48.
    """
    byte_sum = torch.zeros_like(word)
    for i, weight in enumerate(BYTE_WEIGHTS):
        byte_sum = byte_sum + weight * ((word >> (8 * i)) & 0xFF)
    centred = (byte_sum - BYTE_SUM_MEAN).to(torch.float32)
    x = centred * BYTE_SUM_INVERSE_SD
    u = x * x
    p = u * NORMAL_COEFFICIENTS[6] + NORMAL_COEFFICIENTS[5]
    for coefficient in reversed(NORMAL_COEFFICIENTS[:5]):
        p = p * u + coefficient
    return x * p


def uniform(half: Tensor) -> Tensor:
    """The 2^16 midpoints of [-sqrt(3), sqrt(3)], scaled to variance 1."""
    centred = half.to(torch.float32) - 32767.5
    return centred * UNIFORM_SPACING


def rademacher(half: Tensor) -> Tensor:
    """+1 or -1: the top bit of 16."""
    return 1.0 - 2.0 * (half >> 15).to(torch.float32)


def noise_value(kind: str, at: Coordinates) -> Tensor:
    """Noise of mean 0 for each element, flat, in binary32: of variance 1, or averaged over this step and the next; or Levy's."""
    law = kind.removeprefix("averaged_")
    if law != kind:
        return average(noise_value(law, at), noise_value(law, replace(at, step=at.step + 1)))
    if kind == "gaussian":
        return gaussian(at.draw_words())
    if kind == "levy":
        return levy(at.draw_words(), at.draw_words(LEVY), at.tail_index)
    half = at.draw_halves(NOISE)
    return uniform(half) if kind == "uniform" else rademacher(half)


def average(now: Tensor, next_one: Tensor) -> Tensor:
    """The averaged noise from this step's and the next one's."""
    return (now + next_one) * 0.5


# --- scalars.h --------------------------------------------------------------------------------------------------------


def round_once(value: float) -> float:
    """A binary64 number rounded to binary32."""
    return ctypes.c_float(value).value


def power(base: float, exponent: int) -> float:
    """base^exponent by squaring, for exponents from 0 on."""
    result = 1.0
    while exponent > 0:
        if exponent & 1:
            result *= base
        base *= base
        exponent >>= 1
    return result


def norm_of(squares: float) -> float:
    """The norm of a list from its sum of squares, rounded once to binary32."""
    return round_once(math.sqrt(squares))


def clip_coefficient(norm: float, max_norm: float | None) -> float:
    """min(1, max_norm / (norm + 1e-6)), as torch.nn.utils.clip_grad_norm_ has it; NaN for a NaN norm."""
    if max_norm is None:
        return 1.0
    coefficient = max_norm / (norm + 1e-6)
    return 1.0 if coefficient > 1.0 else coefficient


def compensation_factor(length: float, norm: float) -> float:
    """r / h of the compensation term r = length h / ||h||, rounded once; 0 for h = 0, and without a term whatever h is.

    At most the largest binary32 number, so that the term of a vanishing displacement is never Inf.
    """
    return 0.0 if norm == 0.0 or length == 0.0 else round_once(min(length / norm, LARGEST))


# --- round.h ----------------------------------------------------------------------------------------------------------


def round_to(value: Tensor, dtype: torch.dtype, half: Tensor | None) -> Tensor:
    """value to a storage type: to nearest even without random bits, stochastically with 16 (numerics.md section 4)."""
    if half is None or dtype in (torch.float32, torch.float64):
        return value.to(dtype)
    bits = value.view(torch.int32).to(torch.int64)
    magnitude = bits & 0x7FFFFFFF
    if dtype == torch.bfloat16:
        finite = torch.clamp(magnitude + half, max=0x7F7FFFFF) >> 16
    else:
        normal = torch.clamp((magnitude + (half >> 3) - 0x38000000) >> 13, max=0x7BFF)
        scaled = value.abs() * 2.0**24
        subnormal = quantize(scaled, "stochastic", 1.0, 1.0, half)
        integer = torch.where(magnitude < 0x38800000, subnormal, 0.0).to(torch.int64)
        finite = torch.where(magnitude < 0x38800000, integer, normal)
    pattern = (finite | ((bits >> 16) & 0x8000)).to(torch.int16)
    return torch.where(torch.isfinite(value), pattern.view(dtype), value.to(dtype))


# --- norm.h -----------------------------------------------------------------------------------------------------------

ROWS, COLUMNS = 16, 256  # a block of the sum: 256 columns of 16 addends each, then the columns in halves


def sum_fixed(x: Tensor, offset: int = 0) -> Tensor:
    """The sum of a flat binary64 tensor in an order that depends on its place alone, as a 0-dim tensor.

    Blocks begin at multiples of 4096 in the unsharded tensor, where x begins at `offset`; missing addends are zeros. In a block
    columns are added from the first row on, then the upper half of the columns to the lower one until one is left; the blocks'
    sums are summed in the same way, from the first block on.
    """
    x = torch.cat([x.new_zeros(offset % (ROWS * COLUMNS)), x]) if x.numel() else x
    while True:
        blocks = -(-x.numel() // (ROWS * COLUMNS))
        padded = torch.zeros(max(blocks, 1) * ROWS * COLUMNS, dtype=torch.float64, device=x.device)
        padded[: x.numel()] = x
        block = padded.view(-1, ROWS, COLUMNS)
        columns = block[:, 0]
        for row in range(1, ROWS):
            columns = columns + block[:, row]
        while columns.shape[1] > 1:
            half = columns.shape[1] // 2
            columns = columns[:, :half] + columns[:, half:]
        x = columns[:, 0]
        if x.numel() == 1:
            return x[0]


def sum_squares(x: Tensor, offset: int = 0) -> Tensor:
    """The sum of squares of a dense tensor in the order of its memory, in binary64."""
    wide = flatten(x).to(torch.float64)
    return sum_fixed(wide * wide, offset)


def flatten(tensor: Tensor) -> Tensor:
    """A flat view of a dense tensor in the order of its memory."""
    return tensor.detach().as_strided((tensor.numel(),), (1,))


def total_norm(squares: Sequence[float]) -> float:
    """The norm of all tensors from their sums of squares."""
    if len(squares) == 1:
        return norm_of(squares[0])  # the same, without the torch it takes
    return norm_of(sum_fixed(torch.tensor(squares, dtype=torch.float64, device="cpu")).item())
