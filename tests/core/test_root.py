"""The inverse square root of the reference, over all mantissas: what csrc/core/root.h says of it (parity has the native one)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from qlangevin.reference_root import INVERSE_ROOT_GUESS, inverse_root
from tests.tolerances import bound

BLOCK = 2**21
SMALLEST = 2.0**-126  # of the normal numbers


def binary32(bits: Tensor | int) -> Tensor:
    """The numbers with these patterns."""
    return torch.as_tensor(bits, dtype=torch.int32).view(torch.float32)


def test_every_mantissa_of_two_octaves() -> None:
    # Scaled by 4^k, x gives the same mantissas (the next test), so that [1, 4) stands for all normal numbers.
    worst = guess = residual = 0.0
    for start in range(0, 2**24, BLOCK):
        bits = torch.arange(start, start + BLOCK, dtype=torch.int32) + 0x3F800000
        x = binary32(bits)
        root = x.double().sqrt()
        worst = max(worst, float((inverse_root(x).double() * root - 1.0).abs().max()))
        first = binary32(INVERSE_ROOT_GUESS - (bits >> 1)).double()
        guess = max(guess, float((first * root - 1.0).abs().max()))
        residual = max(residual, float((1.0 - x.double() * first * first).abs().max()))
    assert worst < bound("inverse_root") < 1.01 * worst  # as tight as its digits
    assert guess < 0.035 and residual < 0.0682


def test_a_power_of_4_scales_the_result_exactly() -> None:
    mantissas = torch.randint(0, 2**23, (4096,), generator=torch.Generator().manual_seed(3), dtype=torch.int32)
    mantissas[:2] = torch.tensor([0, 2**23 - 1])
    for exponent in range(1, 255):
        x = binary32(mantissas + (exponent << 23))
        shift = (exponent - 126) // 2  # x = 4^shift times a number of [1/2, 2)
        assert inverse_root(x).double().equal(inverse_root((x.double() * 4.0**-shift).float()).double() * 2.0**-shift), exponent


def test_what_is_no_positive_normal_number() -> None:
    zeros = torch.tensor([0.0, -0.0])
    assert bool(inverse_root(zeros).isfinite().all()) and not bool((zeros * inverse_root(zeros)).any())
    assert inverse_root(torch.tensor(math.inf)) == math.inf
    nans = binary32(torch.tensor([0x7F800001, 0x7FC00000, 0x7FFFFFFF, -1]))
    assert bool(inverse_root(nans).isnan().all())


def test_subnormal_numbers_have_finite_results_and_roots_that_are_too_small() -> None:
    x = binary32(torch.arange(1, 2**23, 17))
    result, root = inverse_root(x).double(), x.double().sqrt()
    assert bool((result <= inverse_root(torch.tensor(0.0)).double()).all())
    assert bool((result * root <= 1.0 + bound("inverse_root")).all()) and bool((result * root >= 2.0**-10).all())
    assert float((x.double() * result).max()) < math.sqrt(SMALLEST)


def test_binary64_is_correct_to_its_last_digits() -> None:
    x = torch.logspace(-300, 300, 5000, dtype=torch.float64)
    assert bool(((inverse_root(x) * x.sqrt() - 1.0).abs() <= bound("binary64_root")).all())
    assert float(torch.zeros(1, dtype=torch.float64) * inverse_root(torch.zeros(1, dtype=torch.float64))) == 0.0
