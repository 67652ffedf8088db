"""The inverse square root of the step in plain torch: the mirror of ``csrc/core/root.h``."""

from __future__ import annotations

import torch
from torch import Tensor

# --- root.h -----------------------------------------------------------------------------------------------------------

INVERSE_ROOT_GUESS = 0x5F374700
INVERSE_ROOT_COEFFICIENTS = tuple(float.fromhex(c) for c in ("0x1.ffff92p-2", "0x1.7fff64p-2", "0x1.4176cep-2", "0x1.198eb6p-2"))


def inverse_root_of_binary64(x: Tensor) -> Tensor:
    """1 / sqrt(x), and a finite number for 0."""
    return 1.0 / x.clamp(min=2.0**-1000).double().sqrt()


def inverse_root(x: Tensor) -> Tensor:
    """1 / sqrt(x) within 1.21e-7, relatively, for normal x > 0; for 0 a finite number (csrc/core/root.h says more)."""
    if x.dtype == torch.float64:
        return inverse_root_of_binary64(x)
    bits = x.view(torch.int32).to(torch.int64) & 0xFFFFFFFF
    y = ((INVERSE_ROOT_GUESS - (bits >> 1)) & 0xFFFFFFFF).to(torch.int32).view(torch.float32)
    e = 1.0 - x * y * y
    q = e * INVERSE_ROOT_COEFFICIENTS[3] + INVERSE_ROOT_COEFFICIENTS[2]
    q = q * e + INVERSE_ROOT_COEFFICIENTS[1]
    q = q * e + INVERSE_ROOT_COEFFICIENTS[0]
    return y + y * (q * e)
