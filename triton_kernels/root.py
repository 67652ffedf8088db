"""1 / sqrt(x) from multiplications, additions and one integer subtraction: the mirror of ``csrc/core/root.h``."""

from __future__ import annotations

import triton
import triton.language as tl

from .rounding import bits_of, float_of

INVERSE_ROOT_COEFFICIENTS = tl.constexpr(
    (
        float.fromhex("0x1.ffff92p-2"),
        float.fromhex("0x1.7fff64p-2"),
        float.fromhex("0x1.4176cep-2"),
        float.fromhex("0x1.198eb6p-2"),
    )
)

# --- root.h -----------------------------------------------------------------------------------------------------------


@triton.jit
def inverse_root(x):
    """Within 1.21e-7 of 1 / sqrt(x), relatively, for normal x > 0; for 0 a finite number."""
    y = float_of(0x5F374700 - (bits_of(x) >> 1))
    e = 1.0 - x * y * y
    q = e * INVERSE_ROOT_COEFFICIENTS[3] + INVERSE_ROOT_COEFFICIENTS[2]
    q = q * e + INVERSE_ROOT_COEFFICIENTS[1]
    q = q * e + INVERSE_ROOT_COEFFICIENTS[0]
    return y + y * (q * e)
