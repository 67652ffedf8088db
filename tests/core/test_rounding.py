"""The reference's storage rounding over all 2^16 targets, against numpy and a binary64 oracle (numerics.md section 4)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from qlangevin.reference_numbers import round_to

from .kernels import INTEGERS, bits_of

TARGETS = {torch.bfloat16: 0x7F80, torch.float16: 0x7C00}  # the pattern of +Inf
HALVES = torch.arange(65536)


def patterns(dtype: torch.dtype) -> Tensor:
    """Every value of a 16-bit type."""
    return (torch.arange(65536) - 32768).to(torch.int16).view(dtype)


def finite(dtype: torch.dtype) -> Tensor:
    """The finite values from 0 up, as binary64, and what the next after the largest would be."""
    inf = TARGETS[dtype]
    values = torch.arange(inf).to(torch.int16).view(dtype).double()
    return torch.cat([values, values[-1:] * 2 - values[-2:-1]])


def between(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """binary32 values strictly between neighbours, and for each the pattern below."""
    values = finite(dtype)
    low, high = values[:-1], values[1:]
    pieces = [low + (high - low) * f for f in (0.5, 0.25, 1 / 3, 0.75, 2.0**-9, 1 - 2.0**-9)]
    middle = pieces[0].float()
    pieces += [torch.nextafter(middle, torch.tensor(0.0)), torch.nextafter(middle, torch.tensor(float("inf")))]
    samples = torch.stack([piece.float() for piece in pieces], dim=1)
    inside = (samples > low[:, None]) & (samples < high[:, None])
    below = torch.arange(TARGETS[dtype])[:, None].expand_as(samples)
    return samples[inside], below[inside]


@pytest.mark.parametrize("dtype", TARGETS, ids=str)
def test_every_representable_value_is_left_alone(dtype: torch.dtype) -> None:
    stored = patterns(dtype)
    value = stored.float()
    nan = torch.isnan(value)
    for half in (None, *(torch.full((65536,), h) for h in (0, 1, 0x7FFF, 0x8000, 0xFFFF)), torch.randint(0, 65536, (65536,))):
        got = round_to(value, dtype, half)
        assert torch.isnan(got[nan]).all()
        assert bits_of(got)[~nan].equal(bits_of(stored)[~nan])


@pytest.mark.parametrize("dtype", TARGETS, ids=str)
def test_nearest_takes_the_nearer_neighbour_and_ties_to_even(dtype: torch.dtype) -> None:
    samples, below = between(dtype)
    values = finite(dtype)
    down, up = samples.double() - values[below], values[below + 1] - samples.double()
    wanted = torch.where((up < down) | ((up == down) & (below % 2 == 1)), below + 1, below)
    for sign in (1, -1):
        got = bits_of(round_to(sign * samples, dtype, None)).to(torch.int64) & 0xFFFF
        assert got.equal(wanted + (0x8000 if sign < 0 else 0))


@pytest.mark.parametrize("dtype", TARGETS, ids=str)
def test_stochastic_takes_a_neighbour_and_never_makes_inf(dtype: torch.dtype) -> None:
    samples, below = between(dtype)
    above = torch.clamp(below + 1, max=TARGETS[dtype] - 1)
    for half in (0, 1, 0x5555, 0x8000, 0xFFFF):
        got = bits_of(round_to(samples, dtype, torch.full_like(below, half))).to(torch.int64)
        assert ((got == below) | (got == above)).all()
        negative = bits_of(round_to(-samples, dtype, torch.full_like(below, half))).to(torch.int64) & 0x7FFF
        assert negative.equal(got)


@pytest.mark.parametrize("dtype", TARGETS, ids=str)
def test_stochastic_has_the_exact_mean_over_all_halves(dtype: torch.dtype) -> None:
    """2^16 times the fraction of the halves round up, to the nearest integer for fp16 subnormals: theirs has more bits."""
    samples, below = between(dtype)
    values = finite(dtype)
    chosen = torch.unique(
        torch.cat([torch.arange(0, len(samples), len(samples) // 150), torch.arange(40), (below == 0x3FF).nonzero()[:, 0]])
    )
    for value, low in zip(samples[chosen].tolist(), below[chosen].tolist(), strict=True):
        wanted = 65536 * (value - values[low].item()) / (values[low + 1] - values[low]).item()
        got = bits_of(round_to(torch.full((65536,), value), dtype, HALVES)).to(torch.int64)
        up = int((got == low + 1).sum())
        if low == TARGETS[dtype] - 1:
            assert up == 0
        elif dtype == torch.float16 and low < 0x400:
            assert abs(up - wanted) <= 0.5
        else:
            assert up == wanted


SPECIAL_NANS = (0x7FFFFFFF, 0xFFFFFFFF, 0x7F800001, 0x7F80FFFF, 0xFF801FFF, 0x7FC00000)


@pytest.mark.parametrize("dtype", TARGETS, ids=str)
def test_nan_inf_and_zero_keep_what_they_are(dtype: torch.dtype) -> None:
    inf = TARGETS[dtype]
    for bits in SPECIAL_NANS:
        nan = torch.full((65536,), bits - (bits >> 31 << 32), dtype=torch.int32).view(torch.float32)
        assert torch.isnan(round_to(nan, dtype, HALVES)).all()
        assert torch.isnan(round_to(nan[:1], dtype, None)).all()
    for value, pattern in ((float("inf"), inf), (-float("inf"), inf | 0x8000), (0.0, 0), (-0.0, 0x8000)):
        got = bits_of(round_to(torch.full((65536,), value), dtype, HALVES)).to(torch.int64) & 0xFFFF
        assert (got == pattern).all()
    largest = torch.full((65536,), torch.finfo(torch.float32).max)
    assert (bits_of(round_to(largest, dtype, HALVES)) == inf - 1).all()


def test_wide_types_take_the_value_as_it_is() -> None:
    value = torch.randn(1000)
    assert round_to(value, torch.float32, HALVES[:1000]).equal(value)
    assert round_to(value.double(), torch.float64, HALVES[:1000]).equal(value.double())


def test_fp16_nearest_is_numpys() -> None:
    bits = np.arange(0, 2**32, 9973, dtype=np.uint64).astype(np.uint32)
    value = bits.view(np.float32)
    value = value[np.isfinite(value)]
    with np.errstate(over="ignore"):
        wanted = value.astype(np.float16).view(np.int16)
    assert (bits_of(round_to(torch.from_numpy(value), torch.float16, None)).numpy() == wanted).all()
    assert INTEGERS[2] == torch.int16
