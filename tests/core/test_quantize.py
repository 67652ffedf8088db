"""The reference's quantizer against an oracle in binary64, where each of its operations is rounded to binary32 (section 5)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from qlangevin.reference_grids import floor_of, quantize, unit_of

MODES = ("nearest", "stochastic", "floor", "dither")
RESOLUTIONS = (64.0, 2.0**20, 0.25, 100.0, 12345.678)
Array = NDArray[np.float64]


def once(value: Array) -> Array:
    """Rounded to binary32; a sum or product of two binary32 numbers is not changed by the rounding to binary64 before it."""
    return value.astype(np.float32).astype(np.float64)


def quantize_in_binary64(x: Array, mode: str, resolution: float, spacing: float, half: Array) -> Array:
    """The quantizer with numpy's floor."""
    y = once(x * resolution)
    unit = (half + 0.5) / 65536
    if mode == "dither":
        u = unit - 0.5
        q = once(np.floor(once(once(y + u) + 0.5)) - u)
    else:
        q = np.floor(y)
        above = once(y - q)
        up = {"nearest": above >= 0.5, "stochastic": above > unit, "floor": np.zeros(len(x), bool)}[mode]
        q = q + up
    return np.where(np.abs(y) < 2.0**22, once(q * spacing), x)


def make_values(resolution: float) -> NDArray[np.float32]:
    """Around the grid points, between them, tiny, and beyond the largest that is quantized."""
    draw = np.random.default_rng(1)
    count = 20_000
    grid = draw.integers(-(2**12), 2**12, count) / resolution
    parts = [grid, np.nextafter(grid.astype(np.float32), np.float32(1e9)), grid + 0.5 / resolution]
    parts += [draw.normal(size=count) * 10.0 ** draw.uniform(-10, 7, count) / resolution, draw.normal(size=100) * 1e-42]
    parts += [np.array([0.0, -0.0, 2.0**22 / resolution, -(2.0**22) / resolution, 3e38])]
    return np.concatenate(parts).astype(np.float32)


@pytest.mark.parametrize("resolution", RESOLUTIONS)
@pytest.mark.parametrize("mode", MODES)
def test_the_quantizer_is_its_formula(mode: str, resolution: float) -> None:
    x = make_values(resolution)
    half = np.random.default_rng(2).integers(0, 65536, len(x))
    scale, spacing = float(np.float32(resolution)), float(np.float32(1 / resolution))
    with np.errstate(over="ignore", invalid="ignore"):  # y of 3e38 is Inf
        wanted = quantize_in_binary64(x.astype(np.float64), mode, scale, spacing, half.astype(np.float64))
    got = quantize(torch.from_numpy(x), mode, scale, spacing, torch.from_numpy(half)).double().numpy()
    assert np.array_equal(got, wanted)


@pytest.mark.parametrize("mode", ["nearest", "stochastic", "floor"])
def test_a_value_on_the_grid_never_moves(mode: str) -> None:
    x = torch.arange(-(2**22) + 1, 2**22, 211).float() / 1024
    for half in (0, 0x8000, 0xFFFF):
        assert quantize(x, mode, 1024.0, 1 / 1024, torch.full(x.shape, half)).equal(x)


@pytest.mark.parametrize("mode", MODES)
def test_specials_pass(mode: str) -> None:
    x = torch.tensor([float("inf"), -float("inf"), float("nan"), 3e38, 2.0**22])
    got = quantize(x, mode, 1.0, 1.0, torch.zeros(5, dtype=torch.int64))
    assert torch.isnan(got[2])
    assert got[[0, 1, 3, 4]].equal(x[[0, 1, 3, 4]])


def test_stochastic_rounding_goes_up_for_the_right_number_of_halves() -> None:
    halves = torch.arange(65536)
    for fraction in (0.0, 2.0**-17, 2.0**-16, 0.25, 1 / 3, 0.5, 0.999, 1 - 2.0**-17):
        for base in (-3.0, 0.0, 7.0):
            exact = float(np.float32(base + fraction)) - base
            up = quantize(torch.full((65536,), base + fraction), "stochastic", 1.0, 1.0, halves) - base
            assert set(up.tolist()) <= {0.0, 1.0}
            assert abs(float(up.sum()) - 65536 * exact) <= 0.5


def test_floor_of_is_floor() -> None:
    bits = np.arange(0, 2**32, 4099, dtype=np.uint64).astype(np.uint32)
    y = bits.view(np.float32)
    y = y[np.abs(y) < 2.0**22]
    assert np.array_equal(floor_of(torch.from_numpy(y)).numpy(), np.floor(y))
    wide = torch.from_numpy(np.random.default_rng(3).normal(size=10000) * 1e9)
    assert floor_of(wide).equal(torch.floor(wide))


def test_unit_of_is_inside_the_open_interval() -> None:
    halves = torch.arange(65536)
    assert unit_of(halves, torch.float32).double().equal((halves.double() + 0.5) / 65536)
    assert unit_of(halves, torch.float64).equal((halves.double() + 0.5) / 65536)
