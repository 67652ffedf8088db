"""A grid for each block of gradients, against one made element by element in Python's numbers (numerics.md section 5)."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from qlangevin.reference_grids import GRAD_BLOCK, largest_of_block, quantize, quantize_block, spacing_of_block

from .kernels import USABLE_PATHS, Job, Step, compare_jobs, settings, step_native, step_reference

MODES = ("nearest", "stochastic", "floor", "dither")
MAGNITUDES = (0.0, 1e-45, 1e-40, 2.0**-126, 2.0**-125, 1e-30, 0.75, 1.0, math.nextafter(2.0, 0.0), 2.0, 3e38, 2.0**127)


def spacing_by_hand(bits: int, largest: float) -> float:
    if math.isnan(largest) or math.isinf(largest):
        largest = 2.0**127
    exponent = math.frexp(largest)[1] - 1 if largest > 0 else -(10**6)
    return max(2.0 ** max(exponent + 2 - bits, -200), 2.0**-126)


@pytest.mark.parametrize("bits", [3, 8, 23])
@pytest.mark.parametrize("largest", [*MAGNITUDES, math.inf, math.nan])
def test_the_spacing_follows_the_largest_magnitude(bits: int, largest: float) -> None:
    for dtype in (torch.float32, torch.float64):
        value = torch.tensor([largest], dtype=dtype)
        if dtype == torch.float32 and value.item() == 0.0 < largest:
            continue
        got = spacing_of_block(2.0 ** (2 - bits), value)
        assert got.item() == spacing_by_hand(bits, value.item())
        assert (1.0 / got).item() * got.item() == 1.0


@pytest.mark.parametrize("offset", [0, 1, 127, 128, 5000])
@pytest.mark.parametrize("size", [1, 128, 129, 1000])
def test_blocks_lie_at_multiples_of_their_size_in_the_unsharded_tensor(size: int, offset: int) -> None:
    x = torch.randn(size, generator=torch.Generator().manual_seed(size + offset))
    got = largest_of_block(x, offset).tolist()
    for i, value in enumerate(got):
        block = [x[k].abs().item() for k in range(size) if (offset + k) // GRAD_BLOCK == (offset + i) // GRAD_BLOCK]
        assert value == max(block)


@pytest.mark.parametrize("bits", [3, 8, 23])
@pytest.mark.parametrize("mode", MODES)
def test_points_are_few_and_errors_small(mode: str, bits: int) -> None:
    """At most 2^(bits - 1) points on either side, and an error of half a spacing, or one where chance or the floor decides."""
    draw = torch.Generator().manual_seed(bits)
    x = torch.randn(4096, generator=draw) * torch.exp2(torch.randint(-60, 60, (32, 1), generator=draw)).expand(32, 128).flatten()
    half = torch.randint(0, 65536, x.shape, generator=draw)
    largest = largest_of_block(x, 0)
    spacing = spacing_of_block(2.0 ** (2 - bits), largest)
    got = quantize_block(x, mode, 2.0 ** (2 - bits), largest, half)
    points = got.double() / spacing.double()
    if mode != "dither":
        assert points.equal(points.round())
    assert (points.abs() <= 2.0 ** (bits - 1) + (mode == "dither")).all()
    error = ((got.double() - x.double()) / spacing.double()).abs()
    assert (error <= (0.5 if mode in ("nearest", "dither") else 1.0)).all()
    assert error.max() > (0.4 if bits < 23 else 0.1)


def test_stochastic_rounding_is_unbiased_in_every_block() -> None:
    x = torch.tensor([1.0, 0.3, -0.01, 1e-4, 0.0]).repeat(65536, 1)
    half = torch.arange(65536).unsqueeze(1).expand_as(x)
    got = quantize_block(x, "stochastic", 2.0**-6, torch.ones_like(x), half).double().mean(0)
    assert ((got - x[0].double()).abs() <= 2.0**-6 * 2.0**-17).all()


@pytest.mark.parametrize("mode", MODES)
def test_a_power_of_two_scales_everything(mode: str) -> None:
    x = torch.randn(1000, generator=torch.Generator().manual_seed(3))
    half = torch.randint(0, 65536, x.shape, generator=torch.Generator().manual_seed(4))

    def quantized(values: Tensor) -> Tensor:
        return quantize_block(values, mode, 2.0**-6, largest_of_block(values, 5), half)

    for exponent in (-90, -1, 1, 90):
        assert quantized(x * 2.0**exponent).equal(quantized(x) * 2.0**exponent)


def test_specials() -> None:
    x = torch.ones(384)
    x[3], x[200], x[300] = math.inf, math.nan, -0.0
    got = quantize_block(x, "nearest", 2.0**-6, largest_of_block(x, 0), None)
    assert got[3] == math.inf and torch.isnan(got[200])
    assert (got[:3] == 0).all() and (got[129:200] == 0).all(), "the grid of the largest numbers"
    assert got[256:].equal(x[256:])
    zeros = torch.zeros(130)
    for mode in ("nearest", "stochastic", "floor"):
        half = torch.full(zeros.shape, 65535)
        assert quantize_block(zeros, mode, 2.0**-6, largest_of_block(zeros, 0), half).equal(zeros)


def test_a_block_of_one_binade_has_the_fixed_grid() -> None:
    x = torch.rand(256, generator=torch.Generator().manual_seed(1)) * 0.9 + 1.0
    assert quantize_block(x, "nearest", 2.0**-6, largest_of_block(x, 0), None).equal(quantize(x, "nearest", 64.0, 2.0**-6, None))


@pytest.mark.parametrize("grad", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("path", USABLE_PATHS)
def test_shards_that_end_with_a_block_step_as_the_whole(path: str, grad: torch.dtype) -> None:
    """Cut elsewhere, each has the grid of its part, on every path."""
    draw = torch.Generator().manual_seed(9)
    grads = (torch.randn(1000, generator=draw) * torch.linspace(1e-3, 30.0, 1000)).to(grad)
    step = Step("plain", [settings(lr=1.0, grad_rounding="stochastic", grad_resolution=64.0, grad_blocks=True)], (0.37,))

    def stepped(cuts: list[int], native: bool) -> Tensor:
        ends = [*cuts[1:], 1000]
        jobs = [Job(torch.zeros(e - b), grads[b:e].clone(), [], key=77, offset=b) for b, e in zip(cuts, ends, strict=True)]
        wanted = [job.clone() for job in jobs]
        step_reference(step, wanted)
        if native:
            step_native(step, jobs, path)
            assert compare_jobs(jobs, wanted) == []
        return torch.cat([job.param for job in wanted])

    whole = stepped([0], True)
    assert stepped([0, 128, 640], True).equal(whole)
    assert not stepped([0, 100, 700], True).equal(whole)
